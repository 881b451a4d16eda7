"""The proof beyond the test set: torch and graph on images that no test set holds, quantizer by quantizer.

Equal logits may hide a value that a later sign swallows, so that what every activation quantizer gives is compared too:
as one number a channel, a sum of its levels over all images and positions with weights that differ from place to place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.export.errors import ProofError
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.operators import top1
from qtrain.export.foreign.arrays import read_npz
from qtrain.export.naming import layer_tensors
from qtrain.export.proof.against_torch import check_difference, check_equal_classes
from qtrain.export.proof.beyond_images import boundary_pairs, drawn_images
from qtrain.export.proof.digests import images_digest
from qtrain.export.proof.reference import layer_outputs

FILE = "proof/beyond.npz"
NEAR, MOST_LEFT_OUT = 1e-6, 5  # steps; images
_BATCH = 25
_SPREAD = 0x9E3779B97F4A7C15 - (1 << 64)  # the golden ratio's bits, as int64: weights that do not repeat


@dataclass(frozen=True)
class Beyond:
    """What the manifest says of the images beyond the test set.

    Attributes:
        seed: of the images that are drawn; the checksum of the trained weights.
        images: how many, drawn ones first, then pairs beside a quantizer's boundary.
        digest: SHA-256 of all of them.
        pairs: for each pair the quantizer's output between whose values it lies.
        left_out: images, by number, on which a value lies within ``NEAR`` of a boundary, so that rounding in float64
            decides its side.
        quantizers: output of each activation quantizer that was compared, and its channels.
    """

    seed: str
    images: int
    digest: str
    pairs: tuple[str, ...]
    left_out: tuple[int, ...]
    quantizers: dict[str, int]


@dataclass(frozen=True)
class Answers:
    """What torch or the graph makes of the images.

    Attributes:
        logits: float64 [M, classes].
        levels: by quantizer's output, int64 [channels]: the weighted sum of its levels.
    """

    logits: Tensor
    levels: dict[str, Tensor]


def quantizer_scales(model: ModelWrapper, executor: Executor) -> dict[str, Tensor]:
    """The scale of each activation quantizer by its output, in graph order."""
    found = {}
    for node in model.graph.node:
        scaled = node.op_type in ("Quant", "BipolarQuant", "IntQuant") and node.output[0] not in executor.constants
        if scaled and node.input[1] in executor.constants:
            found[node.output[0]] = executor.constants[node.input[1]]
    return found


def _levels(values: Tensor, scale: Tensor, first: int) -> Tensor:
    """Sum the levels of a batch [B, channels, ...], whose first image has the number ``first``, by channel."""
    levels = (values / scale).round().to(torch.int64)
    levels = levels.reshape(*levels.shape[:2], -1)
    images, _, positions = levels.shape
    places = torch.arange(first * positions + 1, (first + images) * positions + 1).view(images, 1, positions)
    weights = (places * _SPREAD) >> 20
    return (levels * weights).sum((0, 2))  # modulo 2^64


def _summed(parts: list[tuple[Tensor, dict[str, Tensor]]]) -> Answers:
    names = parts[0][1]
    levels = {name: torch.stack([part[1][name] for part in parts]).sum(0) for name in names}
    return Answers(torch.cat([part[0] for part in parts]), levels)


def graph_answers(model: ModelWrapper, executor: Executor, pixels: Tensor) -> Answers:
    """Run the exported graph on uint8 ``pixels`` [M, C, H, W]."""
    scales = quantizer_scales(model, executor)
    logits = model.graph.node[-1].input[0]
    parts = []
    for number, batch in enumerate(pixels.split(_BATCH)):
        values = executor(batch, keep={logits, *scales})
        sums = {name: _levels(values[name], scale, number * _BATCH) for name, scale in scales.items()}
        parts.append((values[logits], sums))
    return _summed(parts)


def torch_answers(model: ModelWrapper, executor: Executor, reference: nn.Module, pixels: Tensor) -> Answers:
    """Run torch in float64 on uint8 ``pixels`` [M, C, H, W]; quantizers are those that have a layer of their own."""
    scales = quantizer_scales(model, executor)
    parts = []
    for number, batch in enumerate(pixels.split(_BATCH)):
        logits, layers = layer_outputs(reference, batch.double() / 255)
        tensors = {name: path for path, name in layer_tensors(model, layers).items() if path in layers}
        shown = {name: layers[tensors[name]] for name in scales if name in tensors}
        sums = {name: _levels(values, scales[name], number * _BATCH) for name, values in shown.items()}
        parts.append((logits, sums))
    return _summed(parts)


def compare(found: Answers, expected: Answers, logits: str) -> None:
    """See that the graph answers as torch did.

    Args:
        found: the graph's.
        expected: torch's.
        logits: the tensor's name.

    Raises:
        ProofError: names the first quantizer that differs, with its channels, or what differs of the logits.
    """
    try:
        for name, levels in expected.levels.items():
            if name not in found.levels or found.levels[name].shape != levels.shape:
                raise ProofError(f"the graph has no quantizer {name!r} of {len(levels)} channels")
            wrong = (found.levels[name] != levels).nonzero().flatten().tolist()
            if wrong:
                raise ProofError(
                    f"the quantizer {name!r} is the first that gives other values than torch: in {len(wrong)} of "
                    f"{len(levels)} channels, the first is channel {wrong[0]}"
                )
        check_equal_classes(top1(found.logits).flatten(), top1(expected.logits).flatten())
        check_difference(logits, found.logits, expected.logits)
    except ProofError as error:
        raise ProofError(f"on {len(found.logits)} images beyond the test set, {error}") from None


def prove_beyond(
    model: ModelWrapper, reference: nn.Module, pixels: Tensor, seed: str, say: Callable[[str], None]
) -> tuple[Beyond, Tensor, Answers]:
    """Make images that the test set does not hold and compare graph and torch on them.

    Args:
        model: the exported graph.
        reference: torch in float64.
        pixels: the test set's, uint8 [N, C, H, W].
        seed: of the images.
        say: told what is being done.

    Returns:
        What the manifest says, the images beside boundaries, and torch's answers.

    Raises:
        ProofError: they differ.
    """
    executor = Executor(model)
    pairs = boundary_pairs(executor, list(quantizer_scales(model, executor)), seed, pixels)
    images = torch.cat([drawn_images(seed, pixels), pairs.images])
    say(f"torch in float64 and the graph on {len(images)} images beyond the test set")
    left_out: tuple[int, ...] = ()
    try:
        expected = _compared(model, executor, reference, images)
    except ProofError:
        left_out = _beside_boundaries(model, executor, reference, images)
        if not 0 < len(left_out) <= MOST_LEFT_OUT:
            raise
        expected = _compared(model, executor, reference, _without(images, left_out))
    channels = {name: len(levels) for name, levels in expected.levels.items()}
    facts = Beyond(seed, len(images), images_digest(images), pairs.tensors, left_out, channels)
    return facts, pairs.images, expected


def _without(images: Tensor, left_out: tuple[int, ...]) -> Tensor:
    kept = torch.ones(len(images), dtype=torch.bool)
    kept[list(left_out)] = False
    return images[kept]


def _compared(model: ModelWrapper, executor: Executor, reference: nn.Module, images: Tensor) -> Answers:
    expected = torch_answers(model, executor, reference, images)
    compare(graph_answers(model, executor, images), expected, model.graph.node[-1].input[0])
    return expected


def _beside_boundaries(
    model: ModelWrapper, executor: Executor, reference: nn.Module, images: Tensor
) -> tuple[int, ...]:
    """Number the images on which quantizers differ, the first one only where its input lies on a boundary.

    None where one differs elsewhere: rounding does not explain that.
    """
    scales = quantizer_scales(model, executor)
    inputs = {node.output[0]: node.input[0] for node in model.graph.node if node.output[0] in scales}
    found: list[int] = []
    for number, batch in enumerate(images.split(_BATCH)):
        _, layers = layer_outputs(reference, batch.double() / 255)
        tensors = {name: path for path, name in layer_tensors(model, layers).items() if path in layers}
        shown = [name for name in scales if name in tensors]
        values = executor(batch, keep={*shown, *(inputs[name] for name in shown)})
        explained = torch.zeros(len(batch), dtype=torch.bool)
        for name in shown:
            wrong = ((values[name] - layers[tensors[name]]).abs() > scales[name] / 2).flatten(1)
            steps = (2 * values[inputs[name]] / scales[name]).flatten(1)  # boundaries are at whole and half steps
            away = ((steps - steps.round()).abs() * wrong).amax(1)
            first = wrong.any(1) & ~explained
            if bool((away[first] > 2 * NEAR).any()):
                return ()
            explained |= first
        found += [number * _BATCH + at for at in explained.nonzero().flatten().tolist()]
    return tuple(found)


def write_beyond(folder: Path, pairs: Tensor, answers: Answers) -> None:
    """Write the images beside boundaries, and what torch answered on all."""
    levels = torch.cat([torch.zeros(0, dtype=torch.int64), *answers.levels.values()])
    np.savez(folder / FILE, pairs=pairs.numpy(), logits=answers.logits.numpy(), levels=levels.numpy())


def read_beyond(folder: Path, beyond: Beyond, pixels: Tensor) -> tuple[Tensor, Answers]:
    """Make the images again, all of them, and read what torch answered on those that are not left out.

    Raises:
        UserError: the file is damaged.
        ProofError: the images are not those of the manifest.
    """
    path = folder / FILE
    pairs, logits, levels = read_npz(path, "pairs", "logits", "levels")
    shapes = pairs.dtype == "uint8" and pairs.shape == (2 * len(beyond.pairs), *pixels.shape[1:])
    answers = logits.dtype == "float64" and logits.ndim == 2 and len(logits) == beyond.images - len(beyond.left_out)
    if not shapes or not answers or levels.dtype != "int64" or levels.shape != (sum(beyond.quantizers.values()),):
        raise UserError(f"{path} holds other arrays than {beyond.images} images need; export the run again")
    images = torch.cat([drawn_images(beyond.seed, pixels), torch.from_numpy(pairs)])
    if len(images) != beyond.images or images_digest(images) != beyond.digest:
        raise ProofError(f"the images beyond the test set are not those that the manifest names; see {FILE}")
    parts = torch.from_numpy(levels).split(list(beyond.quantizers.values())) if beyond.quantizers else ()
    return images, Answers(torch.from_numpy(logits), dict(zip(beyond.quantizers, parts, strict=True)))


def verify_beyond(
    model: ModelWrapper,
    folder: Path,
    beyond: Beyond,
    pixels: Tensor,
    layers: Sequence[str],
    reference: nn.Module | None = None,
) -> None:
    """Repeat the proof beyond the test set.

    Args:
        model: the folder's graph.
        folder: with what torch answered.
        beyond: of the manifest.
        pixels: the test set's, uint8 [N, C, H, W].
        layers: of the network, by path, as the manifest has them.
        reference: torch in float64, where it is at hand: then what is recorded is compared with it too.

    Raises:
        UserError: the file is damaged.
        ProofError: other images, or other answers.
    """
    images, recorded = read_beyond(folder, beyond, pixels)
    executor = Executor(model)
    _check_facts(model, executor, beyond, layers)
    kept = _without(images, beyond.left_out)
    compare(graph_answers(model, executor, kept), recorded, model.graph.node[-1].input[0])
    check_pairs(executor, beyond, images)
    if reference is not None:
        expected = torch_answers(model, executor, reference, kept)
        if set(expected.levels) != set(recorded.levels):
            raise ProofError("the manifest names other quantizers than those that were compared")
        try:
            compare(recorded, expected, "logits")
        except ProofError as error:
            raise ProofError(f"what {FILE} records is not the run's: {error}") from None


def _check_facts(model: ModelWrapper, executor: Executor, beyond: Beyond, layers: Sequence[str]) -> None:
    """See that the record leaves out no more than a few images, and names every quantizer that is a layer's.

    Raises:
        ProofError: it does not.
    """
    within = all(0 <= number < beyond.images for number in beyond.left_out)
    if len(beyond.left_out) > MOST_LEFT_OUT or not within:
        raise ProofError(f"{len(beyond.left_out)} images beyond the test set are left out; {MOST_LEFT_OUT} may be")
    known = set(layers)
    outputs = {name for path, name in layer_tensors(model, layers).items() if path in known}
    there = quantizer_scales(model, executor)
    right = [name for name in there if name in outputs]
    if list(beyond.quantizers) != right:
        other = sorted(set(right) ^ set(beyond.quantizers)) or right
        raise ProofError(f"the manifest names other quantizers than the graph has: look at {other[0]!r}")
    if strange := [name for name in beyond.pairs if name not in there]:
        raise ProofError(f"the manifest names the quantizer {strange[0]!r}, which the graph does not have")


def check_pairs(executor: Executor, beyond: Beyond, images: Tensor) -> None:
    """See that each pair lies beside a boundary of its quantizer: one grey level apart, and another value.

    Raises:
        ProofError: one does not.
    """
    for number, name in enumerate(beyond.pairs):
        pair = images[len(images) - 2 * (len(beyond.pairs) - number) :][:2]
        apart = int((pair[0].int() - pair[1].int()).abs().sum())
        value = executor(pair, keep=[name])[name]
        if apart != 1 or torch.equal(value[0], value[1]):
            raise ProofError(f"pair {number} of {FILE} does not lie beside a boundary of {name!r}")


def read_facts(manifest: Mapping[str, Any]) -> Beyond:
    """Read what the manifest says of the images beyond the test set.

    Raises:
        UserError: it is damaged.
    """
    facts = manifest.get("beyond")
    if not isinstance(facts, dict) or set(facts) != set(Beyond.__dataclass_fields__):
        raise UserError("manifest.json says nothing of images beyond the test set; export the run again")
    kinds = {"seed": str, "images": int, "digest": str, "pairs": list, "left_out": list, "quantizers": dict}
    whole = all(isinstance(facts[name], kind) for name, kind in kinds.items())
    if not whole or not _are(str, facts["pairs"]) or not _are(int, facts["left_out"], facts["quantizers"].values()):
        raise UserError("manifest.json is damaged (beyond); export the run again")
    return Beyond(**{**facts, "pairs": tuple(facts["pairs"]), "left_out": tuple(facts["left_out"])})


def _are(kind: type, *values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) and not isinstance(value, bool) for each in values for value in each)
