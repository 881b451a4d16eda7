"""A comparison's recorded files as plain data: all that tables, figures and pages are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.records.fields import Fields, damaged, parse_json, read_text
from qtrain.report.comparison.verdict import Answer, Verdict, judge, worst
from qtrain.report.graph import Graph, read_graph
from qtrain.report.statistics import ASLR, Difference, default_judged, paired_difference

FORMAT = 1
EXPORT_FORMATS = (1, 2)  # of an export's manifest, which differ in nothing that is shown
COMPARISON, RECORDS, FINN, MANIFEST, MODEL = "comparison.json", "records.jsonl", "finn", "manifest.json", "model.onnx"
_PROOF = (
    *("images", "equal", "accuracy_torch", "accuracy_graph"),
    *("largest_logit_difference", "ties", "qonnx_images", "qonnx_equal"),
)
_STAGE = ("nodes", "images", "tensors", "largest_difference")


@dataclass(frozen=True)
class Epoch:
    """One epoch's record.

    ``validation_accuracy`` in percent, ``seconds`` since the start, ``draws`` the last rate of each layer, ``counts``
    what the optimizer counted since the start (extra forward passes, skipped steps).
    """

    epoch: int
    lr: float
    loss: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    draws: Mapping[str, float]
    counts: Mapping[str, int] = field(default_factory=dict)


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
class Failure:
    """A run that ended without a result, as one does whose loss is no longer finite."""

    scheduler: str
    seed: int
    reason: str


@dataclass(frozen=True)
class ComparisonData:
    """All runs of a comparison; every scheduler was given the same seeds.

    Attributes:
        name: of its folder.
        recipe: shared by all runs.
        schedulers: in the order they were given, the challenger among them.
        tolerance: points that the challenger may fall short by.
        runs: every finished run.
        failed: every other one.
        challenger: the scheduler that is judged.
        against: the schedulers it is held against; None: as ``default_judged`` chooses.
        tuning: tuning runs spent before the comparison, by scheduler, where they were told.
        lr_range: the range test's record, where it chose the rate.
    """

    name: str
    recipe: Mapping[str, Any]
    schedulers: tuple[str, ...]
    tolerance: float
    runs: tuple[Run, ...]
    failed: tuple[Failure, ...] = ()
    challenger: str = ASLR
    against: tuple[str, ...] | None = None
    tuning: Mapping[str, int] = field(default_factory=dict)
    lr_range: Mapping[str, Any] | None = None

    def of(self, scheduler: str) -> list[Run]:
        """The finished runs of a scheduler, by seed."""
        return sorted((r for r in self.runs if r.scheduler == scheduler), key=lambda r: r.seed)

    def by_seed(self, scheduler: str) -> dict[int, float]:
        """Test accuracies of a scheduler's finished runs in percent."""
        return {r.seed: r.test_accuracy for r in self.of(scheduler)}

    def accuracies(self, scheduler: str) -> list[float]:
        """Test accuracies of a scheduler's finished runs in percent, by seed."""
        return list(self.by_seed(scheduler).values())

    def differences(self, baseline: str) -> list[float]:
        """The challenger minus ``baseline`` in points, for each seed with which both finished."""
        return [a - b for a, b in self._pairs(baseline)]

    def difference(self, baseline: str) -> Difference | None:
        """Their mean with its interval; None where no seed has both."""
        pairs = self._pairs(baseline)
        return paired_difference([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None

    def _pairs(self, baseline: str) -> list[tuple[float, float]]:
        ours, theirs = self.by_seed(self.challenger), self.by_seed(baseline)
        return [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]

    @property
    def seeds(self) -> list[int]:
        """Those of every scheduler."""
        failed = [f.seed for f in self.failed if f.scheduler == self.challenger]
        return sorted([*failed, *(r.seed for r in self.of(self.challenger))])

    @property
    def others(self) -> list[str]:
        """Every scheduler but the challenger."""
        return [s for s in self.schedulers if s != self.challenger]

    @property
    def judged(self) -> tuple[str, ...]:
        """The schedulers that the challenger has to keep up with."""
        return self.against or default_judged(self.schedulers, self.challenger, str(self.recipe.get("baseline")))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One against each of the judged, always from the runs' numbers: older files have no verdict."""
        accuracies = {s: self.by_seed(s) for s in self.schedulers}
        return judge(self.challenger, accuracies, self.judged, self.seeds, self.tolerance)

    @property
    def answer(self) -> Answer:
        """Of all verdicts together."""
        return worst(verdict.answer for verdict in self.verdicts)


def read_comparison(folder: Path) -> ComparisonData:
    """Read a folder that ``qtrain compare`` wrote.

    Args:
        folder: holds ``comparison.json`` and a folder for each run.

    Raises:
        UserError: a file is missing, damaged or of another format, a run is unfinished, or files contradict each other.
    """
    path = folder / COMPARISON
    top = parse_json(read_text(path, "qtrain compare"), path)
    if (found := top.values.get("format")) != FORMAT:
        raise UserError(f"{path} has format {found!r}, this qtrain reads {FORMAT}; run qtrain compare again")
    schedulers = tuple(str(s) for s in top.items("schedulers"))
    challenger = top.text("challenger") if "challenger" in top.values else ASLR
    runs = tuple(_read_run(folder, Fields(cell, path)) for cell in top.items("cells"))
    failed = tuple(_read_failure(Fields(cell, path)) for cell in top.items("failed")) if "failed" in top.values else ()
    known = [*((r.scheduler, r.seed) for r in runs), *((f.scheduler, f.seed) for f in failed)]
    seeds = {s: sorted(seed for name, seed in known if name == s) for s in schedulers}
    ours = seeds.get(challenger)
    if not ours or len(seeds) < 2 or any(other != ours for other in seeds.values()):
        raise damaged(path, f"{challenger} and another scheduler must have the same seeds, but have {seeds}")
    return ComparisonData(
        name=folder.resolve().name,
        recipe=top.object("recipe").values,
        schedulers=schedulers,
        tolerance=top.number("tolerance"),
        runs=runs,
        failed=failed,
        challenger=challenger,
        against=_against(top, schedulers, challenger),
        tuning=_whole_numbers(top, "tuning"),
        lr_range=top.object("lr_range").values if top.values.get("lr_range") is not None else None,
    )


def _against(top: Fields, schedulers: tuple[str, ...], challenger: str) -> tuple[str, ...] | None:
    """Comparisons from before there were rivals name none, and every other scheduler was judged."""
    if "against" not in top.values:
        return tuple(s for s in schedulers if s != challenger)
    names = tuple(str(s) for s in top.items("against"))
    if not names or not set(names) <= set(schedulers) - {challenger}:
        raise damaged(top.origin, f"'against' must name schedulers of {list(schedulers)}, but is {list(names)}")
    return names


def _whole_numbers(fields: Fields, key: str) -> dict[str, int]:
    """The whole numbers below ``key``; empty where it is absent."""
    if key not in fields.values:
        return {}
    found = fields.object(key)
    return {name: found.integer(name) for name in found.values}


def _read_failure(cell: Fields) -> Failure:
    return Failure(cell.text("scheduler"), cell.integer("seed"), cell.text("reason"))


def _read_run(folder: Path, cell: Fields) -> Run:
    name = cell.text("folder")
    if name != Path(name).name:
        raise damaged(cell.origin, f"'folder' must be a name beside it, but is {name!r}")
    path = folder / name / RECORDS
    lines = read_text(path, "qtrain compare").splitlines()
    records = [parse_json(line, path) for line in lines]
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


def _read_epoch(record: Fields) -> Epoch:
    draws = record.object("draws")
    return Epoch(
        epoch=record.integer("epoch"),
        lr=record.number("lr"),
        loss=record.number("loss", finite=False),
        validation_loss=record.number("validation_loss", finite=False),
        validation_accuracy=record.number("validation_accuracy"),
        seconds=record.number("seconds"),
        draws={layer: draws.number(layer) for layer in draws.values},
        counts=_whole_numbers(record, "counts"),
    )


def _read_export(folder: Path) -> Export | None:
    if not folder.exists():
        return None
    path = folder / MANIFEST
    manifest = parse_json(read_text(path, "qtrain export"), path)
    if (found := manifest.values.get("format")) not in EXPORT_FORMATS:
        read = " and ".join(map(str, EXPORT_FORMATS))
        raise UserError(f"{path} has format {found!r}, this qtrain reads {read}; export the run again")
    proof = manifest.object("proof")
    for key in _PROOF:
        proof.number(key)
    if proof.values.get("float32_torch_differs") is not None:
        proof.number("float32_torch_differs")
    for stage in (Fields(s, path) for s in manifest.items("stages")):
        stage.text("stage")
        for key in _STAGE:
            stage.number(key)
    for key in ("target_fps", "clock_ns"):
        manifest.number(key)
    manifest.text("board")
    recorded = manifest.object("files").text(MODEL)
    return Export(manifest.values, read_graph(folder / MODEL, recorded))
