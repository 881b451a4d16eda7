"""What there is before it is damaged, and the commands that shall meet it then."""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks import fuzz_child
from qtrain.data import load_data

# What commands import, so that no child has to.
_LOADED = ("qtrain.experiments.run", "qtrain.experiments.sweep.run", "qtrain.report.sweep.page", "qtrain.export")
_LOADED += ("qtrain.report.comparison.page", "qtrain.report.comparison.grid", "qtrain.report.comparison.tables")
NETWORK = "TFC_1W1A"
TINY: dict[str, Any] = {"seed": 0, "data": "digits", "epochs": 2, "batch_size": 20, "width": 0.125}
TINY |= {"train_size": 60, "validation_size": 40}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
CODE = """
from brevitas.nn import QuantLinear
from torch import nn


class Net(nn.Sequential):
    def __init__(self, bits=2, depth: int = 1):
        super().__init__(nn.Flatten(), QuantLinear(3072, 10, bias=False, weight_bit_width=bits))
"""


@dataclass(frozen=True)
class Case:
    """A damaged input and the commands that shall meet it.

    Attributes:
        how: it was damaged.
        commands: each in a process of its own, in the folder of the case.
        refused: whether each must end with status 2.
        check: looks, after a command that ended with 0, for values that are read otherwise than they are written.
    """

    how: str
    commands: Sequence[list[str]]
    refused: bool = False
    check: Callable[[Path], str | None] | None = None


def _main(*words: str) -> None:
    try:
        fuzz_child.main([*words, "--quiet"])
    except SystemExit as ended:
        if ended.code:
            raise


def _make_recipe(place: Path) -> None:
    (place / "mine.yaml").write_text(yaml.safe_dump({"network": NETWORK, **TINY, "lr": 0.1, "augment": True}))


def _make_run(place: Path) -> None:
    _make_recipe(place)
    _main("train", "--config=mine.yaml", "--out=run", "--log=none")
    records = (place / "run" / "records.jsonl").read_text().splitlines(keepends=True)
    (place / "run" / "records.jsonl").write_text("".join(records[:-1]))  # as killed before its result


def _make_sweep(place: Path) -> None:
    _main("sweep", "TFC", "--weight-bits=1,2", *FLAGS, "--optimizer=adam", "--lr=0.02", "--out=swp")


def _make_comparison(place: Path) -> None:
    words = ("--seeds=1", "--schedulers=aslr,cosine", "--tolerance=100", "--undecided=ok", "--out=cmp")
    _main("compare", NETWORK, *FLAGS, "--lr=0.02", *words)


def _make_arrays(place: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"x_{part}": rng.integers(0, 256, (40, 8), np.uint8) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.arange(40) % 4 for part in ("train", "test")}
    np.savez(place / "mine.npz", **arrays)
    (place / "mine").mkdir()
    for name, array in arrays.items():
        np.save(place / "mine" / f"{name}.npy", array)


def _make_images(place: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        folder = place / "pictures" / kind
        folder.mkdir(parents=True)
        for number in range(10):
            picture = Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8))
            picture.save(folder / f"{number}.{('png', 'bmp', 'jpg', 'tif', 'webp')[number % 5]}")


def _make_code(place: Path) -> None:
    (place / "mine.py").write_text(CODE)


_MAKERS: dict[str, Callable[[Path], None]] = {
    "recipe": _make_recipe,
    "run": _make_run,
    "weights": _make_run,
    "sweep": _make_sweep,
    "comparison": _make_comparison,
    "arrays": _make_arrays,
    "images": _make_images,
    "code": _make_code,
}
TARGETS = tuple(_MAKERS)


def make_whole(target: str, place: Path) -> None:
    """Make the whole of a target, in a child: a process that has trained cannot fork one that trains."""
    for name in _LOADED:
        importlib.import_module(name)
    load_data("digits")
    os.chdir(place)
    ended = fuzz_child.in_child(lambda: _MAKERS[target](place), 600, 16_000)
    if ended.status != 0:
        raise RuntimeError(f"{target} cannot be made: {ended.limit or ended.err}")
