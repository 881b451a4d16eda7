"""The targets that were set for what one waits for, each with the newest record of it, as a section of results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.records import NOT_YET, lines, spread, table

Record = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One thing that was to become faster.

    Attributes:
        what: is measured.
        before: what it took when the target was set, as it was noted then.
        target: what was asked for.
        benchmark: whose records hold it.
        chosen: which of these records are of it.
        shown: the newest of these in words, with its spread.
    """

    what: str
    before: str
    target: str
    benchmark: str
    chosen: Callable[[Record], bool]
    shown: Callable[[Record], str]

    def row(self, records: Sequence[Record]) -> list[str]:
        """Return the target's row of the table."""
        found = [r for r in records if r["benchmark"] == self.benchmark and self.chosen(r)]
        return [self.what, self.before, self.target, self.shown(found[-1]) if found else NOT_YET]


def _step(network: str, width: float, before: str, target: str) -> Target:
    def shown(record: Record) -> str:
        ours, twin = record["times_brevitas"]["qtrain"], record["times_brevitas"]["float twin"]
        share = record["share_of_the_float_twins_rate"]["median"]
        return f"{spread(ours)}; float {spread(twin)}: {share:.0%} of its rate"

    return Target(
        f"training step of {network}, width {width:g}, times Brevitas' own forward pass",
        before,
        target,
        "quantizing_cost",
        lambda r: (r["network"], r["width"]) == (network, width),
        shown,
    )


def _proof(what: str, row: str, before: str, target: str, clock: str = "wall_s") -> Target:
    def shown(record: Record) -> str:
        unit = "s" if clock == "wall_s" else "CPU s"
        once = record["rounds"] == 1  # no spread is known
        ratio = record.get("ratio", {}).get(clock)
        found = f"{record['now'][clock]['median']:.1f}" if once else spread(record["now"][clock], 1)
        said = [f"{found} {unit}"]
        if ratio is not None:
            said.append(f"{ratio['median'] if once else spread(ratio)} times as fast as before")
        return ", ".join([*said, "one round"] if once else said)

    return Target(what, before, target, "proof_speed", lambda r: r["row"] == row, shown)


def _start(what: str, name: str, before: str, target: str) -> Target:
    def shown(record: Record) -> str:
        found = record["times"][name]
        torch = record["times"]["torch alone"]["now"]["median"]
        return f"{spread(found['now'])} CPU s, {spread(found['ratio'])} of before; torch alone {torch:.2f}"

    return Target(what, before, target, "start", lambda r: name in r["times"], shown)


def _validation(record: Record) -> str:
    return f"{spread(record['ratios']['fast, batch 100'])} of the time"


TARGETS = (
    _step("VGG11_4W4A", 0.25, "1.18", "1.6"),
    _step("RESNET20_4W4A", 0.5, "1.28", "2.2"),
    _step("WRN20_4W4A", 1.0, "1.20", "1.8"),
    _step("CNV_4W4A", 0.25, "1.69", "1.8"),
    Target(
        "validation of CNV_4W4A, width 0.25",
        "Brevitas' forward pass, layer by layer",
        "fast forward where it is bit-equal",
        "evaluation",
        lambda r: r["network"].startswith("CNV"),
        _validation,
    ),
    Target(
        "checkpoint of CNV: the loop is held",
        "written in the loop",
        "written by a thread",
        "checkpoint",
        lambda r: r["network"].startswith("CNV"),
        lambda r: f"{spread(r['times']['left to a thread'], 1)} ms, {spread(r['times']['ratio'])} of before",
    ),
    _proof("export with proof, CNV_4W4A, 10,000 images, 2 threads", "export", "120 to 140 s", "40 s"),
    _proof("`qtrain verify` of the same", "verify", "37 to 39 s", "15 s"),
    _proof("RESNET18_8W8A, 10,000 images through the exported graph", "executor", "not measured", "60 s"),
    _proof("`qtrain estimate` of RESNET20_4W4A", "estimate", "40 to 70 CPU s", "half", "cpu_s"),
    _proof("`qtrain verify --finn` of RESNET20_4W4A, 100 images", "verify-finn", "40 to 70 CPU s", "half", "cpu_s"),
    Target(
        "a sweep's small cell beside its training: lint and cost, no board",
        "3.5 s",
        "1 s",
        "sweep_overhead",
        lambda r: "lint and count a cell, s" in r["times"],
        lambda r: f"{spread(r['times']['lint and count a cell, s'])} s",
    ),
    _start("`qtrain models`", "qtrain models", "13 s", "1 s"),
    _start("`from qtrain.models import build_model`", "import of build_model", "6.5 s", "torch's own time + 1 s"),
    Target(
        "`make test` on two cores",
        "8m45 to 11m20",
        "6 min",
        "suite",
        lambda r: r["target"] == "test",
        lambda r: f"{r['seconds'] / 60:.1f} min, {r['tests']:,} tests" + (", not all passed" if r["status"] else ""),
    ),
)


def targets() -> str:
    """Every target with what its newest record says; kernels and bytes of a step are tests, and stand in speed.md."""
    records = lines("benchmarks.jsonl")
    head = ["what", "before", "target", "now, median [least..largest]"]
    return table(head, [target.row(records) for target in TARGETS])
