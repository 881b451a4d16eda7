"""``qtrain quantize``: a float residual network of one's own, trained here, at any bits to a proven FINN folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.cli import main
from qtrain.records.runs import read_records
from tests.own_networks import write_shapes

FLOAT = '''
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        identity = self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class SmallResNet(nn.Module):
    """As torchvision writes them, for images of 40 x 40 pixels."""

    def __init__(self, num_classes=10, width=1.0):
        super().__init__()
        channels = max(8, int(8 * width))
        self.conv1 = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = Block(channels, 16, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        x = self.layer1(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class Smooth(SmallResNet):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.relu = nn.SiLU()
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data, the float network's code, and a run of it."""
    place = tmp_path_factory.mktemp("quantize")
    (place / "float_net.py").write_text(FLOAT)
    write_shapes(place / "shapes", count=40)
    words = "train float_net.py:SmallResNet --data shapes --epochs 25 --lr 0.01 --out float"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        with pytest.raises(SystemExit, match=r"^0$"):
            main(words.split())
    return place


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


def accuracies(out: str) -> dict[str, float]:
    """Return what the command measured, by what it measured."""
    line = next(line for line in out.splitlines() if line.startswith("validation accuracy before training: "))
    parts = [part.rsplit(" ", 2) for part in line.partition(": ")[2].split(", ")]
    return {name: float(value) for name, value, _ in parts}


@pytest.mark.slow
def test_a_run_becomes_code_with_weights_that_train_at_any_bits(here: Path, cli: Callable) -> None:
    made = cli("quantize", "float", "--bits", "4", "--out", "q.py")
    assert made.status == 0, made.err
    found = accuracies(made.out)
    assert list(found) == ["float", "8 bits", "4 bits"]
    assert found["float"] > 60
    assert found["8 bits"] > found["float"] - 1
    assert "layer1.sum: one signed quantizer on what is added" in made.out
    assert "q.py: go on with qtrain train q.py:SmallResNet_4W4A --data shapes --init-from q.pt" in made.out
    assert cli("lint", "q.py:SmallResNet", "--bits", "4", "--data", "shapes").status == 0
    train = ("train", "q.py:SmallResNet", "--data", "shapes", "--epochs", 1, "--lr", 0.001)
    trained = cli(*train, "--bits", "4", "--init-from", "q.pt", "--out", "four")
    assert trained.status == 0, trained.err
    assert read_records(here / "four")[-1]["validation_accuracy"] > found["4 bits"] - 15
    mixed = cli(*train, "--bits", "2,first=8", "--init-from", "four", "--out", "mixed")
    assert mixed.status == 0, mixed.err
    exported = cli("export", "four")
    assert exported.status == 0, exported.err


@pytest.mark.slow
def test_a_run_folder_is_exported_at_once_and_trained_from(here: Path, cli: Callable) -> None:
    made = cli("quantize", "float", "--out", "eight")
    assert made.status == 0, made.err
    first, result = read_records(here / "eight")
    assert first["state"] == "quantized, not trained"
    assert result["validation_accuracy"] == pytest.approx(accuracies(made.out)["8 bits"], abs=0.01)
    exported = cli("export", "eight")
    assert exported.status == 0, exported.err
    manifest = json.loads((here / "eight" / "finn" / "manifest.json").read_text())
    assert manifest["proof"]["accuracy_graph"] == pytest.approx(result["test_accuracy"], abs=0.01)
    assert manifest["network"] == "eight/network.py:SmallResNet_8W8A"
    again = cli("verify", "eight/finn", "--run", "eight")
    assert again.status == 0, again.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("float_net.py:Smooth", "--data", "shapes"), "SiLU"),
        (("CNV_FLOAT", "--data", "shapes"), "CNV_FLOAT is qtrain's own, which exists at all bits already"),
        (("float_net.py:SmallResNet",), "name the data that the network was trained on, with --data"),
        (("float", "--bits", "2,4"), "bits must be one width, such as 4 or 1W4A, but got '2,4'"),
        (("float", "--bits", "first=8"), "bits must be one width, such as 4 or 1W4A, but got 'first=8'"),
        (("float", "--mean", "grey"), "mean must be a number, or one a channel such as 0.5,0.4,0.4, but got 'grey'"),
        (("float", "--std", "0.2,0.2"), "std"),
        (("float", "--scaling", "constant"), "constant scales cannot be calibrated"),
        (("float", "--out", "float"), "float holds a run already"),
        (("float", "--out", "float_net.py"), "float_net.py exists already and nothing is overwritten"),
        (("float_net.py:SmallResNet", "--data", "shapes", "--init-from", "nothing.pt"), "nothing.pt does not exist"),
    ],
)
def test_what_is_wrong_is_one_line(here: Path, cli: Callable, words: tuple[str, ...], says: str) -> None:
    out = () if "--out" in words else ("--out", "wrong.py")
    outcome = cli("quantize", *words, *out)
    assert outcome.status == 2
    assert says in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (here / "wrong.py").exists()
