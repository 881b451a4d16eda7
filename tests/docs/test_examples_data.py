"""The scripts in examples/ that make arrays of published files: on small files of that layout, then trained."""

import csv
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from qtrain.data import DataOptions, load_data

EXAMPLES = Path(__file__).parents[2] / "examples"
RNG = np.random.default_rng(0)


def run(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def refusal(script: str, *words: object) -> str:
    """Return the one line that a script ends in."""
    ended = run(script, *words)
    assert ended.returncode != 0
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    return ended.stderr


def assert_trains(cli: Callable, network: str, data: Path, *words: str) -> None:
    common = ["--epochs", "1", "--lr", "0.01", "--batch-size", "20", "--width", "0.125", "--validation-size", "24"]
    outcome = cli("train", network, "--data", data, "--out", data.parent / "run", *common, *words)
    assert outcome.status == 0, outcome.err


# ---- RadioML 2018.01A


def write_radioml(path: Path, each: int = 5, length: int = 1024) -> np.ndarray:
    """Write X, Y and Z in the published order: modulation by modulation, each at two noise levels."""
    h5py = pytest.importorskip("h5py", reason="RadioML's files need h5py")
    labels = np.arange(24).repeat(2 * each)
    noise = np.tile(np.array([-20, 30]).repeat(each), 24)
    signals = RNG.normal(0, 0.3, (len(labels), length, 2)).astype(np.float32)
    signals[3, 7, 1] = 2.5
    with h5py.File(path, "w") as file:
        file["X"], file["Y"], file["Z"] = signals, np.eye(24, dtype=np.int64)[labels], noise[:, None]
    return signals


@pytest.mark.parametrize("options", [(), ("--float32",)], ids=["bytes", "float32"])
def test_radioml_trains(options: tuple[str, ...], tmp_path: Path, cli: Callable) -> None:
    signals = write_radioml(tmp_path / "radioml.hdf5")
    made = tmp_path / "radioml.npz"
    ended = run("radioml_to_npz.py", tmp_path / "radioml.hdf5", made, *options)
    assert ended.returncode == 0, ended.stderr
    assert "1 of 491520 values lay beyond -2 to 2 and were clipped" in ended.stdout
    arrays = np.load(made)
    assert arrays["x_train"].dtype == (np.float32 if options else np.uint8)
    assert (arrays["x_train"].shape, arrays["x_test"].shape) == ((192, 2, 1024), (48, 2, 1024))
    assert np.bincount(arrays["y_test"]).tolist() == [2] * 24  # one at each noise level
    data = load_data(str(made), protocol="paper", options=DataOptions(value_range=(-2.0, 2.0)))
    assert (data.shape, data.class_names[:2], data.layout) == ((2, 1024, 1), ("OOK", "4ASK"), "NCL")
    pixels = np.rint((signals.clip(-2, 2).transpose(0, 2, 1) + 2) * (255 / 4))
    found = np.concatenate([data.train.images, data.test.images])[..., 0]
    assert sorted(found.sum((1, 2), dtype=np.int64)) == pytest.approx(sorted(pixels.sum((1, 2))), abs=2)
    if options:  # each signal has kept its label
        label_of = {row.tobytes(): i // 10 for i, row in enumerate(signals.clip(-2, 2).transpose(0, 2, 1))}
        for part in ("train", "test"):
            assert [label_of[row.tobytes()] for row in arrays[f"x_{part}"]] == arrays[f"y_{part}"].tolist()
    assert_trains(cli, "VGG10_RADIOML_8W8A", made, "--value-range=-2,2")


def test_signals_of_much_noise_may_be_left_out(tmp_path: Path) -> None:
    write_radioml(tmp_path / "radioml.hdf5", length=16)
    run("radioml_to_npz.py", tmp_path / "radioml.hdf5", tmp_path / "out.npz", "--least-snr", 0)
    assert np.bincount(np.load(tmp_path / "out.npz")["y_train"]).tolist() == [4] * 24


def test_a_file_that_is_not_radiomls_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="RadioML's files need h5py")
    (tmp_path / "a.hdf5").write_bytes(b"nothing")
    assert "is not RadioML 2018.01A" in refusal("radioml_to_npz.py", tmp_path / "a.hdf5", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


# ---- UNSW-NB15

COLUMNS = ["id", "dur", "proto", "spkts", "rate", "attack_cat", "label"]


def write_unsw(folder: Path, **changes: list[str]) -> None:
    """Write both CSV files with a few of the published columns; changes replace a row of the training file."""
    for part, count in (("training", 200), ("testing", 40)):
        rows = []
        for i in range(count):
            attack = i % 2
            rows.append([i + 1, 0.25 * (1 + attack), ("udp", "tcp")[attack], i % 6, 0 if i % 9 else 1e12, "", attack])
        if part == "training" and changes:
            rows[4] = changes["row"]
        with (folder / f"UNSW_NB15_{part}-set.csv").open("w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


def test_unsw_nb15_trains(tmp_path: Path, cli: Callable) -> None:
    write_unsw(tmp_path)
    made = tmp_path / "unsw.npz"
    ended = run("unsw_nb15_to_npz.py", tmp_path, made)
    assert ended.returncode == 0, ended.stderr
    for part in ("46 bits of 4 columns", "column rate: 28 of 240 values are above 2^32 - 1", "has 200 rows"):
        assert part in ended.stdout
    arrays = np.load(made)
    assert arrays["x_train"].shape == (200, 600)
    # dur 0.25, 0.5 in steps of 0.25 in 2 bits; proto udp in 1; spkts in 3; rate in 40, of which 8 are never set
    second = arrays["x_train"][1] // 255
    assert second[:6].tolist() == [1, 0, 0, 0, 0, 1]
    first = arrays["x_train"][0] // 255
    assert first[:6].tolist() == [0, 1, 1, 0, 0, 0]
    assert first[6:46].tolist() == [0] * 8 + [1] * 32
    assert not arrays["x_train"][:, 46:].any()
    assert load_data(str(made), protocol="paper").class_names == ("normal", "attack")
    assert_trains(cli, "MLP_2W2A", made)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (["5", "0.5", "udp"], "training-set.csv is damaged in line 6: 3 values for 7 columns"),
        (["5", "0.5", "udp", "1", "1", "", "2"], "training-set.csv is damaged in line 6: the label is '2'"),
        (["5", "-1", "udp", "1", "1", "", "0"], "column dur holds a negative or infinite value"),
    ],
)
def test_a_damaged_row_of_unsw_nb15_is_one_line(row: list[str], says: str, tmp_path: Path) -> None:
    write_unsw(tmp_path, row=row)
    assert says in refusal("unsw_nb15_to_npz.py", tmp_path, tmp_path / "out.npz")
    (tmp_path / "UNSW_NB15_training-set.csv").unlink()
    assert "UNSW_NB15_training-set.csv cannot be read" in refusal("unsw_nb15_to_npz.py", tmp_path, tmp_path / "o.npz")


# ---- Speech Commands

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "bed", "cat")


def wav(values: np.ndarray, rate: int = 16_000) -> bytes:
    raw = io.BytesIO()
    wavfile.write(raw, rate, values)
    return raw.getvalue()


def speech_files() -> dict[str, bytes]:
    """Return what the archive holds: a word is a tone of its own; six recordings each, one to validate, one to test."""
    found = {"README.md": b"", "validation_list.txt": b"", "testing_list.txt": b""}
    time = np.arange(16_000) / 16_000
    for place, word in enumerate(WORDS):
        for number in range(6):
            tone = np.sin(2 * np.pi * (200 + 150 * place) * time) * (8000 + 1000 * number) + RNG.normal(0, 50, 16_000)
            found[f"{word}/{number}_nohash_0.wav"] = wav(tone[: 16_000 - 300 * number].astype(np.int16))
        found["validation_list.txt"] += f"{word}/4_nohash_0.wav\n".encode()
        found["testing_list.txt"] += f"{word}/5_nohash_0.wav\n".encode()
    found["_background_noise_/hum.wav"] = wav(RNG.normal(0, 300, 160_000).astype(np.int16))
    return found


def write_speech(folder: Path, content: dict[str, bytes]) -> None:
    for name, raw in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)


def test_speech_commands_train(tmp_path: Path, cli: Callable) -> None:
    write_speech(tmp_path / "speech", speech_files())
    with tarfile.open(tmp_path / "speech.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "speech", ".")
    made = [tmp_path / "folder.npz", tmp_path / "archive.npz"]
    for source, out in zip(("speech", "speech.tar.gz"), made, strict=True):
        ended = run("speech_commands_to_npz.py", tmp_path / source, out)
        assert ended.returncode == 0, ended.stderr
    arrays, same = (np.load(path) for path in made)
    assert all(np.array_equal(arrays[name], same[name]) for name in arrays.files)
    assert (arrays["x_train"].shape, arrays["x_val"].shape, arrays["x_test"].shape) == ((48, 490), (12, 490), (12, 490))
    assert np.bincount(arrays["y_train"]).tolist() == [4] * 12
    assert (arrays["x_train"].min(), arrays["x_train"].max()) == (0, 255)
    assert load_data(str(made[0])).class_names[-2:] == ("silence", "unknown")
    common = ["--epochs", "1", "--lr", "0.01", "--batch-size", "12", "--width", "0.125"]
    outcome = cli("train", "MLP_KWS_3W3A", "--data", made[0], "--out", tmp_path / "run", *common)
    assert outcome.status == 0, outcome.err


def test_the_mfccs_of_a_tone_are_those_of_the_definition(tmp_path: Path) -> None:
    code = "import sys, numpy as np; sys.path.insert(0, sys.argv[1]); import speech_commands_to_npz as s\n"
    code += "t = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000); f = s.mfcc(t); print(*f.shape, *f[20])\n"
    ended = subprocess.run([sys.executable, "-c", code, str(EXAMPLES)], capture_output=True, text=True)
    shape, found = ended.stdout.split()[:2], np.array(ended.stdout.split()[2:], float)
    window = np.sin(2 * np.pi * 1000 * np.arange(480) / 16000) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(480) / 480))
    turns = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(480)) / 512)
    spectrum = np.abs(turns @ window)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 4000 / 700), 42)
    mels = 1127 * np.log(1 + np.linspace(0, 8000, 257) / 700)
    bands = np.array([np.interp(mels, edges[i : i + 3], [0, 1, 0]) @ spectrum for i in range(40)])
    angles = np.pi / 40 * np.outer(np.arange(10), np.arange(40) + 0.5)
    expected = np.cos(angles) @ np.log(bands + 1e-6) * 2 / np.sqrt(80)
    assert shape == ["49", "10"]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("testing_list.txt", None, "is not Speech Commands: it must hold"),
        ("testing_list.txt", b"yes/9.wav\n", "lacks yes/9.wav, which a list names"),
        ("yes/0_nohash_0.wav", b"RIFF", "yes/0_nohash_0.wav is no WAV file"),
        (
            "yes/0_nohash_0.wav",
            wav(np.zeros(8000, np.int16), 8000),
            "yes/0_nohash_0.wav must be one channel of 16 bits",
        ),
        ("_background_noise_/hum.wav", wav(np.zeros(32_000, np.int16)), "has 2.0 s; it needs 10 s or more"),
    ],
)
def test_a_damaged_folder_of_speech_commands_is_one_line(
    name: str, raw: bytes | None, says: str, tmp_path: Path
) -> None:
    content = speech_files() | {name: raw}
    write_speech(tmp_path / "speech", {key: value for key, value in content.items() if value is not None})
    assert says in refusal("speech_commands_to_npz.py", tmp_path / "speech", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
