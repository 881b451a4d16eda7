"""Our step list in the real finn-plus: every construct of the zoo becomes one dataflow partition with equal classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from brevitas.nn import QuantConv2d, QuantLinear
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_datatypes import InferDataTypes
from torch import Tensor, nn

from qtrain.export.compiler.boards import get_board
from qtrain.export.compiler.start import estimate_build
from qtrain.export.folder.build_files import write_build_files
from qtrain.export.folder.contents import write_golden_pair
from qtrain.export.folder.shipped.custom_transforms import (
    MaxPoolOfCounts,
    MoveConstantsPastAddition,
    MoveFlattenPastMultiThreshold,
    MoveTransposePastConstant,
    OneRowForAllChannels,
    RoundHalfToEven,
    SignsAsIntegers,
    TransposeForkedMaxPool,
    WholeThresholdsAsIntegers,
)
from qtrain.export.passes import PASSES
from qtrain.export.proof.reference import float64_reference, predict
from qtrain.export.qonnx import to_qonnx
from qtrain.models.layers import ScalarNorm
from qtrain.models.quantizers import Scales, fixed_point_input

SUM_BITS = 4


class Maker:
    """Makes the layers of a network with given bits; ranges are equal, so that values often lie between two steps."""

    def __init__(self, weight_bits: int, act_bits: int):
        self.scales = Scales("constant")
        self.weight_bits, self.act_bits = weight_bits, act_bits

    def weights(self) -> dict[str, object]:
        return self.scales.weights(self.weight_bits, 0.25, binary_scale=0.125)

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
        shape = {"kernel_size": kernel, "stride": stride, "padding": kernel // 2, "bias": False}
        return QuantConv2d(inputs, outputs, **shape, **self.weights())

    def unit(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(self.conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs))

    def act(self) -> nn.Module:
        return self.scales.relu(self.act_bits)

    def head(self, channels: int) -> list[nn.Module]:
        last = QuantLinear(channels, 10, bias=False, **self.weights())
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), last, ScalarNorm()]


class Post(nn.Module):
    """Post-activation block; bottleneck or two 3x3 convolutions; one quantizer for both branches."""

    def __init__(self, make: Maker, inputs: int, outputs: int, stride: int = 1, bottleneck: bool = False):
        super().__init__()
        shapes = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
        if bottleneck:
            shapes = [(inputs, 4, 1, 1), (4, 4, 3, stride), (4, outputs, 1, 1)]
        units = [layer for shape in shapes for layer in (make.unit(*shape), make.act())]
        self.body = nn.Sequential(*units[:-1])
        self.shortcut = nn.Sequential() if inputs == outputs else make.unit(inputs, outputs, 1, stride)
        self.sum, self.act = make.scales.signed(SUM_BITS), make.act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.sum(self.body(x)) + self.sum(self.shortcut(x)))


class Bare(nn.Module):
    """Blocks that add their input as it is: a convolution reads the same values; the second one reads a sum."""

    def __init__(self, make: Maker):
        super().__init__()
        self.first, self.second = make.unit(8, 8), make.unit(8, 8, 1)
        self.sum, self.act = make.scales.signed(SUM_BITS), make.act()

    def forward(self, x: Tensor) -> Tensor:
        x = self.sum(x)
        x = x + self.sum(self.first(x))
        return self.act(self.sum(self.second(x)) + x)


class Pre(nn.Module):
    """Pre-activation block; a norm in front of everything, the sum goes on without one."""

    def __init__(self, make: Maker, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), make.act())
        self.body = nn.Sequential(make.unit(inputs, outputs, 3, stride), make.act(), make.conv(outputs, outputs, 3))
        self.shortcut = None if inputs == outputs else make.conv(inputs, outputs, 1, stride)
        self.sum = make.scales.signed(SUM_BITS)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.sum(self.body(y)) + self.sum(x if self.shortcut is None else self.shortcut(y))


class Net(nn.Sequential):
    """Layers behind the pixels' quantizer, on images in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2.0 * x - 1.0)


def post_activation(make: Maker) -> nn.Module:
    blocks = [Post(make, 8, 8), Post(make, 8, 16, stride=2)]
    return Net(fixed_point_input(8), make.unit(3, 8), make.act(), *blocks, *make.head(16))


def pre_activation(make: Maker) -> nn.Module:
    blocks = [Pre(make, 8, 16, stride=2), Pre(make, 16, 16)]
    end = [nn.BatchNorm2d(16), make.act()]
    return Net(fixed_point_input(8), make.conv(3, 8, 3), *blocks, *end, *make.head(16))


def bottleneck(make: Maker) -> nn.Module:
    """The padded max-pool with stride 2 that a block's two branches read, as behind an ImageNet stem."""
    stem = [make.unit(3, 8), make.act(), nn.MaxPool2d(3, 2, 1)]
    return Net(fixed_point_input(8), *stem, Post(make, 8, 16, bottleneck=True), *make.head(16))


def unquantized_shortcut(make: Maker) -> nn.Module:
    return Net(fixed_point_input(8), make.unit(3, 8), Bare(make), *make.head(8))


def plain(make: Maker) -> nn.Module:
    features = [make.unit(3, 8), make.act(), nn.MaxPool2d(2), make.unit(8, 16), make.act()]
    return Net(fixed_point_input(8), *features, *make.head(16))


def fully_connected(make: Maker) -> nn.Module:
    hidden = [
        nn.Sequential(QuantLinear(inputs, 32, bias=False, **make.weights()), nn.BatchNorm1d(32), make.act())
        for inputs in (192, 32)
    ]
    last = QuantLinear(32, 10, bias=False, **make.weights())
    return Net(nn.Flatten(), fixed_point_input(8), *hidden, last, ScalarNorm())


def images(count: int) -> Tensor:
    """Noisy images of random colors, so that a network with a global average pool tells them apart."""
    color = torch.randint(0, 192, (count, 3, 1, 1))
    return (color + torch.randint(0, 64, (count, 3, 8, 8))).to(torch.uint8)


def trained(build: Callable[[Maker], nn.Module], weight_bits: int, act_bits: int) -> nn.Module:
    """A network whose statistics have moved, with norms of either sign."""
    torch.manual_seed(0)
    net = build(Maker(weight_bits, act_bits))
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0.0, 0.3)
            layer.weight.data[::3] *= -1
    with torch.no_grad():
        for _ in range(30):
            net(images(16).float() / 255)
    return net.eval()


def write_folder(folder: Path, net: nn.Module) -> Path:
    """What a build reads of a FINN folder; four images of two classes or more, far from a tie."""
    folder.mkdir()
    pixels = images(64)
    logits = predict(float64_reference(net, pixels[:1].float() / 255), pixels)
    best = logits.topk(2, dim=1)
    clear = (best.values[:, 0] - best.values[:, 1] > 1e-3).nonzero().flatten()
    classes = best.indices[clear, 0]
    other = int((classes != classes[0]).nonzero()[0])
    chosen = clear[[0, other, 1 if other != 1 else 2, -1]]
    graph = to_qonnx(net, (3, 8, 8))
    for step in PASSES:
        graph = step.apply(graph)
    graph.save(str(folder / "model.onnx"))
    write_golden_pair(folder, pixels[chosen], logits[chosen].argmax(1))
    write_build_files(folder, get_board("ZCU104"), 100, 10.0)
    return folder


@pytest.mark.usefixtures("finn_plus")
@pytest.mark.parametrize(
    ("build", "weight_bits", "act_bits"),
    [
        (post_activation, 4, 4),
        (post_activation, 1, 1),
        (pre_activation, 2, 2),
        (unquantized_shortcut, 3, 3),
        (bottleneck, 3, 3),
        (bottleneck, 1, 1),
        (plain, 8, 8),
        (fully_connected, 1, 1),
        (fully_connected, 6, 6),
    ],
)
def test_finn_takes_it_whole_and_every_graph_computes_the_classes(
    build: Callable[[Maker], nn.Module], weight_bits: int, act_bits: int, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "finn", trained(build, weight_bits, act_bits))
    result = estimate_build(folder, board="ZCU104", target_fps=100, out=tmp_path / "build", timeout_s=300)
    assert result.accepted, f"{result.reason}\n{result.log.read_text()[-2000:]}"
    assert result.software_nodes == ()
    assert {"step_streamline_scales", "step_convert_to_hardware", "hardware_python"} <= set(result.verified)


@pytest.mark.usefixtures("finn_plus")
def test_finns_own_steps_do_not_take_a_residual_network(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "finn", trained(post_activation, 4, 4))
    (folder / "custom_steps.py").unlink()
    result = estimate_build(folder, board="ZCU104", target_fps=100, out=tmp_path / "build", timeout_s=300)
    assert not result.accepted
    assert "unmapped layer" in result.reason


def threshold(name: str, out: str, kind: str, bias: float, scale: float = 1.0):
    return helper.make_node(
        "MultiThreshold",
        [name, f"{out}_thresholds"],
        [out],
        domain="qonnx.custom_op.general",
        out_dtype=kind,
        out_bias=bias,
        out_scale=scale,
        data_layout="NCHW",
    )


def graph(nodes: list, shape: list[int], end: list[int], constants: dict[str, np.ndarray], **shapes: list[int]):
    """A graph from ``x`` of ``shape`` to ``y`` of shape ``end``; ``shapes`` of the tensors between."""
    info = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in shapes.items()}
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", end))]
    proto = helper.make_graph(nodes, "test", ends[:1], ends[1:], value_info=list(info.values()))
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    model = ModelWrapper(helper.make_model(proto, opset_imports=opsets))
    for name, values in constants.items():
        model.set_initializer(name, values)
    return model.transform(InferDataTypes())


def run(model: ModelWrapper, x: np.ndarray) -> np.ndarray:
    return execute_onnx(model, {"x": x.astype(np.float32)})["y"]


def equal_on_random_input(before: ModelWrapper, after: ModelWrapper, shape: list[int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    assert len(np.unique(run(before, x))) > 1
    np.testing.assert_array_equal(run(after, x), run(before, x))


@pytest.mark.parametrize("bias", [0.0, -3.0])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_thresholds_round_half_to_even_as_torch_does(bias: float, scale: float) -> None:
    levels = bias + np.arange(1, 8)
    nodes = [threshold("x", "q", "INT4", bias), helper.make_node("Mul", ["q", "s"], ["y"])]
    constants = {"q_thresholds": scale * (levels - 0.5)[None].astype(np.float32), "s": np.array(scale, np.float32)}
    model = graph(nodes, [1, 25], [1, 25], constants, q=[1, 25])
    x = scale * np.linspace(-3, 3, 25)[None]
    expected = scale * np.clip(np.rint(x / scale), bias, bias + 7)
    assert not np.array_equal(run(model, x), expected)  # FINN rounds up
    np.testing.assert_array_equal(run(model.transform(RoundHalfToEven()), x), expected)


def test_thresholds_of_no_uniform_quantizer_stay() -> None:
    thresholds = np.array([[0.1, 0.2, 0.7]], dtype=np.float32)
    model = graph([threshold("x", "y", "UINT2", 0.0)], [1, 4], [1, 4], {"y_thresholds": thresholds})
    after = model.transform(RoundHalfToEven())
    np.testing.assert_array_equal(after.get_initializer("y_thresholds"), thresholds)


def sign(out: str):
    return threshold("x", out, "BIPOLAR", -1.0, 2.0)


def test_a_sign_in_front_of_zero_padding_gets_two_bits() -> None:
    conv = helper.make_node("Conv", ["q", "w"], ["y"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    weights = np.random.default_rng(1).choice([-1.0, 1.0], size=(3, 2, 3, 3)).astype(np.float32)
    constants = {"q_thresholds": np.array([[0.1]], np.float32), "w": weights}
    model = graph([sign("q"), conv], [1, 2, 4, 4], [1, 3, 4, 4], constants, q=[1, 2, 4, 4])
    after = model.transform(SignsAsIntegers())
    assert after.get_tensor_datatype("q") == DataType["INT2"]
    equal_on_random_input(model, after, [1, 2, 4, 4])


@pytest.mark.parametrize(("weights", "kind"), [("BIPOLAR", "BIPOLAR"), ("INT4", "INT2")])
def test_a_sign_at_the_input_stays_one_bit_for_signs_as_weights_only(weights: str, kind: str) -> None:
    matmul = helper.make_node("MatMul", ["q", "w"], ["y"])
    values = np.random.default_rng(1).choice([-1.0, 1.0], size=(4, 3)).astype(np.float32)
    constants = {"q_thresholds": np.zeros((1, 1), np.float32), "w": values}
    model = graph([sign("q"), matmul], [1, 4], [1, 3], constants, q=[1, 4])
    model.set_tensor_datatype("w", DataType[weights])
    after = model.transform(SignsAsIntegers())
    assert after.get_tensor_datatype("q") == DataType[kind]
    equal_on_random_input(model, after, [1, 4])


@pytest.mark.parametrize(("kind", "bias", "scale", "steps"), [("BIPOLAR", -1.0, 2.0, 1), ("INT3", -3.0, 1.0, 6)])
def test_a_padded_max_pool_of_signed_values_pools_counts(kind: str, bias: float, scale: float, steps: int) -> None:
    pool = helper.make_node("MaxPool", ["q"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    constants = {"q_thresholds": np.linspace(0.5, 2, steps, dtype=np.float32)[None]}
    nodes = [threshold("x", "q", kind, bias, scale), pool]
    model = graph(nodes, [1, 2, 6, 6], [1, 2, 3, 3], constants, q=[1, 2, 6, 6])
    after = model.transform(MaxPoolOfCounts())
    assert [node.op_type for node in after.graph.node] == ["MultiThreshold", "MaxPool", "MultiThreshold"]
    assert after.get_tensor_datatype("q").min() == 0
    assert after.get_tensor_datatype("y") == DataType[kind]
    equal_on_random_input(model, after, [1, 2, 6, 6])


def test_a_row_that_each_channel_repeats_is_kept_once() -> None:
    """As official FINN's main imports a uniform quantizer: else the flatten in front of it would stay in software."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), threshold("f", "y", "INT2", -1.0)]
    repeated = np.repeat(np.array([[-0.5, 0.5]], np.float32), 18, 0)
    model = graph(nodes, [1, 2, 3, 3], [1, 18], {"y_thresholds": repeated}, f=[1, 18])
    after = model.transform(OneRowForAllChannels())
    assert after.get_initializer("y_thresholds").tolist() == [[-0.5, 0.5]]
    equal_on_random_input(model, after, [1, 2, 3, 3])
    moved = after.transform(MoveFlattenPastMultiThreshold())
    assert [node.op_type for node in moved.graph.node] == ["MultiThreshold", "Flatten"]
    equal_on_random_input(model, moved, [1, 2, 3, 3])
    repeated[3, 1] = 0.25
    other = graph(nodes, [1, 2, 3, 3], [1, 18], {"y_thresholds": repeated}, f=[1, 18]).transform(OneRowForAllChannels())
    np.testing.assert_array_equal(other.get_initializer("y_thresholds"), repeated)


@pytest.mark.parametrize(
    ("values", "kind"), [([-2.0, 0.0], "INT4"), ([0.0, 9.0], "UINT4"), ([-9.0, 3.0], "INT5"), ([0.5, 1.0], "FLOAT32")]
)
def test_whole_thresholds_of_integers_are_integers(values: list[float], kind: str) -> None:
    """Official FINN's main annotates only those that it rounds, and refuses the others in its conversion."""
    constants = {"y_thresholds": np.array([values], np.float32)}
    model = graph([threshold("x", "y", "INT2", -1.0)], [1, 4], [1, 4], constants)
    model.set_tensor_datatype("x", DataType["INT4"])
    after = model.transform(WholeThresholdsAsIntegers())
    assert after.get_tensor_datatype("y_thresholds") == DataType[kind]
    model.set_tensor_datatype("x", DataType["FLOAT32"])
    assert model.transform(WholeThresholdsAsIntegers()).get_tensor_datatype("y_thresholds") == DataType["FLOAT32"]


def test_a_flatten_at_the_input_moves_behind_the_quantizer() -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), threshold("f", "y", "INT2", -1.0)]
    constants = {"y_thresholds": np.array([[-0.5, 0.5]], np.float32)}
    model = graph(nodes, [1, 2, 3, 3], [1, 18], constants, f=[1, 18])
    after = model.transform(MoveFlattenPastMultiThreshold())
    assert [node.op_type for node in after.graph.node] == ["MultiThreshold", "Flatten"]
    equal_on_random_input(model, after, [1, 2, 3, 3])


def test_signs_of_channels_move_in_front_of_the_transpose() -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), helper.make_node("Mul", ["t", "s"], ["y"])]
    constants = {"s": np.array([1.0, -1.0, 1.0], np.float32).reshape(1, 3, 1, 1)}
    model = graph(nodes, [1, 4, 4, 3], [1, 3, 4, 4], constants, t=[1, 3, 4, 4])
    after = model.transform(MoveTransposePastConstant())
    assert [node.op_type for node in after.graph.node] == ["Mul", "Transpose"]
    equal_on_random_input(model, after, [1, 4, 4, 3])


def test_a_max_pool_with_two_readers_ends_channels_last() -> None:
    pool = helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2])
    nodes = [pool, helper.make_node("Relu", ["p"], ["a"]), helper.make_node("Add", ["a", "p"], ["y"])]
    model = graph(nodes, [1, 2, 4, 4], [1, 2, 2, 2], {}, p=[1, 2, 2, 2], a=[1, 2, 2, 2])
    after = model.transform(TransposeForkedMaxPool())
    assert [node.op_type for node in after.graph.node][:3] == ["MaxPool", "Transpose", "Transpose"]
    equal_on_random_input(model, after, [1, 2, 4, 4])


def addition(kind: str, left: object, right: object, forked: bool = False) -> ModelWrapper:
    """Two branches with a constant each, added; where it is forked, a third node reads the first branch, too."""
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node(kind, ["x", "a"], ["s"])]
    nodes += [helper.make_node(kind, ["r", "b"], ["t"]), helper.make_node("Add", ["s", "t"], ["u"])]
    nodes.append(helper.make_node("Add", ["u", "s" if forked else "x"], ["y"]))
    constants = {"a": np.array(left, np.float32), "b": np.array(right, np.float32)}
    shape = [1, 2, 3, 3]
    return graph(nodes, shape, shape, constants, r=shape, s=shape, t=shape, u=shape)


BY_CHANNEL = [[[[0.5]], [[0.25]]]]


@pytest.mark.parametrize(
    ("kind", "left", "right"), [("Mul", 0.5, 0.5), ("Mul", BY_CHANNEL, BY_CHANNEL), ("Add", 0.5, BY_CHANNEL)]
)
def test_two_branches_are_added_before_their_constant(kind: str, left: object, right: object) -> None:
    model = addition(kind, left, right)
    after = model.transform(MoveConstantsPastAddition())
    assert [node.op_type for node in after.graph.node] == ["Relu", "Add", kind, "Add"]
    assert after.find_producer(after.graph.node[1].input[0]) is None
    x = np.random.default_rng(0).integers(-9, 9, size=(1, 2, 3, 3))
    np.testing.assert_array_equal(run(after, x), run(model, x))


@pytest.mark.parametrize(("right", "forked"), [(0.25, False), (BY_CHANNEL, False), (0.5, True)])
def test_other_scales_and_a_scale_that_another_layer_reads_stay_in_front(right: object, forked: bool) -> None:
    """FINN's own transformation would let that other layer read the sum."""
    model = addition("Mul", 0.5, right, forked)
    after = model.transform(MoveConstantsPastAddition())
    assert list(after.graph.node) == list(model.graph.node)


def test_a_branch_that_is_added_to_itself_stays() -> None:
    nodes = [helper.make_node("Mul", ["x", "a"], ["s"]), helper.make_node("Add", ["s", "s"], ["y"])]
    model = graph(nodes, [1, 4], [1, 4], {"a": np.array(0.5, np.float32)}, s=[1, 4])
    assert list(model.transform(MoveConstantsPastAddition()).graph.node) == list(model.graph.node)
