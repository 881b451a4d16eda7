"""Compares a bitfile of FINN, on its board, with the proof: every test image must get the class that torch gives it.

Copy this folder and FINN's ``output/deploy`` to the board and run, in PYNQ's Python::

    python3 board/check_on_board.py deploy

It drives the driver that FINN made: ``driver.py`` of official FINN, or the package ``finn-plus-driver`` with the
``settings.json`` of FINN+. Of other packages it needs NumPy alone.

Exit status 0 where all classes are the expected ones, 1 where one is not (the first is named), 2 where the comparison
cannot be made, with one line that says why. ``QTRAIN_DEBUG=1`` shows the error behind that line.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
BATCH = 100
REPEATS = 10  # of a batch, to time the accelerator alone


class Problem(Exception):
    """Why no comparison can be made, in one line that says what to do."""


class TestSet:
    """What lies beside this file: images uint8 [N, H, W, C], labels and expected classes int64 [N], and their names."""

    def __init__(self, folder: Path) -> None:
        self.images = read_array(folder / "images.npy", "uint8", 4)
        self.labels = read_array(folder / "labels.npy", "int64", 1)
        self.expected = read_array(folder / "expected.npy", "int64", 1)
        self.names = read_json(folder / "classes.json", list)
        self.about = read_json(folder / "about.json", dict)
        if not len(self.images) == len(self.labels) == len(self.expected) > 0:
            raise Problem(
                f"{folder} has {len(self.images)} images, {len(self.labels)} labels and {len(self.expected)} expected "
                "classes, which must be as many; copy the folder anew"
            )

    def name(self, number: int) -> str:
        """Return a class as its number with its name, where it has one."""
        return f"{number} ({self.names[number]})" if 0 <= number < len(self.names) else str(number)


def read_array(path: Path, kind: str, axes: int) -> np.ndarray:
    """Read an array of numbers that must be of a type and have so many axes."""
    try:
        array = np.load(str(path), allow_pickle=False)
    except Exception as error:  # missing, cut off, or no array at all
        raise Problem(f"{path} cannot be read ({line(error)}); copy the folder anew") from error
    if array.dtype != kind or array.ndim != axes:
        raise Problem(
            f"{path} holds {array.dtype} {list(array.shape)} where {kind} of {axes} axes belongs; copy it anew"
        )
    return array


def read_json(path: Path, kind: type) -> Any:
    """Read a JSON file that must hold a list or an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"{path} cannot be read ({line(error)}); copy the folder anew") from error
    if not isinstance(value, kind):
        raise Problem(f"{path} holds a {type(value).__name__} where a {kind.__name__} belongs; copy the folder anew")
    return value


def line(error: BaseException) -> str:
    """Return an error's kind and the first line of what it says."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def find_driver(deploy: Path) -> Path:
    """Return the folder of the driver within FINN's deployment package."""
    for folder in (deploy / "driver", deploy):
        if (folder / "driver.py").is_file() or (folder / "settings.json").is_file():
            return folder
    raise Problem(
        f"{deploy} has no driver (driver/driver.py of official FINN, driver/settings.json of FINN+); name the folder "
        "output/deploy of a build that made a bitfile"
    )


def find_bitfile(deploy: Path) -> Path:
    """Return the one bitfile of FINN's deployment package."""
    found = [path for kind in ("bit", "xclbin") for path in sorted(deploy.glob(f"**/*.{kind}"))]
    if len(found) != 1:
        raise Problem(f"{deploy} has {len(found)} bitfiles (.bit, .xclbin) where one belongs; name it with --bitfile")
    return found[0]


def official_driver(folder: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Import ``driver.py``; return its overlay class, the shapes, and what else the class is to be given."""
    sys.path.insert(0, str(folder))  # driver.py imports what lies beside it
    specification: Any = importlib.util.spec_from_file_location("driver", str(folder / "driver.py"))
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        return module.FINNExampleOverlay, module.io_shape_dict, {}
    except Exception as error:  # without PYNQ, ImportError; whatever else a driver may raise
        raise Problem(
            f"{folder / 'driver.py'} cannot be imported ({line(error)}); run this on the board, in PYNQ's Python "
            "(as root, its environment activated)"
        ) from error


def plus_driver(folder: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return the same of FINN+: the class from its package, the rest from ``settings.json``."""
    settings = read_json(folder / "settings.json", dict).get("driver_information")
    if not isinstance(settings, dict) or not isinstance(settings.get("io_shape_dict"), dict):
        raise Problem(
            f"{folder / 'settings.json'} describes no driver with inputs and outputs; build it with FINN's DMAs"
        )
    try:
        overlay = importlib.import_module("finn_plus_driver").get_driver_class(settings["driver_type"])
    except Exception as error:
        raise Problem(
            f"the driver of FINN+ cannot be imported ({line(error)}); on the board: pip install finn-plus-driver, and "
            "run this in PYNQ's Python"
        ) from error
    return overlay, settings["io_shape_dict"], {**settings, "mlo_weight_dir": str(folder / "mlo_weights")}


def check_shapes(shapes: dict[str, Any], image: tuple[int, ...]) -> tuple[int, ...]:
    """See that the accelerator takes these images; return the shape of one as its driver wants it.

    Args:
        shapes: the driver's ``io_shape_dict``.
        image: height, width, channels.
    """
    try:
        inputs, outputs = len(shapes["ishape_normal"]), len(shapes["oshape_normal"])
        taken, given = tuple(shapes["ishape_normal"][0]), tuple(shapes["oshape_normal"][0])
        kind = str(getattr(shapes["idt"][0], "name", shapes["idt"][0]))
    except (KeyError, IndexError, TypeError) as error:
        raise Problem(
            f"the driver's io_shape_dict is not one of FINN's ({line(error)}); make the driver anew"
        ) from error
    if (inputs, outputs) != (1, 1):
        raise Problem(f"the driver has {inputs} inputs and {outputs} outputs; a network of qtrain has one of each")
    if kind not in ("UINT8", "DataType['UINT8']", 'DataType["UINT8"]'):
        raise Problem(f"the driver takes {kind}, but the images are UINT8: the bitfile is of another network")
    flat = (int(np.prod(image)),)
    if taken[1:] not in (image, flat):
        height, width, channels = image
        swapped = ", channels first where FINN has them last" if taken[1:] == (channels, height, width) else ""
        raise Problem(
            f"the driver takes images of {list(taken[1:])}{swapped}, but they are {list(image)} (height, width, "
            "channels): the bitfile is of another network or the driver was changed"
        )
    if int(np.prod(given)) != 1:
        raise Problem(
            f"the driver gives {list(given)} for an image, where one class belongs: the last layer (TopK) is not in "
            "the bitfile"
        )
    return taken[1:]


def start(options: argparse.Namespace, tests: TestSet, batch: int) -> tuple[Any, tuple[int, ...]]:
    """Load the bitfile; return the driver, for whole batches, and the shape of an image as it wants it."""
    folder = find_driver(options.deploy)
    official = (folder / "driver.py").is_file()
    overlay, shapes, settings = official_driver(folder) if official else plus_driver(folder)
    shape = check_shapes(shapes, tests.images.shape[1:])
    bitfile = options.bitfile or find_bitfile(options.deploy)
    settings.setdefault("platform", "alveo" if bitfile.suffix == ".xclbin" else "zynq-iodma")
    settings.setdefault("fclk_mhz", tests.about.get("fclk_mhz", 100.0))
    if options.fclk_mhz is not None:
        settings["fclk_mhz"] = options.fclk_mhz
    settings["io_shape_dict"] = shapes
    settings["runtime_weight_dir"] = f"{folder / 'runtime_weights'}/"
    try:
        return overlay(str(bitfile), batch_size=batch, **settings), shape
    except Exception as error:
        raise Problem(f"the driver does not start with {bitfile} ({line(error)})") from error


def run(driver: Any, tests: TestSet, batch: int, shape: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """Classify all images; return the classes found, and images a second through ``execute``, packing included."""
    count = len(tests.images)
    found = np.empty(count, np.int64)
    seconds = 0.0
    executed = 0
    for first in range(0, count, batch):
        images = tests.images[first : first + batch]
        missing = batch - len(images)
        if missing:  # hardware runs whole batches: the last image again and again, its answers are dropped
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        begin = time.perf_counter()
        try:
            output = driver.execute(np.ascontiguousarray(images.reshape((batch, *shape))))
        except Exception as error:
            raise Problem(
                f"the driver does not execute images {first} to {first + batch - 1} ({line(error)})"
            ) from error
        seconds += time.perf_counter() - begin
        executed += batch
        classes = np.asarray(output).reshape(-1)
        if len(classes) != batch:
            raise Problem(f"the driver gives {len(classes)} classes for {batch} images; make it anew")
        found[first : first + batch] = classes[: batch - missing]
    return found, executed / seconds


def accelerator_rate(driver: Any, batch: int) -> float | None:
    """Return images a second of the accelerator alone, on what lies in its buffers; None where that cannot be timed."""
    if not hasattr(driver, "execute_on_buffers"):
        return None
    begin = time.perf_counter()
    for _ in range(REPEATS):
        driver.execute_on_buffers()
    return REPEATS * batch / (time.perf_counter() - begin)


def report(tests: TestSet, found: np.ndarray, through: float, alone: float | None, batch: int) -> bool:
    """Print what was found; return whether every class is the expected one."""
    count = len(found)
    different = np.flatnonzero(found != tests.expected)
    accuracy = 100 * float((found == tests.labels).mean())
    proven = tests.about.get("accuracy")
    print(f"accuracy: {accuracy:.2f} % of {count} images" + (f", proven {proven:.2f} %" if proven is not None else ""))
    print(f"frames/s through execute(), packing and copying included: {through:,.0f}, in batches of {batch}")
    if alone is not None:
        estimate = tests.about.get("estimated_fps")
        estimated = "" if estimate is None else f", FINN's estimate is {estimate:,.0f}"
        print(f"frames/s of the accelerator: {alone:,.0f}; folded for {tests.about.get('target_fps'):,}{estimated}")
    if not len(different):
        print(f"all {count} images get the class that the proof has")
        return True
    first = int(different[0])
    print(
        f"check_on_board: image {first} should be {tests.name(int(tests.expected[first]))}, but the board says "
        f"{tests.name(int(found[first]))}; {len(different)} of {count} images differ",
        file=sys.stderr,
    )
    return False


def batch_of(asked: int | None, count: int) -> int:
    """Return the images a batch, and say where the last one is filled up."""
    batch = min(BATCH, count) if asked is None else asked
    if not 1 <= batch <= count:
        raise Problem(f"--batch is {batch}: it must be from 1 to {count}, the number of images")
    if count % batch:
        print(f"{count} images are no whole batches of {batch}: {batch - count % batch} repeated ones fill up the last")
    return batch


def read_words() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Compare a bitfile of FINN with the proof, image by image, on the board."
    )
    parser.add_argument(
        "deploy", nargs="?", type=Path, default=Path("deploy"), help="FINN's output/deploy; default deploy"
    )
    parser.add_argument("--bitfile", type=Path, help="default the one in deploy")
    parser.add_argument("--batch", type=int, help=f"images a call; default {BATCH}")
    parser.add_argument("--fclk-mhz", type=float, help="clock to set on a Zynq; default what was built for")
    return parser.parse_args()


def main() -> int:
    """Compare; return the exit status."""
    options = read_words()
    try:
        tests = TestSet(HERE)
        batch = batch_of(options.batch, len(tests.images))
        driver, shape = start(options, tests, batch)
        found, through = run(driver, tests, batch, shape)
        alone = accelerator_rate(driver, batch)
    except Problem as problem:
        if os.environ.get("QTRAIN_DEBUG"):
            raise
        print(f"check_on_board: {problem}", file=sys.stderr)
        return 2
    return 0 if report(tests, found, through, alone, batch) else 1


if __name__ == "__main__":
    raise SystemExit(main())
