"""Weights from elsewhere: bnn_pynq's checkpoints give its logits; RESNET18_PYNQ is the network of one of them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qtrain.errors import UserError
from qtrain.export.pipeline import prove_stages
from qtrain.export.proof.reference import float64_reference
from qtrain.export.stages import graph_stages
from qtrain.models import Network, build_model
from qtrain.models.pynq_weights import load_pynq
from qtrain.models.resnet_pynq import PynqResNet, RuntimeReLU
from qtrain.models.warm_start import initialise_from
from qtrain.models.weights import plain_state
from tests.trained_networks import logits, pynq_module, steps

MNIST = {"in_channels": 1, "image_size": 28}


def pynq_resnet(bits: int = 4, classes: int = 10) -> nn.Module:
    module = pynq_module("resnet")
    return module.QuantResNet(
        module.QuantBasicBlock, [2, 2, 2, 2], num_classes=classes, act_bit_width=bits, weight_bit_width=bits
    )


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(1, 1), (1, 2), (2, 2), (4, 4)])
def test_cnv_checkpoint_gives_brevitas_logits(weight_bits: int, act_bits: int) -> None:
    torch.manual_seed(0)
    theirs = steps(pynq_module("CNV").CNV(10, weight_bits, act_bits, 8, 3), (8, 3, 32, 32))
    ours = build_model(f"CNV_{weight_bits}W{act_bits}A")
    load_pynq(ours, theirs.state_dict())
    images = torch.rand(8, 3, 32, 32)
    expected = logits(theirs, images)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits(ours, images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "hidden", "bits", "input_bits"),
    [("TFC", 64, 1, 1), ("TFC", 64, 2, 2), ("SFC", 256, 2, 2), ("LFC", 1024, 1, 1)],
)
def test_fully_connected_checkpoint_gives_brevitas_logits(family: str, hidden: int, bits: int, input_bits: int) -> None:
    torch.manual_seed(0)
    theirs = steps(pynq_module("FC").FC(10, bits, bits, input_bits, 1, [hidden] * 3), (16, 1, 28, 28))
    ours = build_model(f"{family}_{bits}W{bits}A", input_bits=input_bits, **MNIST)
    load_pynq(ours, theirs.state_dict())
    images = torch.rand(16, 1, 28, 28)
    torch.testing.assert_close(logits(ours, images), logits(theirs, images), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def trained_resnet() -> nn.Module:
    torch.manual_seed(0)
    return steps(pynq_resnet(), (2, 3, 32, 32))


def test_resnet18_checkpoint_gives_brevitas_logits(trained_resnet: nn.Module) -> None:
    ours = build_model("RESNET18_PYNQ_4W4A")
    load_pynq(ours, trained_resnet.state_dict())
    ranges = {m.range.value.item() for m in ours.modules() if isinstance(m, RuntimeReLU)}
    assert len(ranges) > 10  # each quantizer has its own
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(logits(ours, images), logits(trained_resnet, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrap", ["trainer", "data_parallel", "both"])
def test_trainers_dict_and_data_parallels_prefix_are_taken_off(wrap: str) -> None:
    torch.manual_seed(0)
    theirs = steps(pynq_module("FC").FC(10, 1, 1, 1, 1, [64] * 3), (16, 1, 28, 28))
    state: dict[str, Any] = dict((theirs if wrap == "trainer" else nn.DataParallel(theirs)).state_dict())
    if wrap != "data_parallel":
        state = {"state_dict": state, "optim_dict": {}, "epoch": 3, "best_val_acc": 12.5}
    ours = build_model("TFC_1W1A", input_bits=1, **MNIST)
    load_pynq(ours, state)
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(logits(ours, images), logits(theirs, images), rtol=1e-5, atol=1e-5)


def test_a_resnet_checkpoint_is_refused_for_resnet18_which_is_another_function(trained_resnet: nn.Module) -> None:
    with pytest.raises(
        UserError, match=r"for instance RESNET18_PYNQ_4W4A, not for RESNET18_4W4A; its additions.* differ"
    ):
        load_pynq(build_model("RESNET18_4W4A", width=0.125), trained_resnet.state_dict())


def test_a_checkpoint_for_another_structure_names_what_to_build() -> None:
    state = pynq_module("FC").FC(10, 1, 1, 1, 1, [64] * 3).state_dict()
    with pytest.raises(UserError, match=r"bnn_pynq for TFC, SFC or LFC.* not for CNV_1W1A"):
        load_pynq(build_model("CNV_1W1A", width=0.125), state)


def _without(key: str) -> Callable[[dict], None]:
    return lambda state: state.pop(key)


def _with(key: str, value: torch.Tensor) -> Callable[[dict], None]:
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("features.6.weight"), r"lack fc2.weight \(and 0 more\) of TFC_1W1A"),
        (_with("features.99.weight", torch.zeros(1)), "hold features.99.weight"),
        (_with("extra", torch.zeros(1)), "hold extra"),
        (_with("features.14.weight", torch.zeros(100, 64)), "number of classes"),
        (_with("features.2.weight", torch.zeros(64, 3072)), "image size and channels"),
        (_with("features.2.weight", torch.zeros(128, 784)), r"is \[128, 784\] in the weights, \[64, 784\] in TFC_1W1A"),
    ],
)
def test_every_entry_is_accounted_for_and_a_refused_load_changes_nothing(spoil: Callable, message: str) -> None:
    state = dict(pynq_module("FC").FC(10, 1, 1, 1, 1, [64] * 3).state_dict())
    spoil(state)
    ours = build_model("TFC_1W1A", input_bits=1, **MNIST)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    for load in (load_pynq, initialise_from):
        with pytest.raises(UserError, match=message):
            load(ours, state)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_a_shared_quantizer_with_two_values_is_refused(trained_resnet: nn.Module) -> None:
    state = dict(trained_resnet.state_dict())
    key = next(name for name in state if "relu2" in name and name.endswith("value"))
    state[key] = state[key] + 1
    with pytest.raises(UserError, match="must be equal in the places that share it"):
        load_pynq(build_model("RESNET18_PYNQ_4W4A"), state)


def test_a_checkpoint_whose_quantizers_saw_no_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"lack act1.*scaling_impl.value"):
        load_pynq(build_model("RESNET18_PYNQ_4W4A"), pynq_resnet().state_dict())


@pytest.mark.parametrize("content", [None, [], {}, {"a": 1}, {"state_dict": {}}, {1: torch.zeros(1)}, torch.zeros(2)])
def test_what_is_no_state_dict_is_refused(content: object) -> None:
    with pytest.raises(UserError, match="this file holds no weights; name a run folder"):
        plain_state(content, "this file")


@pytest.mark.slow
def test_resnet18_pynq_trains_and_exports(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("RESNET18_PYNQ_2W4A", width=0.125)
    images, labels = torch.rand(10, 3, 32, 32), torch.arange(10)
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    pixels = (images[:4] * 255).round().to(torch.uint8)
    reference = float64_reference(model, pixels[:1] / 255)
    graph, checks = prove_stages(graph_stages(model, (3, 32, 32)), reference, pixels, tmp_path / "stages")
    assert all(check.tensors > 40 for check in checks)  # convolutions, norms, additions, pool and logits
    assert {"stage1_block1_conv1", "stage2_block1_sum", "fc"} <= {node.name for node in graph.graph.node}
    assert {"Trunc", "Quant"} <= {node.op_type for node in graph.graph.node}


def test_resnet18_pynq_keeps_its_outer_layers_at_8_bits_unless_told_otherwise() -> None:
    def bits(model: Network) -> dict[str, int]:
        layers = dict(model.named_modules())
        return {path: int(layers[path].weight_quant.bit_width()) for path in ("conv1", "stage3.block2.conv1", "fc")}  # type: ignore[operator,union-attr]

    small = {"width": 0.125}
    assert bits(build_model("RESNET18_PYNQ_4W4A", **small)) == {"conv1": 8, "stage3.block2.conv1": 4, "fc": 8}
    changed = build_model("RESNET18_PYNQ_4W4A", bits="last=4w,stage3.*=2w", **small)
    assert bits(changed) == {"conv1": 8, "stage3.block2.conv1": 2, "fc": 4}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("RESNET18_PYNQ_FLOAT", {}, "quantized only"),
        ("RESNET18_PYNQ_4W4A", {"scaling": "learned"}, "leave out scaling"),
        ("RESNET18_PYNQ_4W4A", {"power_of_two": True}, "leave out scaling"),
        ("RESNET18_PYNQ_4W4A", {"per_channel": True}, "leave out scaling"),
        ("RESNET18_PYNQ_4W4A", {"input_bits": 4}, "leave out input_bits"),
    ],
)
def test_resnet18_pynq_refuses_what_it_has_not(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(name, width=0.125, **options)


def test_a_range_that_is_still_collected_goes_on_after_a_reload_as_if_nothing_was() -> None:
    torch.manual_seed(0)
    one = RuntimeReLU(4)
    batches = [torch.randn(64) * (i + 1) for i in range(6)]
    for batch in batches[:3]:
        one(batch)
    two = RuntimeReLU(4)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for batch in batches[3:]:
        assert torch.equal(one(batch).value, two(batch).value)
    assert torch.equal(one.eval()(batches[0]).value, two.eval()(batches[0]).value)
    fresh = RuntimeReLU(4)
    fresh.load_state_dict(RuntimeReLU(4).state_dict())  # Brevitas' own cannot load the state of a fresh one
    assert fresh.range.counter == 0


def test_the_pynq_network_is_no_relative_of_resnet18() -> None:
    assert isinstance(build_model("RESNET18_PYNQ_4W4A", width=0.125), PynqResNet)
    with pytest.raises(UserError, match="which RESNET18_4W4A has not"):
        initialise_from(
            build_model("RESNET18_4W4A", width=0.125), build_model("RESNET18_PYNQ_4W4A", width=0.125).state_dict()
        )


def test_what_is_not_bnn_pynqs_is_said_to_be_none() -> None:
    model = build_model("CNV_1W1A", width=0.125)
    with pytest.raises(UserError, match="no checkpoint of bnn_pynq"):
        load_pynq(model, model.state_dict())
