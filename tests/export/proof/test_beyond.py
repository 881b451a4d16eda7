"""Images beyond the test set: near a boundary rounding may decide, anywhere else a difference is one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor, nn

from qtrain.export import ProofError
from qtrain.export.execute.executor import Executor
from qtrain.export.pipeline import prove_stages
from qtrain.export.proof.beyond import Beyond, prove_beyond
from qtrain.export.proof.beyond_images import boundary_pairs, drawn_images
from qtrain.export.proof.reference import float64_reference, layer_outputs
from qtrain.export.stages import graph_stages
from tests.exported_folders import moved_tfc

SEED = "a seed"


def proven(graph: ModelWrapper, reference: nn.Module, pixels: Tensor) -> Beyond:
    return prove_beyond(graph, reference, pixels, SEED, lambda _: None)[0]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, ModelWrapper, Tensor]:
    """Return a network one of whose values, on one image that is drawn, lies on a sign's boundary; and its graph."""
    model, pixels, _ = moved_tfc(8)
    model.eval()
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
    image = drawn_images(SEED, pixels)[5:6]
    reference = float64_reference(model, pixels[:1].float() / 255)
    values = layer_outputs(reference, image.double() / 255)[1]
    with torch.no_grad():
        norm.bias[3] -= values[next(name for name, module in model.named_modules() if module is norm)][0, 3]
    reference = float64_reference(model, pixels[:1].float() / 255)
    stages = graph_stages(model, tuple(pixels.shape[1:]))
    graph, _ = prove_stages(stages, reference, pixels, tmp_path_factory.mktemp("stages") / "stages")
    return reference, graph, pixels


def with_bias(graph: ModelWrapper, change: np.float32) -> ModelWrapper:
    """Return the graph with another constant in the first norm."""
    changed = ModelWrapper(graph.model, make_deepcopy=True)
    name = next(node.input[2] for node in graph.graph.node if node.op_type == "BatchNormalization")
    bias = graph.get_initializer(name).copy()
    bias[3] += change
    changed.set_initializer(name, bias)
    return changed


def test_an_image_on_a_boundary_is_left_out_and_a_wrong_constant_is_not(parts: tuple) -> None:
    reference, graph, pixels = parts
    whole = proven(graph, reference, pixels)
    assert whole.left_out == ()
    left_out = {proven(with_bias(graph, np.float32(change)), reference, pixels).left_out for change in (-2e-7, 2e-7)}
    assert left_out == {(), (5,)}  # to one side of the boundary it is where torch is
    with pytest.raises(ProofError, match=r"images beyond the test set, the quantizer '.*' is the first .* channel 3"):
        proven(with_bias(graph, np.float32(0.5)), reference, pixels)


def test_pairs_are_one_grey_level_apart_with_a_quantizers_boundary_between(parts: tuple) -> None:
    _, graph, pixels = parts
    executor = Executor(graph)
    names = [node.output[0] for node in graph.graph.node if node.op_type == "BipolarQuant"]
    names = [name for name in names if name not in executor.constants]
    pairs = boundary_pairs(executor, names, SEED, pixels)
    assert len(pairs.images) == 2 * len(pairs.tensors) > 12
    assert set(pairs.tensors) == set(names)
    first, second = pairs.images[::2].int(), pairs.images[1::2].int()
    assert ((first - second).abs().flatten(1).sum(1) == 1).all()
    values = executor(pairs.images, keep=names)
    for number, name in enumerate(pairs.tensors):
        assert not torch.equal(values[name][2 * number], values[name][2 * number + 1])


def test_few_images_are_drawn_of_large_ones(tmp_path: Path) -> None:
    small, large = (torch.zeros(2, 3, size, size, dtype=torch.uint8) for size in (32, 224))
    assert len(drawn_images(SEED, small)) > 200
    assert len(drawn_images(SEED, large)) < 80
