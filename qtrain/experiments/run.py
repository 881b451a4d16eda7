"""One run: from a recipe to a run folder, and from the folder to a FINN folder."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from qtrain.data import FolderSplit, Split, class_names, load_data
from qtrain.errors import UserError
from qtrain.experiments.start import read_start
from qtrain.export import Proof, ProofError, check_target, export_finn, verify
from qtrain.export.folder.contents import check_destination, read_manifest
from qtrain.export.proof.figures import data_facts
from qtrain.models import Network, build_model, parse_name
from qtrain.models.warm_start import initialise_from
from qtrain.recipe import AUTO, Recipe
from qtrain.records.runs import RECORDS, read_records
from qtrain.training import Result, Watcher, train
from qtrain.training.folder import check_free, folder_recipe, has_begun, load_best

FOLDER_PROOF = 2000  # images of ImageNet's size that fit the memory of a proof: 1.2 GB in float32


def model_of(recipe: Recipe, data_root: str | Path | None = None) -> Network:
    """Build the recipe's network, its initial weights drawn from the recipe's seed; ``init_from`` plays no part.

    Args:
        recipe: of the run.
        data_root: where ImageNet's tree lies, whose folders are its classes; else QTRAIN_DATA.
    """
    classes = len(class_names(recipe.data, data_root))
    return build_model(recipe.replace(init_from=None), num_classes=classes)


def initial_model(recipe: Recipe, data_root: str | Path | None = None) -> tuple[Network, dict[str, Any] | None]:
    """Build the recipe's network with the weights of its ``init_from``, where it names any.

    Returns:
        The network, and what the run's record says of where its weights come from.

    Raises:
        UserError: no such weights, damaged, or of another family, width or number of classes.
    """
    model = model_of(recipe, data_root)
    if recipe.init_from is None:
        return model, None
    start = read_start(Path(recipe.init_from))
    try:
        source = None if start.recipe is None else _source(start.recipe, recipe, data_root)
        initialise_from(model, start.weights, source)
    except UserError as error:
        raise UserError(f"{recipe.network} cannot start from {recipe.init_from}: {error}") from None
    return model, start.facts


def _source(theirs: Recipe, ours: Recipe, data_root: str | Path | None) -> Network:
    """The untrained network of the run whose weights ``ours`` starts from."""
    family, wanted = parse_name(theirs.network).family, parse_name(ours.network).family
    if family != wanted:
        raise UserError(f"it is a run of {theirs.network}; take one of {wanted}, at any bits or {wanted}_FLOAT")
    if theirs.width != ours.width:
        raise UserError(f"it has width {theirs.width:g}, this run {ours.width:g}; give --width {theirs.width:g}")
    classes, wanted_classes = len(class_names(theirs.data, data_root)), len(class_names(ours.data, data_root))
    if classes != wanted_classes:
        raise UserError(
            f"it has the {classes} classes of {theirs.data}, {ours.data} has {wanted_classes}; take a run of as many"
        )
    return model_of(theirs, data_root)


def train_recipe(
    recipe: Recipe,
    out: Path,
    *,
    data_root: str | Path | None = None,
    device: str = "auto",
    watch: Watcher | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Build the recipe's network and train it into the run folder ``out``; ``stop`` is ``train``'s.

    Where the recipe's rate is auto, the range test chooses it first; what that found and cost is in the run's record
    as ``lr_range``, and ``say`` is told.

    Raises:
        UserError: as ``initial_model``, ``resolve_lr`` and ``train`` do; nothing is written then.
    """
    check_free(out)  # before weights are read
    extra: dict[str, Any] = {}
    if recipe.lr == AUTO:
        from qtrain.experiments.lr_range import resolve_lr  # builds its network with this module

        recipe, found = resolve_lr(recipe, data_root=data_root, device=device, watch=watch)
        extra = {"lr_range": found}
        say(f"lr {recipe.lr:g} from the range test ({found['steps']} steps, {found['seconds']:.1f} s)")
    model, start = initial_model(recipe, data_root)
    options: dict[str, Any] = {"data_root": data_root, "device": device, "watch": watch, "stop": stop, "start": start}
    return train(model, recipe, out, extra=extra, built=True, **options)


def resume_run(
    folder: Path,
    *,
    data_root: str | Path | None = None,
    device: str = "auto",
    watch: Watcher | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Continue the run in ``folder`` by its own recipe; ``stop`` is ``train``'s.

    Raises:
        UserError: the folder is not a run's, or damaged.
    """
    recipe = folder_recipe(folder)
    model, start = model_of(recipe, data_root), None
    if recipe.init_from is not None and not has_begun(folder):  # killed before its first checkpoint: starts again
        model, start = initial_model(recipe, data_root)
        _check_same_start(folder, start)
    options: dict[str, Any] = {"data_root": data_root, "device": device, "watch": watch, "stop": stop, "start": start}
    return train(model, recipe, folder, resume=True, built=True, **options)


def _check_same_start(folder: Path, start: Mapping[str, Any] | None) -> None:
    """See that the weights are those that the run in ``folder`` has on record, if it came so far."""
    records = read_records(folder) if (folder / RECORDS).exists() else []
    known = [record["start"] for record in records if record["type"] == "run" and "start" in record]
    if start is not None and known and known[0]["sha256"] != start["sha256"]:
        raise UserError(f"{start['path']} has changed since {folder} began; put the old weights there, or train anew")


def load_run(folder: Path, data_root: str | Path | None = None) -> tuple[Recipe, Network]:
    """Recipe and trained network (best validation accuracy, evaluation mode, on the CPU) of a run folder.

    Raises:
        UserError: not a run folder, nothing trained yet, damaged, or a checkpoint of another network.
    """
    recipe = folder_recipe(folder)
    model = model_of(recipe, data_root)
    load_best(model, recipe, folder)
    return recipe, model.eval()


def export_run(
    folder: Path,
    out: Path,
    *,
    board: str,
    target_fps: int,
    clock_ns: float,
    data_root: str | Path | None = None,
    refused_too: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Export the run's best network to a FINN folder, proven on the whole test set; errors as ``export_finn``'s.

    Of images that lie in files, ``FOLDER_PROOF`` are taken, evenly spread.
    """
    check_target(board, target_fps, clock_ns)
    check_destination(out)  # before the data are read, or downloaded
    recipe, model = load_run(folder, data_root)
    test = _test_split(recipe, data_root)
    return export_finn(
        model,
        out,
        pixels=test.images,
        labels=test.labels,
        board=board,
        target_fps=target_fps,
        clock_ns=clock_ns,
        network=str(parse_name(recipe.network)),
        refused_too=refused_too,
        source=_source_facts(recipe, folder),
        say=say,
    )


def verify_run(
    finn: Path,
    folder: Path,
    *,
    data_root: str | Path | None = None,
    trust: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Prove a FINN folder again, and that it is an export of the run in ``folder``.

    Args:
        finn: FINN folder.
        folder: of the run.
        data_root: where the data lies, else QTRAIN_DATA, else a cache.
        trust: take build steps that qtrain does not ship.
        say: told what is being done.

    Raises:
        UserError: as ``verify`` and ``load_run`` do.
        ProofError: as ``verify`` does, or the folder is of another run; says where that shows.
    """
    manifest = read_manifest(finn)
    recipe, model = load_run(folder, data_root)
    said = {"network": manifest.get("network"), **_said_of_source(manifest)}
    ours = {"network": str(parse_name(recipe.network)), **_source_facts(recipe, folder)}
    for name, value in json.loads(json.dumps(ours)).items():
        if json.dumps(said.get(name), sort_keys=True) != json.dumps(value, sort_keys=True):
            raise ProofError(f"{finn} says another {name} than {folder} has: {_difference(said.get(name), value)}")
    proof = verify(finn, model=model, trust=trust, say=say)
    test = _test_split(recipe, data_root)
    if manifest["data"] != data_facts(test.images, test.labels):
        raise ProofError(f"{finn} is proven on other images or labels than the test split of {recipe.data}")
    say(f"the test images and labels are those of {recipe.data}, {len(test)} of them")
    return proof


def _said_of_source(manifest: Mapping[str, Any]) -> dict[str, Any]:
    source = manifest.get("source")
    return source if isinstance(source, dict) else {}


def _difference(said: Any, ours: Any) -> str:
    """The first entry in which two facts differ, in a line's words."""
    if isinstance(said, dict) and isinstance(ours, dict):
        for name in [*ours, *said]:
            if said.get(name) != ours.get(name):
                return f"{name} {str(said.get(name))[:60]}, not {str(ours.get(name))[:60]}"
    return f"{str(said)[:60]}, not {str(ours)[:60]}"


def _source_facts(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """What an export's manifest says of the run."""
    results = [record for record in read_records(folder) if record["type"] == "result"]
    return {"recipe": recipe.to_dict(), "training": results[-1] if results else None}


def _test_split(recipe: Recipe, data_root: str | Path | None) -> Split:
    """The images that a run's network is proven on; of those that lie in files, some of each class."""
    test = load_data(recipe.data, root=data_root, seed=recipe.seed).test
    if isinstance(test, FolderSplit):
        count = min(len(test), FOLDER_PROOF)  # the files are in the order of their classes
        test = test.select(torch.linspace(0, len(test) - 1, count).long())
    return test
