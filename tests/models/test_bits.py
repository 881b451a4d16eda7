"""Expressions of bits: what they mean for every layer, and one clear line for each way to get them wrong."""

import pytest

from qtrain.errors import UserError
from qtrain.models import build_model
from qtrain.models.bits import BitWidths, parse_bits
from qtrain.models.count import count, weight_bits


def bits_of(expression: str, name: str = "RESNET20_4W4A") -> dict[str, int]:
    model = build_model(name, width=0.5, bits=expression)
    found = {layer.path: layer.weight_bits for layer in count(model, (3, 32, 32)).layers}
    for path, module in model.named_modules():
        if hasattr(module, "act_quant") and not hasattr(module, "weight"):
            found[path] = int(module.act_quant.bit_width())
    return found


def test_without_an_expression_everything_has_the_name_s_bits() -> None:
    found = bits_of("", "RESNET20_2W3A")
    assert found["conv1"] == found["stage3.block3.conv2"] == found["fc"] == 2
    assert found["act1"] == found["stage2.block1.act2"] == 3
    assert found["input"] == 8
    assert found["stage1.block1.sum"] == 4  # never under 4 unless asked


def test_roles() -> None:
    found = bits_of("first=8,last=6,add=5,input=7,inner=3")
    assert (found["conv1"], found["fc"], found["input"], found["stage2.block2.sum"]) == (8, 6, 7, 5)
    assert found["stage1.block1.conv1"] == found["stage1.block1.act1"] == 3


def test_roles_are_read_in_capitals_too() -> None:
    assert bits_of("First=8,INNER=3") == bits_of("first=8,inner=3")


def test_paths_weights_activations_and_the_later_entry_wins() -> None:
    found = bits_of("stage2.*=1w2a,*.conv2=3w,stage2.block1.conv2=8,act1=5a")
    assert found["stage2.block1.conv1"] == 1
    assert found["stage2.block1.act1"] == found["stage2.block1.sum"] == 2
    assert found["stage2.block2.conv2"] == found["stage1.block1.conv2"] == 3
    assert found["stage2.block1.conv2"] == 8
    assert (found["act1"], found["stage1.block1.act1"]) == (5, 4)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("first", "'first' is not LAYERS=BITS; write for instance"),
        ("=4", "'=4' is not LAYERS=BITS"),
        ("first=", "'first=' is not LAYERS=BITS"),
        ("first=four", "'first=four' is not LAYERS=BITS"),
        ("first=4a1w", "'first=4a1w' is not LAYERS=BITS"),
        ("first=9", "'first=9' must have 1 to 8 bits, but got 9"),
        ("first=0w", "must have 1 to 8 bits, but got 0"),
        ("stage9.*=4", "'stage9.*' names no such quantizer of RESNET20_4W4A; roles are input, first"),
        ("stage2.blok1.conv1=4", r"layers for instance stage\d.block1.conv1"),
        ("first=8a", "'first' has weights only in RESNET20_4W4A, but got bits for activations; write first=8w"),
        ("*.conv1=3a", "'*.conv1' has weights only"),
        ("act1=3w", "'act1' has activations only in RESNET20_4W4A, but got bits for weights; write act1=3a"),
        ("stage2=4", "'stage2' is no quantizer of RESNET20_4W4A but holds some; write stage2.* for all of them"),
        ("stage2.block1=4", "write stage2.block1.* for all of them"),
    ],
)
def test_wrong_expressions_are_one_line(expression: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("*", r"\*")) as caught:
        build_model("RESNET20_4W4A", width=0.5, bits=expression)
    assert "\n" not in str(caught.value)


def test_a_float_network_takes_no_bits() -> None:
    with pytest.raises(UserError, match="not quantized; leave them out"):
        build_model("RESNET20_FLOAT", bits="first=8")
    assert weight_bits(build_model("RESNET20_FLOAT", width=0.5).conv1) == 32


def test_float_activations_leave_the_weights_theirs() -> None:
    model = build_model("WRN20_PAPER_1W32A", bits="first=8w,stage2.*=2w")
    assert (weight_bits(model.conv1), weight_bits(model.conv2)) == (8, 1)
    assert weight_bits(model.stage2.unit1.conv1) == 2
    with pytest.raises(UserError, match="'act2' names no such quantizer"):
        build_model("WRN20_PAPER_1W32A", bits="act2=4a")


def test_blanks_and_empty_entries_mean_nothing() -> None:
    assert [e.pattern for e in parse_bits(" first = 8 , ,last=4w,")] == ["first", "last"]
    assert parse_bits("") == ()


def test_every_entry_that_matched_counts_as_used_though_a_later_one_wins() -> None:
    widths = BitWidths(4, 4, "inner=2,conv2=3")
    assert widths.weights("conv2", "inner") == 3
    widths.check_all_used("NET_4W4A")
