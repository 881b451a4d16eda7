"""Fixtures that several test files share.

The process that hands the tests out to workers loads this file too, and the workers wait for it: what brings torch is
imported by the fixtures that need it.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import settings

from qtrain.errors import UserError

if TYPE_CHECKING:
    from qtrain.data import DataSet
    from qtrain.recipe import Recipe
    from qtrain.report.comparison.read import ComparisonData
    from tests.installed_packages import Site

pytest.register_assert_rewrite("tests.checks")
settings.register_profile("untimed", deadline=None)  # a machine with other work is no fault
settings.load_profile("untimed")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count what runs the FINN compiler among the slow tests: a build takes half a minute."""
    for item in items:
        if "finn_plus" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Let Python look for garbage among what the tests make alone, and not each time among all modules that are loaded.

    They are half a million objects. A test that makes thousands, as every network of Brevitas is, had them gone through
    again and again.
    """
    gc.freeze()
    gc.set_threshold(10_000)


def absent(what: str, how: str) -> NoReturn:
    """Skip a test whose data or compiler a user need not have; where QTRAIN_MUST_RUN names it, as CI does, fail."""
    if what in os.environ.get("QTRAIN_MUST_RUN", "").split():
        pytest.fail(f"QTRAIN_MUST_RUN asks for {what}, but it is not here: {how}")
    pytest.skip(f"needs {what}: {how}")


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a folder that packages which extend qtrain can be installed in."""
    from tests.installed_packages import Site

    return Site(tmp_path / "site-packages", monkeypatch)


@pytest.fixture(scope="session")
def cifar_root() -> Path:
    """Return the folder with the real CIFAR files, which may not be shipped."""
    root = os.environ.get("QTRAIN_DATA")
    if not root:
        absent("cifar", "set QTRAIN_DATA to the folder of the real files")
    return Path(root)


@pytest.fixture(scope="session")
def finn_plus() -> str:
    """Return the interpreter of the real FINN compiler, an extra of its own."""
    from qtrain.export.compiler.start import find_compiler

    python = find_compiler()
    if python is None:
        absent("finn-plus", "make finn")
    return python


@pytest.fixture(scope="session")
def finn_base() -> str:
    """Return the interpreter that has finn-base, in an environment of its own."""
    from qtrain.export.proof.finn_base import find_finn_base

    try:
        return find_finn_base()
    except UserError:
        absent("finn-base", "make finn-base")


@pytest.fixture(scope="session")
def triton() -> None:
    """See that Triton is here, which interprets and compiles kernels without a GPU."""
    if importlib.util.find_spec("triton") is None:
        absent("triton", "make triton")


@pytest.fixture(scope="module")
def interpreted(triton: None) -> Iterator[None]:
    """Let the kernels of the house be Python that computes on the CPU."""
    from tests.kernels import kernel_modules

    with kernel_modules(interpreted=True):
        yield


@pytest.fixture(scope="module")
def compiled(triton: None) -> Iterator[dict[str, ModuleType]]:
    """Return the modules of kernels as a GPU gets them."""
    from tests.kernels import kernel_modules

    with kernel_modules(interpreted=False) as modules:
        yield modules


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Recipe]:
    """Return a function that makes the smallest recipe that still trains: 60 digits, 3 steps an epoch."""
    from qtrain.recipe import Recipe

    def make(**changes: object) -> Recipe:
        values: dict = {"network": "CNV_1W1A", "data": "digits", "epochs": 2, "batch_size": 20, "width": 0.125}
        values |= {"train_size": 60, "validation_size": 40, "optimizer": "adam", "lr": 0.02}
        return Recipe(**values | changes)

    return make


@pytest.fixture(scope="session")
def few_digits() -> DataSet:
    """Return 80 real digits to train with, 40 to validate and 50 to test with."""
    from qtrain.data import DataSet, load_data

    data = load_data("digits", validation_size=40)
    return DataSet(**{**vars(data), "train": data.train.take(80), "test": data.test.take(50)})


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs one qtrain command in this process."""
    from qtrain.cli import main

    def run(*words: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return a function that says how many QONNX graphs Brevitas has exported in this test."""
    import brevitas.export  # here: it brings torch's compiler, a second that few tests need

    made: list[None] = []
    export = brevitas.export.export_qonnx

    def counted(*args: object, **options: object) -> object:
        made.append(None)
        return export(*args, **options)

    monkeypatch.setattr(brevitas.export, "export_qonnx", counted)
    return lambda: len(made)


@pytest.fixture(scope="session")
def proven(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe], few_digits: DataSet) -> Path:
    """Return a FINN folder of a finished run, proven on 20 test images."""
    from qtrain.experiments.run import load_run, train_recipe
    from qtrain.export import export_finn

    place = tmp_path_factory.mktemp("proven")
    train_recipe(tiny(), place / "run")
    test = few_digits.test.take(20)
    export_finn(load_run(place / "run")[1], place / "finn", pixels=test.images, labels=test.labels)
    return place / "finn"


@pytest.fixture
def finn(proven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder to damage; it is ./finn."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(proven, tmp_path / "finn"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a small comparison."""
    from tests.report.comparison.report_data import write_comparison

    return write_comparison(tmp_path / "cmp")


@pytest.fixture
def data(folder: Path) -> ComparisonData:
    """Return what is read of it."""
    from qtrain.report.comparison.read import read_comparison

    return read_comparison(folder)
