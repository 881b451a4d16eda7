"""board/check_on_board.py as its user runs it, copied elsewhere, against drivers with the interface of FINN's."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.export.folder.board_drivers import write_official, write_plus
from tests.exported_folders import export_cnv

IMAGES = 12
NAMES = [f"digit {number}" for number in range(10)]


@pytest.fixture(scope="module")
def finn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a FINN folder of a network with three channels, whose layout can be mixed up."""
    return export_cnv("CNV_1W1A", tmp_path_factory.mktemp("finn") / "finn", images=IMAGES)


@pytest.fixture
def board(finn: Path, tmp_path: Path) -> Path:
    """Return ``board/`` as it was copied to the board, with class names."""
    copied = Path(shutil.copytree(finn / "board", tmp_path / "home" / "board"))
    (copied / "classes.json").write_text(json.dumps(NAMES))
    return copied


def check(board: Path, *words: object, packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the check on the "board", a process of its own."""
    found = os.pathsep.join(map(str, [Path.cwd(), *([packages] if packages else [])]))
    environment = {**os.environ, "PYTHONPATH": found, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(board / "check_on_board.py"), *map(str, words)]
    return subprocess.run(command, env=environment, cwd=board.parent, capture_output=True, text=True, check=False)


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    """See that the comparison was not made, and that one line says why."""
    assert done.returncode == 2, done.stdout + done.stderr
    line = [line for line in done.stderr.splitlines() if not line.startswith("clock")]
    assert len(line) == 1
    assert line[0].startswith("check_on_board: ")
    for words in says:
        assert words in line[0]


def test_a_board_that_answers_as_the_proof_passes(finn: Path, board: Path) -> None:
    write_official(finn, board.parent / "deploy")
    done = check(board, "--batch", 4)
    assert (done.returncode, done.stderr) == (0, "clock 100.0\n")
    accuracy = json.loads((finn / "manifest.json").read_text())["proof"]["accuracy_graph"]
    assert f"accuracy: {accuracy:.2f} % of {IMAGES} images, proven {accuracy:.2f} %" in done.stdout
    assert f"all {IMAGES} images get the class that the proof has" in done.stdout
    assert re.search(
        r"frames/s through execute\(\), packing and copying included: [\d,]+, in batches of 4\n", done.stdout
    )
    assert re.search(r"frames/s of the accelerator: [\d,]+; folded for 1,000\n", done.stdout)
    assert not list(board.parent.rglob("__pycache__"))


@pytest.mark.slow
def test_the_driver_of_finn_plus_is_driven_too(finn: Path, board: Path, tmp_path: Path) -> None:
    write_plus(finn, board.parent / "deploy", tmp_path / "packages")
    done = check(board, "deploy", packages=tmp_path / "packages")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"all {IMAGES} images" in done.stdout


@pytest.mark.slow
def test_a_batch_that_does_not_divide_the_images_is_filled_up_and_said(finn: Path, board: Path) -> None:
    write_official(finn, board.parent / "deploy")
    done = check(board, "--batch", 5, "--fclk-mhz", 50)
    assert (done.returncode, done.stderr) == (0, "clock 50.0\n")
    assert "12 images are no whole batches of 5: 3 repeated ones fill up the last" in done.stdout


@pytest.mark.slow
def test_an_accelerator_that_wants_flat_images_gets_them(finn: Path, board: Path) -> None:
    write_official(finn, board.parent / "deploy", shape=(1, 32 * 32 * 3))
    assert check(board).returncode == 0


def test_one_wrong_class_is_named_and_is_status_1(finn: Path, board: Path) -> None:
    write_official(finn, board.parent / "deploy", "class")
    done = check(board, "--batch", 4)
    assert done.returncode == 1
    expected = int(np.load(board / "expected.npy")[6])
    wrong = (expected + 1) % 10
    assert done.stderr.splitlines()[-1] == (
        f"check_on_board: image 6 should be {expected} (digit {expected}), but the board says {wrong} (digit {wrong}); "
        f"1 of {IMAGES} images differ"
    )
    assert "accuracy" in done.stdout


@pytest.mark.slow
def test_a_wrong_layout_behind_right_shapes_is_found_by_the_classes(finn: Path, board: Path) -> None:
    write_official(finn, board.parent / "deploy", "layout")
    done = check(board)
    assert done.returncode == 1
    assert re.search(r"check_on_board: image \d+ should be .*; \d+ of 12 images differ", done.stderr)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"shape": (1, 3, 32, 32)}, "takes images of [3, 32, 32], channels first where FINN has them last"),
        ({"shape": (1, 28, 28, 3)}, "takes images of [28, 28, 3], but they are [32, 32, 3] (height, width, channels)"),
        ({"kind": "INT8"}, "takes INT8, but the images are UINT8"),
        ({"gives": (1, 10)}, "gives [1, 10] for an image, where one class belongs"),
        ({"shape": 5}, "io_shape_dict is not one of FINN's"),
    ],
)
def test_shapes_of_another_network_are_refused_before_the_bitfile_is_loaded(
    finn: Path, board: Path, shapes: dict[str, object], says: str
) -> None:
    write_official(finn, board.parent / "deploy", "start", **shapes)
    refused(check(board), says)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("start", "does not start with deploy/bitfile/finn-accel.bit (RuntimeError: no such bitfile)"),
        ("execute", "does not execute images 0 to 11 (AssertionError)"),
    ],
)
def test_a_driver_that_fails_is_one_line(finn: Path, board: Path, fault: str, says: str) -> None:
    write_official(finn, board.parent / "deploy", fault)
    refused(check(board), says)


def test_no_driver_no_bitfile_and_no_pynq_are_one_line_each(finn: Path, board: Path, tmp_path: Path) -> None:
    deploy = board.parent / "deploy"
    refused(check(board, "elsewhere"), "elsewhere has no driver")
    write_official(finn, deploy)
    (deploy / "driver" / "driver_base.py").write_text("from pynq import Overlay\n")
    refused(check(board), "driver.py cannot be imported (ModuleNotFoundError: No module named 'pynq')", "on the board")
    shutil.rmtree(deploy)
    write_official(finn, deploy)
    (deploy / "bitfile" / "finn-accel.bit").unlink()
    refused(check(board), "has 0 bitfiles (.bit, .xclbin) where one belongs; name it with --bitfile")
    shutil.rmtree(deploy)
    write_plus(finn, deploy, tmp_path / "packages")
    refused(check(board), "pip install finn-plus-driver")
    shutil.rmtree(deploy)
    write_plus(finn, deploy, tmp_path / "more", "FINNInstrumentationOverlay")
    refused(check(board, packages=tmp_path / "more"), "Unknown driver type FINNInstrumentationOverlay")


@pytest.mark.parametrize("batch", [0, -1, 13])
def test_a_batch_that_is_none_is_refused(finn: Path, board: Path, batch: int) -> None:
    write_official(finn, board.parent / "deploy")
    refused(check(board, f"--batch={batch}"), f"--batch is {batch}: it must be from 1 to 12")


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "expected.npy", "classes.json", "about.json"])
def test_a_file_that_is_cut_off_or_missing_is_named(finn: Path, board: Path, name: str) -> None:
    write_official(finn, board.parent / "deploy")
    whole = (board / name).read_bytes()
    (board / name).write_bytes(whole[: len(whole) - 3])
    refused(check(board), name, "copy the folder anew")
    (board / name).unlink()
    refused(check(board), name, "copy the folder anew")


def test_arrays_of_another_kind_or_number_are_named(finn: Path, board: Path) -> None:
    write_official(finn, board.parent / "deploy")
    np.save(board / "labels.npy", np.load(board / "labels.npy")[:-1])
    refused(check(board), "12 images, 11 labels and 12 expected classes")
    np.save(board / "images.npy", np.load(board / "images.npy").astype(np.float32))
    refused(check(board), "holds float32 [12, 32, 32, 3] where uint8 of 4 axes belongs")
