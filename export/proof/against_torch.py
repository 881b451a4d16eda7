"""The proof: the exported graph computes what the trained network computes, tensor by tensor and image by image."""

import math
import time
from collections.abc import Callable

import onnxruntime
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from torch import Tensor, nn

from qtrain.export.errors import ProofError
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.operators import tied, top1
from qtrain.export.naming import layer_tensors
from qtrain.export.proof.reference import layer_outputs
from qtrain.export.proof.vacuous import caveats, check_answers
from qtrain.records.manifest import Proof, StageCheck

# A flipped quantizer moves its tensor by a whole step (at 8 bits 0.8 % of the range); what remains of float32 is the
# constants that the exporter folded, 6e-8 each.
TOLERANCE = 1e-5
# As many of the first images as fit the time run in qonnx's own executor, which takes long for one of a deep network.
QONNX_IMAGES = 8
QONNX_SECONDS = 60.0
_ERRORS = 3  # onnxruntime's severities: 2 is a warning


def check_difference(name: str, got: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest magnitude (at least 1).

    Raises:
        ProofError: other shapes, or a difference above ``TOLERANCE``; names the tensor.
    """
    if got.shape != expected.shape:
        raise ProofError(f"tensor {name!r} has shape {tuple(got.shape)} in the graph, {tuple(expected.shape)} in torch")
    scale = max(1.0, expected.abs().max().item())
    error = (got - expected).abs() / scale
    largest = error.max().item()
    if not largest <= TOLERANCE:
        count = int((~(error <= TOLERANCE)).sum())
        raise ProofError(
            f"tensor {name!r} is the first that differs from torch in float64: {count} of {error.numel()} values, "
            f"largest difference {largest * scale:.3g} (allowed {TOLERANCE * scale:.1g})"
        )
    return largest


def check_stage(
    stage: str, model: ModelWrapper, reference: nn.Module, pixels: Tensor, takes_pixels: bool
) -> StageCheck:
    """Execute a stage's graph on real images and compare every layer's tensor with torch's.

    Args:
        stage: name for the record and the error.
        model: the stage's graph.
        reference: from ``float64_reference``.
        pixels: uint8 [N, C, H, W].
        takes_pixels: whether the graph takes 0..255, else images in [0, 1].

    Raises:
        ProofError: names the first tensor that differs, how many of its values do, and the largest difference.
    """
    images = pixels.double() / 255
    logits, layers = layer_outputs(reference, images)
    tensors = {path: name for path, name in layer_tensors(model, layers).items() if path in layers}
    executor = Executor(model)
    values = executor(pixels if takes_pixels else images, keep=tensors.values())
    try:
        differences = [check_difference(name, values[name], layers[path]) for path, name in tensors.items()]
        output = values[executor.output]
        if output.dtype == torch.int64:
            check_equal_classes(output.flatten(), top1(logits).flatten())
        else:
            differences.append(check_difference(executor.output, output, logits))
    except ProofError as error:
        raise ProofError(f"stage {stage!r}: {error}") from None
    return StageCheck(stage, len(model.graph.node), len(pixels), len(tensors) + 1, max(differences, default=0.0))


def check_equal_classes(got: Tensor, expected: Tensor) -> None:
    """See that every image has the same class in graph and torch, int64 [N] each.

    Raises:
        ProofError: some have not; says how many, and the first.
    """
    wrong = (got != expected).nonzero().flatten().tolist()
    if wrong:
        raise ProofError(
            f"top-1 differs on {len(wrong)} of {len(got)} images; the first is image {wrong[0]}: "
            f"class {int(got[wrong[0]])} in the graph, {int(expected[wrong[0]])} in torch"
        )


def run_graph(model: ModelWrapper, pixels: Tensor, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Execute the final graph on uint8 ``pixels``; return its classes int64 [N] and its logits float64 [N, classes]."""
    executor = Executor(model, device=device)
    logits_name = model.graph.node[-1].input[0]  # TopK's input
    classes = []
    logits = []
    for out in executor.batches(pixels, keep=[logits_name]):
        classes.append(out[executor.output].flatten())
        logits.append(out[logits_name])
    return torch.cat(classes), torch.cat(logits)


def run_qonnx(model: ModelWrapper, pixels: Tensor, seconds: float = math.inf) -> Tensor:
    """Classes int64 [N] from qonnx's own executor, one image at a time, in float32: what FINN's checks run.

    Args:
        model: the exported graph.
        pixels: [N, C, H, W], 0 to 255.
        seconds: after which no further image is begun, but two at least.
    """
    onnxruntime.set_default_logger_severity(_ERRORS)  # its warnings about old operators are none of the user's
    inp = model.graph.input[0].name
    out = model.graph.output[0].name
    classes: list[int] = []
    last = time.monotonic() + seconds
    for image in pixels.float().numpy():
        if len(classes) >= 2 and time.monotonic() > last:
            break
        classes.append(int(execute_onnx(model, {inp: image[None]})[out].item()))
    return torch.tensor(classes)


def enough_in_float32(equal: int, images: int) -> bool:
    """Whether one flip in eight images at most differs: that is float32's own noise at a quantizer's boundary."""
    return 0 < equal <= images and equal >= images - max(1, images // 8)


def prove(
    model: ModelWrapper,
    pixels: Tensor,
    labels: Tensor,
    expected: Tensor,
    *,
    float32_torch_differs: int | None = None,
    device: torch.device | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Proof, Tensor]:
    """Run the final graph on the whole test set and compare with torch's logits, image by image.

    Args:
        model: the exported graph, pixels in, class out.
        pixels: uint8 [N, C, H, W].
        labels: int64 [N].
        expected: float64 logits [N, classes] of the torch reference.
        float32_torch_differs: for the record.
        device: that executes the graph.
        say: told what is being done.

    Returns:
        The proof, and the classes int64 that qonnx's own executor gives the first images.

    Raises:
        ProofError: any image gets another class, or logits beyond the tolerance; or equal classes would say nothing.
    """
    check_answers(expected)
    say(f"executing the exported graph on {len(pixels)} test images")
    classes, logits = run_graph(model, pixels, device)
    reference = top1(expected).flatten()
    check_equal_classes(classes, reference)
    check_difference(model.graph.node[-1].input[0], logits, expected)
    say(f"executing it on {min(QONNX_IMAGES, len(pixels))} of them with qonnx's own executor")
    sample = run_qonnx(model, pixels[:QONNX_IMAGES], QONNX_SECONDS)
    sampled = len(sample)
    qonnx_equal = int((sample == reference[:sampled]).sum())
    if not enough_in_float32(qonnx_equal, sampled):
        raise ProofError(f"qonnx's own executor gives the same class on {qonnx_equal} of {sampled} images only")
    proof = Proof(
        images=len(pixels),
        equal=int((classes == reference).sum()),
        accuracy_torch=100 * (reference == labels).double().mean().item(),
        accuracy_graph=100 * (classes == labels).double().mean().item(),
        largest_logit_difference=(logits - expected).abs().max().item(),
        ties=int((tied(expected).sum(1) > 1).sum()),
        float32_torch_differs=float32_torch_differs,
        qonnx_images=sampled,
        qonnx_equal=qonnx_equal,
        caveats=caveats(reference, labels, expected.shape[1]),
    )
    for caveat in proof.caveats:
        say(f"the proof leaves open: {caveat}")
    return proof, sample
