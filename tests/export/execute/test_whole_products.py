"""Sums of whole numbers in float32 are exact up to the last one below 2**24, and beyond it in halves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qtrain.export.execute.precision import exact_float32
from qtrain.export.execute.whole_products import EXACT_FLOAT32, WholeProduct, largest_sums, whole_product

CPU = torch.device("cpu")


def multiplied(product: WholeProduct, x: Tensor) -> Tensor:
    return product(lambda filters: x.float() @ filters.T, 1)


def worst_inputs(filters: Tensor, least: int, most: int) -> Tensor:
    """For each output the input that drives its sum up, and the one that drives it down."""
    up = torch.where(filters > 0, float(most), float(least))
    down = torch.where(filters > 0, float(least), float(most))
    return torch.cat([up, down]).double()


@settings(max_examples=60, deadline=None)
@given(
    bits=st.tuples(st.integers(1, 8), st.integers(2, 9)),
    signed=st.booleans(),
    fan_in=st.integers(1, 3000),
    seed=st.integers(0, 99),
)
def test_sums_are_exact_for_random_and_for_the_worst_inputs(bits: tuple, signed: bool, fan_in: int, seed: int) -> None:
    x_bits, w_bits = bits
    draw = torch.Generator().manual_seed(seed)
    least, most = (-(2 ** (x_bits - 1)), 2 ** (x_bits - 1) - 1) if signed else (0, 2**x_bits - 1)
    filters = torch.randint(-(2 ** (w_bits - 1)), 2 ** (w_bits - 1), (6, fan_in), generator=draw).double()
    filters[0] = 2 ** (w_bits - 1) - 1
    product = whole_product(filters, least, most)
    assert product is not None
    x = torch.randint(least, most + 1, (5, fan_in), generator=draw).double()
    x = torch.cat([x, worst_inputs(filters, least, most)])
    assert torch.equal(multiplied(product, x), x @ filters.T)


def test_the_bound_is_reached_and_not_passed() -> None:
    filters = torch.tensor([[3.0, -2.0, 0.0, 5.0]], dtype=torch.float64)
    assert largest_sums(filters, 0, 7).tolist() == [56.0]
    assert largest_sums(filters, -7, 7).tolist() == [70.0]
    assert largest_sums(filters, -1, 7).tolist() == [58.0]
    assert largest_sums(filters, 2, 7).tolist() == [56.0]  # an image may be padded with zeros


@pytest.mark.parametrize(("above", "split"), [(-1, False), (0, True), (1, True)])
def test_outputs_are_split_from_2_to_the_24_on(above: int, split: bool) -> None:
    filters = torch.tensor([[2.0**23, 2.0**23 + above], [1.0, 1.0]], dtype=torch.float64)
    assert largest_sums(filters, 0, 1).tolist() == [EXACT_FLOAT32 + above, 2]
    product = whole_product(filters, 0, 1)
    assert product is not None
    assert (product.high is not None) is split
    x = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert torch.equal(multiplied(product, x), x @ filters.T)


def test_only_outputs_that_need_it_are_split() -> None:
    filters = torch.ones(3, 4000, dtype=torch.float64)
    filters[1] = 127
    product = whole_product(filters, 0, 255)
    assert product is not None
    assert product.split is not None
    assert product.split.tolist() == [1]
    assert product.high is not None
    assert len(product.high) == 1
    together = whole_product(filters, 0, 255, together=True)
    assert together is not None
    assert together.high is not None
    assert len(together.high) == 3


def test_what_halves_cannot_hold_is_left_to_float64() -> None:
    assert whole_product(torch.full((1, 3000), 2.0**15, dtype=torch.float64), -(2**15), 2**15) is None
    assert whole_product(torch.full((1, 3), float("nan"), dtype=torch.float64), 0, 1) is None


def test_a_split_product_is_exact_where_float32_alone_is_not() -> None:
    filters = torch.full((1, 4609), 127.0, dtype=torch.float64)
    filters[0, 0] = 1.0
    x = torch.full((1, 4609), 255.0, dtype=torch.float64)
    x[0, 0] = 1.0
    exact = x @ filters.T  # an odd number above 2**24
    assert exact.item() % 2 == 1
    assert not torch.equal((x.float() @ filters.T.float()).double(), exact)
    product = whole_product(filters, 0, 255)
    assert product is not None
    assert torch.equal(multiplied(product, x), exact)


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="a torch before 2.9 has no such settings")
def test_a_user_who_allows_bfloat16_gets_exact_sums_and_keeps_the_setting() -> None:
    conv = torch.backends.mkldnn.conv  # type: ignore[attr-defined]
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = (conv.fp32_precision, matmul.fp32_precision)
    torch.set_float32_matmul_precision("medium")
    try:
        said = matmul.fp32_precision
        assert said == "bf16"
        with exact_float32(CPU):
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == said
    finally:
        torch.set_float32_matmul_precision("highest")
        conv.fp32_precision, matmul.fp32_precision = before


def test_on_a_gpu_neither_tf32_nor_cudnn_multiply() -> None:
    cuda = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_float32(torch.device("cuda")):
            assert not torch.backends.cudnn.enabled
            assert not cuda.allow_tf32
        assert torch.backends.cudnn.enabled
        assert cuda.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)
