"""A quantizer is recognised by its values alone, and what differs is counted and measured against its boundary."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.data import DataSet
from qtrain.export.execute.executor import Executor
from qtrain.export.passes import PASSES
from qtrain.export.proof.matching import (
    Quantizer,
    ThresholdOutput,
    compare,
    most_frequent,
    quantizers,
    threshold_outputs,
)
from qtrain.export.qonnx import to_qonnx
from qtrain.models import build_model
from tests.export.lint.probe_builds import moved


@pytest.fixture(scope="module", params=["CNV_1W1A", "CNV_2W3A"])
def graph(request: pytest.FixtureRequest) -> ModelWrapper:
    torch.manual_seed(0)
    model = to_qonnx(moved(build_model(request.param, width=0.125), (3, 32, 32)), (3, 32, 32))
    for step in PASSES:
        model = step.apply(model)
    return model


@pytest.fixture(scope="module")
def known(graph: ModelWrapper, few_digits: DataSet) -> list[Quantizer]:
    return quantizers(graph, few_digits.test.images[:8])


def disguised(known: list[Quantizer]) -> dict[str, Tensor]:
    """As the compiler might hold them: other names, offsets and signs."""
    return {f"t{i}": (-1) ** i * q.output + i for i, q in enumerate(known)}


def test_every_activation_quantizer_is_read_and_no_weight(graph: ModelWrapper, known: list[Quantizer]) -> None:
    assert [q.name for q in known] == ["input_out", *(f"act{i}_out" for i in range(1, 9))]
    executor = Executor(graph)
    assert not {q.name for q in known} & set(executor.constants)


def test_offsets_signs_and_names_do_not_hide_a_quantizer(known: list[Quantizer]) -> None:
    assert compare(disguised(known), known) == (len(known), [])


def test_channels_last_is_turned_back_and_counted_in_steps() -> None:
    x = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert torch.equal(ThresholdOutput(0.5, True).in_steps(0.5 * x.permute(0, 2, 3, 1)), x.flatten(1))
    assert torch.equal(ThresholdOutput(1.0, False).in_steps(x), x.flatten(1))


@pytest.mark.parametrize(("thresholds", "step"), [([[0.5, 0.5], [2.0, 2.0]], 2.0), ([[0.5, 1.5], [2.0, 2.0]], 1.0)])
def test_a_sign_in_two_bits_takes_both_steps_at_once(thresholds: list[list[float]], step: float) -> None:
    node = helper.make_node(
        "MultiThreshold", ["x", "t"], ["y"], domain="qonnx.custom_op.general", out_dtype="INT2", out_bias=-1.0
    )
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    model = ModelWrapper(helper.make_model(helper.make_graph([node], "signs", tensors[:1], tensors[1:])))
    model.set_initializer("t", np.array(thresholds, np.float32))
    assert threshold_outputs(model) == {"y": ThresholdOutput(step, False)}


def test_of_two_quantizers_that_are_nearly_alike_the_equal_one_is_it() -> None:
    torch.manual_seed(3)
    first = torch.randint(-7, 8, (4, 4096)).double()
    second = first.clone()
    second[:, 1::200] -= 1  # quantized again; the sample sees every fourth value, and none of these
    known = [Quantizer(name, output, torch.zeros(4, 4096)) for name, output in (("sum1", first), ("sum2", second))]
    assert compare({"a": second, "b": first}, known) == (2, [])


def test_a_tensor_that_is_mostly_wrong_is_still_named_by_its_place(known: list[Quantizer]) -> None:
    torch.manual_seed(2)
    values = disguised(known)
    values["t4"] = torch.randint(0, 2, values["t4"].shape).double()
    recognised, (found,) = compare(values, known)
    assert recognised == len(known)
    assert (found.tensor, found.quantizer) == ("t4", known[4].name)
    assert found.values > 0.1 * found.of


@pytest.mark.parametrize("which", [0, 3, 8])
def test_what_differs_is_named_counted_and_measured(known: list[Quantizer], which: int) -> None:
    values = disguised(known)
    value, quantizer = values[f"t{which}"].clone(), known[which]
    levels = value.unique()
    at = (value == levels[0]).nonzero()[[0, 1]]
    value[at[:, 0], at[:, 1]] = levels[1]
    recognised, differences = compare({**values, f"t{which}": value}, known)
    assert recognised == len(known)
    (found,) = differences
    assert (found.tensor, found.quantizer, found.values) == (f"t{which}", quantizer.name, 2)
    assert found.of == value.numel()
    assert found.largest == 1
    assert found.to_boundary == quantizer.to_boundary[at[:, 0], at[:, 1]].max().item()
    assert all(text in str(found) for text in (f"'t{which}'", quantizer.name, "2 of"))


def test_a_tensor_of_no_quantizer_is_not_recognised(known: list[Quantizer]) -> None:
    torch.manual_seed(1)
    noise = torch.randint(0, 2, known[3].output.shape).double()
    assert compare({**disguised(known), "noise": noise}, known) == (len(known), [])


def test_the_distance_to_a_boundary_is_in_steps(few_digits: DataSet, cnv_input: Callable[[], ModelWrapper]) -> None:
    (quantizer,) = quantizers(cnv_input(), torch.tensor([[[[0, 127, 128, 255]]]], dtype=torch.uint8))
    # 2x - 1 of 0, 127, 128, 255 in steps of 1/128: -128, -0.502, 0.502, 128; boundaries lie halfway between integers
    steps = [(2 * p / 255 - 1) * 128 for p in (0, 127, 128, 255)]
    expected = [abs(s - (s // 1 + 0.5)) for s in steps]
    assert quantizer.to_boundary.flatten().tolist() == pytest.approx(expected)


@pytest.fixture
def cnv_input(graph: ModelWrapper) -> Callable[[], ModelWrapper]:
    """The graph up to the input's quantizer, of one channel."""
    import onnx.helper as oh
    from onnx import TensorProto
    from qonnx.util.basic import qonnx_make_model

    def make() -> ModelWrapper:
        until = next(i for i, n in enumerate(graph.graph.node) if n.output[0] == "input_out")
        nodes = [n for n in list(graph.graph.node)[: until + 1] if n.output[0] not in Executor(graph).constants]
        ends = (nodes[0].input[0], nodes[-1].output[0])
        infos = [oh.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1, 1, 4)) for name in ends]
        made = ModelWrapper(qonnx_make_model(oh.make_graph(nodes, "g", infos[:1], infos[1:])))
        for name in {name for node in nodes for name in node.input}:
            if (value := graph.get_initializer(name)) is not None:
                made.set_initializer(name, value)
        return made

    return make


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.integers(-9, 9), min_size=1, max_size=60), far=st.booleans())
def test_the_most_frequent_is_that_of_torch(values: list[int], far: bool) -> None:
    whole = torch.tensor(values + [2**20] * far, dtype=torch.float64)
    assert most_frequent(whole) == whole.mode().values
