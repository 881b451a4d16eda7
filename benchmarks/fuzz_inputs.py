"""Seeded damage to what qtrain reads beside FINN folders: recipes, runs, sweeps, comparisons, weights, data, code."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml

from benchmarks import fuzz_child
from benchmarks.fuzz_data import damage_arrays, damage_images
from benchmarks.fuzz_mutations import cut, flip
from benchmarks.fuzz_odd import ODD, ODD_TEXTS, as_node, odd_state, some_entry
from benchmarks.fuzz_wholes import CODE, Case
from qtrain.errors import UserError
from qtrain.recipe import load_recipe
from qtrain.records.checksum import KEY as CHECKSUM

SECONDS = 20.0
MIB = 2000
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


def damage(target: str, place: Path, random: Random) -> Case:
    """Damage what ``fuzz_wholes.make_whole`` made, or a copy of it."""
    return _DAMAGES[target](place, random)


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
    "arrays": damage_arrays,
    "images": damage_images,
    "code": _damage_code,
}


def run_case(target: str, whole: Path, place: Path, seed: int, every: bool = True) -> tuple[str, list[Any], list[str]]:
    """Damage a copy of a whole and run commands on it; return how, their statuses, and their faults.

    Args:
        target: one of ``TARGETS``.
        whole: what ``fuzz_wholes.make_whole`` made.
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
