"""Networks in the hands of the compiler: their statistics moved, exported, and as a folder for it."""

from pathlib import Path

import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.export.compiler.boards import get_board
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.finn_operators import FINN_OPERATORS
from qtrain.export.folder.build_files import write_build_files
from qtrain.export.folder.contents import write_golden_pair
from qtrain.export.passes import PASSES
from qtrain.export.proof.reference import float64_reference, predict
from qtrain.export.qonnx import to_qonnx
from tests.export.lint.probes import Probe


def warmed_up(probe: Probe) -> nn.Module:
    """Build the probe's network and move its statistics."""
    torch.manual_seed(0)
    return moved(probe.make(), probe.shape)


def moved(model: nn.Module, shape: tuple[int, int, int], batches: int = 4) -> nn.Module:
    """Move a network's statistics, as training would; random images, evaluation mode."""
    for _ in range(batches):
        model(torch.rand(32, *shape))
    return model.eval()


def exported(probe: Probe) -> ModelWrapper:
    """As Brevitas leaves it: not cleaned, float input, no TopK, the exporter's names."""
    return to_qonnx(moved(probe.make(), probe.shape, batches=1), probe.shape)


def write_folder(model: nn.Module, shape: tuple[int, int, int], folder: Path, images: int = 4) -> None:
    """Write what the compiler needs: the graph, our steps, and images with the classes of torch in float64.

    Of many images those with clear answers of all classes are taken, so that float32's rounding decides nothing.
    """
    graph = to_qonnx(model, shape)
    for step in PASSES:
        graph = step.apply(graph)
    _write_build(graph, folder)
    pixels = _varied(shape)
    logits = predict(float64_reference(model, pixels[:1].float() / 255), pixels)
    chosen = _telling(logits, images)
    write_golden_pair(folder, pixels[chosen], logits.argmax(1)[chosen])


def _varied(shape: tuple[int, int, int], count: int = 64) -> torch.Tensor:
    """Noise, and coarse patches of every brightness: noise alone is one class to many an untrained network."""
    noise = torch.rand(count // 2, *shape)
    coarse = torch.rand(count // 2, shape[0], -(-shape[1] // 3), -(-shape[2] // 3))
    patches = coarse.repeat_interleave(3, 2).repeat_interleave(3, 3)[:, :, : shape[1], : shape[2]]
    patches = patches * torch.linspace(0.2, 1.0, count // 2)[:, None, None, None]
    return (torch.cat([noise, patches]) * 255).round().to(torch.uint8)


def _telling(logits: torch.Tensor, images: int) -> torch.Tensor:
    """Choose images of as many classes as there are, each time the clearest that is left of a class."""
    best = logits.topk(2).values
    margins = best[:, 0] - best[:, 1]
    clear = [i for i in margins.argsort(descending=True).tolist() if margins[i] >= margins.median() / 4]
    seen: dict[int, int] = {}
    turns = []
    for i in clear:
        kind = int(logits[i].argmax())
        turns.append((seen.get(kind, 0), i))
        seen[kind] = seen.get(kind, 0) + 1
    return torch.tensor([i for _, i in sorted(turns, key=lambda turn: turn[0])[:images]])


def write_golden_folder(graph: ModelWrapper, shape: tuple[int, int, int], folder: Path, images: int = 6) -> None:
    """As ``write_folder``, of a graph as exported; the classes are those of the graph in float64."""
    for step in PASSES:
        graph = step.apply(graph)
    _write_build(graph, folder)
    pixels = torch.randint(0, 256, (images, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    executor = Executor(graph, FINN_OPERATORS)
    write_golden_pair(folder, pixels, executor(pixels)[executor.output].flatten())


def _write_build(graph: ModelWrapper, folder: Path) -> None:
    folder.mkdir(parents=True)
    graph.save(str(folder / "model.onnx"))
    write_build_files(folder, get_board("Pynq-Z1"), target_fps=100, clock_ns=10.0)
