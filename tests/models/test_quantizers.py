"""Quantizers: every level of every width, ranges that fit a normal distribution, scales as asked."""

import numpy as np
import pytest
import torch
from brevitas.nn import QuantConv2d
from scipy import optimize, stats
from torch import Tensor

from qtrain.errors import UserError
from qtrain.models.quantizers import Scales, fixed_point_input, gaussian_range

SCALINGS = ["constant", "learned", "statistics"]


def convolution(bits: int, scales: Scales, *, limit: float = 0.5, channels: int | None = 16) -> QuantConv2d:
    torch.manual_seed(0)
    options = scales.weights(bits, limit, binary_scale=0.25, channels=channels)
    layer = QuantConv2d(8, 16, 3, bias=False, **options)
    torch.nn.init.normal_(layer.weight, 0, 0.1)
    return layer.eval()


def scale_of(layer: QuantConv2d) -> Tensor:
    return layer.weight_quant.scale().detach()


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_signed_activations_use_every_level_of_their_width(bits: int, scaling: str) -> None:
    levels = Scales(scaling).signed(bits).eval()(torch.linspace(-3, 3, 10_001)).unique().detach()
    assert len(levels) == (2 if bits == 1 else 2**bits - 1)  # narrow: symmetric around zero
    torch.testing.assert_close(levels[[0, -1]], torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("bits", range(2, 9))
def test_relu_uses_every_level_from_zero_to_its_range(bits: int, scaling: str) -> None:
    levels = Scales(scaling).relu(bits).eval()(torch.linspace(-3, 9, 40_001)).unique().detach()
    assert len(levels) == 2**bits
    torch.testing.assert_close(levels[[0, -1]], torch.tensor([0.0, gaussian_range(bits, signed=False)]))


def test_one_bit_relu_is_the_sign() -> None:
    assert Scales().relu(1).eval()(torch.tensor([-2.0, -0.1, 0.1, 2.0])).tolist() == [-1, -1, 1, 1]


@pytest.mark.parametrize("bits", range(2, 10))
def test_the_gaussian_range_has_the_least_error(bits: int) -> None:
    x = np.linspace(-9, 9, 200_001)
    density, largest = stats.norm.pdf(x), 2 ** (bits - 1) - 1

    def error(limit: float) -> float:
        step = limit / largest
        return float((((np.round(x / step).clip(-largest, largest)) * step - x) ** 2 * density).sum())

    best = optimize.minimize_scalar(error, bounds=(0.5, 6), method="bounded").x
    assert gaussian_range(bits) == pytest.approx(best, abs=2e-3)


@pytest.mark.parametrize("bits", range(2, 9))
def test_statistics_follow_the_weights(bits: int) -> None:
    layer = convolution(bits, Scales("statistics"))
    largest = 2 ** (bits - 1) - 1
    before = scale_of(layer) * largest
    # Drawn with deviation 0.1, so the range is that of a normal distribution, up to the sample's own spread.
    assert before.item() == pytest.approx(0.1 * gaussian_range(bits), rel=0.05)
    with torch.no_grad():
        layer.weight *= 3
    torch.testing.assert_close(scale_of(layer) * largest, 3 * before)
    used = (layer.quant_weight().value / scale_of(layer)).round().unique().numel()
    assert used > 2 ** (bits - 1)


def test_the_largest_magnitude_would_waste_two_bits_and_the_statistics_do_not() -> None:
    weight = convolution(2, Scales("statistics")).quant_weight().value
    assert 0.3 < (weight != 0).float().mean() < 0.7


@pytest.mark.parametrize("scaling", SCALINGS)
def test_one_bit_weights_have_their_constant_magnitude_whatever_is_asked(scaling: str) -> None:
    layer = convolution(1, Scales(scaling, power_of_two=True, per_channel=True))
    assert layer.quant_weight().value.abs().unique().tolist() == [0.25]
    assert not [name for name, _ in layer.named_parameters() if "quant" in name]


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_power_of_two_scales(bits: int, scaling: str) -> None:
    scales = Scales(scaling, power_of_two=True)
    values = [
        scale_of(convolution(bits, scales)),
        scales.relu(bits).act_quant.scale(),
        scales.signed(bits).act_quant.scale(),
    ]
    for scale in values:
        exponent = torch.log2(scale.detach())
        assert torch.equal(exponent, exponent.round())


@pytest.mark.parametrize("scaling", ["learned", "statistics"])
def test_per_channel_scales_where_the_layer_may_have_them(scaling: str) -> None:
    assert scale_of(convolution(4, Scales(scaling, per_channel=True))).shape == (16, 1, 1, 1)
    assert scale_of(convolution(4, Scales(scaling, per_channel=True), channels=None)).numel() == 1
    assert scale_of(convolution(4, Scales(scaling))).numel() == 1


def test_all_weights_zero_do_not_divide_by_zero() -> None:
    layer = convolution(4, Scales("statistics"))
    with torch.no_grad():
        layer.weight.zero_()
    assert layer.quant_weight().value.abs().max() == 0


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_input_is_fixed_point_with_a_power_of_two_scale(bits: int) -> None:
    levels = fixed_point_input(bits).eval()(torch.linspace(-1.5, 1.5, 10_001)).unique()
    assert torch.equal(levels, torch.arange(-1.0, 1.0, 2.0 ** (1 - bits)))


@pytest.mark.parametrize("largest", [128, 127])
def test_no_pixel_lies_on_a_rounding_tie_of_the_input_quantizers(largest: int) -> None:
    scaled = (2 * torch.arange(256, dtype=torch.float64) / 255 - 1) * largest
    assert ((scaled - scaled.floor() - 0.5).abs() > 1e-3).all()


def test_unknown_scaling_is_refused() -> None:
    with pytest.raises(UserError, match="constant, learned, statistics, but got 'free'"):
        Scales("free")  # type: ignore[arg-type]
