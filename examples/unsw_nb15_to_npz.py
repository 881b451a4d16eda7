"""Turn UNSW-NB15 into arrays to train with: unsw_nb15_to_npz.py FOLDER unsw.npz, of the folder with both CSV files.

The rows are encoded as Xilinx/finn's cybersecurity example does (dataloader_quantized.py), over both files together:
texts become their place in the sorted list of all texts; a column whose smallest positive value is below 1 is divided
by it; values are rounded, cut at 2^32 - 1 (counted and said), and written in as many bits as the largest needs, the
highest bit first. The published files give 593 bits, which FINN's build pads to 600. A 1 is the byte 255. FINN
overwrites 14 values of the column "rate" by hand, to agree with the program that it comes from; that is not done here.
"""

import argparse
import csv
import math
from pathlib import Path

import numpy as np

FILES = {"train": "UNSW_NB15_training-set.csv", "test": "UNSW_NB15_testing-set.csv"}
DROPPED = ("id", "attack_cat", "label")
PADDED = 600
LARGEST = 2**32 - 1
ROWS = {"train": 175_341, "test": 82_332}


def main() -> None:
    """Read both files, encode their columns and write the arrays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    tables = {part: read(options.folder / name) for part, name in FILES.items()}
    names, train = tables["train"]
    if tables["test"][0] != names:
        raise SystemExit(f"{options.folder}: {FILES['train']} and {FILES['test']} have other columns")
    rows = train + tables["test"][1]
    columns = [encode(name, [row[i] for row in rows]) for i, name in enumerate(names) if name not in DROPPED]
    bits = np.concatenate(columns, axis=1)
    print(f"{bits.shape[1]} bits of {len(columns)} columns")
    for part, (_, found) in tables.items():
        if len(found) != ROWS[part]:
            print(f"{FILES[part]} has {len(found)} rows, the published one {ROWS[part]} (some copies swap the names)")
    pixels = np.zeros((len(rows), max(PADDED, bits.shape[1])), np.uint8)
    pixels[:, : bits.shape[1]] = bits * np.uint8(255)
    where = names.index("label")
    labels = np.array([int(row[where]) for row in rows])
    arrays = {}
    for part, rows_of in (("train", slice(len(train))), ("test", slice(len(train), None))):
        arrays |= {f"x_{part}": pixels[rows_of], f"y_{part}": labels[rows_of]}
        print(f"x_{part}: {list(pixels[rows_of].shape)}")
    with options.out.open("wb") as file:
        np.savez_compressed(file, **arrays, class_names=np.array(["normal", "attack"]))
    print(f"qtrain train MLP_2W2A --data {options.out}")


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns and the rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            names, *rows = csv.reader(file)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read: {error}") from None
    if "label" not in names or not rows:
        raise SystemExit(f"{path} is not UNSW-NB15's: it has no column label, or no rows")
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise SystemExit(f"{path} is damaged in line {number}: {len(row)} values for {len(names)} columns")
        if row[names.index("label")] not in ("0", "1"):
            raise SystemExit(f"{path} is damaged in line {number}: the label is {row[names.index('label')]!r}")
    return names, rows


def encode(name: str, texts: list[str]) -> np.ndarray:
    """Return a column as bits [N, B], the highest first."""
    values = numbers(texts)
    if not np.isfinite(values).all() or (values < 0).any():
        raise SystemExit(f"column {name} holds a negative or infinite value or NaN, which has no bits; take it out")
    positive = values[values > 0]
    if len(positive) and positive.min() < 1:
        values = values * (1.0 / positive.min())
    count = max(1, math.ceil(math.log2(float(values.max()) + 1.0)))
    beyond = int((values > LARGEST).sum())
    if beyond:
        print(f"column {name}: {beyond} of {len(values)} values are above 2^32 - 1 in its steps and were cut to it")
    whole = np.floor(values.clip(0, LARGEST) + 0.5).clip(0, LARGEST).astype(np.uint64)
    places = np.arange(min(count, 32) - 1, -1, -1, dtype=np.uint64)
    bits = ((whole[:, None] >> places) & np.uint64(1)).astype(np.uint8)
    return np.pad(bits, ((0, 0), (count - len(places), 0)))


def numbers(texts: list[str]) -> np.ndarray:
    """Return a column's numbers; of texts, their places in the sorted list of all."""
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        places = {text: place for place, text in enumerate(sorted(set(texts)))}
        return np.array([float(places[text]) for text in texts])


if __name__ == "__main__":
    main()
