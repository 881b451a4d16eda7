"""Shapes of images, signals and rows: which networks take which, and what is said of the others."""

import re
from typing import Any

import pytest
import torch

from qtrain.errors import UserError
from qtrain.experiments.networks import describe
from qtrain.experiments.targets import lint_target
from qtrain.models import FAMILIES, build_model
from qtrain.models.shapes import height_and_width
from tests.installed_packages import Site

SHAPES = {
    "TFC": (3, 28, 28),
    "CNV": (3, 32, 32),
    "RESNET50": (3, 224, 224),
    "MOBILENETV1": (3, 224, 224),
    "VGG10_RADIOML": (2, 1024, 1),
    "MLP": (600, 1, 1),
    "MLP_KWS": (490, 1, 1),
}
CLASSES = {"CNV": 10, "RESNET50": 1000, "MOBILENETV1": 1000, "VGG10_RADIOML": 24, "MLP": 2, "MLP_KWS": 12}


@pytest.mark.parametrize("family", SHAPES)
def test_a_family_knows_the_shape_of_its_usual_images(family: str) -> None:
    assert FAMILIES.get(family).shape == SHAPES[family]


@pytest.mark.parametrize("family", CLASSES)
def test_a_family_knows_the_classes_of_its_usual_data(family: str) -> None:
    assert FAMILIES.get(family).classes == CLASSES[family]


def test_one_number_is_height_and_width() -> None:
    assert height_and_width(28) == (28, 28)
    assert height_and_width((10, 49)) == (10, 49)


@pytest.mark.parametrize("family", ["VGG10_RADIOML", "MLP", "MLP_KWS", "CNV", "TFC"])
def test_without_more_words_a_network_takes_its_familys_images(family: str) -> None:
    model = build_model(f"{family}_2W2A", width=0.125)
    assert model(torch.rand(2, *SHAPES.get(family, (3, 32, 32)))).shape == (2, 10)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("MLP_KWS_4W4A", (1, 10, 49)),
        ("MLP_4W4A", (593, 1, 1)),
        ("VGG10_RADIOML_4W4A", (2, 256, 1)),
        ("VGG10_RADIOML_4W4A", (1, 128, 3)),
        ("CNV_2W2A", (3, 48, 48)),
        ("CNV_2W2A", (1, 33, 33)),
        ("MOBILENETV1_2W2A", (3, 32, 32)),
    ],
)
def test_other_shapes_are_computed_right(network: str, shape: tuple[int, int, int]) -> None:
    model = build_model(network, width=0.125, num_classes=43, in_channels=shape[0], image_size=shape[1:])
    assert model(torch.rand(2, *shape)).shape == (2, 43)


@pytest.mark.parametrize("size", [(32, 32), [32, 32], 32])
def test_a_square_is_a_square_however_it_is_written(size: Any) -> None:
    torch.manual_seed(0)
    model = build_model("CNV_1W1A", width=0.125, image_size=size)
    torch.manual_seed(0)
    assert torch.equal(model.fc1.weight, build_model("CNV_1W1A", width=0.125).fc1.weight)


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        ("CNV_1W1A", (32, 64), "CNV_1W1A takes square images, but got image_size 32x64; give it square ones"),
        ("CNV_1W1A", (31, 64), "CNV_1W1A takes square images, but got image_size 31x64"),
        ("CNV_1W1A", (31, 31), "image_size of CNV_1W1A must be a whole number, 32 pixels or more, but got (31, 31)"),
        ("CNV_1W1A", (32, 32, 32), "image_size of CNV_1W1A must be a whole number, 32 pixels or more"),
        ("CNV_1W1A", "32x32", "image_size of CNV_1W1A must be a whole number, 32 pixels or more, but got '32x32'"),
        ("MLP_1W1A", (0, 1), "image_size of MLP_1W1A must be a whole number or (height, width), 1 pixels or more"),
        ("MLP_1W1A", (1.0, 1), "image_size of MLP_1W1A must be a whole number or (height, width)"),
        ("MLP_1W1A", (True, 1), "image_size of MLP_1W1A must be a whole number or (height, width)"),
        ("VGG10_RADIOML_1W1A", (64, 1), "(height, width), 128x1 pixels or more, but got (64, 1)"),
        ("VGG10_RADIOML_1W1A", 32, "(height, width), 128x1 pixels or more, but got 32"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_one_line(network: str, size: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        build_model(network, image_size=size)
    assert "\n" not in str(error.value)


RECTANGULAR = """
from torch import nn

from qtrain.models.network import Network
from qtrain.models.zoo import Family


class Wide(Network):
    def __init__(self, layers, *, num_classes, in_channels, image_size, width):
        super().__init__()
        height, columns = image_size
        self.flatten = nn.Flatten()
        self.input = layers.input()
        self.fc, self.norm = layers.classifier("fc", in_channels * height * columns, num_classes)


ROW = Family(Wide, "one layer", image_size=(4, 6), in_channels=1, rectangular=True)
"""


def test_a_packages_family_may_be_rectangular(site_packages: Site) -> None:
    site_packages.add("qtrain.networks", "WIDE", RECTANGULAR)
    assert build_model("WIDE_4W4A")(torch.rand(2, 1, 4, 6)).shape == (2, 10)
    assert build_model("WIDE_4W4A", image_size=5).fc.in_features == 25
    assert describe("WIDE_4W4A")[1].macs == 240
    assert not [finding for finding in lint_target("WIDE_4W4A") if finding.severity == "error"]


def test_a_described_network_has_the_shape_that_it_is_built_for() -> None:
    _, sizes, _ = describe("VGG10_RADIOML_4W4A")
    assert sizes.layers[0].output == (64, 1024, 1)
    _, sizes, _ = describe("MLP_KWS_4W4A", in_channels=1, image_size=(10, 49))
    assert sizes.layers[0].weights == 490 * 256
