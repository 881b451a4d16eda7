"""From a float network of one's own to a quantized one, calibrated on data: a file of code with weights, or a run."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.experiments.model import initial_model
from qtrain.experiments.own_source import CODE, code_of
from qtrain.experiments.run import load_run
from qtrain.models import parse_name
from qtrain.models.network import Network
from qtrain.models.quantize import Quantized, quantize
from qtrain.recipe import Recipe, default_recipe
from qtrain.records.files import write_json_lines, write_whole
from qtrain.records.format import to_json
from qtrain.records.leftovers import partial_of
from qtrain.records.lock import only_here
from qtrain.records.runs import RECORDS, Result
from qtrain.training import checkpoint, evaluate
from qtrain.training.check_model import check_labels
from qtrain.training.context import HERE, RunContext
from qtrain.training.folder import check_free, new_run, recorded
from qtrain.training.losses import LOSSES
from qtrain.training.recorder import machine
from qtrain.training.splits import load_splits

NETWORK = "network.py"  # the quantized network's code in a run folder
CALIBRATION = 512  # training images
REFERENCE_BITS = 8
_RUN = "quantized, not trained"


@dataclass(frozen=True)
class Made:
    """What ``quantize_network`` made.

    Attributes:
        out: the file of code, or the run folder.
        network: as ``train`` takes it, with the bits that it is calibrated at.
        notes: what is otherwise than in the float network, one line each.
        accuracies: on the validation split in percent, by what was measured: float, 8 bits, 4 bits.
    """

    out: Path
    network: str
    notes: tuple[str, ...]
    accuracies: dict[str, float]


def quantize_network(
    recipe: Recipe,
    out: Path,
    context: RunContext = HERE,
    *,
    weight_bits: int = 4,
    act_bits: int = 4,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    run: Path | None = None,
) -> Made:
    """Quantize a float network, calibrate it on training images, and measure it on the validation split.

    Args:
        recipe: its network is the float one, its data those that the quantized one is for; ``init_from`` names the
            float network's weights, and ``scaling`` where ranges come from.
        out: a ``.py`` file, which gets its weights beside it as ``.pt``; or a new run folder, ready to export.
        context: where the data lie.
        weight_bits: 1 to 8.
        act_bits: 1 to 8.
        mean: that images in [0, 1] had taken off before the float network got them; one number, or one a channel.
        std: that they were divided by then.
        run: a run folder whose trained float network is taken, in place of the recipe's.

    Raises:
        UserError: the network cannot be built or made FINN-safe, the data are not right, or ``out`` is not free.
    """
    with only_here(out, beside=out.suffix == ".py", say=context.say):
        _check_out(out)
        data = load_splits(recipe, context.data_root)
        check_labels(data)
        model = load_run(run, context.data_root)[1] if run is not None else initial_model(recipe, context.data_root)[0]
        if isinstance(model, Network):
            raise UserError(
                f"{recipe.network} is qtrain's own, which exists at all bits; train it with --init-from and the float "
                "run"
            )
        per_channel = {"mean": _values(mean), "std": _values(std)}
        found = quantize(model.eval(), data.shape, **per_channel)
        if found.classes != data.classes:
            raise UserError(f"{recipe.network} has {found.classes} logits, and {data.name} {data.classes} classes")
        networks = {"float": found.float_network()}
        options: dict[str, Any] = {"scaling": "learned" if recipe.scaling == "auto" else recipe.scaling}
        for bits in ((REFERENCE_BITS, REFERENCE_BITS), (weight_bits, act_bits)):
            networks[_said(*bits)] = _calibrated(found, data, bits, options)
        accuracies = {name: _accuracy(network, data) for name, network in networks.items()}
        made = networks[_said(weight_bits, act_bits)]
        name = f"{found.name}_{weight_bits}W{act_bits}A"
        if out.suffix == ".py":
            _write_files(out, found.source, made)
            return Made(out, f"{out}:{name}", found.notes, accuracies)
        network = f"{out / NETWORK}:{name}"
        _write_run(out, recipe, network, found, made, data)
        return Made(out, network, found.notes, accuracies)


def _check_out(out: Path) -> None:
    if out.suffix != ".py":
        check_free(out)
        return
    killed_between_both = partial_of(out).exists()
    for path in (out, out.with_suffix(".pt")):
        if path.exists() and not (path != out and killed_between_both):
            raise UserError(f"{path} exists already and nothing is overwritten; name another file with --out")


def _values(values: Sequence[float]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _said(weight_bits: int, act_bits: int) -> str:
    """Return bits as a person says them."""
    if weight_bits == act_bits:
        return f"{weight_bits} bits" if weight_bits > 1 else "1 bit"
    return f"{weight_bits}W{act_bits}A"


def _calibrated(found: Quantized, data: DataSet, bits: tuple[int, int], options: dict[str, Any]) -> Network:
    images = data.train.take(min(CALIBRATION, len(data.train))).images
    return found.calibrate(images, *bits, **options)


def _accuracy(network: nn.Module, data: DataSet) -> float:
    return evaluate(network, data.validation, LOSSES["cross_entropy"]).accuracy


def _write_files(out: Path, source: str, network: nn.Module) -> None:
    """Write code and weights beside each other: what takes long first, and none of it under its name."""
    files = {out.with_suffix(".pt"): _weights(network), out: source.encode()}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(partial_of(path), content)
    for path in files:
        os.replace(partial_of(path), path)


def _weights(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def _write_run(out: Path, recipe: Recipe, network: str, found: Quantized, made: Network, data: DataSet) -> None:
    """Write a run folder of the calibrated network: it can be exported, and trained from."""
    own = {name: getattr(recipe, name) for name in _OF_DATA}
    described = default_recipe(network, recipe.data).replace(**own, lr=_SOME_RATE, epochs=1)
    loss = LOSSES[described.loss]
    tested = evaluate(made, data.test, loss)
    validated = evaluate(made, data.validation, loss)
    result = Result(tested.accuracy, validated.accuracy, 0, 0, 0.0)
    computer = machine(torch.device("cpu"))
    shared = {"seed": described.seed, "protocol": described.protocol, "scheduler": described.scheduler, **computer}
    first = {
        "type": "run",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **computer,
        "recipe": described.to_dict(),
        "data": to_json(data.facts()),
        "state": _RUN,
    }
    last = {"type": "result", **to_json(result), "test_loss": tested.loss, **shared}
    state = {"recipe": described.to_dict(), "model": made.state_dict(), "epoch": 0}
    with new_run(out, described, (NETWORK, checkpoint.BEST, RECORDS)):
        write_whole(out / NETWORK, found.source.encode())
        checkpoint.save(out / checkpoint.BEST, state)
        write_json_lines(out / RECORDS, [first | {CODE: code_of(described)[0]}, last])
    recorded(out)


_SOME_RATE = 0.01  # a run that trains nothing has one too
_OF_DATA = ("image_size", "channels", "layout", "value_range", "seed", "split_seed", "validation_size", "scaling")


def float_recipe(target: str, recipe: Recipe) -> tuple[Recipe, Path | None]:
    """Return the recipe of the float network that a user names, and the run folder where it names one.

    Args:
        target: ``my_module:Net``, or a run folder of such a network.
        recipe: data and options that are given.

    Raises:
        UserError: it is neither, or has bits.
    """
    path = Path(target)
    if path.is_dir():
        theirs, _ = load_run(path)
        return theirs.replace(scaling=recipe.scaling), path
    name = parse_name(target)
    if not name.is_own:
        raise UserError(
            f"{target} is qtrain's own, which exists at all bits already; name a float module of yours, my_module:Net, "
            "or a run of one"
        )
    return recipe.replace(network=target), None
