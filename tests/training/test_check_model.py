"""What cannot be trained, or is not what its recipe says, is refused with one line before anything is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import Int8ActPerTensorFloat
from torch import Tensor, nn

from qtrain.data import DataSet, Split
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward
from qtrain.models.same import first_difference
from qtrain.recipe import Recipe
from qtrain.training import train
from qtrain.training.check_model import check_labels, check_model


class Net(nn.Module):
    """A user's module; what is wrong with it is an argument."""

    def __init__(self, outputs: int = 10, channels: int = 3, answer: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.conv, self.norm = qnn.QuantConv2d(channels, 4, 3, stride=8, weight_bit_width=4), nn.BatchNorm2d(4)
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(64, outputs)
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.fc(self.drop(self.norm(self.conv(x)).flatten(1))))


class QuantOut(Net):
    def __init__(self) -> None:
        super().__init__()
        self.fc = qnn.QuantLinear(64, 10, bias=False, input_quant=Int8ActPerTensorFloat, return_quant_tensor=True)


class InTraining(Net):
    """Gives its logits twice while it trains, as networks with a second head do."""

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


def frozen() -> nn.Module:
    return Net().requires_grad_(False)


def with_nan() -> nn.Module:
    net = Net()
    net.conv.weight.data[0, 0, 0, 0] = torch.nan
    return net


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Net(5), r"Net returns \[2, 5\] for 2 images, and the data have 10 classes: \[2, 10\] is needed"),
        (lambda: Net(100), r"returns \[2, 100\] for 2 images"),
        (QuantOut, r"QuantOut returns a \w*QuantTensor, and training needs a tensor of logits; return its value"),
        (lambda: Net(answer=lambda x: (x, x)), "Net returns a tuple, .*; return the logits alone"),
        (lambda: Net(answer=lambda x: {"logits": x}), "Net returns a dict"),
        (InTraining, "InTraining returns a tuple"),
        (lambda: Net(answer=lambda x: x[:1]), r"returns \[1, 10\] for 2 images"),
        (lambda: Net(answer=lambda x: x.argmax(1)), r"returns \[2\] for 2 images"),
        (lambda: Net(answer=lambda x: x.half()), "returns logits in float16; return them in float32"),
        (lambda: Net(answer=lambda x: x / 0), "NaN or infinite logits before it is trained"),
        (lambda: Net(channels=1), r"Net cannot take the images of digits, float \[2, 3, 32, 32\]: "),
        (lambda: Net().half(), "Net has conv.weight in float16, and training keeps weights in float32"),
        (with_nan, "conv.weight of Net holds NaN or infinite weights"),
        (frozen, "Net has no parameters to train"),
    ],
)
def test_a_module_that_cannot_be_trained_is_refused(
    make: Callable[[], nn.Module], says: str, tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    with pytest.raises(UserError, match=says) as refused:
        train(make(), tiny(network="mine"), tmp_path / "run", data=few_digits)
    assert "\n" not in str(refused.value)
    assert not any(tmp_path.iterdir())


def test_looking_at_a_module_leaves_it_and_the_random_numbers_as_they_are(few_digits: DataSet) -> None:
    net = Net().train()
    net.drop.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(5)
    drawn = torch.get_rng_state()
    check_model(net, few_digits)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert not net.drop.training


@pytest.mark.parametrize("wrong", [-1, 10])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_labels_that_are_no_classes_are_refused(few_digits: DataSet, split: str, wrong: int) -> None:
    old = getattr(few_digits, split)
    labels = old.labels.clone()
    labels[3] = wrong
    data = replace(few_digits, **{split: Split(old.images, labels)})
    with pytest.raises(UserError, match=rf"labels of digits's {split} split go from .* class numbers from 0 to 9"):
        check_labels(data)
    check_labels(few_digits)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": "CNV_4W4A"}, r"bit_width's value is 4.0 instead of 2.0"),
        ({"width": 0.25}, "width is 0.25 instead of 0.125"),
        ({"scaling": "learned"}, "scaling_impl"),
        ({"bits": "first=8"}, "conv1.*bit_width's value is 8.0 instead of 2.0"),
        ({"input_bits": 4}, "input.*bit_width's value is 4.0 instead of 8.0"),
        ({"network": "CNV_FLOAT"}, "it has no "),
        ({"network": "VGG11_2W2A"}, "it has no "),
    ],
)
def test_a_network_that_is_not_the_recipes_is_refused(
    changes: dict[str, Any], says: str, tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(network="CNV_2W2A")
    with pytest.raises(UserError, match=f"the model is not the recipe's CNV_2W2A at width 0.125: .*{says}"):
        train(build_model(recipe.replace(**changes)), recipe, tmp_path / "run", data=few_digits)
    assert not any(tmp_path.iterdir())


def test_a_module_of_ones_own_needs_a_name_of_its_own(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    with pytest.raises(UserError, match="give a network of your own another name in the recipe, such as my_net"):
        train(Net(), tiny(), tmp_path / "run", data=few_digits)
    train(Net(), tiny(network="my_net"), tmp_path / "run", data=few_digits)


def test_networks_built_alike_do_not_differ_however_they_were_trained(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(network="CNV_2W2A", scaling="learned")
    trained = build_model(recipe)
    trained(torch.rand(4, 3, 32, 32)).sum().backward()
    fast_forward(trained)
    assert first_difference(trained.eval(), build_model(recipe.replace(seed=9))) is None
    trained.conv2.stride = (2, 2)
    assert first_difference(trained, build_model(recipe)) == "conv2's stride is [2, 2] instead of [1, 1]"


def test_a_recipe_is_built_as_it_says(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(network="VGG11_4W4A", data="cifar100", bits="first=8", input_bits=7, per_channel=True, seed=4)
    torch.manual_seed(1)
    drawn = torch.get_rng_state()
    model = build_model(recipe)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 100)
    torch.manual_seed(4)
    twin = build_model(
        "VGG11_4W4A", num_classes=100, width=0.125, bits="first=8", input_bits=7, per_channel=True, image_size=32
    )
    assert first_difference(model, twin) is None
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), model_of(recipe).parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 0.5}, r"the recipe says the width; change it there, with recipe.replace\(width=...\)"),
        ({"scaling": "learned"}, "the recipe says the scaling"),
    ],
)
def test_a_recipe_and_options_of_its_own_are_not_mixed(
    options: dict[str, Any], says: str, tiny: Callable[..., Recipe]
) -> None:
    with pytest.raises(UserError, match=says):
        build_model(tiny(), **options)


def test_weights_to_start_from_are_not_left_out_in_silence(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(init_from="runs/before")
    with pytest.raises(UserError, match="build_model reads no weights, and the recipe starts from runs/before"):
        build_model(recipe)
    with pytest.raises(UserError, match="the recipe starts from runs/before, but train reads no weights"):
        train(model_of(recipe), recipe, tmp_path / "run", data=few_digits)
    assert not any(tmp_path.iterdir())


def test_train_uses_the_fast_forward_pass_and_gives_the_layers_back(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    seen: set[str] = set()
    model = build_model(tiny())
    model.conv1.register_forward_hook(lambda layer, _x, _y: seen.add(type(layer).__name__) if layer.training else None)
    train(model, tiny(), tmp_path / "run", data=few_digits)
    assert seen == {"FastConv2d"}
    assert type(model.conv1) is qnn.QuantConv2d
