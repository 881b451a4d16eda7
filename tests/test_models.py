"""Networks: names, bits, structure, quantizers, and that every bit width trains from the same start."""

import pytest
import torch
from torch import nn

from qtrain.errors import UserError
from qtrain.models import build_model, parse_name
from qtrain.models.layers import ScalarNorm
from qtrain.models.quantizers import activation, input_quantizer, weight_quantizer


@pytest.mark.parametrize("text", ["CNV_1W2A", "cnv-w1a2", "cnv_1w2a", "CNV-W1A2"])
def test_both_name_styles_are_read(text: str) -> None:
    name = parse_name(text)
    assert (name.family, name.weight_bits, name.act_bits, str(name)) == ("CNV", 1, 2, "CNV_1W2A")


@pytest.mark.parametrize("text", ["CNV", "CNV_1W", "CNV_W1A1", "", "CNV_1W1A_2W2A", "CNV 1W1A", "CNV_-1W1A"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="network"):
        build_model(text)


@pytest.mark.parametrize("text", ["CNV_0W1A", "CNV_1W0A", "CNV_9W1A", "CNV_1W9A", "CNV_16W16A"])
def test_bits_outside_1_to_8_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"must have 1 to 8 bits, but got"):
        parse_name(text)


def test_unknown_family_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown network 'ALEXNET_1W1A'; families are CNV"):
        build_model("ALEXNET_1W1A")


@pytest.mark.parametrize("arguments", [{"width": 0.0}, {"width": -1.0}, {"scaling": "free"}, {"input_bits": 0}])
def test_bad_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(UserError):
        build_model("CNV_1W1A", **arguments)


def test_cnv_has_the_published_layers() -> None:
    shapes = [tuple(w.shape) for w in build_model("CNV_1W1A").weights()]
    convolutions = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256)]
    assert shapes == [(o, i, 3, 3) for o, i in convolutions] + [(512, 256), (512, 512), (10, 512)]
    # 9 * (3*64 + 64*64 + 64*128 + 128*128 + 128*256 + 256*256) + 256*512 + 512*512 + 512*10
    assert sum(w.numel() for w in build_model("CNV_1W1A").weights()) == 1_542_848


def test_cnv_gives_the_logits_of_brevitas_own_class() -> None:
    cnv_module = pytest.importorskip("brevitas_examples.bnn_pynq.models.CNV", reason="brevitas ships no examples")
    for bits in (1, 2, 4):
        torch.manual_seed(0)
        theirs = cnv_module.CNV(10, bits, bits, 8, 3)
        theirs(torch.rand(16, 3, 32, 32))  # moves the running statistics
        ours = build_model(f"CNV_{bits}W{bits}A")
        mine, other = ours.state_dict(), theirs.state_dict()
        assert [tuple(v.shape) for v in mine.values()] == [tuple(v.shape) for v in other.values()]
        ours.load_state_dict(dict(zip(mine, other.values(), strict=True)))
        images = torch.rand(8, 3, 32, 32)
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [0.125, 0.25, 0.5, 1.0, 2.0])
def test_width_scales_channels_in_steps_of_eight(width: float) -> None:
    outputs = [w.shape[0] for w in build_model("CNV_1W1A", width=width).weights()][:-1]
    assert outputs == [max(8, int(c * width)) for c in (64, 64, 128, 128, 256, 256, 512, 512)]
    assert all(o % 8 == 0 for o in outputs)


@pytest.mark.parametrize("scaling", ["constant", "learned"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_quantizers_use_every_level_of_their_width(bits: int, scaling: str) -> None:
    quantizer = activation(bits, scaling).eval()
    levels = quantizer(torch.linspace(-3, 3, 10_001)).unique()
    expected = 2 if bits == 1 else 2**bits - 1  # narrow: symmetric around zero
    assert len(levels) == expected
    torch.testing.assert_close(levels[[0, -1]].detach(), torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("bits", range(2, 9))
def test_input_quantizer_is_fixed_point_with_a_power_of_two_scale(bits: int) -> None:
    levels = input_quantizer(bits).eval()(torch.linspace(-1.5, 1.5, 10_001)).unique()
    step = 2.0 ** (1 - bits)
    assert torch.equal(levels, torch.arange(-1.0, 1.0, step))


def test_no_pixel_lies_on_a_rounding_tie_of_the_input_quantizer() -> None:
    pixels = torch.arange(256, dtype=torch.float64)
    scaled = (2 * pixels / 255 - 1) * 128
    assert ((scaled - scaled.floor() - 0.5).abs() > 1e-3).all()


def test_one_bit_weights_take_the_constant_scale_whatever_is_asked() -> None:
    assert weight_quantizer(1, "learned") == weight_quantizer(1, "constant")


@pytest.mark.parametrize("scaling", ["constant", "learned"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_every_bit_width_trains_with_the_same_arguments(bits: int, scaling: str) -> None:
    torch.manual_seed(0)
    model = build_model(f"CNV_{bits}W{bits}A", width=0.125, scaling=scaling)
    images, labels = torch.rand(20, 3, 32, 32), torch.arange(20) % 10
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert not missing
        optimizer.step()
        model.clip_weights()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    if model.clips_weights:
        assert max(w.abs().max() for w in model.weights()) <= 1


def test_scalar_norm_trains_like_batch_norm_over_one_channel() -> None:
    torch.manual_seed(0)
    ours, torch_norm = ScalarNorm(), nn.BatchNorm1d(1, eps=1e-4)
    for _ in range(3):
        x = 3 * torch.randn(7, 10) + 2
        torch.testing.assert_close(ours(x), torch_norm(x.reshape(-1, 1)).reshape(x.shape))
    x = torch.randn(7, 10)
    torch.testing.assert_close(ours.eval()(x), torch_norm.eval()(x.reshape(-1, 1)).reshape(x.shape))
