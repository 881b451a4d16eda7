"""Damaged inputs of every reader through the commands: each must end in one line, without a traceback (make fuzz).

A record of what came of each kind of input goes to results/fuzz.jsonl. A case is its kind and seed: --what, --first and
--cases 1 repeat it.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks import fuzz_inputs, fuzz_wholes
from benchmarks.fuzz_mutations import damage_array, damage_graph, damage_manifest
from qtrain.cli import main
from qtrain.data import load_data
from qtrain.export import export_finn
from qtrain.models import build_model
from qtrain.records.files import write_json

HERE = Path.cwd()
FOLDERS = "finn"
KINDS = (*fuzz_wholes.TARGETS, FOLDERS)  # folders last: what runs there is threads, which no fork takes along
RESULTS = Path(__file__).parents[1] / "results" / "fuzz.jsonl"
ARRAYS = ("input.npy", "expected_output.npy", "proof/images.npy", "proof/expected.npz", "proof/beyond.npz")
STATUSES = (0, 1, 2, 3)
_EXECUTES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")


@dataclass
class Watch:
    """What Python itself did while commands ran: programs started, files opened for writing outside a folder."""

    inside: Path | None = None
    seen: list[str] | None = None

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Note an event of Python's audit hooks."""
        if self.inside is None or self.seen is None:
            return
        if event in _EXECUTES:
            self.seen.append(f"{event} {args[0]}")
        elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
            place = Path(str(args[0])).resolve()
            if not place.is_relative_to(self.inside) and not place.is_relative_to(tempfile.gettempdir()):
                self.seen.append(f"writes {place}")


WATCH = Watch()


@contextlib.contextmanager
def watched(inside: Path) -> Iterator[list[str]]:
    """Yield the list of what is executed or written outside ``inside`` meanwhile."""
    seen: list[str] = []
    WATCH.inside = inside.resolve()
    WATCH.seen = seen
    try:
        yield seen
    finally:
        WATCH.inside = None


def small_folder(out: Path) -> Path:
    """Export a small network, proven on four digits."""
    data = load_data("digits")
    torch.manual_seed(0)
    model = build_model("TFC_2W2A")
    images = data.test.images[:4, :, 2:30, 2:30]
    model(data.train.images[:64, :, 2:30, 2:30].float() / 255)
    export_finn(model, out, pixels=images, labels=data.test.labels[:4], board="Pynq-Z1")
    return out


def damage(folder: Path, seed: int) -> tuple[str, list[list[str]]]:
    """Damage a copy of the folder; return what was done and the commands that shall meet it."""
    random = Random(seed)
    graph = str(folder / "model.onnx")
    whole = [["verify", str(folder)], ["estimate", str(folder), "--cost-only"]]
    kind = random.choice(("graph", "graph", "graph", "graph", "array", "manifest"))
    if kind == "graph":
        how = damage_graph(folder / "model.onnx", random)
        forge(folder)
        return f"graph: {how}", [["lint", graph], ["estimate", graph, "--cost-only"], *whole[:1]]
    if kind == "array":
        name = random.choice(ARRAYS)
        how = damage_array(folder / name, random)
        forge(folder)
        return f"{name}: {how}", whole[:1]
    return f"manifest: {damage_manifest(folder / 'manifest.json', random)}", whole


def forge(folder: Path) -> None:
    """Make the manifest agree with the files, so that the checksums do not end the case."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    write_json(folder / "manifest.json", manifest)


def run(words: list[str]) -> tuple[int | None, str]:
    """Run a command here; its status, None where it ended in a traceback, and its standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as ended:
            return int(ended.code or 0), err.getvalue()
        except BaseException:
            return None, traceback.format_exc()
    return None, "ended without a status"


def fault(status: int | None, said: str) -> str | None:
    """What is wrong with how a command ended, None where nothing is."""
    if status is None or "Traceback" in said:
        return "traceback"
    if status not in STATUSES:
        return f"status {status}"
    lines = [line for line in said.splitlines() if line.startswith("qtrain: ")]
    if status >= 2 and len(lines) != 1:
        return f"{len(lines)} lines"
    return None


def run_case(whole: Path, seed: int, every: bool = True) -> tuple[str, list[int | None], list[str]]:
    """Damage a copy of ``whole`` and run commands on it; return how, their statuses, and their faults.

    Args:
        whole: a FINN folder.
        seed: of the case.
        every: run every command that reads what is damaged, else one of them.
    """
    faults = []
    statuses = []
    with tempfile.TemporaryDirectory(prefix="qtrain-fuzz-") as place:
        folder = Path(shutil.copytree(whole, Path(place) / "finn"))
        how, commands = damage(folder, seed)
        if not every:
            commands = [commands[seed % len(commands)]]
        before = {path for path in Path(place).rglob("*")}
        with watched(Path(place)) as seen:
            for words in commands:
                status, said = run(words)
                statuses.append(status)
                if wrong := fault(status, said):
                    faults.append(f"case {seed}, {how}, {words[0]}: {wrong}: {said.strip()[-600:]}")
        faults += [f"case {seed}, {how}: {what}" for what in seen]
        left = {path for path in Path(place).rglob("*")} - before
        faults += [f"case {seed}, {how}: left {path}" for path in sorted(left)]
    return how, statuses, faults


def fuzz(what: str, cases: int, first: int, max_minutes: float, out: Path = RESULTS) -> int:
    """Run cases of one kind, append their record, and return how many faults there were."""
    started = time.monotonic()
    counts: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    faults: list[str] = []
    done = 0
    with tempfile.TemporaryDirectory(prefix="qtrain-fuzz-whole-") as place:
        whole = Path(place) / "whole"
        work = Path(place) / "work"
        work.mkdir()
        if what == FOLDERS:
            small_folder(whole)
        else:
            whole.mkdir()
            fuzz_wholes.make_whole(what, whole)
        for seed in range(first, first + cases):
            if time.monotonic() - started > 60 * max_minutes:
                break
            if what == FOLDERS:
                how, statuses, wrong = run_case(whole, seed)
            else:
                how, statuses, wrong = fuzz_inputs.run_case(what, whole, work, seed)
            done += 1
            ways[how.partition(":")[0]] += 1
            counts.update(str(status) for status in statuses)
            faults += wrong
            for line in wrong:
                print(line, flush=True)
    minutes = round((time.monotonic() - started) / 60, 1)
    os.chdir(HERE)
    record = {
        "what": what,
        "first": first,
        "cases": done,
        "commands": counts.total(),
        "statuses": counts,
        "damaged": ways,
    }
    record |= {"faults": len(faults), "minutes": minutes}
    with out.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record))
    return len(faults)


if __name__ == "__main__":
    sys.addaudithook(WATCH)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="of each kind")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--max-minutes", type=float, default=600.0)
    parser.add_argument("--what", default=",".join(KINDS), help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the records are appended")
    options = parser.parse_args()
    asked = options.what.split(",")
    minutes = options.max_minutes / len(asked)
    faults = [fuzz(what, options.cases, options.first, minutes, options.out.resolve()) for what in asked]
    sys.exit(sum(faults) > 0)
