"""The stages of `make gpu-evidence`, in order of what they are worth.

A stage is a few commands, each a process of its own that appends its records itself. The words ``{minutes}`` in a
command stand for the minutes that it has.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORDS, REPRODUCED = "benchmarks.jsonl", "reproduce.jsonl"
Command = tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """One question to the machine.

    Attributes:
        name: short, for options and records.
        about: what it answers.
        commands: run one after the other, whatever became of the one before.
        share: of the time, in minutes of twelve.
        is_check: whether the whole has failed where this has.
        why_not: why it cannot run here; None where it can.
    """

    name: str
    about: str
    commands: tuple[Command, ...]
    share: float
    is_check: bool = False
    why_not: str | None = None


def evidence(device: str, out: Path, scratch: Path, *, tiny: bool, data_root: str | None) -> list[Stage]:
    """Return all stages.

    Args:
        device: cuda or cpu.
        out: folder of the records.
        scratch: folder for what is not kept.
        tiny: sizes that try the stages on a CPU.
        data_root: folder of CIFAR's files; else QTRAIN_DATA names it.
    """
    here = _Here(device, out / RECORDS, tiny)
    found = [
        *_checks(here),
        _epochs(here),
        _validation(here),
        _compiled(here),
        _profile(here),
        _side_by_side(here),
        _deep(here),
    ]
    return [*found, _bnn_pynq(here), _reproduce(device, out / REPRODUCED, scratch, tiny, data_root)]


@dataclass(frozen=True)
class _Here:
    device: str
    records: Path
    tiny: bool

    def module(self, name: str, *words: str) -> Command:
        """A benchmark of this project, by its module."""
        where = ("--device", self.device, "--out", str(self.records))
        return (*_python("-m", f"benchmarks.{name}"), *where, *words)

    def script(self, name: str, *words: str, tiny: Command = ()) -> Command:
        """A benchmark, by its file; ``tiny`` words come last and override."""
        where = ("--device", self.device, "--out", str(self.records))
        return (*_python(str(ROOT / "benchmarks" / f"{name}.py")), *where, *words, *(tiny if self.tiny else ()))


def _python(*words: str) -> Command:
    return (sys.executable, "-u", "-W", "ignore", *words)


_TINY_EPOCH = ("--width", "0.125", "--images", "64", "--validation", "40", "--batch-sizes", "16", "--epochs", "2")


def _checks(here: _Here) -> list[Stage]:
    """Both halves of gpu_check: the first ends with captures that fail, which may cost a process its GPU."""
    found = []
    for name, groups, about, share in (
        (
            "check",
            "training,kernels,captured,validation,resume,own",
            "captured = kernel by kernel, validation, resume, own networks, a whole run",
            2.5,
        ),
        ("forward", "forward,compiled", "the fast and the compiled forward pass against Brevitas' own", 1.5),
    ):
        words = ("--tiny", "--networks", "CNV_1W1A", "--no-compile") if here.tiny else ()
        command = here.module("gpu_check", "--groups", groups, "--max-minutes", "{minutes}", *words)
        found.append(Stage(name, about, (command,), share, is_check=True))
    return found


def _epochs(here: _Here) -> Stage:
    words = ("--networks", "CNV_1W1A,CNV_4W4A", "--precision", "exact,fast", "--epochs", "5")
    sizes = ("--batch-sizes", "1024,100")
    tiny = (*_TINY_EPOCH, "--networks", "CNV_1W1A")
    about = "CNV at batch 1024 and 100, exact and fast: epochs with validation and checkpoint"
    return Stage("epochs", about, (here.script("epoch", *words, *sizes, tiny=tiny),), 1.5)


def _validation(here: _Here) -> Stage:
    words = ("--networks", "TFC_2W2A", "--tiny") if here.tiny else ("--networks", "CNV_4W4A,RESNET20_4W4A")
    about = "a validation captured, kernel by kernel and through Brevitas"
    return Stage("validation", about, (here.module("validation", *words),), 0.25)


def _compiled(here: _Here) -> Stage:
    words = ("--networks", "CNV_4W4A,CNV_1W1A", "--precision", "fast", "--compile", "yes", "--epochs", "5")
    tiny = (*_TINY_EPOCH, "--networks", "TFC_1W1A")
    about = "fast, compiled and captured"
    command = here.script("epoch", *words, "--batch-sizes", "1024,100", tiny=tiny)
    return Stage("compiled", about, (command,), 1.25)


def _profile(here: _Here) -> Stage:
    networks = ("CNV_1W1A",) if here.tiny else ("CNV_4W4A,VGG11_4W4A,RESNET20_4W4A",)
    words = ("--networks", *networks, *(("--tiny",) if here.tiny else ("--precision", "exact,fast")))
    about = "one step of a graph: kernels, bytes, gaps; beside it what the device can do"
    return Stage("profile", about, (here.module("profile_step", *words),), 1.0)


def _side_by_side(here: _Here) -> Stage:
    tiny = ("--runs", "2", "--jobs", "1,2", "--width", "0.125", "--images", "60", "--batch-size", "20")
    commands = []
    for runs in ("4",) if here.tiny else ("4", "8"):  # the record comes at a command's end
        words = ("--runs", runs, "--jobs", f"1,{runs}", "--epochs", "2", "--rounds", "1", "--precision", "fast")
        commands.append(here.script("many_runs", *words, tiny=(*tiny, "--networks", "CNV_1W1A")))
    return Stage("side by side", "runs beside each other", tuple(commands), 1.25)


def _deep(here: _Here) -> Stage:
    networks = (("VGG11_4W4A", "1", "4"), ("RESNET20_4W4A", "1", "4"), ("WRN20_4W4A", "10", "2"))
    commands = []
    for network, width, epochs in networks:
        words = ("--networks", network, "--width", width, "--epochs", epochs, "--precision", "fast")
        commands.append(here.script("epoch", *words, "--batch-sizes", "100", tiny=_TINY_EPOCH))
    return Stage("deep", "VGG11, RESNET20 and WRN20 of width 10", tuple(commands), 1.25)


def _bnn_pynq(here: _Here) -> Stage:
    arms = ("--arms", "bnn_pynq,qtrain,qtrain fast")
    words = ("--networks", "CNV_4W4A,CNV_1W1A", "--batch-sizes", "100", "--steps", "50", "--rounds", "3", *arms)
    tiny = ("--networks", "CNV_1W1A", "--width", "0.125", "--batch-sizes", "16", "--steps", "2", "--rounds", "1")
    about = "bnn_pynq's step and pipeline against this project's"
    return Stage("bnn_pynq", about, (here.script("train_step", *words, tiny=tiny),), 1.0)


def _reproduce(device: str, results: Path, scratch: Path, tiny: bool, data_root: str | None) -> Stage:
    root = data_root or os.environ.get("QTRAIN_DATA")
    why_not = None
    if not root:
        why_not = "no CIFAR: QTRAIN_DATA or --data-root names its folder"
    elif not Path(root).is_dir():
        why_not = f"no CIFAR: {root} is no folder"
    sizes = ("--epochs-scale", "0.1")
    if tiny:
        sizes = ("--epochs-scale", "0.001", "--train-size", "200", "--width", "0.125", "--networks", "CNV_1W1A")
    command = (
        *_python("-m", "qtrain.cli", "reproduce", "table3", "--seeds", "1", *sizes, "--max-minutes", "{minutes}"),
        *("--device", device, "--results", str(results), "--out", str(scratch / "runs")),
        *("--page", str(scratch / "reproduce.md"), "--data-root", str(root)),
    )
    return Stage("reproduce", "cells of the paper's tables, while time is left", (command,), 0.5, why_not=why_not)
