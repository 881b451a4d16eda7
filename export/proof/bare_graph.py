"""``verify_finn`` for a bare QONNX file of any origin: the compiler's graphs against the file's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.cleanup import cleanup_model
from torch import Tensor

from qtrain.devices import named_device
from qtrain.errors import UserError
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.finn_operators import FINN_OPERATORS
from qtrain.export.foreign.boundary import one_line
from qtrain.export.foreign.graph_file import folder_of
from qtrain.export.proof.finn_stages import classes_of
from qtrain.export.proof.inside_finn import FinnProof, check_build

NOISE_IMAGES = 256


def image_shape(model: ModelWrapper) -> tuple[int, ...]:
    """The shape of one image that a graph takes.

    Raises:
        UserError: it takes no images.
    """
    name = model.graph.input[0].name
    shape = model.get_tensor_shape(name)
    if shape and len(shape) == 4 and min(shape[1:]) < 1:
        raise UserError(
            f"input {name} has an open size, {list(shape)}, and hardware is built for one size: fix channels, height "
            "and width, e.g. by exporting without dynamic_axes or with onnx.tools.update_model_dims"
        )
    if not shape or len(shape) != 4 or min(shape[1:]) < 1:
        raise UserError(f"the graph takes {shape}, and images are [1, channels, height, width]; lint says more")
    return tuple(shape[1:])


def noise(shape: tuple[int, ...], images: int = NOISE_IMAGES, seed: int = 0) -> Tensor:
    """Random pixels, uint8 [images, *shape], for a graph whose data are not at hand."""
    return torch.randint(0, 256, (images, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def verify_graph(
    path: str | Path,
    pixels: Tensor | None = None,
    *,
    images: int | Literal["all"] | None = None,
    board: str = "ZCU104",
    target_fps: int = 1000,
    clock_ns: float = 10.0,
    timeout_s: float = 900.0,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> tuple[FinnProof, str | None]:
    """Let the compiler build a QONNX file, and prove the graph after each of its steps against the file in float64.

    Args:
        path: an ONNX file.
        pixels: uint8 [N, C, H, W]; random ones where there are none.
        images: of them to execute after each step; by default as many as fit two minutes.
        board: FINN's board name.
        target_fps: frames a second to fold for.
        clock_ns: clock period in nanoseconds.
        timeout_s: seconds until the compiler is stopped.
        device: that executes the graphs: cpu, cuda, cuda:N, or auto.
        say: told what is being done.

    Returns:
        The proof, and in one line why it fails; None where it holds.

    Raises:
        UserError: no ONNX file, one that takes no such images, no compiler or no such device.
        ProofError: the graph cannot be executed.
    """
    where = named_device(device)
    with folder_of(Path(path)) as folder, one_line(Path(path), "executed"):
        exported = cleanup_model(ModelWrapper(str(folder / "model.onnx")))
        shape = image_shape(exported)
        if pixels is None:
            pixels = noise(shape)
            say(f"no data given: {len(pixels)} random images of {list(shape)}")
        if tuple(pixels.shape[1:]) != shape:
            raise UserError(f"{path} takes images of {list(shape)}, but the data has {list(pixels.shape[1:])}")
        executor = Executor(exported, FINN_OPERATORS, where)
        classes = torch.cat([classes_of(out[executor.output]) for out in executor.batches(pixels)])
        target: dict[str, Any] = {"board": board, "target_fps": target_fps, "clock_ns": clock_ns}
        return check_build(
            folder, exported, pixels, classes, {**target, "timeout_s": timeout_s}, images=images, device=where, say=say
        )
