"""Convolutions on the integer units give the whole sums of float64, or are not used."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from qtrain.export.execute import int8, whole_steps
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.whole_products import whole_product
from tests.export.execute.test_whole_steps import network

needs_units = pytest.mark.skipif(not int8.exact_here(), reason="this processor or torch has no exact integer units")


@needs_units
@settings(max_examples=60, deadline=None)
@given(
    sign=st.booleans(),
    weights=st.sampled_from([(-1, 1), (-8, 7), (-128, 127)]),
    channels=st.sampled_from([1, 3, 8, 70]),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    grouped=st.booleans(),
    seed=st.integers(0, 999),
)
def test_sums_are_those_of_float64(
    sign: bool,
    weights: tuple,
    channels: int,
    kernel: tuple,
    stride: int,
    padding: int,
    dilation: int,
    grouped: bool,
    seed: int,
) -> None:
    draw = torch.Generator().manual_seed(seed)
    group = channels if grouped else 1
    least, most = (-128, 127) if sign else (0, 255)
    filters = torch.randint(weights[0], weights[1] + 1, (2 * group, channels // group, *kernel), generator=draw)
    x = torch.randint(least, most + 1, (2, channels, 7, 8), generator=draw).double()
    product = whole_product(filters.double(), least, most, together=grouped)
    assert product is not None
    sides = {"strides": [stride] * 2, "pads": [padding] * 4, "dilations": [dilation] * 2, "group": group}
    small = int8.int8_product(product, least, most, sides)
    beyond = [padding > dilation * (size - 1) for size in kernel]
    assert (small is None) == any(beyond)  # some windows lie in the padding
    if small is None:
        return
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": group}
    assert torch.equal(small(x), F.conv2d(x, filters.double(), **options))


@needs_units
def test_sums_beyond_2_to_the_24_are_put_together_from_halves() -> None:
    filters = torch.full((3, 600, 3, 3), 127.0, dtype=torch.float64)
    filters[1, 0, 0, 0] = 126.0
    filters[2] = 1.0
    x = torch.full((1, 600, 4, 4), 255.0, dtype=torch.float64)
    product = whole_product(filters, 0, 255)
    assert product is not None
    assert product.high is not None
    small = int8.int8_product(product, 0, 255, {})
    assert small is not None
    expected = F.conv2d(x, filters)
    assert expected.max() > 2**24
    assert torch.equal(small(x), expected)


@pytest.mark.parametrize(
    ("least", "most", "largest", "attributes"),
    [
        (0, 256, 1, {}),
        (-129, 127, 1, {}),
        (-1, 128, 1, {}),
        (0, 15, 128, {}),
        (0, 15, 1, {"pads": [0, 0, 1, 1]}),
        (0, 15, 1, {"pads": [-1, 0, -1, 0]}),
        (0, 15, 1, {"auto_pad": b"SAME_UPPER"}),
    ],
)
def test_what_does_not_fit_is_left_to_float32(least: int, most: int, largest: int, attributes: dict) -> None:
    product = whole_product(torch.full((2, 3, 3, 3), float(largest), dtype=torch.float64), least, most)
    assert product is not None
    assert int8.int8_product(product, least, most, attributes) is None


@needs_units
def test_a_processor_that_is_not_exact_is_found_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def saturating(self: int8.Int8Convolution, x: torch.Tensor) -> torch.Tensor:
        return real(self, x).clamp(max=2**15)  # as two products added in 16 bits

    real = int8.Int8Convolution.__call__
    with monkeypatch.context() as patch:
        patch.setattr(int8.Int8Convolution, "__call__", saturating)
        assert not int8.exact_here.__wrapped__()
        model = network(8, 8, 64, 1, 1)
        x = torch.full((2, 64, 6, 6), 9.0, dtype=torch.float64)
        found = Executor(model)(x, keep=["c"])["c"]  # its first image differs from float32's
    monkeypatch.setattr(whole_steps, "int8_product", lambda *_: None)
    assert torch.equal(found, Executor(model)(x, keep=["c"])["c"])


@needs_units
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("signed", [0, 1])
def test_a_graph_gives_the_same_with_integer_units_and_without(
    bits: int, signed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(bits, bits, 64, 5, signed)
    x = torch.randn(5, 64, 6, 6, generator=torch.Generator().manual_seed(bits)).double()
    names = ["c", "n", "a", "p", "f", "y"]
    found = Executor(model)(x, keep=names)
    assert all(value.is_contiguous() for value in found.values())
    monkeypatch.setattr(whole_steps, "int8_product", lambda *_: None)
    expected = Executor(model)(x, keep=names)
    assert all(torch.equal(found[name], expected[name]) for name in names)
