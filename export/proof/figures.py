"""What a manifest says of its proof, against what comes out when it is repeated."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.export.errors import ProofError
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.operators import top1
from qtrain.export.folder.checks import STAGES
from qtrain.export.folder.contents import MANIFEST
from qtrain.export.foreign.graph_file import read_graph
from qtrain.export.naming import layer_tensors
from qtrain.export.proof.against_torch import TOLERANCE, check_difference, check_equal_classes, enough_in_float32
from qtrain.export.proof.digests import test_digest
from qtrain.export.proof.known import TEST_SPLITS
from qtrain.records.manifest import Proof, StageCheck

STAGE_IMAGES = 16
_RECOMPUTED = ("images", "equal", "accuracy_torch", "accuracy_graph", "ties", "caveats")


def data_facts(pixels: Tensor, labels: Tensor) -> dict[str, Any]:
    """What the manifest says of the test split: its digest, and the data set that it is the whole test split of."""
    digest = test_digest(pixels, labels)
    return {"test_split": digest, "known_as": TEST_SPLITS.get(digest)}


def check_data(manifest: Mapping[str, Any], pixels: Tensor, labels: Tensor) -> None:
    """See that the test images and labels are those that the manifest names, and the data set's where it is known.

    Raises:
        ProofError: they are not.
    """
    facts = data_facts(pixels, labels)
    if manifest.get("data") != facts:
        raise ProofError(f"{MANIFEST} names another test split than proof/ holds, or another data set")
    source = manifest.get("source")
    recipe = source.get("recipe") if isinstance(source, dict) else None
    claimed = recipe.get("data") if isinstance(recipe, dict) else None
    if claimed in TEST_SPLITS.values() and facts["known_as"] != claimed:
        raise ProofError(f"by its recipe the network is tested on {claimed}, but proof/ holds other images or labels")


def check_figures(manifest: Mapping[str, Any], proof: Proof) -> None:
    """See that the recorded proof has the numbers of the repeated one.

    Raises:
        ProofError: names the first figure that differs.
    """
    recorded: Mapping[str, Any] = manifest["proof"]
    found = asdict(proof) | {"caveats": list(proof.caveats)}
    if set(recorded) != set(found):
        raise ProofError(f"{MANIFEST} has other figures in its proof than an export writes; export the run again")
    for name in _RECOMPUTED:
        if type(recorded[name]) is not type(found[name]) or recorded[name] != found[name]:
            raise ProofError(f"{MANIFEST} says {name} {_shown(recorded[name])}, but it is {_shown(found[name])}")
    _check_sampled(recorded, proof)


def _shown(value: Any) -> str:
    return str(value)[:120]


def _check_sampled(recorded: Mapping[str, Any], proof: Proof) -> None:
    """See that figures that may differ from machine to machine are possible ones."""
    sampled, equal, differs = (recorded[name] for name in ("qonnx_images", "qonnx_equal", "float32_torch_differs"))
    whole = all(type(number) is int for number in (sampled, equal))
    if not whole or not 0 < sampled <= proof.images or not enough_in_float32(equal, sampled):
        raise ProofError(f"{MANIFEST} says {_shown(equal)} of {_shown(sampled)} images equal in qonnx: no such proof")
    if differs is not None and not (type(differs) is int and 0 <= differs <= proof.images):
        raise ProofError(f"{MANIFEST} says that float32 differs on {_shown(differs)} of {proof.images} images")
    largest = recorded["largest_logit_difference"]
    if type(largest) is not float or not abs(largest - proof.largest_logit_difference) <= TOLERANCE:
        raise ProofError(
            f"{MANIFEST} says largest_logit_difference {_shown(largest)}, but it is "
            f"{proof.largest_logit_difference:.3g}"
        )


def check_stages(folder: Path, manifest: Mapping[str, Any], pixels: Tensor, logits: Tensor) -> None:
    """See that every stage's graph is the recorded one and answers as torch did.

    Args:
        folder: FINN folder.
        manifest: of it.
        pixels: uint8 [N, C, H, W].
        logits: of torch, float64 [N, classes].

    Raises:
        ProofError: names the stage.
    """
    recorded = manifest.get("stages")
    layers = manifest.get("layers")
    names = [Path(name).stem.partition("_")[2] for name in STAGES]
    if not isinstance(recorded, list) or not isinstance(layers, list) or len(recorded) != len(names):
        raise ProofError(f"{MANIFEST} does not have the stages {', '.join(names)}; export the run again")
    if not all(isinstance(layer, str) for layer in layers):
        raise ProofError(f"{MANIFEST} is damaged (layers); export the run again")
    sample = pixels[:STAGE_IMAGES]
    expected = logits[:STAGE_IMAGES]
    for number, (name, facts) in enumerate(zip(names, recorded, strict=True)):
        graph = ModelWrapper(read_graph(folder / STAGES[number]))
        found = _repeated(name, graph, layers, sample, expected, number >= _TAKES_PIXELS)
        _check_stage_facts(facts, found)
    last, model = (onnx.load(str(folder / name)) for name in (STAGES[-1], "model.onnx"))
    if last.graph != model.graph:
        raise ProofError(f"model.onnx is not the graph of the last stage, {STAGES[-1]}")


_TAKES_PIXELS = next(number for number, name in enumerate(STAGES) if name.endswith("_pixels.onnx"))


def _repeated(
    name: str, graph: ModelWrapper, layers: Sequence[str], sample: Tensor, logits: Tensor, takes_pixels: bool
) -> StageCheck:
    executor = Executor(graph)
    output = executor(sample if takes_pixels else sample.double() / 255)[executor.output]
    try:
        if output.dtype == torch.int64:
            check_equal_classes(output.flatten(), top1(logits).flatten())
        else:
            check_difference(executor.output, output, logits)
    except ProofError as error:
        raise ProofError(f"stage {name!r}: {error}") from None
    known = set(layers)
    tensors = sum(path in known for path in layer_tensors(graph, layers))
    return StageCheck(name, len(graph.graph.node), len(sample), tensors + 1, 0.0)


def _check_stage_facts(facts: Any, found: StageCheck) -> None:
    """Compare a stage's record; the largest difference over all layers needs torch, and must be a possible one."""
    repeated = asdict(found)
    largest = facts.get("largest_difference") if isinstance(facts, dict) else None
    if type(largest) is not float or not 0 <= largest <= TOLERANCE:
        raise ProofError(f"{MANIFEST} says of stage {found.stage!r} a largest difference of {_shown(largest)}")
    wrong = [name for name in repeated if name != "largest_difference" and facts.get(name) != repeated[name]]
    strange = sorted(set(facts) - set(repeated))
    if wrong or strange:
        name = (wrong + strange)[0]
        raise ProofError(
            f"{MANIFEST} says of stage {found.stage!r} {name} {_shown(facts.get(name))}, but it is "
            f"{_shown(repeated.get(name))}"
        )
