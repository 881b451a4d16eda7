"""The proof inside the compiler: after each of its steps the graph still computes what the network computes.

FINN's own verification looks at a few images and at classes alone; here every step's graph runs on as many images as
time allows, and the output of every threshold layer is compared with its quantizer's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.devices import named_device
from qtrain.errors import UserError
from qtrain.export.compiler.result import BuildResult
from qtrain.export.compiler.start import estimate_build
from qtrain.export.errors import ProofError
from qtrain.export.execute.operators import top1
from qtrain.export.folder import contents as finn_folder
from qtrain.export.folder.checks import check_folder, said_of_steps
from qtrain.export.foreign.boundary import one_line
from qtrain.export.foreign.graph_file import read_graph
from qtrain.export.lint.check import lint_graph
from qtrain.export.proof.finn_stages import EXACT_FROM, Stage, read_stages
from qtrain.export.proof.matching import Quantizer, TensorDifference, compare, quantizers
from qtrain.records.files import temporary_folder

TENSOR_IMAGES = 16
BUDGET_S = 120.0
# Where constants are float32, a value within their rounding of a quantizer's boundary may fall either way; none
# farther away may.
FLOAT32_ROUNDING = 1e-4  # in steps
_OF_THE_GRAPH = ("equal", "tensors", "of_tensors", "difference", "rounding")


@dataclass(frozen=True)
class FinnStage:
    """One of the compiler's steps against the network.

    Attributes:
        step: its name.
        nodes: in the graph after it.
        images: executed.
        equal: images with the network's class.
        tensors: threshold layers' outputs that were recognised and compared, on ``TENSOR_IMAGES`` images at most.
        of_tensors: how many there are.
        difference: the first tensor that differs, None where none does.
        rounding: whether all that differs is explained by the rounding of float32 before the graph is integers.
        unchanged: whether the step left the graph as it was, so that the step before it speaks for it.
        seconds: of the execution.
    """

    step: str
    nodes: int
    images: int
    equal: int
    tensors: int
    of_tensors: int
    difference: TensorDifference | None
    rounding: bool
    unchanged: bool
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the graph computes what the network computes."""
        return self.rounding or (self.equal == self.images and self.difference is None)


@dataclass(frozen=True)
class FinnProof:
    """All steps of the compiler against the network.

    Attributes:
        build: the compiler's own verdict.
        stages: in order.
        images: executed after each step.
        of_images: in the test set.
    """

    build: BuildResult
    stages: tuple[FinnStage, ...]
    images: int
    of_images: int


def _silent(_: str) -> None:
    pass


def _executed(
    stage: Stage,
    exported: ModelWrapper,
    pixels: Tensor,
    expected: Tensor,
    references: Sequence[Quantizer],
    integers: bool,
    device: torch.device | None,
) -> dict[str, Any]:
    """What one graph makes of all images, and of a sample tensor by tensor; where classes differ, of those images."""
    runner = stage.runner(device)
    values = runner.thresholds(pixels[:TENSOR_IMAGES])
    recognised, differences = compare(values, references)
    classes = torch.cat(list(runner.classes(pixels)))
    wrong = (classes != expected).nonzero().flatten()
    found = differences[:1]
    if len(wrong):  # these images say why; the sample may hold none of them
        there = pixels[wrong[:TENSOR_IMAGES]]
        found += compare(runner.thresholds(there), quantizers(exported, there))[1][:1]
    explained = len(found) == bool(differences) + bool(len(wrong))
    near = bool(found) and explained and all(d.to_boundary <= FLOAT32_ROUNDING for d in found)
    return {
        "equal": len(pixels) - len(wrong),
        "tensors": recognised,
        "of_tensors": len(values),
        "difference": found[0] if found else None,
        "rounding": near and not integers,
        "unchanged": False,
    }


def _affordable(stages: Sequence[Stage], pixels: Tensor, budget_s: float, device: torch.device | None) -> int:
    """How many images all stages together execute in the time, 16 or more."""
    sample = pixels[:TENSOR_IMAGES]
    started = time.perf_counter()
    for stage in stages:
        list(stage.runner(device).classes(sample))
    an_image = (time.perf_counter() - started) / len(sample)
    return max(TENSOR_IMAGES, min(len(pixels), int(budget_s / an_image)))


def check_stages(
    stages: Sequence[Stage],
    exported: ModelWrapper,
    pixels: Tensor,
    expected: Tensor,
    say: Callable[[str], None] = _silent,
    device: torch.device | None = None,
) -> tuple[FinnStage, ...]:
    """Execute every stage on all ``pixels`` and compare classes, and on a few of them every threshold layer.

    Args:
        stages: from ``read_stages``.
        exported: the graph that the compiler was given; proven equal to torch before.
        pixels: uint8 [N, C, H, W].
        expected: classes int64 [N] of torch in float64.
        say: told of each stage.
        device: that executes.

    Raises:
        ProofError: a graph holds an operator that is not known here.
    """
    sample = pixels[:TENSOR_IMAGES]
    references = quantizers(exported, sample)
    found: list[FinnStage] = []
    before: Stage | None = None
    integers = False
    for stage in stages:
        integers = integers or stage.step == EXACT_FROM
        started = time.perf_counter()
        unchanged = before is not None and stage.channels_last == before.channels_last and stage.same_as(before)
        if unchanged:
            facts = {name: getattr(found[-1], name) for name in _OF_THE_GRAPH} | {"unchanged": True}
            facts["rounding"] = facts["rounding"] and not integers
        else:
            facts = _executed(stage, exported, pixels, expected, references, integers, device)
        seconds = time.perf_counter() - started
        found.append(FinnStage(stage.step, len(stage.model.graph.node), len(pixels), seconds=seconds, **facts))
        say(
            f"{stage.step}: {found[-1].equal} of {len(pixels)} images equal, "
            f"{found[-1].tensors} of {found[-1].of_tensors} tensors compared"
        )
        before = stage
    return tuple(found)


def _refused(build: BuildResult, exported: ModelWrapper) -> str:
    """Why the compiler did not take the network whole, with the change that mends it where lint knows one."""
    errors = [f for f in lint_graph(exported) if f.severity == "error"]
    mend = f"; at {errors[0].layer}: {errors[0].mend}" if errors else "; `qtrain lint` knows of nothing here"
    return f"{build.reason}{mend}"


def _failure(proof: FinnProof, exported: ModelWrapper) -> str | None:
    """The one line of a proof that failed; None where it holds."""
    for stage in proof.stages:
        if not stage.holds:
            what = f"after {stage.step}, {stage.images - stage.equal} of {stage.images} images get another class"
            return f"{what}; {stage.difference}" if stage.difference else what
    return None if proof.build.accepted else _refused(proof.build, exported)


def check_build(
    folder: Path,
    exported: ModelWrapper,
    pixels: Tensor,
    classes: Tensor,
    options: Mapping[str, Any],
    *,
    images: int | Literal["all"] | None,
    budget_s: float = BUDGET_S,
    device: torch.device | None = None,
    say: Callable[[str], None] = _silent,
) -> tuple[FinnProof, str | None]:
    """Build a folder and check every stage; the rest as ``verify_finn``.

    Args:
        folder: that the compiler can build.
        exported: its graph.
        pixels: uint8 [N, C, H, W].
        classes: int64 [N], what is right for them.
        options: of ``estimate_build``.
        images: as of ``verify_finn``.
        budget_s: as of ``verify_finn``.
        device: that executes.
        say: as of ``verify_finn``.
    """
    images = len(pixels) if images == "all" else images
    if images is not None and not 1 <= images <= len(pixels):
        raise UserError(f"images must be from 1 to the test set's {len(pixels)}, or all, but got {images}")
    with temporary_folder("qtrain-verify-") as temporary:
        say("the compiler builds it up to its estimates")
        build = estimate_build(folder, out=temporary / "build", **options)
        stages = read_stages(temporary / "build")
        if not stages:
            raise ProofError(_refused(build, exported))
        try:
            count = images or _affordable(stages, pixels, budget_s, device)
            say(f"executing {len(stages)} graphs on {count} of {len(pixels)} test images")
            checked = check_stages(stages, exported, pixels[:count], classes[:count], say, device)
        except ProofError as error:
            if build.accepted:
                raise
            raise ProofError(_refused(build, exported)) from error  # what it left cannot be executed either
    proof = FinnProof(build, checked, count, len(pixels))
    return proof, _failure(proof, exported)


def verify_finn(
    folder: str | Path,
    *,
    images: int | Literal["all"] | None = None,
    budget_s: float = BUDGET_S,
    timeout_s: float = 900.0,
    golden_images: int = 4,
    trust: bool = False,
    device: str = "cpu",
    say: Callable[[str], None] = _silent,
) -> tuple[FinnProof, str | None]:
    """Let the compiler build a FINN folder up to its estimates, and prove the graph after each of its steps.

    Args:
        folder: that ``export_finn`` made.
        images: of the test set to execute after each step, the first ones, or all; by default as many as fit
            ``budget_s``.
        budget_s: seconds for the execution of all steps.
        timeout_s: seconds until the compiler is stopped.
        golden_images: that FINN's own executor runs, at seconds each.
        trust: execute build steps that qtrain does not ship.
        device: that executes the graphs: cpu, cuda, cuda:N, or auto.
        say: told what is being done.

    Returns:
        The proof, and in one line why it fails; None where it holds.

    Raises:
        UserError: no FINN folder, no compiler, no such device, or a number of images out of range.
        ProofError: the folder is not what was exported, or a graph cannot be executed.
    """
    folder = Path(folder)
    where = named_device(device)
    manifest = finn_folder.read_manifest(folder)
    check_folder(folder, manifest, trust=trust)
    say(said_of_steps(folder))
    pixels, _, logits = finn_folder.read_proof_data(folder)
    options = {name: manifest[name] for name in ("board", "target_fps", "clock_ns")}
    options |= {"timeout_s": timeout_s, "images": golden_images}
    with one_line(folder / "model.onnx"):
        exported = ModelWrapper(read_graph(folder / "model.onnx"))
    limits: dict[str, Any] = {"images": images, "budget_s": budget_s, "device": where, "say": say}
    return check_build(folder, exported, pixels, top1(logits).flatten(), options, **limits)
