"""Networks of installed packages: known by name at any bits, counted and started as ours, and one line where broken."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qtrain.data import load_data
from qtrain.errors import UserError
from qtrain.experiments.model import initial_model
from qtrain.experiments.networks import describe
from qtrain.experiments.run import train_recipe
from qtrain.experiments.sweep.axes import family_of
from qtrain.experiments.targets import lint_target
from qtrain.experiments.zoo import zoo
from qtrain.models import FAMILIES, build_model, check_network
from qtrain.models.warm_start import initialise_from
from qtrain.recipe import Recipe
from qtrain.report.comparison.page import write_report
from qtrain.training.check_model import check_same
from tests.installed_packages import Site
from tests.report.comparison.report_data import write_comparison

SOURCE = """
from torch import nn

from qtrain.models.factory import scaled
from qtrain.models.network import Network
from qtrain.models.zoo import Family


class Small(Network):
    def __init__(self, layers, *, num_classes, in_channels, image_size, width):
        super().__init__()
        channels = scaled(8, width)
        self.input = layers.input()
        self.features = nn.Sequential(
            layers.conv("features.0", in_channels, channels, 3, padding=1, role="first"),
            nn.BatchNorm2d(channels),
            layers.relu("features.2"),
            nn.MaxPool2d(8),
        )
        self.flatten = nn.Flatten()
        self.fc, self.norm = layers.classifier("fc", channels * (image_size // 8) ** 2, num_classes)


"""
ROW = "ROW = Family({}, 'one convolution')\n"
GOOD = SOURCE + ROW.format("Small")


def test_names_of_a_packages_family_are_read_as_ours_and_nothing_is_imported_before(site_packages: Site) -> None:
    site_packages.add("qtrain.networks", "SMALL", GOOD)
    assert FAMILIES.names()[-1] == "SMALL"
    assert family_of("small") == "SMALL"
    assert "qtrain_small" not in sys.modules
    for name, means in (("SMALL_4W4A", "SMALL_4W4A"), ("small-w1a2", "SMALL_1W2A"), ("SMALL_FLOAT", "SMALL_FLOAT")):
        assert str(check_network(name)) == means
        assert build_model(name).name == means
    with pytest.raises(
        UserError, match=r"unknown network 'SMAL_1W1A'; families are TFC, .*, SMALL, .* did you mean SMALL"
    ):
        check_network("SMAL_1W1A")


def test_a_family_that_is_not_installed_is_unknown() -> None:
    with pytest.raises(UserError, match="unknown network 'SMALL_1W1A'"):
        check_network("SMALL_1W1A")


def test_a_packages_network_is_listed_described_and_linted(site_packages: Site) -> None:
    site_packages.add("qtrain.networks", "SMALL", GOOD)
    row = zoo()[-1]
    assert (row["network"], row["about"], row["finn"]) == ("SMALL", "one convolution", "not recorded")
    name, sizes, activations = describe("SMALL_2W3A", bits="first=8")
    assert (name, [layer.path for layer in sizes.layers]) == ("SMALL_2W3A", ["features.0", "fc"])
    assert [layer.weight_bits for layer in sizes.layers] == [8, 2]
    assert activations == {"input": 8, "features.2": 3}
    assert not [finding for finding in lint_target("SMALL_2W2A") if finding.severity == "error"]


def test_a_packages_network_goes_on_from_its_float_twin_and_from_other_bits(
    site_packages: Site, tmp_path: Path
) -> None:
    """Its layers lie under ``features``, as those of bnn_pynq's checkpoints do."""
    site_packages.add("qtrain.networks", "SMALL", GOOD)
    twin, model = build_model("SMALL_FLOAT"), build_model("SMALL_4W4A")
    initialise_from(model, twin.state_dict())
    assert torch.equal(model.features[0].weight, twin.features[0].weight)
    with pytest.raises(UserError, match=r"the weights lack .* of SMALL_4W4A"):
        initialise_from(model, build_model("CNV_4W4A").state_dict())
    recipe = Recipe("SMALL_4W4A", "digits", epochs=1, train_size=100, batch_size=50)
    train_recipe(recipe, tmp_path / "wide")
    started, facts = initial_model(recipe.replace(network="SMALL_2W2A", init_from=str(tmp_path / "wide")))
    assert (started.name, facts and facts["network"]) == ("SMALL_2W2A", "SMALL_4W4A")


def test_another_network_is_refused_under_a_packages_name(site_packages: Site) -> None:
    site_packages.add("qtrain.networks", "SMALL", GOOD)
    data, recipe = load_data("digits"), Recipe("SMALL_2W2A", "digits")
    check_same(build_model("SMALL_2W2A"), recipe, data)
    with pytest.raises(UserError, match="the model is not the recipe's SMALL_2W2A"):
        check_same(build_model("SMALL_4W4A"), recipe, data)


def test_a_family_says_which_forms_it_has(site_packages: Site) -> None:
    site_packages.add("qtrain.networks", "SMALL", SOURCE + "ROW = Family(Small, 'one convolution', float_only=True)\n")
    with pytest.raises(UserError, match="SMALL_1W1A does not exist: SMALL comes in float only"):
        check_network("SMALL_1W1A")


def test_a_name_that_no_bits_can_follow_is_not_used(site_packages: Site) -> None:
    site_packages.add("qtrain.networks", "small", GOOD)
    says = (
        "network small of the package qtrain-small is not used: its name must be capitals, digits and _, as in MY_NET"
    )
    with pytest.warns(UserWarning, match=says):
        assert "small" not in FAMILIES.names()


BROKEN = {
    "import": ("1 / 0", r"cannot be loaded from qtrain_small:ROW \(ZeroDivisionError"),
    "row": ("ROW = 3", "must be a qtrain.models.zoo.Family, but qtrain_small:ROW is of type int"),
    "arguments": (SOURCE + ROW.format("lambda layers: None"), r"failed in build.py, line \d+ \(TypeError: "),
    "code": (
        GOOD.replace("scaled(8, width)", "1 + 'a'"),
        r"failed in qtrain_small.py, line 12 \(TypeError: unsupported",
    ),
    "module": (
        SOURCE + ROW.format("lambda layers, **shape: nn.Linear(1, 1)"),
        "must build a qtrain.models.Network, but built a Linear$",
    ),
}


@pytest.mark.parametrize(("source", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_package_is_one_line_that_names_it(site_packages: Site, source: str, says: str) -> None:
    site_packages.add("qtrain.networks", "SMALL", source)
    with pytest.raises(UserError, match=f"^network SMALL of the package qtrain-small {says}") as error:
        build_model("SMALL_1W1A")
    assert "\n" not in str(error.value)


FORWARD = GOOD.replace(
    "class Small(Network):", "class Small(Network):\n    def logits(self, x):\n        return x.nothing\n"
)


@pytest.mark.parametrize("source", [GOOD.replace("scaled(8, width)", "1 + 'a'"), FORWARD, "1 / 0"])
def test_a_broken_family_leaves_the_list_of_networks_whole(site_packages: Site, source: str) -> None:
    site_packages.add("qtrain.networks", "SMALL", source)
    with pytest.warns(UserWarning, match="^network SMALL of the package qtrain-small "):
        rows = zoo()
    assert [row["network"] for row in rows] == list(FAMILIES.built_in)


def test_a_forward_pass_that_fails_is_one_line(site_packages: Site, tmp_path: Path) -> None:
    site_packages.add("qtrain.networks", "SMALL", FORWARD)
    with pytest.raises(UserError, match=r"network SMALL of the package qtrain-small failed in .*AttributeError"):
        describe("SMALL_2W2A")
    with pytest.raises(UserError, match=r"SMALL_2W2A cannot take the images of digits.*no attribute 'nothing'"):
        train_recipe(Recipe("SMALL_2W2A", "digits", epochs=1), tmp_path / "run")


def test_the_command_line_knows_a_packages_network(site_packages: Site, cli: Callable) -> None:
    site_packages.add("qtrain.networks", "SMALL", GOOD)
    for words in (
        ("train", "SMALL_2W2A"),
        ("compare", "SMALL", "--bits", "1,2"),
        ("sweep", "small", "--weight-bits", "2"),
    ):
        outcome = cli(*words, "--data", "digits", "--print_config")
        assert outcome.status == 0, outcome.err
        assert "SMALL" in outcome.out.upper()
    refused = cli("train", "SMALLER_2W2A", "--print_config")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "did you mean SMALL?" in refused.err


def test_a_report_of_recorded_runs_needs_no_package(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "cmp", ("aslr", "multistep"))
    for path in folder.rglob("*.json*"):
        text = path.read_text().replace("CNV_1W1A", "GONE_1W1A").replace('"digits"', '"vanished"')
        path.write_text(text.replace("ZCU104", "NO_BOARD"))
    page = write_report(folder).read_text(encoding="utf-8")
    assert all(name in page for name in ("GONE_1W1A", "vanished", "NO_BOARD"))
