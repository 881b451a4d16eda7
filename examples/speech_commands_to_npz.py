"""Turn Speech Commands into arrays to train with: speech_commands_to_npz.py speech_commands_v0.02.tar.gz kws.npz.

Takes the published archive or the folder that it unpacks to. Twelve classes: ten words, "unknown" for all others, and
"silence", pieces of the background noise at a random volume. Each recording of one second gives 10 MFCCs of each of 49
windows (30 ms every 20 ms, 40 mel bands from 20 to 4000 Hz, logarithm, DCT). Each MFCC is brought to bytes by its least
and greatest value in the training set; values of the other sets beyond these are cut to them and counted. The lists in
the archive say which recordings validate and test. As many unknown words and silences are drawn, always the same, as a
word has recordings on average; the published 12-class sets differ in that, and keep more unknown words.
"""

import argparse
import io
import struct
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.fft import dct
from scipy.io import wavfile

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
CLASSES = (*WORDS, "silence", "unknown")
NOISE = "_background_noise_"
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
SHARES = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}  # of each recording of noise
RATE = 16_000  # samples a second
WINDOW, STEP, FFT = 480, 320, 512  # samples
BANDS, LOWEST, HIGHEST = 40, 20.0, 4000.0  # Hz
COEFFICIENTS = 10


def main() -> None:
    """Read, compute, split and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    features, noises, lists = read_all(options.source)
    part_of = {name: part for part, names in lists.items() for name in names}
    if missing := sorted(set(part_of) - set(features)):
        raise SystemExit(f"{options.source} lacks {missing[0]}, which a list names ({len(missing)} are missing)")
    splits = {}
    for part in ("train", "val", "test"):
        names = [name for name in sorted(features) if part_of.get(name, "train") == part]
        splits[part] = choose(names, features, [piece_of(noise, part) for noise in noises], rng, part)
    training = splits["train"][0].reshape(-1, COEFFICIENTS)
    low = training.min(0)
    high = training.max(0)
    arrays = {"class_names": np.array(CLASSES)}
    for part, (values, labels) in splits.items():
        outside = int(((values < low) | (values > high)).sum())
        if outside:
            print(f"x_{part}: {outside} of {values.size} values beyond the training range of theirs were cut to it")
        scaled = (values.clip(low, high) - low) * (255 / np.maximum(high - low, 1e-9))
        arrays |= {f"x_{part}": np.rint(scaled).astype(np.uint8).reshape(len(values), -1), f"y_{part}": labels}
        print(f"x_{part}: {list(arrays[f'x_{part}'].shape)}")
    with options.out.open("wb") as file:
        np.savez_compressed(file, **arrays)
    print(f"qtrain train MLP_KWS_3W3A --data {options.out}")


def read_all(source: Path) -> tuple[dict[str, np.ndarray], list[np.ndarray], dict[str, list[str]]]:
    """Return the MFCCs by name such as yes/a.wav, the background noises, and the names on both lists."""
    features, noises, lists = {}, [], {}
    for name, raw in files(source):
        folder, _, base = name.rpartition("/")
        if folder == NOISE and base.endswith(".wav"):
            noises.append(samples(raw, name))
        elif folder and base.endswith(".wav"):
            features[name] = mfcc(samples(raw, name))
        for part, list_name in LISTS.items():
            if name == list_name:
                lists[part] = raw.decode().split()
    if not features or not noises or len(lists) < len(LISTS):
        wanted = f"WORD/*.wav, {NOISE}/*.wav, {', '.join(LISTS.values())}"
        raise SystemExit(f"{source} is not Speech Commands: it must hold {wanted}")
    return features, noises, lists


def files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the archive or folder: name inside it, content."""
    try:
        if source.is_dir():
            for path in sorted(path for path in source.rglob("*") if path.is_file()):
                yield path.relative_to(source).as_posix(), path.read_bytes()
            return
        with tarfile.open(source, "r:gz") as archive:
            for entry in archive:
                if entry.isfile():
                    yield entry.name.removeprefix("./"), archive.extractfile(entry).read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise SystemExit(f"{source} cannot be read: {error}") from None


def samples(raw: bytes, name: str) -> np.ndarray:
    """Return a recording as numbers from -1 to 1."""
    try:
        rate, values = wavfile.read(io.BytesIO(raw))
    except (ValueError, EOFError, struct.error) as error:
        raise SystemExit(f"{name} is no WAV file: {error}") from None
    if rate != RATE or values.dtype != np.int16 or values.ndim != 1 or not len(values):
        raise SystemExit(f"{name} must be one channel of 16 bits at {RATE} Hz, but is {values.dtype} at {rate} Hz")
    return values / 32768.0


def mfcc(values: np.ndarray) -> np.ndarray:
    """Return the 10 MFCCs of 49 windows, [49, 10], of a second that is filled up with silence."""
    second = np.zeros(RATE)
    second[: min(RATE, len(values))] = values[:RATE]
    frames = np.lib.stride_tricks.sliding_window_view(second, WINDOW)[::STEP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(WINDOW + 1)[:-1], FFT))
    return dct(np.log(spectrum @ BANK + 1e-6), norm=None)[:, :COEFFICIENTS] / np.sqrt(2 * BANDS)


def bank() -> np.ndarray:
    """Return the triangular mel bands [FFT / 2 + 1, 40]."""

    def mel(hertz):
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    edges = np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2)
    bins = mel(np.linspace(0, RATE / 2, FFT // 2 + 1))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


BANK = bank()


def piece_of(noise: np.ndarray, part: str) -> np.ndarray:
    """Return a split's own part of a recording of noise, so that no second is in two splits."""
    start, end = (int(share * len(noise)) for share in SHARES[part])
    if end - start < RATE:
        raise SystemExit(f"a recording in {NOISE} has {len(noise) / RATE:.1f} s; it needs 10 s or more")
    return noise[start:end]


def choose(names: list[str], features: dict, noises: list, rng: np.random.Generator, part: str) -> tuple:
    """Return the MFCCs [N, 49, 10] and labels of a split: its words, and draws of unknown words and silence."""
    counts = Counter(name.split("/")[0] for name in names)
    lacking = [word for word in WORDS if not counts[word]]
    others = [name for name in names if name.split("/")[0] not in WORDS]
    if lacking or not others:
        raise SystemExit(f"the {part} split has no recording of {', '.join(lacking) or 'any other word'}")
    average = max(1, round(sum(counts[word] for word in WORDS) / len(WORDS)))
    values = [features[name] for name in names if name.split("/")[0] in WORDS]
    labels = [WORDS.index(name.split("/")[0]) for name in names if name.split("/")[0] in WORDS]
    for _ in range(average):
        noise = noises[rng.integers(len(noises))]
        start = rng.integers(len(noise) - RATE + 1)
        values.append(mfcc(noise[start : start + RATE] * rng.random()))
        labels.append(CLASSES.index("silence"))
    for i in rng.permutation(len(others))[:average]:
        values.append(features[others[i]])
        labels.append(CLASSES.index("unknown"))
    return np.stack(values), np.array(labels)


if __name__ == "__main__":
    main()
