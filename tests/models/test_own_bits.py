"""Single layers of a network of one's own get other bits, though its code only knows those of all."""

from collections.abc import Callable
from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.experiments.networks import activation_bits
from qtrain.models.count import weight_bits
from qtrain.models.names import NetworkName
from qtrain.models.own_bits import with_bits

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """Two convolutions whose sum has one quantizer, used twice; the first layer has 8 bits whatever is asked for."""

    def __init__(self, weights: int, acts: int, *, hidden: bool = False):
        super().__init__()
        made: dict[str, Any] = {"weight_quant": Int8WeightPerTensorFloat, "padding": 1, "bias": False}
        self.inp = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=8)
        self.conv1 = qnn.QuantConv2d(3, 4, 3, weight_bit_width=8, **made)
        self.act = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=acts)
        self.block = nn.ModuleDict({"conv2": qnn.QuantConv2d(4, 4, 3, weight_bit_width=weights, **made)})
        self.block["act"] = self.act  # shared by both branches
        self.drop = nn.Dropout()
        self.drop.training = False  # as its author left it
        self.fc = qnn.QuantLinear(
            4 * 64, 5, weight_quant=Int8WeightPerTensorFloat, weight_bit_width=weights, bias=False
        )
        self._kept = [self.act] if hidden else []

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv1(self.inp(x)))
        for act in self._kept:
            x = act(x)
        return self.fc(self.drop(torch.flatten(self.block["act"](self.block["conv2"](x)), 1)))


def built(expression: str, make: Callable[[int, int], nn.Module] = Net) -> nn.Module:
    torch.manual_seed(0)
    return with_bits(make, NetworkName("net.py:Net", 4, 4), expression, SHAPE)


def bits_of(model: nn.Module) -> dict[str, int]:
    found = {path: weight_bits(module) for path, module in model.named_modules() if hasattr(module, "weight_quant")}
    return found | activation_bits(model)


def test_named_layers_have_their_bits_and_all_else_is_as_it_was() -> None:
    torch.manual_seed(0)
    usual = Net(4, 4)
    model = built("fc=2,act=3,block.*=6w")
    assert bits_of(model) == {"conv1": 8, "block.conv2": 6, "fc": 2, "inp": 8, "act": 3}
    assert model.get_submodule("act") is model.get_submodule("block.act")
    assert not model.drop.training
    assert model.fc.training
    for name, weights in usual.named_parameters():
        if name.endswith("weight"):
            assert torch.equal(model.get_parameter(name), weights)  # one draw, whatever the bits
    assert model(torch.rand(2, *SHAPE)).shape == (2, 5)


def test_roles_go_by_the_order_of_the_layers() -> None:
    assert bits_of(built("last=8,inner=2")) == {"conv1": 8, "block.conv2": 2, "fc": 8, "inp": 8, "act": 2}


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        (
            "conv1=4",
            r"bits: conv1 has 8 bits whatever net.py:Net is asked for, so that it cannot have 4; take them from",
        ),
        ("inp=4", r"bits: inp has 8 bits whatever"),
        ("conv9=4", r"bits: 'conv9' names no such quantizer of net.py:Net_4W4A"),
        ("fc=4a", r"'fc' has weights only in net.py:Net_4W4A, but got bits for activations; write fc=4w"),
        ("block=2", r"'block' is no quantizer of net.py:Net_4W4A but holds some; write block.\* for all of them"),
    ],
)
def test_what_the_code_cannot_give_is_one_line(expression: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        built(expression)
    assert "\n" not in str(error.value)


def test_a_layer_that_is_used_outside_of_the_modules_is_refused() -> None:
    def hidden(weights: int, acts: int) -> nn.Module:
        return Net(weights, acts, hidden=True)

    with pytest.raises(UserError, match=r"uses act by another way than its modules, so that no other layer can take"):
        built("act=3", hidden)
    assert bits_of(built("fc=3", hidden))["fc"] == 3
