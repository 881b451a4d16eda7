"""A user's whole way: a module and data of their own, from lint to a proven FINN folder, all by the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qtrain.records.runs import read_records
from tests.own_networks import SHAPES, write_net, write_rows, write_shapes

FEW = ("--epochs", 2, "--lr", 0.01, "--batch-size", 20)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a module and data of one's own."""
    place = tmp_path_factory.mktemp("own")
    write_net(place)
    write_shapes(place / "shapes")
    write_rows(place / "rows.npz")
    return place


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


@pytest.fixture(scope="module")
def killed(home: Path) -> Path:
    """Return the run folder of a training that was killed in its second epoch or later."""
    words = [
        "train",
        "own_net:Net",
        "--bits",
        "4",
        "--data",
        "shapes",
        "--epochs",
        "40",
        "--lr",
        "0.01",
        "--out",
        "run",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "qtrain.cli", *words], cwd=home, env=environment)
    run = home / "run"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (run / "checkpoint.pt").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run / "checkpoint.pt").exists()
    return run


def test_lint_builds_the_network_for_the_data(here: Path, cli: Callable) -> None:
    outcome = cli("lint", "own_net.py:Net", "--bits", "4", "--data", "shapes")
    assert (outcome.status, outcome.out) == (0, "No errors, no warnings: FINN takes every part of this network.\n")


@pytest.mark.slow
def test_a_killed_run_goes_on_is_exported_and_proven(here: Path, cli: Callable, killed: Path) -> None:
    resumed = cli("train", "--resume", "run")
    assert resumed.status == 0, resumed.err
    first, *_, result = read_records(killed)
    assert result["resumed"] == 1
    assert first["data"]["class_names"] == list(SHAPES)
    assert first["data"]["shape"] == [3, 40, 40]
    code = first["code"][0]
    assert (code["what"], code["reference"], code["copy"]) == ("network", "own_net:Net", "source_network.py")
    assert (killed / "source_network.py").read_text() == (here / "own_net.py").read_text()
    exported = cli("export", "run", "--board", "Pynq-Z1")
    assert exported.status == 0, exported.err
    facts = json.loads((killed / "finn" / "manifest.json").read_text())["input"]
    assert facts["class_names"] == list(SHAPES)
    assert facts["digest"] == first["data"]["digest"]
    assert np.load(killed / "finn" / "board" / "images.npy").shape[1:] == (40, 40, 3)
    assert cli("verify", "run/finn").status == 0
    again = cli("verify", "run/finn", "--run", "run")
    assert again.status == 0, again.err


@pytest.mark.slow
def test_reading_verifying_and_estimating_a_folder_executes_nothing_of_it(
    here: Path, cli: Callable, killed: Path, tmp_path: Path
) -> None:
    finn = killed / "finn"
    if not finn.is_dir():  # by the test before, unless this one runs alone
        assert cli("train", "--resume", "run").status == 0
        assert cli("export", "run").status == 0
    trap = "import pathlib\npathlib.Path('executed').touch()\n"
    os.chdir(tmp_path)  # the monkeypatched folder is put back afterwards
    for name in ("own_net.py", "source_network.py"):
        (tmp_path / name).write_text(trap)
    assert cli("verify", finn).status == 0
    assert cli("estimate", finn, "--cost-only").status == 0
    assert not (tmp_path / "executed").exists()


def test_a_changed_source_is_said_in_one_line_and_changed_data_are_refused(
    here: Path, cli: Callable, killed: Path
) -> None:
    code = here / "own_net.py"
    before = code.read_text()
    code.write_text(f"{before}\n# a comment\n")
    outcome = cli("export", "run", "--out", "other")
    assert f"{code} has changed since run began; what was trained is in run/source_network.py\n" in outcome.out
    code.write_text(before)
    extra = here / "shapes" / "train" / "disc" / "extra.png"
    extra.write_bytes((here / "shapes" / "train" / "disc" / "0.png").read_bytes())
    for words in (("train", "--resume", "run"), ("export", "run", "--out", "another")):
        outcome = cli(*words)
        assert outcome.status == 2
        assert "shapes has changed since run was trained on it; put the old data back, or train anew" in outcome.err
    extra.unlink()
    assert not (here / "another").exists()


@pytest.mark.slow
def test_compare_and_sweep_take_it_at_several_bits(here: Path, cli: Callable) -> None:
    compared = cli("compare", "own_net:Net", "--bits", "2,4", "--data", "shapes", *FEW, "--seeds", 1, "--out", "cmp")
    assert compared.status == 0, compared.err
    for network in ("own_net-Net_2W2A", "own_net-Net_4W4A"):
        assert (here / "cmp" / network / "comparison.json").is_file()
    words = ("sweep", "own_net:Net", "--weight-bits", "2,4", "--data", "shapes", *FEW, "--out", "swp")
    swept = cli(*words)
    assert swept.status == 0, swept.err
    rows = [json.loads(line) for line in (here / "swp" / "sweep.jsonl").read_text().splitlines()]
    assert [row["network"] for row in rows] == ["own_net:Net_2W2A", "own_net:Net_4W4A"]
    assert all(row["cost"]["bops"] > 0 for row in rows)
    assert cli("sweep", "--resume", "swp").status == 0


def test_rows_of_an_npz_train_an_own_mlp_to_a_proven_folder(here: Path, cli: Callable) -> None:
    data = ("--data", "rows.npz", "--value-range", "-1,1")
    trained = cli("train", "own_net.py:Rows", "--bits", "4", *data, "--epochs", 20, "--lr", 0.01, "--out", "rows")
    assert trained.status == 0, trained.err
    first, *_, result = read_records(here / "rows")
    assert first["data"]["value_range"] == [-1.0, 1.0]
    assert first["data"]["layout"] == "NF"
    assert result["test_accuracy"] > 80
    exported = cli("export", "rows")
    assert exported.status == 0, exported.err
    facts = json.loads((here / "rows" / "finn" / "manifest.json").read_text())["input"]
    assert (facts["shape"], facts["value_range"]) == ([8, 1, 1], [-1.0, 1.0])


def test_a_run_at_other_bits_starts_from_its_weights(here: Path, cli: Callable) -> None:
    base = cli("train", "own_net:Net", "--bits", "8", "--data", "shapes", *FEW, "--out", "eight")
    assert base.status == 0, base.err
    narrower = cli(
        "train", "own_net:Net", "--bits", "2", "--data", "shapes", *FEW, "--init-from", "eight", "--out", "two"
    )
    assert narrower.status == 0, narrower.err
    assert read_records(here / "two")[0]["start"]["network"] == "own_net:Net_8W8A"


@pytest.mark.slow
def test_the_range_test_takes_it(here: Path, cli: Callable) -> None:
    outcome = cli("lr-range", "own_net:Net", "--bits", "4", "--data", "shapes", "--out", "range.png")
    assert outcome.status == 0, outcome.err
    assert "suggestion: " in outcome.out
    assert (here / "range.png").is_file()


WRONG = '''
import torch
from own_net import Net
from torch import nn


class Five(Net):
    def __init__(self):
        super().__init__(num_classes=7, image_size=40)


class Pair(Net):
    def forward(self, x):
        return super().forward(x), x


class Half(Net):
    def __init__(self, num_classes, image_size):
        super().__init__(num_classes=num_classes, image_size=image_size)
        self.half()


class Restless(Net):
    def forward(self, x):
        return super().forward(x) + torch.rand(1)


class Counts(Net):
    """Every call adds to what it answers, without a random number."""

    def __init__(self, num_classes, image_size):
        super().__init__(num_classes=num_classes, image_size=image_size)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) + self.calls
'''


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nothing_there:Net",), "cannot import nothing_there from "),
        (("broken_net:Net",), "cannot import broken_net from "),
        (("own_net:Nett",), "own_net has no Nett; networks in it: Net, OneWidth, Rows"),
        (("own_net:OneWidth", "--bits", "1w4a"), "has one argument for all bits"),
        (("own_net:OneWidth",), "own_net:OneWidth needs arguments (bits); give them with --net-args"),
        (("own_net:Net", "--bits", "2,4"), "bits of one network are one width"),
        (("own_net:Net", "--net-args", "{wide: 3}"), "has no argument 'wide' of --net-args"),
        (("own_net:Net", "--width", "0.5"), "own_net:Net has no argument width"),
        (("wrong_net:Five",), "returns [2, 7] for 2 images, and the data have 5 classes"),
        (("wrong_net:Pair",), "returns a tuple, and training needs a tensor of logits"),
        (("wrong_net:Half",), "training keeps weights in float32; call model.float()"),
        (("wrong_net:Restless",), "answers otherwise each time that it is called"),
        (("wrong_net:Counts",), "answers otherwise each time that it is called"),
        (("own_net:Net", "--channels", "1", "--net-args", "{in_channels: 3}"), "cannot take the images of shapes"),
        (("CNV_2W2A", "--image-size", "24"), "image_size of CNV_2W2A must be a whole number, 32 pixels or more"),
        (("own_net:Net", "--layout", "NHWC"), "--layout is of arrays"),
    ],
)
def test_what_is_wrong_is_one_line_before_any_training(
    here: Path, cli: Callable, words: tuple[str, ...], says: str
) -> None:
    (here / "wrong_net.py").write_text(WRONG)
    (here / "broken_net.py").write_text("class Net(:\n")
    outcome = cli("train", *words, "--data", "shapes", *FEW, "--out", "wrong")
    assert outcome.status == 2
    assert says in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (here / "wrong").exists()
