"""What one waits for besides training, as a section of results/README.md: starts, checkpoints, validation."""

from typing import Any

from benchmarks.records import NOT_YET, lines, newest, of, spread, table

USED = "fast, batch 100"  # what a run validates with on a CPU
BEFORE = "brevitas, batch 500"


def waiting() -> str:
    """The last record of each, both sides of one run."""
    records = lines("benchmarks.jsonl")
    parts = [
        _starts(of("start", records)),
        _checkpoints(of("checkpoint", records)),
        _evaluations(of("evaluation", records)),
    ]
    return "\n\n".join(part for part in parts if part) or NOT_YET


def _starts(records: list[dict[str, Any]]) -> str:
    """CPU seconds of child processes before and now."""
    if not records:
        return ""
    rows = []
    for name, found in records[-1]["times"].items():
        rows.append([name, spread(found["before"]), spread(found["now"]), spread(found["ratio"])])
    head = ["process", "before, CPU s", "now, CPU s", "ratio"]
    return f"Starts of processes, in alternation with the checkout of before.\n\n{table(head, rows)}"


def _checkpoints(records: list[dict[str, Any]]) -> str:
    """How long the loop is held."""
    if not records:
        return ""
    r = records[-1]
    times = r["times"]
    return (
        f"A checkpoint of {r['network']} ({r['megabytes']:g} MB) holds the loop for "
        f"{spread(times['left to a thread'], 1)} ms where a thread writes it, for {spread(times['in the loop'], 1)} ms "
        f"where the loop does: ratio {spread(times['ratio'])}."
    )


def _evaluations(records: list[dict[str, Any]]) -> str:
    """The fast evaluation over Brevitas' own, by network."""
    rows = []
    for r in newest(records, "network", "width"):
        times = r["times"]
        per_image = 1e3 / r["images"]
        both = [times[BEFORE]["median"] * per_image, times[USED]["median"] * per_image]
        rows.append([r["network"], f"{r['width']:g}", *(f"{ms:.3f}" for ms in both), spread(r["ratios"][USED])])
    head = ["network", "width", f"{BEFORE}, CPU ms an image", f"{USED}, CPU ms an image", "ratio"]
    if not rows:
        return ""
    return f"Validation on one thread; every arm gives the same logits.\n\n{table(head, rows)}"
