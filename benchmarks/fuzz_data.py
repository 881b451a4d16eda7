"""Seeded damage to people's own data: arrays, and folders of images."""

import io
import os
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from benchmarks.fuzz_mutations import cut, flip
from benchmarks.fuzz_odd import as_node
from benchmarks.fuzz_wholes import NETWORK, Case


def damage_arrays(place: Path, random: Random) -> Case:
    words = ["train", NETWORK, "--epochs=1", "--width=0.125", "--batch-size=8", "--out=other", "--log=none"]
    if random.random() < 0.5:
        path = place / "mine" / f"{random.choice('xy')}_{random.choice(('train', 'test'))}.npy"
        return Case(f"{path.name}: {_damage_array(path, random)}", [[*words, "--data=mine"]])
    path = place / "mine.npz"
    way = random.choice(("flip", "cut", "node", "array", "array", "bomb", "packed", "more"))
    if way == "node":
        return Case(as_node(path, random), [[*words, "--data=mine.npz"]])
    if way in ("flip", "cut"):
        path.write_bytes((flip if way == "flip" else cut)(path.read_bytes(), random))
        return Case(way, [[*words, "--data=mine.npz"]])
    if way == "array":
        with np.load(path) as file:
            arrays = dict(file)
        name = random.choice(list(arrays))
        arrays[name] = _odd_array(arrays[name], random)
        np.savez(path, **arrays)
    else:
        path.write_bytes(_compressed(way, path.read_bytes()))
    return Case(way, [[*words, "--data=mine.npz"]])


@cache
def _compressed(way: str, whole: bytes) -> bytes:
    """Return a whole file compressed, with more in it than memory should take; making that takes seconds."""
    with np.load(io.BytesIO(whole)) as file:
        arrays = dict(file)
    names = {"bomb": ("x_train", "x_test"), "more": ("other",)}.get(way, ())
    arrays |= {name: np.zeros((40, 1 << 24), np.uint8) for name in names}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    return packed.getvalue()


def _odd_array(values: np.ndarray, random: Random) -> np.ndarray:
    return random.choice(
        (
            values[:0],
            values[:3],
            values.astype(np.float64),
            np.full(values.shape, np.nan),
            values.astype(object),
            values.astype("U4"),
            np.full(values.shape, 2**62),
            values.astype(np.complex64),
            values[..., None, None, None, None],
            np.zeros((), np.uint8),
            np.zeros(values.shape, [("a", "i4")]),
            np.zeros((*values.shape, 0), np.uint8),
            -values.astype(np.int64),
            values.astype(np.uint64) + np.uint64(2**63),
            values.astype(bool),
            np.zeros(values.shape, "datetime64[s]"),
        )
    )


def _damage_array(path: Path, random: Random) -> str:
    way = random.choice(("flip", "cut", "node", "array", "array", "declared", "deep", "archive"))
    data = path.read_bytes()
    if way == "node":
        return as_node(path, random)
    if way == "array":
        np.save(path, _odd_array(np.load(path), random))
    elif way == "declared":
        path.write_bytes(data.replace(b"(40,", b"(%d," % random.choice((41, 10**12, 2**62, 0)), 1))
    elif way == "deep":
        path.write_bytes(data[:10] + b"(" * (len(data) - 10))
    elif way == "archive":
        np.savez(path.with_suffix(".npz"), a=1)
        os.replace(path.with_suffix(".npz"), path)
    else:
        path.write_bytes((flip if way == "flip" else cut)(data, random))
    return way


def damage_images(place: Path, random: Random) -> Case:
    files = sorted((place / "pictures").rglob("*.*"))
    path = random.choice(files)
    way = random.choice(("flip", "flip", "cut", "node", "bomb", "loop", "mode", "other", "frames", "name"))
    if way in ("flip", "cut"):
        path.write_bytes((flip if way == "flip" else cut)(path.read_bytes(), random))
    elif way == "node":
        way = as_node(path, random)
    elif way == "bomb":
        Image.new("1", (random.choice((9_500, 13_000, 20_000)),) * 2).save(path.with_suffix(".png"))
    elif way == "loop":
        for name in ("one", "two"):
            (path.parent / name).symlink_to(random.choice((".", "..", "../../pictures")))
    elif way == "mode":
        mode = random.choice(("1", "P", "RGBA", "I;16", "LA", "F", "CMYK"))
        path.unlink()
        Image.new(mode, (32, 32)).save(path.with_suffix(".tif"))
    elif way == "other":
        path.write_bytes(
            random.choice((b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"GIF89a" + b"\0" * 99, b""))
        )
    elif way == "frames":
        frames = [Image.new("L", (32, 32), number) for number in range(3)]
        frames[0].save(path.with_suffix(".tif"), save_all=True, append_images=frames[1:])
    else:
        path.rename(path.with_name(os.fsdecode(b"\xff\x1b[31m\n") + path.suffix))
    words = ["train", NETWORK, "--epochs=1", "--width=0.125", "--batch-size=4", "--data=pictures", "--log=none"]
    return Case(f"{path.name}: {way}", [[*words, "--out=other"]])
