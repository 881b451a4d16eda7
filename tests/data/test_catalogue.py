"""The catalogue of data sets: every row is read without torch, and installed packages add theirs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.data import DATASETS, class_names, image_shape, load_data
from qtrain.errors import UserError
from qtrain.experiments.export import export_run, verify_run
from qtrain.experiments.run import train_recipe
from qtrain.recipe import default_recipe, shipped_recipes
from tests.installed_packages import Site

READ = """
from qtrain.data.catalogue import Source


def read(root, download):
    import torch
    from qtrain.data import Split
    images = torch.randint(0, 256, (120, 3, {size}, {size}), generator=torch.Generator().manual_seed(0))
    data = Split(images.to(torch.uint8), torch.arange(120) % 2)
    return data.take(90), data.select(torch.arange(90, 120))


"""
GOOD = READ.format(size=32)


def test_the_catalogue_is_read_without_torch() -> None:
    code = "import sys, qtrain.data; from qtrain.data import DATASETS; from qtrain.recipe import default_recipe; "
    code += "DATASETS.rows(), default_recipe('CNV_1W1A', 'digits'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_package_has_what_it_says_and_nothing_else() -> None:
    from qtrain import data

    assert all(getattr(data, name) is not None for name in data.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        data.nonsense  # noqa: B018


def test_every_built_in_data_set_has_a_recipe_for_any_network() -> None:
    assert {("any", name) for name in DATASETS.built_in} <= set(shipped_recipes())


def test_a_packages_data_set_is_read_and_split_as_ours_are(site_packages: Site) -> None:
    site_packages.add("qtrain.data", "noise", GOOD + "ROW = Source('qtrain_noise:read', ('odd', 'even'))")
    assert "noise" in DATASETS.names()
    assert "qtrain_noise" not in sys.modules
    assert (class_names("noise"), image_shape("noise")) == (("odd", "even"), (3, 32, 32))
    data = load_data("noise", seed=3)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [72, 18, 30]
    assert (data.name, data.classes, data.flip) == ("noise", 2, False)
    assert len(load_data("noise", validation_size=40).validation) == 40
    paper = load_data("noise", protocol="paper")
    assert (len(paper.train), paper.validation is paper.test) == (90, True)


def test_classes_of_a_package_may_depend_on_the_folder(site_packages: Site, tmp_path: Path) -> None:
    names = "def names(root):\n    return tuple(sorted(path.name for path in root.iterdir() if path.is_dir()))\n"
    site_packages.add(
        "qtrain.data", "sorted", GOOD + names + "ROW = Source('qtrain_sorted:read', 'qtrain_sorted:names')"
    )
    for name in ("b", "a"):
        (tmp_path / "data" / name).mkdir(parents=True)
    assert load_data("sorted", root=tmp_path / "data").class_names == ("a", "b")


def test_a_close_name_is_suggested(site_packages: Site) -> None:
    site_packages.add("qtrain.data", "noise", GOOD + "ROW = Source('qtrain_noise:read', ('odd', 'even'))")
    says = r"^unknown data set 'Noises'; choose one of digits, .*, noise, or name .*; did you mean noise\?$"
    for ask in (load_data, class_names, image_shape):
        with pytest.raises(UserError, match=says):
            ask("Noises")


ROW = "ROW = Source('qtrain_odd:{}', {})"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("1 / 0", r"cannot be loaded from qtrain_odd:ROW \(ZeroDivisionError"),
        ("ROW = 3", "must be a qtrain.data.catalogue.Source, but qtrain_odd:ROW is of type int"),
        (GOOD + ROW.format("read", "('one',)"), "cannot be loaded .*class_names must be a tuple of two or more names"),
        (
            GOOD + ROW.format("read", "'names'"),
            "cannot be loaded .*class_names must be a tuple of names, or module:name",
        ),
        (
            GOOD + ROW.format("read", "('a', 'b'), image_size=0"),
            "cannot be loaded .*image_size must be pixels, 1 or mo",
        ),
        (GOOD + ROW.format("read", "('a', 'b'), flip=1"), "cannot be loaded .*flip must be True or False, but got '1'"),
        (
            GOOD + ROW.format("read", "('a', 'b'), validation_size=0"),
            "cannot be loaded .*validation_size must be a who",
        ),
        (GOOD + "ROW = Source(read, ('a', 'b'))", "cannot be loaded .*read must be module:name"),
        (GOOD + ROW.format("gone", "('a', 'b')"), r"cannot be loaded from qtrain_odd:gone \(AttributeError"),
        (
            GOOD + "def bad(root, download):\n    raise KeyError('labels')\n" + ROW.format("bad", "('a', 'b')"),
            r"failed in qtrain_odd.py, line 14 \(KeyError: 'labels'\); mend or uninstall that package",
        ),
        (GOOD + "bad = 3\n" + ROW.format("bad", "('a', 'b')"), r"failed in load.py, .*'int' object is not callable"),
        (
            GOOD + "def bad(root, download):\n    return read(root, download)[0]\n" + ROW.format("bad", "('a', 'b')"),
            ": .*must return two qtrain.data.Split, but returned a Split$",
        ),
        (
            GOOD + ROW.format("read", "('a', 'b'), image_size=28"),
            r": images must be \[3, 28, 28\], as its row says, but qtrain_odd:read returned \[3, 32, 32\]$",
        ),
        (
            GOOD + ROW.format("read", "('a', 'b'), in_files=True"),
            ": in_files is True, but qtrain_odd:read returned a Spl",
        ),
        (
            GOOD.replace("% 2)", "% 3)") + ROW.format("read", "('a', 'b')"),
            ": labels must be from 0 to 1, but qtrain_odd:read has 0 to 2$",
        ),
        (GOOD.replace("uint8", "float32") + ROW.format("read", "('a', 'b')"), r"failed in dataset.py, .*needs uint8"),
        (
            GOOD + "names = 3\n" + ROW.format("read", "'qtrain_odd:names'"),
            ", qtrain_odd:names: class_names must be a tu",
        ),
        (
            GOOD + "def names(root):\n    return root / 'a'\n" + ROW.format("read", "'qtrain_odd:names'"),
            r"failed in qtrain_odd.py, line 14 \(TypeError",
        ),
    ],
)
def test_a_broken_package_is_one_line_that_names_it(site_packages: Site, source: str, says: str) -> None:
    site_packages.add("qtrain.data", "odd", source)
    begin = "^data set odd of the package qtrain-odd" + ("" if says[0] in ":," else " ")
    with pytest.raises(UserError, match=begin + says) as error:
        load_data("odd")
    assert "\n" not in str(error.value)


def test_a_package_brings_a_recipe_for_any_network(site_packages: Site) -> None:
    row = "ROW = Source('qtrain_noise:read', ('odd', 'even'), recipe={'epochs': 3, 'optimizer': 'adam'})"
    site_packages.add("qtrain.data", "noise", GOOD + row)
    recipe = default_recipe("CNV_2W2A", "noise")
    assert (recipe.network, recipe.data, recipe.epochs, recipe.optimizer) == ("CNV_2W2A", "noise", 3, "adam")


@pytest.mark.filterwarnings("error")
def test_a_data_set_without_a_recipe_says_that_the_plain_defaults_are_taken(site_packages: Site) -> None:
    site_packages.add("qtrain.data", "noise", GOOD + "ROW = Source('qtrain_noise:read', ('odd', 'even'))")
    says = "^data set noise of the package qtrain-noise brings no recipe, .* 100 epochs, sgd and lr 0.1; --print-config"
    with pytest.warns(UserWarning, match=says):
        assert default_recipe("CNV_2W2A", "noise").epochs == 100
    default_recipe("CNV_1W1A", "noise")  # once is enough


@pytest.mark.parametrize(
    ("recipe", "says"), [("{'epoch': 3}", "has no field epoch"), ("{'epochs': 0}", "epochs must be a whole number")]
)
def test_a_packages_wrong_recipe_is_one_line_that_names_it(site_packages: Site, recipe: str, says: str) -> None:
    site_packages.add(
        "qtrain.data", "noise", GOOD + f"ROW = Source('qtrain_noise:read', ('odd', 'even'), recipe={recipe})"
    )
    with pytest.raises(UserError, match=f"^recipe of the data set noise of the package qtrain-noise:? ?{says}"):
        default_recipe("CNV_2W2A", "noise")


def test_a_run_on_a_packages_data_set_is_exported_and_proven(site_packages: Site, tmp_path: Path) -> None:
    row = "ROW = Source('qtrain_noise:read', ('odd', 'even'), image_size=28, recipe={'epochs': 1, 'batch_size': 30})"
    site_packages.add("qtrain.data", "noise", READ.format(size=28) + row)
    recipe = default_recipe("TFC_2W2A", "noise").replace(width=0.25, augment=False)
    train_recipe(recipe, tmp_path / "run")
    proof = export_run(tmp_path / "run", tmp_path / "finn", board="ZCU104", target_fps=1000, clock_ns=10.0)
    assert proof.images == 30
    verify_run(tmp_path / "finn", tmp_path / "run")


def test_compare_and_sweep_take_a_packages_data_set(site_packages: Site, cli: Callable) -> None:
    row = "ROW = Source('qtrain_noise:read', ('odd', 'even'), recipe={'epochs': 7})"
    site_packages.add("qtrain.data", "noise", GOOD + row)
    for words in (("train", "CNV_2W2A"), ("compare", "CNV_2W2A"), ("sweep", "CNV", "--weight-bits", "2")):
        outcome = cli(*words, "--data", "noise", "--print_config")
        assert (outcome.status, "epochs: 7" in outcome.out) == (0, True), outcome.err
