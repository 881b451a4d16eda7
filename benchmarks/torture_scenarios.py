"""The commands that ``benchmarks.torture_kills`` kills and repeats, each in a folder of its own."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.kills import Ended, run, run_for
from benchmarks.worker_kills import run_killing_workers
from qtrain.cli import main
from qtrain.experiments.fit import compiled
from qtrain.experiments.paper.accuracies import BASELINE, PaperRow
from qtrain.experiments.paper.cells import plan_cells
from qtrain.experiments.paper.reproduce import reproduce
from qtrain.export.compiler.boards import get_board
from qtrain.export.compiler.start import UNFINISHED
from qtrain.export.folder.change import end_change
from qtrain.export.folder.folding import save_folding
from qtrain.records.lock import only_here
from qtrain.training.context import RunContext
from qtrain.training.folder import recorded

SIZE = {"width": 0.125, "batch_size": 20, "train_size": 40, "validation_size": 20, "optimizer": "adam"}
FLAGS = [*(f"--{name.replace('_', '-')}={value}" for name, value in SIZE.items()), "--data=digits", "--device=cpu"]
TRAIN = ["TFC_1W1A", *FLAGS, "--epochs=2", "--lr=0.02"]
FIT = ["--board=Pynq-Z2", "--min-fps=1000", "--max-lut=1500", "--widths=2,8", "--rounds=1", "--at-once=2"]
PLAIN = ["--log=none", "--quiet"]  # TensorBoard takes longer to load than such a run
ROW = PaperRow("table3", "Tiny", "TFC_1W1A", "digits", BASELINE, 80.0, 2, SIZE | {"lr": 0.02})
FLOAT_NETWORK = """from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
"""
FOLDING = {"Defaults": {}, "MVAU_hls_0": {"PE": 2, "SIMD": 7}, "LabelSelect_hls_0": {"PE": 1}}


@dataclass(frozen=True)
class Scenario:
    """A command that is killed and repeated.

    Attributes:
        what: what a user does in a new folder: the command, or where that has begun the one that goes on.
        prepare: what lies in the folder before, made once.
        run: does it in a process that is killed at an event, or whose workers are.
    """

    what: Callable[[], Any]
    prepare: Callable[[Path], None] = lambda _: None
    run: Callable[[Callable[[], Any], Path, int], Ended] = run


def command(*words: str) -> Callable[[], Any]:
    """Return a function that runs one qtrain command here."""
    return lambda: main(list(words))


def _train() -> None:
    started = Path("run/recipe.yaml").is_file()
    main(["train", "--resume", "run", *PLAIN] if started else ["train", *TRAIN, *PLAIN, "--out", "run"])


def _sweep(*words: str) -> Callable[[], None]:
    def sweep() -> None:
        started = Path("out/sweep.json").is_file()
        again = ["sweep", "--resume", "out", "--device=cpu", "--quiet"]
        main(again if started else ["sweep", "TFC", *FLAGS, "--epochs=2", "--quiet", "--out", "out", *words])

    return sweep


def _reproduce() -> None:
    cells = plan_cells([ROW], Path("runs"), seeds=1)
    if reproduce(cells, Path("results.jsonl"), Path("runs"), RunContext(device="cpu")):
        raise RuntimeError("runs are left")


def _export() -> None:
    finn = Path("run/finn")
    if finn.is_dir():
        with only_here(finn, beside=True):  # takes away the lock of a process that was killed with its last breath
            main(["verify", str(finn), "--quiet"])
    main(["export", "run", "--board=Pynq-Z1", "--quiet"])


def _fold() -> None:
    folder = Path("run/finn")
    end_change(folder)  # as ``qtrain estimate`` does
    save_folding(folder, FOLDING, get_board("ZCU104"), 2000, 5.0, made_by="finn-plus 1.6.1", estimated_fps=2345.0)
    main(["verify", str(folder), "--quiet"])


def _estimate() -> None:
    made = Path("run/finn/estimate")
    if made.is_dir() and any(made.iterdir()) and not (made / UNFINISHED).exists():
        return  # it was done, and killed with its last breath: a second estimate there is refused
    main(["estimate", "run/finn", "--save-folding"])


def _quantize(out: str) -> Callable[[], None]:
    def quantize() -> None:
        if (Path(out, "recipe.yaml") if Path(out).is_dir() else Path(out)).is_file():
            if Path(out).is_dir():
                recorded(Path(out))
            return  # it was done, and killed with its last breath: a second one there is refused
        main(["quantize", "net.py:Net", "--init-from=float.pt", "--data=digits", "--bits=4", "--quiet", f"--out={out}"])

    return quantize


def _fit() -> None:
    compiled.FITTED, compiled.HELD_OUT = 4, 1  # questions to the compiler, which take most of a fit
    main(["fit", "TFC", *FLAGS, "--epochs=2", "--lr=0.02", *FIT, *PLAIN, "--out=out"])
    main(["verify", "out/finn", "--quiet"])


def _float_network(folder: Path) -> None:
    (folder / "net.py").write_text(FLOAT_NETWORK)
    random = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (4, 3, 3, 3), "0.bias": (4,), "3.weight": (10, 4 * 64), "3.bias": (10,)}
    torch.save({name: torch.rand(shape, generator=random) - 0.5 for name, shape in shapes.items()}, folder / "float.pt")


def check_done(ended: Ended) -> None:
    if ended.status != 0:
        raise RuntimeError(f"an undisturbed command ended with {ended.status}: {ended.said}")


def _trained(folder: Path) -> None:
    check_done(run(command("train", *TRAIN, *PLAIN, "--out", "run"), folder))


def _half_trained(folder: Path) -> None:
    events = run(command("train", *TRAIN, *PLAIN, "--out", "run"), fresh(folder / "counted")).events
    shutil.rmtree(folder / "counted")
    run(command("train", *TRAIN, *PLAIN, "--out", "run"), folder, events * 2 // 3)


def _exported(folder: Path) -> None:
    _trained(folder)
    check_done(run(_export, folder))


def fresh(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


COMPARE = (
    "compare",
    *TRAIN,
    "--schedulers=aslr,multistep",
    "--challenger=aslr",
    "--seeds=1",
    "--undecided=ok",
    "--quiet",
)
QUICK = {
    "train": Scenario(_train),
    "resume": Scenario(_train, prepare=_half_trained),
    "compare": Scenario(command(*COMPARE, "--out=out", "--tolerance=100")),
    "sweep": Scenario(_sweep("--weight-bits=1,2", "--lr=0.02")),
    "reproduce": Scenario(_reproduce),
    "export": Scenario(_export, prepare=_trained),
    "fold": Scenario(_fold, prepare=_exported),
    "quantize": Scenario(_quantize("q.py"), prepare=_float_network),
    "quantize-run": Scenario(_quantize("q"), prepare=_float_network),
}
SLOW = {
    "auto": Scenario(command("compare", "TFC_1W1A", *FLAGS, "--epochs=2", "--lr=auto", "--seeds=1", "--out=out")),
    "jobs": Scenario(command(*COMPARE, "--out=out", "--tolerance=100", "--jobs=2")),
    "workers": Scenario(command(*COMPARE, "--out=out", "--tolerance=100", "--jobs=2"), run=run_killing_workers),
    "ray": Scenario(
        command(*COMPARE, "--out=out", "--tolerance=100", "--engine=ray"), run=partial(run_killing_workers, on_ray=True)
    ),
    "search": Scenario(
        _sweep("--weight-bits=1,2", "--lr=0.02", "--search=3", "--search-epochs=1", "--search-from=sensitivity")
    ),
    "deploy": Scenario(_sweep("--weight-bits=1", "--lr=0.02", "--board=Pynq-Z1")),
    "estimate": Scenario(_estimate, prepare=_exported),
    "fit": Scenario(_fit),
    "fit-clock": Scenario(_fit, run=run_for),
}
SCENARIOS = QUICK | SLOW
