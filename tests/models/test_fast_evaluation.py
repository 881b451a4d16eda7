"""In evaluation mode the fast forward pass gives Brevitas' logits to the bit, and quantizes weights once."""

import copy
from collections.abc import Callable

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat
from torch import Tensor, nn

from qtrain.data import DataSet
from qtrain.experiments.model import model_of
from qtrain.models import FAMILIES, build_model
from qtrain.models.fast_evaluation import fast_evaluation
from qtrain.models.fast_forward import fast_forward
from qtrain.models.quantizers import Scales, fixed_point_input
from qtrain.recipe import Recipe
from qtrain.training import evaluate
from qtrain.training.losses import LOSSES
from tests.fitting import shape_for
from tests.sampled import sampled

QUANTIZED = [name for name, family in FAMILIES.built_in.items() if not family.float_only]
OWN_SCALES = ("RESNET18_PYNQ",)  # families that take no others
SCALINGS = [
    ("1W1A", {}),
    ("2W3A", {"scaling": "constant"}),
    ("4W4A", {"scaling": "learned"}),
    ("3W2A", {"scaling": "learned", "power_of_two": True, "per_channel": True}),
    ("8W8A", {"scaling": "statistics", "per_channel": True}),
]


def trained(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the network after a few steps, so that statistics and trained scales have moved."""
    fast_forward(model)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def check_equal(model: nn.Module, images: Tensor) -> None:
    theirs = model(images)
    with fast_evaluation(model):
        ours = model(images)
    assert theirs.isfinite().all()
    assert torch.equal(ours, theirs)


QUICK = ("1W1A", "3W2A")
DEEP = ("RESNET34", "RESNET50", "RESNET56", "RESNET18_PYNQ", "WRN20_PAPER", "VGG11_IMAGENET")
MARKED = [
    pytest.param(bits, options, id=bits, marks=() if bits in QUICK else pytest.mark.slow) for bits, options in SCALINGS
]


@pytest.mark.parametrize(("bits", "options"), MARKED)
@pytest.mark.parametrize("family", sampled(QUANTIZED, [name for name in QUANTIZED if name not in DEEP]))
def test_every_family_gives_brevitas_logits_to_the_bit(family: str, bits: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    options = {} if family in OWN_SCALES else options
    channels, *size = shape_for(f"{family}_{bits}")
    shape = {"in_channels": channels, "image_size": (size[0], size[1])}
    model = build_model(f"{family}_{bits}", width=0.125, **shape, **options)  # type: ignore[arg-type]
    images = torch.rand(6, channels, *size)
    check_equal(trained(model, images), images)
    model.to(memory_format=torch.channels_last)
    check_equal(model, images.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("width", [0.25, 0.5])
@pytest.mark.parametrize("name", ["CNV_2W2A", "RESNET20_4W4A", "TFC_1W1A"])
def test_wider_networks_give_brevitas_logits_to_the_bit(name: str, width: float) -> None:
    torch.manual_seed(1)
    channels, *size = shape_for(name)
    model = build_model(name, width=width, in_channels=channels, image_size=(size[0], size[1]))
    images = torch.rand(32, channels, *size)
    check_equal(trained(model, images), images)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["input", "signed", "relu"])
@pytest.mark.parametrize("scaling", ["constant", "learned"])
def test_ties_zeros_and_what_is_beyond_the_range_are_quantized_as_brevitas_does(
    kind: str, scaling: str, bits: int
) -> None:
    scales = Scales(scaling)  # type: ignore[arg-type]
    layer = fixed_point_input(bits) if kind == "input" else getattr(scales, kind)(bits)
    assert fast_forward(layer) == []
    layer.eval()
    scale = float(layer.act_quant.scale().detach())
    halves = scale * torch.arange(-600, 601) / 2
    special = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, torch.inf, -torch.inf])
    at = torch.cat([halves, halves.nextafter(halves + 1), halves.nextafter(halves - 1), special])
    check_equal(nn.Sequential(layer), at[at.isfinite()])
    with torch.no_grad(), fast_evaluation(layer):
        assert torch.equal(layer(at), layer.act_quant(at).value)


class Counted(nn.Module):
    """A convolution that counts how often its weights are quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = qnn.QuantConv2d(3, 4, 3, **Scales("statistics").weights(4, 0.7, binary_scale=0.3, channels=4))  # type: ignore[arg-type]
        self.calls = 0
        quantize = self.conv.quant_weight

        def counted(*args: object) -> object:
            self.calls += 1
            return quantize(*args)  # type: ignore[arg-type]

        vars(self.conv)["quant_weight"] = counted

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@torch.no_grad()
def test_weights_are_quantized_once_and_anew_where_they_change() -> None:
    torch.manual_seed(0)
    model = Counted()
    assert fast_forward(model) == []
    model.eval()
    images = torch.rand(2, 3, 5, 5)
    with fast_evaluation(model):
        for _ in range(3):
            model(images)
        assert model.calls == 1
        model.conv.weight.mul_(0.5)
        ours = model(images)
        assert model.calls == 2
    assert torch.equal(ours, model(images))
    assert model.calls == 3


def test_training_mode_and_what_comes_after_are_as_ever() -> None:
    torch.manual_seed(0)
    model = build_model("CNV_2W2A", width=0.125)
    fast_forward(model)
    twin = copy.deepcopy(model)
    images = torch.rand(4, 3, 32, 32)
    with fast_evaluation(model):
        assert torch.equal(model.train()(images), twin.train()(images))
    assert not [path for path, layer in model.named_modules() if "forward" in vars(layer)]
    with pytest.raises(ValueError, match="stop"):
        fails_inside(model)
    assert not [path for path, layer in model.named_modules() if "forward" in vars(layer)]


def fails_inside(model: nn.Module) -> None:
    with fast_evaluation(model):
        raise ValueError("stop")


def test_layers_that_the_fast_forward_pass_leaves_keep_brevitas_own() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=True),
        qnn.QuantConv2d(3, 4, 3, weight_quant=Int8WeightPerTensorFloat),
        qnn.QuantReLU(),  # whose range follows the activations
        nn.Flatten(),
    )
    images = torch.rand(4, 3, 8, 8)
    model.train()
    for _ in range(3):
        model(images)  # which collects statistics of activations
    left = fast_forward(model)
    assert left
    model.eval()
    check_equal(model, images)


def test_a_run_validates_with_it_and_gets_brevitas_numbers(tiny: Callable[..., Recipe], few_digits: DataSet) -> None:
    recipe = tiny(network="CNV_4W4A")
    model = model_of(recipe)
    trained(model, few_digits.train.images[:20].float() / 255)
    theirs = evaluate(model, few_digits.validation, LOSSES[recipe.loss])
    with fast_evaluation(model):
        ours = evaluate(model, few_digits.validation, LOSSES[recipe.loss])
    assert ours == theirs


def test_logits_do_not_depend_on_the_images_beside() -> None:
    torch.manual_seed(0)
    model = build_model("CNV_2W2A", width=0.25)
    images = torch.rand(120, 3, 32, 32)
    trained(model, images[:20])
    with torch.no_grad(), fast_evaluation(model):
        whole = model(images)
        for size in (50, 100):
            assert torch.equal(torch.cat([model(part) for part in images.split(size)]), whole)
