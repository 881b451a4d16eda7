"""Turn RadioML 2018.01A into arrays to train with: radioml_to_npz.py GOLD_XYZ_OSC.0001_1024.hdf5 radioml.npz.

Needs h5py (pip install h5py). The file is read twice, a piece at a time. I and Q beyond the range are clipped to it, as
the input quantizer of Xilinx/brevitas-radioml-challenge-21 does at 2, and counted. They are written as the bytes that a
network gets anyway, a quarter of the memory of --float32.
"""

import argparse
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# In the order of the labels, as classes-fixed.json has them.
CLASSES = """OOK 4ASK 8ASK BPSK QPSK 8PSK 16PSK 32PSK 16APSK 32APSK 64APSK 128APSK 16QAM 32QAM 64QAM 128QAM 256QAM
    AM-SSB-WC AM-SSB-SC AM-DSB-WC AM-DSB-SC FM GMSK OQPSK""".split()  # noqa: SIM905 (a list literal fills 24 lines)
AT_ONCE = 4096  # signals in memory


def main() -> None:
    """Open the file and write the arrays."""
    options = parse()
    try:
        import h5py
    except ImportError:
        raise SystemExit("reading .hdf5 files needs h5py: pip install h5py") from None
    try:
        with h5py.File(options.file, "r") as file:
            write(file["X"], np.asarray(file["Y"]), np.asarray(file["Z"]).reshape(-1), options)
    except (OSError, KeyError) as error:
        raise SystemExit(f"{options.file} is not RadioML 2018.01A with its X, Y and Z: {error}") from None


def parse() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=float, default=2.0, help="the range is from minus this to this")
    parser.add_argument("--test-share", type=float, default=0.1, help="of each modulation at each noise level")
    parser.add_argument("--least-snr", type=float, default=-np.inf, help="leave out signals with more noise (dB)")
    parser.add_argument("--float32", action="store_true", help="write numbers; train with --value-range then")
    return parser.parse_args()


def write(signals, one_hot: np.ndarray, noise: np.ndarray, options: argparse.Namespace) -> None:
    """Write the file in one step; ``signals`` [N, 1024, 2] are read in pieces."""
    if len(signals.shape) != 3 or signals.shape[2] != 2 or one_hot.shape != (len(signals), len(CLASSES)):
        shapes = f"X {list(signals.shape)} and Y {list(one_hot.shape)}"
        raise SystemExit(f"{options.file} has {shapes}, but RadioML 2018.01A has X [N, 1024, 2] and Y [N, 24]")
    labels = one_hot.argmax(1)
    kept = noise >= options.least_snr
    test = drawn(labels, noise, options.test_share) & kept
    with tempfile.TemporaryDirectory(dir=options.out.parent) as scratch:
        unfinished = Path(scratch) / options.out.name
        with zipfile.ZipFile(unfinished, "w") as archive:
            clipped = fill(archive, signals, labels, {"train": kept & ~test, "test": test}, options)
        os.replace(unfinished, options.out)
    total = int(kept.sum()) * 2 * signals.shape[1]
    print(f"{clipped} of {total} values lay beyond -{options.limit:g} to {options.limit:g} and were clipped")
    print(f"qtrain train VGG10_RADIOML_8W8A --data {options.out} --value-range=-{options.limit:g},{options.limit:g}")


def fill(archive: zipfile.ZipFile, signals, labels: np.ndarray, splits: dict, options: argparse.Namespace) -> int:
    """Write all arrays; return how many values were clipped."""
    clipped = 0
    for part, chosen in splits.items():
        pieces = Pieces(signals, chosen, options)
        shape = (int(chosen.sum()), 2, signals.shape[1])
        add(archive, f"x_{part}", shape, np.float32 if options.float32 else np.uint8, pieces)
        add(archive, f"y_{part}", shape[:1], np.int64, [labels[chosen]])
        clipped += pieces.clipped
        print(f"x_{part}: {list(shape)}")
    names = np.array(CLASSES)
    add(archive, "class_names", names.shape, names.dtype, [names])
    return clipped


def drawn(labels: np.ndarray, noise: np.ndarray, share: float) -> np.ndarray:
    """Return which signals test: the same share of each modulation at each noise level, always the same ones."""
    rng = np.random.default_rng(0)
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        for level in np.unique(noise):
            group = np.flatnonzero((labels == label) & (noise == level))
            count = max(1, round(share * len(group))) if len(group) > 1 else 0
            test[rng.permutation(group)[:count]] = True
    return test


class Pieces:
    """The chosen signals, a piece at a time, as [n, 2, L] in the range; counts what was clipped."""

    def __init__(self, signals, chosen: np.ndarray, options: argparse.Namespace):
        self.signals, self.chosen, self.options = signals, chosen, options
        self.clipped = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        limit = self.options.limit
        for start in range(0, len(self.chosen), AT_ONCE):
            wanted = self.chosen[start : start + AT_ONCE]
            if not wanted.any():
                continue
            piece = np.asarray(self.signals[start : start + AT_ONCE], np.float32)[wanted].transpose(0, 2, 1)
            if not np.isfinite(piece).all():
                raise SystemExit(f"{self.options.file} holds NaN or infinite values from signal {start} on")
            self.clipped += int((np.abs(piece) > limit).sum())
            piece = piece.clip(-limit, limit)
            yield piece if self.options.float32 else np.rint((piece + limit) * (255 / (2 * limit))).astype(np.uint8)


def add(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], kind, parts) -> None:
    """Write an array to an .npz file without holding it whole."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part).tobytes())


if __name__ == "__main__":
    main()
