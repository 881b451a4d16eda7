"""A comparison's recorded files as plain data: all that tables, figures and pages are made of."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.report.graph import Graph, read_graph

FORMAT = 1
COMPARISON, RECORDS, FINN, MANIFEST, MODEL = "comparison.json", "records.jsonl", "finn", "manifest.json", "model.onnx"
ASLR = "aslr"
_PROOF = (
    *("images", "equal", "accuracy_torch", "accuracy_graph"),
    *("largest_logit_difference", "ties", "qonnx_images", "qonnx_equal"),
)
_STAGE = ("nodes", "images", "tensors", "largest_difference")


@dataclass(frozen=True)
class Epoch:
    """One epoch's record; accuracy in percent, ``draws`` the last rate of each layer, ``seconds`` since the start."""

    epoch: int
    lr: float
    loss: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    draws: Mapping[str, float]


@dataclass(frozen=True)
class Export:
    """What an export left: its manifest (proof, stages, board) and the size of its graph."""

    manifest: Mapping[str, Any]
    graph: Graph


@dataclass(frozen=True)
class Run:
    """One finished run; accuracies in percent, ``machine`` the run record without its recipe."""

    scheduler: str
    seed: int
    folder: str
    recipe: Mapping[str, Any]
    machine: Mapping[str, Any]
    epochs: tuple[Epoch, ...]
    test_accuracy: float
    validation_accuracy: float
    best_epoch: int
    seconds: float
    export: Export | None


@dataclass(frozen=True)
class ComparisonData:
    """All runs of a comparison; every scheduler has the same seeds.

    Attributes:
        name: of its folder.
        recipe: shared by all runs.
        schedulers: in the order they were given, ASLR among them.
        tolerance: points that ASLR may fall short by.
        runs: every run.
    """

    name: str
    recipe: Mapping[str, Any]
    schedulers: tuple[str, ...]
    tolerance: float
    runs: tuple[Run, ...]

    def of(self, scheduler: str) -> list[Run]:
        """The runs of a scheduler, by seed."""
        return sorted((r for r in self.runs if r.scheduler == scheduler), key=lambda r: r.seed)

    def accuracies(self, scheduler: str) -> list[float]:
        """Test accuracies of a scheduler in percent, by seed."""
        return [r.test_accuracy for r in self.of(scheduler)]

    def differences(self, baseline: str) -> list[float]:
        """ASLR minus ``baseline`` in points, by seed."""
        return [a - b for a, b in zip(self.accuracies(ASLR), self.accuracies(baseline), strict=True)]

    @property
    def seeds(self) -> list[int]:
        """Those of every scheduler."""
        return [r.seed for r in self.of(ASLR)]

    @property
    def baselines(self) -> list[str]:
        """Every scheduler but ASLR."""
        return [s for s in self.schedulers if s != ASLR]

    @property
    def shortfalls(self) -> dict[str, float]:
        """Baselines that ASLR is behind by more than the tolerance, with the mean difference in points."""
        means = {s: statistics.mean(self.differences(s)) for s in self.baselines}
        return {s: mean for s, mean in means.items() if mean < -self.tolerance}


class _Fields:
    """A JSON object with the file it comes from; every look-up says what is wrong where."""

    def __init__(self, values: Any, origin: Path):
        if not isinstance(values, dict):
            raise damaged(origin, f"a JSON object is expected, not {values!r:.40}")
        self.values, self.origin = values, origin

    def get(self, key: str, kind: type | tuple[type, ...], what: str) -> Any:
        value = self.values.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise damaged(self.origin, f"{key!r} must be {what}, but is {value!r:.40}")
        return value

    def number(self, key: str, finite: bool = True) -> float:
        value = float(self.get(key, (int, float), "a number"))
        if finite and not math.isfinite(value):
            raise damaged(self.origin, f"{key!r} must be a finite number, but is {value}")
        return value

    def integer(self, key: str) -> int:
        return int(self.get(key, int, "a whole number"))

    def text(self, key: str) -> str:
        return str(self.get(key, str, "text"))

    def items(self, key: str) -> list[Any]:
        return list(self.get(key, list, "a list"))

    def object(self, key: str) -> "_Fields":
        return _Fields(self.get(key, dict, "an object"), self.origin)


def damaged(path: Path, why: str) -> UserError:
    """The error for a file that holds something else than was written."""
    return UserError(f"{path} is damaged ({' '.join(why.split())}); run qtrain compare with its folder as --out again")


def _text(path: Path, made_by: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist; name a folder that {made_by} has finished") from None
    except UnicodeDecodeError as error:
        raise damaged(path, str(error)) from None


def _json(text: str, path: Path) -> _Fields:
    try:
        return _Fields(json.loads(text), path)
    except json.JSONDecodeError as error:
        raise damaged(path, str(error)) from None


def read_comparison(folder: Path) -> ComparisonData:
    """Read a folder that ``qtrain compare`` wrote.

    Args:
        folder: holds ``comparison.json`` and a folder for each run.

    Raises:
        UserError: a file is missing, damaged or of another format, a run is unfinished, or files contradict each other.
    """
    path = folder / COMPARISON
    top = _json(_text(path, "qtrain compare"), path)
    if (found := top.values.get("format")) != FORMAT:
        raise UserError(f"{path} has format {found!r}, this qtrain reads {FORMAT}; run qtrain compare again")
    schedulers = tuple(str(s) for s in top.items("schedulers"))
    runs = tuple(_read_run(folder, _Fields(cell, path)) for cell in top.items("cells"))
    seeds = {s: sorted(r.seed for r in runs if r.scheduler == s) for s in schedulers}
    if ASLR not in seeds or len(seeds) < 2 or not seeds[ASLR] or any(other != seeds[ASLR] for other in seeds.values()):
        raise damaged(path, f"aslr and another scheduler must have the same seeds, but have {seeds}")
    name = folder.resolve().name
    return ComparisonData(name, top.object("recipe").values, schedulers, top.number("tolerance"), runs)


def _read_run(folder: Path, cell: _Fields) -> Run:
    name = cell.text("folder")
    if name != Path(name).name:
        raise damaged(cell.origin, f"'folder' must be a name beside it, but is {name!r}")
    path = folder / name / RECORDS
    lines = _text(path, "qtrain compare").splitlines()
    records = [_json(line, path) for line in lines]
    by_type = {kind: [r for r in records if r.values.get("type") == kind] for kind in ("run", "epoch", "result")}
    if not by_type["run"] or not by_type["result"]:
        raise UserError(f"{folder / name} is not a finished run; continue it with: qtrain train --resume FOLDER")
    start, result = by_type["run"][-1], by_type["result"][-1]
    epochs = {e.epoch: e for e in map(_read_epoch, by_type["epoch"])}
    if sorted(epochs) != list(range(1, result.integer("epochs") + 1)):
        raise damaged(path, f"epochs 1 to {result.integer('epochs')} are expected, but it has {sorted(epochs)}")
    if cell.number("test_accuracy") != result.number("test_accuracy"):
        raise damaged(
            cell.origin,
            f"it says {cell.number('test_accuracy')} % for {name}, {RECORDS} {result.number('test_accuracy')}",
        )
    return Run(
        scheduler=cell.text("scheduler"),
        seed=cell.integer("seed"),
        folder=name,
        recipe=start.object("recipe").values,
        machine={key: value for key, value in start.values.items() if key not in ("type", "recipe")},
        epochs=tuple(epochs[e] for e in sorted(epochs)),
        test_accuracy=result.number("test_accuracy"),
        validation_accuracy=result.number("validation_accuracy"),
        best_epoch=result.integer("best_epoch"),
        seconds=result.number("seconds"),
        export=_read_export(folder / name / FINN),
    )


def _read_epoch(record: _Fields) -> Epoch:
    draws = record.object("draws")
    return Epoch(
        epoch=record.integer("epoch"),
        lr=record.number("lr"),
        loss=record.number("loss", finite=False),
        validation_loss=record.number("validation_loss", finite=False),
        validation_accuracy=record.number("validation_accuracy"),
        seconds=record.number("seconds"),
        draws={layer: draws.number(layer) for layer in draws.values},
    )


def _read_export(folder: Path) -> Export | None:
    if not folder.exists():
        return None
    path = folder / MANIFEST
    manifest = _json(_text(path, "qtrain export"), path)
    if (found := manifest.values.get("format")) != FORMAT:
        raise UserError(f"{path} has format {found!r}, this qtrain reads {FORMAT}; export the run again")
    proof = manifest.object("proof")
    for key in _PROOF:
        proof.number(key)
    if proof.values.get("float32_torch_differs") is not None:
        proof.number("float32_torch_differs")
    for stage in (_Fields(s, path) for s in manifest.items("stages")):
        stage.text("stage")
        for key in _STAGE:
            stage.number(key)
    for key in ("target_fps", "clock_ns"):
        manifest.number(key)
    manifest.text("board")
    recorded = manifest.object("files").text(MODEL)
    return Export(manifest.values, read_graph(folder / MODEL, recorded))
