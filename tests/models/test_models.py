"""Networks: names, bits, structure, quantizers, and that every bit width trains from the same start."""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.models import FAMILIES, build_model, parse_name
from qtrain.models.count import count
from qtrain.models.layers import ScalarNorm
from qtrain.recipe import default_recipe
from qtrain.training import train
from tests.fitting import fitting, shape_for, takes_digits
from tests.sampled import sampled


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


@pytest.mark.parametrize("text", ["vgg11-imagenet-w4a2", "VGG11_IMAGENET_4W2A", "vgg11_imagenet-w4a2"])
def test_families_of_two_words_are_read_in_both_styles(text: str) -> None:
    assert str(parse_name(text)) == "VGG11_IMAGENET_4W2A"


def test_unknown_family_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown network 'ALEXNET_1W1A'; families are TFC, SFC, LFC, CNV"):
        build_model("ALEXNET_1W1A")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0.0}, "width must be a number above 0, such as 0.25, but got 0.0"),
        ({"width": -1.0}, "width must be a number above 0"),
        ({"width": "a"}, "width must be a number above 0, such as 0.25, but got 'a'"),
        ({"width": float("nan")}, "width must be a number above 0"),
        ({"bits": None}, "bits must be text such as 'first=8,stage2.*=4', but got None"),
        ({"bits": 4}, "bits must be text such as 'first=8,stage2.*=4', but got 4"),
        ({"bits": {}}, "bits must be text such as 'first=8,stage2.*=4', but got {}"),
        ({"in_channels": 0}, "in_channels of CNV_1W1A must be a whole number, 1 or more, but got 0"),
        ({"num_classes": 2.5}, "num_classes of CNV_1W1A must be a whole number, 1 or more, but got 2.5"),
        ({"num_classes": 0}, "num_classes of CNV_1W1A must be a whole number, 1 or more, but got 0"),
        ({"power_of_two": "yes"}, "power_of_two must be True or False, but got 'yes'"),
        ({"per_channel": 1}, "per_channel must be True or False, but got 1"),
        ({"scaling": "free"}, "scaling must be one of auto, constant, learned, statistics"),
        ({"input_bits": 0}, "the input must have 1 to 8 bits, but got 0"),
        ({"image_size": 31}, "image_size of CNV_1W1A must be a whole number, 32 pixels or more, but got 31"),
        ({"image_size": 0}, "image_size of CNV_1W1A must be a whole number, 32 pixels or more, but got 0"),
        ({"image_size": 32.0}, "image_size of CNV_1W1A must be a whole number"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        build_model("CNV_1W1A", **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("CNV_FLOAT", {"input_bits": 4}, "input_bits 4 means nothing to CNV_FLOAT, which has no quantizers; leave it"),
        ("CNV_FLOAT", {"scaling": "learned"}, "scaling 'learned' means nothing to CNV_FLOAT"),
        ("CNV_FLOAT", {"power_of_two": True}, "power_of_two True means nothing to CNV_FLOAT"),
        ("CNV_FLOAT", {"per_channel": True}, "per_channel True means nothing to CNV_FLOAT"),
        ("WRN20_PAPER_1W32A", {"input_bits": 4}, "input_bits 4 means nothing to WRN20_PAPER_1W32A, which has no act"),
    ],
)
def test_an_option_changed_for_quantizers_that_are_not_there_is_refused(
    name: str, arguments: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_model(name, width=0.25, **arguments)


def test_the_defaults_of_options_pass_everywhere_and_weights_without_activations_have_scales() -> None:
    defaults = {"input_bits": 8, "scaling": "auto", "power_of_two": False, "per_channel": False}
    assert build_model("CNV_FLOAT", width=0.25, **defaults).name == "CNV_FLOAT"
    assert build_model("WRN20_PAPER_2W32A", width=0.25, per_channel=True).width == 0.25


# What the papers and the usual implementations count; classes 10 for CIFAR, 1000 for ImageNet.
PARAMETERS = {
    "RESNET18": 11_173_962,  # kuangliu/pytorch-cifar
    "RESNET34": 21_282_122,  # kuangliu/pytorch-cifar
    "RESNET20": 272_474,  # He et al. 0.27 M, with option B shortcuts
    "RESNET56": 855_770,  # He et al. 0.85 M
    "DENSENET40": 1_019_722,  # Huang et al. 1.0 M
    "RESNET10": 5_418_792,  # osmr/imgclsmob
    "RESNET50": 25_557_032,  # torchvision
    "MOBILENETV1": 4_231_976,  # osmr/imgclsmob and the paper's authors, of width 1.0 and 224 pixels
    "VGG10_RADIOML": 160_536,  # Xilinx/brevitas-radioml-challenge-21: its pretrained checkpoint without the scales
}


@pytest.mark.parametrize("family", PARAMETERS)
def test_float_twins_have_the_published_parameter_count(family: str) -> None:
    model = build_model(f"{family}_FLOAT", num_classes=FAMILIES.get(family).classes)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[family]


def test_mobilenet_for_cifar_has_kuangliu_s_parameters_and_sizes() -> None:
    """kuangliu/pytorch-cifar, models/mobilenet.py; its stem keeps the size, the published one halves it."""
    model = build_model("MOBILENETV1_FLOAT", image_size=32)
    assert sum(p.numel() for p in model.parameters()) == 3_217_226
    sizes = {layer.path: layer.output for layer in count(model, (3, 32, 32)).layers}
    assert (sizes["conv1"], sizes["stage5.block2.conv2"]) == ((32, 32, 32), (1024, 2, 2))
    whole = count(build_model("MOBILENETV1_FLOAT", num_classes=1000), (3, 224, 224))
    sizes = {layer.path: layer.output for layer in whole.layers}
    assert (sizes["conv1"], sizes["stage5.block2.conv2"]) == ((32, 112, 112), (1024, 7, 7))
    assert 567e6 < whole.macs < 570e6  # the paper: 569 million multiply-adds


def test_mobilenet_s_blocks_are_depthwise_then_pointwise() -> None:
    weights = [tuple(w.shape) for w in build_model("MOBILENETV1_4W4A").weights()]
    assert len(weights) == 28
    assert weights[:3] == [(32, 3, 3, 3), (32, 1, 3, 3), (64, 32, 1, 1)]
    assert [w[0] for w in weights[2:-1:2]] == [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    narrow = [tuple(w.shape) for w in build_model("MOBILENETV1_4W4A", width=0.25).weights()]
    assert (narrow[0][0], narrow[-1]) == (8, (10, 256))


def test_vgg10_has_the_published_layers() -> None:
    """Xilinx/brevitas-radioml-challenge-21, with 3x1 kernels in the place of its 1-D ones."""
    shapes = [tuple(w.shape) for w in build_model("VGG10_RADIOML_8W8A", num_classes=24).weights()]
    assert shapes == [(64, 2, 3, 1), *[(64, 64, 3, 1)] * 6, (128, 512), (128, 128), (24, 128)]


def test_the_networks_for_rows_have_the_published_layers() -> None:
    """FINN's cybersecurity example, padded to 600 and with two logits; 259,584 weights: MLPerf Tiny's of FINN."""
    cybersecurity = [tuple(w.shape) for w in build_model("MLP_2W2A", num_classes=2).weights()]
    assert cybersecurity == [(64, 600), (64, 64), (64, 64), (2, 64)]
    words = build_model("MLP_KWS_3W3A", num_classes=12).weights()
    assert [tuple(w.shape) for w in words] == [(256, 490), (256, 256), (256, 256), (12, 256)]
    assert sum(w.numel() for w in words) == 259_584


def test_cnv_takes_other_classes_and_images() -> None:
    """Traffic signs (GTSRB), and images of 48 pixels, of which six convolutions and two pools leave 5x5."""
    signs = build_model("CNV_1W1A", num_classes=43)
    assert tuple(signs.fc3.weight.shape) == (43, 512)
    assert sum(w.numel() for w in signs.weights()) == 1_542_848 + 33 * 512
    assert tuple(build_model("CNV_1W1A", image_size=48).fc1.weight.shape) == (512, 25 * 256)


def test_wrn20_has_mcdonnells_26_74_million_weights_and_his_shapes() -> None:
    model = build_model("WRN20_PAPER_1W32A", width=10)
    shapes = [tuple(w.shape) for w in model.weights()]
    assert sum(w.numel() for w in model.weights()) == 26_737_120
    assert len(shapes) == 20
    assert shapes[0] == (160, 3, 3, 3)
    assert shapes[7:9] == [(320, 160, 3, 3), (320, 320, 3, 3)]
    assert shapes[-1] == (10, 640, 1, 1)
    scale = model.stage2.unit1.conv1.quant_weight().value.abs().unique()
    torch.testing.assert_close(scale, torch.tensor([(2 / (9 * 160)) ** 0.5]))
    assert not [n for n, _ in model.named_parameters() if "norm" in n]  # scale and offset are not learned


def test_the_paper_s_shortcut_pools_and_appends_zero_channels() -> None:
    torch.manual_seed(0)
    unit = build_model("WRN20_PAPER_FLOAT").stage2.unit1.eval()
    nn.init.zeros_(unit.conv2.weight)
    x = torch.randn(2, 16, 8, 8)
    out = unit(x)
    torch.testing.assert_close(out[:, :16], nn.functional.avg_pool2d(x, 3, 2, 1))
    assert out.shape == (2, 32, 4, 4)
    assert out[:, 16:].abs().max() == 0


def test_vgg_layers() -> None:
    channels = [w.shape[0] for w in build_model("VGG11_4W4A").weights()]
    assert channels == [64, 128, 256, 256, 512, 512, 512, 512, 10]
    shapes = [tuple(w.shape) for w in build_model("VGG_SMALL_1W1A").weights()]
    assert [s[0] for s in shapes] == [128, 128, 256, 256, 512, 512, 10]
    assert shapes[-1] == (10, 8192)
    imagenet = build_model("VGG11_IMAGENET_FLOAT", num_classes=1000).weights()
    assert [tuple(w.shape) for w in imagenet[-3:]] == [(4096, 25088), (4096, 4096), (1000, 4096)]
    assert sum(w.numel() for w in imagenet) == 132_851_392  # torchvision's vgg11_bn without biases and norms


@pytest.mark.parametrize(("family", "hidden"), [("TFC", 64), ("SFC", 256), ("LFC", 1024)])
def test_fully_connected_networks_have_bnn_pynqs_layers(family: str, hidden: int) -> None:
    shapes = [tuple(w.shape) for w in build_model(f"{family}_1W1A", in_channels=1).weights()]
    assert shapes == [(hidden, 784), (hidden, hidden), (hidden, hidden), (10, hidden)]


def test_imagenet_networks_take_224_pixels_and_narrow_as_the_paper_does() -> None:
    sizes = {
        layer.path: layer.output for layer in count(build_model("RESNET10_8W8A", width=0.125), (3, 224, 224)).layers
    }
    assert sizes["conv1"] == (8, 112, 112)
    assert sizes["stage1.block1.conv1"] == (8, 56, 56)
    assert sizes["stage4.block1.shortcut.conv"] == (64, 7, 7)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.built_in.items() if not family.quantized_only])
def test_the_float_twin_holds_no_quantizer(family: str) -> None:
    channels, *size = shape_for(f"{family}_FLOAT")
    model = build_model(f"{family}_FLOAT", width=0.125, in_channels=channels, image_size=size)
    assert not [m for m in model.modules() if type(m).__module__.startswith("brevitas")]


@pytest.mark.parametrize("name", ["RESNET20_1W1A", "WRN20_2W2A"])
def test_both_branches_of_an_addition_share_one_quantizer(name: str) -> None:
    model = build_model(name, width=0.5)
    calls: Counter[str] = Counter()
    for path, module in model.named_modules():
        if path.endswith(".sum"):
            module.register_forward_hook(lambda *_, path=path: calls.update([path]))
    model(torch.rand(2, 3, 32, 32))
    assert set(calls.values()) == {2}
    assert len(calls) == 9


def test_a_family_without_quantizers_and_one_without_a_float_twin_say_so() -> None:
    with pytest.raises(UserError, match="DENSENET40_4W4A does not exist: DENSENET40 comes in float only"):
        build_model("DENSENET40_4W4A")
    with pytest.raises(UserError, match="RESNET18_PYNQ_FLOAT does not exist"):
        build_model("RESNET18_PYNQ_FLOAT")


QUICK = ("TFC", "CNV", "VGG11", "WRN20", "RESNET20", "MLP")
QUANTIZED = [name for name, family in FAMILIES.built_in.items() if not family.float_only]


@pytest.mark.parametrize("bits", [4, *(pytest.param(bits, marks=pytest.mark.slow) for bits in (1, 2, 8))])
@pytest.mark.parametrize("family", sampled(QUANTIZED, QUICK))
def test_every_network_trains_at_every_bit_width_from_the_same_recipe(
    family: str, bits: int, few_digits: DataSet, tmp_path: Path
) -> None:
    data = DataSet(**{**vars(few_digits), "train": few_digits.train.take(48), "test": few_digits.test.take(10)})
    recipe = default_recipe(f"{family}_{bits}W{bits}A", "digits").replace(epochs=1, batch_size=16, width=0.125)
    recipe = recipe.replace(augment=recipe.augment and takes_digits(family))
    data = fitting(data, recipe.network)
    channels, *size = shape_for(recipe.network)
    model = build_model(recipe, in_channels=channels, image_size=size)
    before = [w.clone() for w in model.weights()]
    train(model, recipe, tmp_path / "run", data=data, built=True)  # ends with an error where the loss is not finite
    assert all(w.isfinite().all() for w in model.state_dict().values())
    assert all(not torch.equal(b, w) for b, w in zip(before, model.weights(), strict=True))


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
@pytest.mark.parametrize("bits", sampled([1, 2, 3, 4, 8], [1, 4]))
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
    if model.weight_limits:
        assert max(w.abs().max() for w in model.weights()) <= 1


def test_scalar_norm_trains_like_batch_norm_over_one_channel() -> None:
    torch.manual_seed(0)
    ours, torch_norm = ScalarNorm(), nn.BatchNorm1d(1, eps=1e-4)
    for _ in range(3):
        x = 3 * torch.randn(7, 10) + 2
        torch.testing.assert_close(ours(x), torch_norm(x.reshape(-1, 1)).reshape(x.shape))
    x = torch.randn(7, 10)
    torch.testing.assert_close(ours.eval()(x), torch_norm.eval()(x.reshape(-1, 1)).reshape(x.shape))
