"""A network of one's own: what its code is called with, what it starts from, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.models import check_network, parse_name
from qtrain.models.names import folder_name
from qtrain.models.own import build_own, find_own
from qtrain.models.own_start import start_own
from qtrain.recipe import Recipe
from tests.own_networks import write_net

MORE = """

class Pair(nn.Module):
    def __init__(self, weight_bit_width, act_bit_width, classes=10, channels=3, size=32, shape=None, width=1.0):
        super().__init__()
        self.seen = dict(locals())
        del self.seen["self"], self.seen["__class__"]


class Expression(nn.Module):
    def __init__(self, weight_bits, act_bits, bits=""):
        super().__init__()
        self.seen = weight_bits, act_bits, bits


def anything(**arguments):
    module = nn.Identity()
    module.seen = arguments
    return module


finished = nn.Linear(2, 2)
number = 7


def makes_a_number():
    return 7


def fails():
    raise RuntimeError("shape mismatch")


def needs(path):
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = write_net(tmp_path)
    path.write_text(path.read_text() + MORE)
    return path


def build(name: str, shape: tuple[int, int, int] = (3, 32, 32), **how: Any) -> Any:
    asked = {"options": {}, "arguments": {}, **how}
    parsed = parse_name(name)
    return build_own(find_own(parsed), parsed, classes=5, shape=shape, **asked)


def test_names_carry_bits_as_the_zoos_do() -> None:
    name = parse_name("my_module:Net_2W4A")
    assert (name.family, name.weight_bits, name.act_bits, name.is_own) == ("my_module:Net", 2, 4, True)
    assert str(name) == "my_module:Net_2W4A"
    assert str(parse_name("nets/a-b.py:Net")) == "nets/a-b.py:Net"
    assert str(parse_name("my:Net_FLOAT")) == "my:Net_FLOAT"
    assert folder_name("nets/a-b.py:Net_2W4A") == "nets-a-b.py-Net_2W4A"
    assert folder_name("CNV_1W1A") == "CNV_1W1A"
    with pytest.raises(UserError, match=r"the weights of my:Net_9W4A must have 1 to 8 bits, but got 9"):
        parse_name("my:Net_9W4A")


def test_a_class_gets_bits_classes_channels_and_size(own: Path) -> None:
    net = build("own_net.py:Net_3W2A", (1, 16, 16))
    assert (net.conv.weight_quant.bit_width(), net.act.act_quant.bit_width()) == (3, 2)
    assert (net.conv.in_channels, net.fc.in_features, net.fc.out_features) == (1, 8 * 16, 5)
    expression = {"options": {"bits": "first=8"}}
    assert build("own_net.py:Expression_4W2A", **expression).seen == (4, 2, "first=8")
    assert build("own_net.py:Expression_4W4A").seen == (4, 4, "")
    assert build("own_net.py:OneWidth_4W4A").conv.weight_quant.bit_width() == 4
    assert build("own_net.py:small").conv.weight_quant.bit_width() == 4


def test_other_spellings_shapes_and_options_are_known(own: Path) -> None:
    options = {"width": 0.5, "scaling": "auto", "input_bits": 8, "power_of_two": False, "per_channel": False}
    seen = build("own_net.py:Pair_3W2A", (2, 64, 1), options=options).seen
    assert seen == {
        "weight_bit_width": 3,
        "act_bit_width": 2,
        "classes": 5,
        "channels": 2,
        "size": (64, 1),
        "shape": (2, 64, 1),
        "width": 0.5,
    }


def test_arguments_reach_it_and_a_finished_module_is_taken_as_it_is(own: Path) -> None:
    assert build("own_net.py:Net", arguments={"channels_out": 4}).conv.out_channels == 4
    assert build("own_net.py:anything", arguments={"a": 1}).seen == {"a": 1}
    finished = build("own_net.py:finished")
    kept = finished.weight.detach().clone()
    finished.weight.data.zero_()
    assert torch.equal(build("own_net.py:finished").weight, kept)  # training one leaves the next as it was


def test_initial_weights_follow_the_seed(own: Path) -> None:
    first = model_of(Recipe("own_net.py:Net_4W4A", "digits"))
    again = model_of(Recipe("own_net.py:Net_4W4A", "digits"))
    other = model_of(Recipe("own_net.py:Net_4W4A", "digits", seed=1))
    assert torch.equal(first.get_parameter("fc.weight"), again.get_parameter("fc.weight"))
    assert not torch.equal(first.get_parameter("fc.weight"), other.get_parameter("fc.weight"))


@pytest.mark.parametrize(
    ("name", "how", "says"),
    [
        ("own_net.py:OneWidth_4W2A", {}, r"has one argument for all bits, .* but got 4 and 2; give it weight_bits"),
        ("own_net.py:small_4W4A", {}, r"cannot be asked for 4 and 4 bits: give it arguments weight_bits and act_bits"),
        ("own_net.py:finished_4W4A", {}, r"finished cannot be asked for 4 and 4 bits"),
        ("own_net.py:number", {}, r"own_net.py:number is a int; name an nn.Module, its class or a function making one"),
        ("own_net.py:makes_a_number", {}, r"makes_a_number makes a int, not an nn.Module; name a network's class"),
        ("own_net.py:fails", {}, r"own_net.py:fails fails when it is called \(RuntimeError: shape mismatch\); mend it"),
        ("own_net.py:needs", {}, r"needs arguments \(path\); give them with --net-args, or defaults in the code"),
        ("own_net.py:Nothing", {}, r"has no Nothing; networks in it: Net, OneWidth, Rows, Pair, Expression, finished"),
        (
            "own_net.py:Net",
            {"arguments": {"foo": 1}},
            r"has no argument 'foo' of --net-args; its arguments are act_bits, ",
        ),
        (
            "own_net.py:Net",
            {"options": {"width": 0.5}},
            r"has no argument width, so that width 0.5 means nothing to it",
        ),
    ],
)
def test_what_cannot_be_built_is_one_line(own: Path, name: str, how: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        build(name, **how)
    assert "\n" not in str(error.value)


def test_bits_that_cannot_be_asked_for_are_refused_before_anything_is_built(own: Path) -> None:
    assert str(check_network("own_net.py:Net_2W4A")) == "own_net.py:Net_2W4A"
    with pytest.raises(UserError, match="cannot be asked for 2 and 2 bits"):
        check_network("own_net.py:small_2W2A")
    with pytest.raises(UserError, match=r"net_args are for a network of your own, and CNV_1W1A is qtrain's"):
        model_of(Recipe("CNV_1W1A", "digits", net_args={"a": 1}))
    with pytest.raises(
        UserError, match=r"OneWidth has no arguments weight_bits and act_bits, so that its layers cannot"
    ):
        model_of(Recipe("own_net.py:OneWidth_2W2A", "digits", bits="first=8"))
    with pytest.raises(UserError, match=r"bits fc=2 are for single layers of own_net.py:Net; name those of all, as in"):
        model_of(Recipe("own_net.py:Net", "digits", bits="fc=2"))


def test_single_layers_have_bits_that_the_code_knows_nothing_of(own: Path) -> None:
    net = model_of(Recipe("own_net.py:Net_4W4A", "digits", bits="first=8,act=2"))
    found = [layer.weight_quant.bit_width() for layer in (net.get_submodule("conv"), net.get_submodule("fc"))]
    assert found == [8, 4]
    assert net.get_submodule("act").act_quant.bit_width() == 2
    usual = model_of(Recipe("own_net.py:Net_4W4A", "digits"))
    assert torch.equal(net.get_parameter("conv.weight"), usual.get_parameter("conv.weight"))


def test_weights_and_ranges_are_taken_at_other_bits(own: Path) -> None:
    source = build("own_net.py:Net_8W8A", (3, 32, 32)).train()
    for _ in range(3):
        source(torch.rand(4, 3, 32, 32))
    target = build("own_net.py:Net_2W2A", (3, 32, 32))
    start_own(target, source.state_dict())
    for name in ("conv.weight", "fc.weight"):
        assert torch.equal(target.get_parameter(name), source.get_parameter(name))
    assert torch.equal(target.bn.running_mean, source.bn.running_mean)
    ranges = [key for key in source.state_dict() if "act_quant" in key]
    assert ranges
    for key in ranges:
        assert torch.equal(target.state_dict()[key], source.state_dict()[key])


def test_weights_of_another_network_are_refused(own: Path) -> None:
    target = build("own_net.py:Net_2W2A")
    with pytest.raises(
        UserError, match=r"conv.weight is \[4, 3, 3, 3\] in the weights, \[8, 3, 3, 3\] in Net; give both"
    ):
        start_own(target, build("own_net.py:Net_2W2A", arguments={"channels_out": 4}).state_dict())
    with pytest.raises(UserError, match=r"the weights have no conv.weight, which Net needs; they have weight, bias$"):
        start_own(target, nn.Linear(2, 2).state_dict())
