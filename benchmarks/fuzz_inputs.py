"""Seeded damage to what qtrain reads beside FINN folders: recipes, runs, sweeps, comparisons, weights, data, code."""

import importlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from benchmarks import fuzz_child
from benchmarks.fuzz_mutations import cut, flip
from benchmarks.fuzz_odd import ODD, ODD_TEXTS, as_node, odd_state, some_entry
from qtrain.data import load_data
from qtrain.errors import UserError
from qtrain.recipe import load_recipe
from qtrain.records.checksum import KEY as CHECKSUM

SECONDS = 20.0
# What commands import, so that no child has to.
_LOADED = ("qtrain.experiments.run", "qtrain.experiments.sweep.run", "qtrain.report.sweep.page", "qtrain.export")
_LOADED += ("qtrain.report.comparison.page", "qtrain.report.comparison.grid", "qtrain.report.comparison.tables")
MIB = 2000
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
# A scalar of a recipe as text, and whether it must be refused; else its value is YAML 1.1's, or the number given.
SCALARS: tuple[tuple[str, str, Any], ...] = (
    *(("seed", text, None) for text in ("010", "0o10", "1:30", "1_000", "0b11", "yes", "08", "2020-01-01", "9" * 5000)),
    *(("lr", text, None) for text in ("1e400", ".nan", "1_0.5", "1:30.5", "1e-400", "no", "'0.1", "!!float 1")),
    *(("augment", text, None) for text in ("yes", "off", "No", "!!python/name:os.system x", "&a true", "*a", "1")),
    ("lr", "1e-3", 0.001),
    ("lr", "5e-1", 0.5),
    ("lr", "+.5", 0.5),
    ("seed", "0x10", 16),
    ("seed", "7 # a comment", 7),
    ("augment", "false", False),
)


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


def make_whole(target: str, place: Path) -> None:
    """Make the whole of a target, in a child: a process that has trained cannot fork one that trains."""
    for name in _LOADED:
        importlib.import_module(name)
    load_data("digits")
    os.chdir(place)
    ended = fuzz_child.in_child(lambda: _MAKERS[target](place), 600, 16_000)
    if ended.status != 0:
        raise RuntimeError(f"{target} cannot be made: {ended.limit or ended.err}")


def damage(target: str, place: Path, random: Random) -> Case:
    """Damage what ``make_whole`` made, or a copy of it."""
    return _DAMAGES[target](place, random)


# --- What there is before it is damaged -------------------------------------------------------------------------------


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


# --- Damage -----------------------------------------------------------------------------------------------------------


def _damage_recipe(place: Path, random: Random) -> Case:
    path = place / "mine.yaml"
    commands = [["train", "--config", "mine.yaml", "--print-config"], ["compare", "--config=mine.yaml", "--help"]]
    way = random.choice(("scalar", "scalar", "scalar", "yaml", "yaml", "bytes", "node"))
    if way == "scalar":
        name, text, value = random.choice(SCALARS)
        values = yaml.safe_load(path.read_text())
        values.pop(name)
        path.write_text(f"{yaml.safe_dump(values)}{name}: {text}\n")

        def check(place: Path) -> str | None:
            found = getattr(load_recipe(place / "mine.yaml"), name)
            return None if found == value else f"{name}: {text} is read as {found!r}"

        return Case(f"{name}: {text[:20]}", commands[:1], value is None, None if value is None else check)
    if way == "node":
        return Case(as_node(path, random), commands)
    if way == "bytes":
        return Case(_damage_text(path, random), commands, check=_reads_as_yaml)
    how = _damage_yaml(path, random)
    return Case(how, commands[:1], _YAML[how][0], check=_reads_as_yaml)


def _reads_as_yaml(place: Path) -> str | None:
    """Compare a recipe that was taken with what PyYAML reads of it."""
    try:
        taken = load_recipe(place / "mine.yaml").to_dict()
    except UserError:
        return None  # --help shows plain defaults then
    for name, value in (yaml.safe_load((place / "mine.yaml").read_text()) or {}).items():
        if isinstance(value, str) and not isinstance(taken[name], str):
            continue  # 1e-3
        if isinstance(value, dict | list):
            continue
        if taken[name] != value:
            return f"{name} is {value!r} to PyYAML and read as {taken[name]!r}"
    return None


def _damage_yaml(path: Path, random: Random) -> str:
    text = path.read_text()
    lines = text.splitlines()
    way = random.choice(tuple(_YAML))
    _, value = _YAML[way]
    if way == "twice":
        line = random.choice(lines)
        lines.insert(random.randrange(len(lines)), line.partition(":")[0] + ": 3")
    else:
        lines.insert(random.randrange(len(lines) + 1), value)
    path.write_text("\n".join(lines), errors="surrogateescape")
    return way


# How a line of YAML is odd, whether it must be refused, and the line.
_YAML: dict[str, tuple[bool, str]] = {
    "twice": (True, ""),
    "cycle": (True, "net_args: &x {z: *x}"),
    "laughs": (True, "net_args: {a: &a [x,x,x], b: &b [*a,*a,*a], c: [*b,*b,*b]}"),
    "merge": (True, "<<: {lr: 3}"),
    "deep": (True, f"net_args: {'[' * 3000}"),
    "deep map": (True, f"net_args: {'{a: ' * 500}"),
    "tag": (True, "net_args: !!python/object/apply:os.system [ls]"),
    "set": (True, "net_args: !!set {a, b}"),
    "tab": (True, "net_args:\n\t a: 1"),
    "key": (True, "? [1, 2]\n: 3"),
    "number as key": (True, "1: 3"),
    "null as key": (True, "~: 3"),
    "document": (True, "---\nlr: 3"),
    "long text": (True, f"bits: {'x' * 50_000}"),
    "escape": (True, 'data: "a\\e[31m\\nb"'),
    "surrogate": (True, 'data: "a\\udcff"'),
    "nul": (True, 'init_from: "a\\0b"'),
    "long path": (False, f"init_from: {'x/' * 3000}"),
    "list": (True, "milestones: [0.5, 010]"),
    "nested": (False, "net_args: {a: [1, {b: 2}]}"),
}


def _damage_text(path: Path, random: Random) -> str:
    data = path.read_bytes()
    way = random.choice(("flip", "flip", "cut", "odd", "utf-16", "bom", "crlf", "cr"))
    if way == "odd":
        name = random.choice(tuple(ODD_TEXTS))
        path.write_bytes(ODD_TEXTS[name])
        return name
    text = data.decode("utf-8", "replace")
    changed = {
        "flip": flip(data, random),
        "cut": cut(data, random),
        "utf-16": text.encode("utf-16"),
        "bom": b"\xef\xbb\xbf" + data,
        "crlf": data.replace(b"\n", b"\r\n"),
        "cr": data.replace(b"\n", b"\r"),
    }
    path.write_bytes(changed[way])
    return way


def _damage_value(values: Any, random: Random) -> str:
    """Change one entry somewhere in nested JSON."""
    way, container, key = some_entry(values, random, deepest=0.3)
    if not way:
        return "nothing"
    if random.random() < 0.2:
        del container[key]
        return f"without {way}"
    name = random.choice(tuple(ODD))
    container[key] = ODD[name]
    return f"{way} is {name}"


def _damage_json(path: Path, random: Random) -> str:
    way = random.choice(("text", "value", "value", "value", "value", "twice", "node"))
    if way == "node":
        return as_node(path, random)
    if way == "text":
        return _damage_text(path, random)
    is_lines = path.suffix == ".jsonl"
    lines = path.read_text().splitlines() if is_lines else [path.read_text()]
    number = random.randrange(len(lines))
    values = json.loads(lines[number])
    if random.random() < 0.8:
        values.pop(CHECKSUM, None)  # as of an earlier qtrain, so that what stands behind it is tried too
    if way == "twice":
        name = random.choice(list(values))
        lines[number] = f"{{{json.dumps(name)}: 3, {lines[number].strip()[1:]}"
        how = f"{name} twice"
    else:
        how = _damage_value(values, random)
        lines[number] = json.dumps(values)
    if is_lines:
        order = random.choice(("", "", "", "line twice", "without a line", "two lines exchanged"))
        other = random.randrange(len(lines))
        if order == "line twice":
            lines.insert(other, lines[number])
        elif order == "without a line":
            del lines[other]
        elif order:
            lines[number], lines[other] = lines[other], lines[number]
        how += f" {order}"
    path.write_text("\n".join(lines) + "\n")
    return how


def _damage_file(path: Path, random: Random) -> str:
    if path.suffix == ".yaml":
        way = random.choice((_damage_yaml, _damage_text, as_node))
        return way(path, random)
    if path.suffix == ".pt":
        return _damage_weights(path, random)
    return _damage_json(path, random) if path.suffix in (".json", ".jsonl") else _damage_text(path, random)


def _damage_weights(path: Path, random: Random) -> str:
    way = random.choice(("flip", "cut", "packed", "node", *(["state"] * 8)))
    if way == "node":
        return as_node(path, random)
    if way == "packed":
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return way
    if way != "state":
        path.write_bytes((flip if way == "flip" else cut)(path.read_bytes(), random))
        return way
    state = torch.load(path, weights_only=True)
    how = odd_state(state, random)
    torch.save(state, path)
    return how


def _damage_run(place: Path, random: Random) -> Case:
    path = place / "run" / random.choice(("recipe.yaml", "records.jsonl", "records.jsonl", "checkpoint.pt", "best.pt"))
    commands = [["runs", "."], ["runs", ".", "--json"]]
    if path.suffix == ".pt" or random.random() < 0.2:
        commands.append(["train", "--resume=run", "--log=none"])
    how = f"{path.name}: {_damage_file(path, random)}"
    if random.random() < 0.1:
        name = os.fsdecode(random.choice((b"a\xff", b"a\x1b[31mb", b"a\nb", "a\u202eb".encode(), b"a b'c")))
        os.rename(place / "run", place / name)
        commands = [[word.replace("run", name) if "=" in word else word for word in words] for words in commands]
        how += f" in {name!r}"
    return Case(how, commands)


def _damage_start(place: Path, random: Random) -> Case:
    how = _damage_weights(place / "run" / "best.pt", random)
    start = random.choice(("run", "run/best.pt"))
    words = ["train", "--config=mine.yaml", "--epochs=1", "--out=other", "--log=none"]
    option = f"--init-from={start}" if random.random() < 0.7 else "--teacher=run"
    return Case(f"{option}: {how}", [[*words, option]])


def _damage_sweep(place: Path, random: Random) -> Case:
    cells = sorted((place / "swp" / "cells").iterdir())
    inside = [random.choice(cells) / name for name in ("cell.json", "records.jsonl", "recipe.yaml", "best.pt")]
    path = random.choice([*inside, *(place / "swp" / name for name in ("sweep.json", "sweep.jsonl", "status.json"))])
    how = f"{path.relative_to(place)}: {_damage_file(path, random)}"
    return Case(how, [["runs", "."], *([["sweep", "--resume=swp"]] if random.random() < 0.3 else [])])


def _damage_comparison(place: Path, random: Random) -> Case:
    files = [*(place / "cmp").glob("*.json"), *(place / "cmp").glob("*/records.jsonl")]
    path = random.choice(sorted(path for path in files if path.name != "status.json"))
    how = f"{path.relative_to(place)}: {_damage_file(path, random)}"
    return Case(how, [["runs", "."], ["report", "cmp"]])


def _damage_arrays(place: Path, random: Random) -> Case:
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
    with np.load(path) as file:
        arrays = dict(file)
    if way == "bomb":
        arrays["x_train"] = np.zeros((40, 1 << 24), np.uint8)
        arrays["x_test"] = np.zeros((40, 1 << 24), np.uint8)
    if way == "more":
        arrays["other"] = np.zeros((40, 1 << 24), np.uint8)
    if way == "array":
        name = random.choice(list(arrays))
        arrays[name] = _odd_array(arrays[name], random)
    write: Callable[..., None] = np.savez if way == "array" else np.savez_compressed
    write(path, **arrays)
    return Case(way, [[*words, "--data=mine.npz"]])


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


def _damage_images(place: Path, random: Random) -> Case:
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


def _damage_code(place: Path, random: Random) -> Case:
    path = place / "mine.py"
    way = random.choice(("text", "node", "deep", "nul", "exit", "long"))
    if way == "text":
        way = _damage_text(path, random)
    elif way == "node":
        way = as_node(path, random)
    else:
        more = {"deep": "(" * 5000, "nul": "\0", "exit": "raise SystemExit(0)", "long": f"x = '{'x' * 10_000_000}'"}
        path.write_text(more[way] + "\n" + CODE)
    return Case(way, [["lint", "mine.py:Net", "--data=digits"]])


_DAMAGES: dict[str, Callable[[Path, Random], Case]] = {
    "recipe": _damage_recipe,
    "run": _damage_run,
    "weights": _damage_start,
    "sweep": _damage_sweep,
    "comparison": _damage_comparison,
    "arrays": _damage_arrays,
    "images": _damage_images,
    "code": _damage_code,
}


def run_case(target: str, whole: Path, place: Path, seed: int, every: bool = True) -> tuple[str, list[Any], list[str]]:
    """Damage a copy of a whole and run commands on it; return how, their statuses, and their faults.

    Args:
        target: one of ``TARGETS``.
        whole: what ``make_whole`` made.
        place: a folder for the copy, which is taken away again.
        seed: of the case.
        every: run every command that reads what is damaged, else one of them.
    """
    folder = Path(shutil.copytree(whole, place / f"{target}-{seed}"))
    random = Random(f"{target} {seed}")
    statuses: list[Any] = []
    faults = []
    try:
        os.chdir(folder)
        case = damage(target, folder, random)
        commands = case.commands if every else [case.commands[seed % len(case.commands)]]
        for words in commands:
            ended = fuzz_child.command(words, SECONDS, MIB)
            statuses.append(ended.status)
            wrong = ended.fault
            if wrong is None and case.refused and ended.status != 2:
                wrong = "taken"
            if wrong is None and case.check is not None and ended.status == 0:
                wrong = case.check(folder)
            if wrong is not None:
                said = (ended.err or ended.out).strip()[-700:]
                faults.append(f"{target} case {seed}, {case.how[:200]}, {' '.join(words)[:200]}: {wrong}: {said}")
    finally:
        os.chdir(place)
        shutil.rmtree(folder)
    return case.how, statuses, faults
