"""Render the FINN matrix: docs/finn-matrix.md, and the verdicts that ship with the package; `make results` calls it."""

import json
from pathlib import Path
from typing import Any

from benchmarks.records import agree, table, untold
from qtrain.models import FAMILIES

ROOT = Path(__file__).parents[1]
MATRIX = ROOT / "results" / "finn_matrix.jsonl"
ORACLE = ROOT / "results" / "lint_oracle.jsonl"
PAGE = ROOT / "docs" / "finn-matrix.md"
VERDICTS = ROOT / "models" / "finn_verdicts.json"
TEN = 10  # classes
COLOURS = 3  # channels of images
Record = dict[str, Any]

INTRO = """# Every network at every bit width through the real FINN

Rendered by `make results` from `results/finn_matrix.jsonl`, which `make finn-matrix` writes and continues. A cell is a
narrow network after {steps} training steps on the embedded digits (as rows of their pixels where it reads rows; for
VGG10_RADIOML on modulated signals that `benchmarks/matrix_images.py` makes), exported, compared with torch in float64
on {images} test images (the digits' whole test set; fewer of some deep ones) at the last stage and on 16 at every
other, then built by finn-plus {version} up to its estimates, with its own executions of the graphs. Numbers are
frames/s and LUT of that **narrow** network on a {board}, {fps} frames/s asked: estimates, good for saying that the
build went through, not for sizing a board.

- ✓ the whole network is one dataflow partition, all classes equal, every execution of the graph by FINN equal
- ✗ refused, as `qtrain lint` announces it
- **?** lint and the compiler disagree
"""

STEPS_INTRO = """`qtrain verify --finn` on every cell below: all test images through the graph after each step, and on
16 of them every threshold layer against its quantizer. Before `step_streamline_scales` constants are float32, and a
value within their rounding of a quantizer's boundary may fall either way; such cells are listed with the distance."""


def newest(path: Path) -> list[Record]:
    """Read the records of a file; of several for one network and size the last."""
    found: dict[tuple[Any, ...], Record] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        record = json.loads(line)
        found[_key(record)] = record
    return list(found.values())


def _key(record: Record) -> tuple[Any, ...]:
    """Return what tells a record from all others; older ones, all of ten classes, do not say how many."""
    size = record.get("image_size")
    if isinstance(size, list):
        size = tuple(size)
    classes = record.get("num_classes", TEN)
    return record.get("network"), record.get("width"), size, classes, record.get("seed")


def _pixels(record: Record) -> str:
    """Return the size of a record's images as the page shows it, with the channels in front where they are not 3."""
    size = record["image_size"]
    channels = record.get("in_channels", COLOURS)
    if channels == COLOURS and not isinstance(size, list):
        return str(size)
    sides = size if isinstance(size, list) else [size, size]
    return "x".join(map(str, [channels, *sides]))


def _place(record: Record) -> tuple[str, str]:
    """Return the two cells that start a record's row: what is built, and of which size."""
    classes = record.get("num_classes", TEN)
    usual = FAMILIES.built_in[record["family"]].num_classes or TEN
    name = record["family"] if classes == usual else f"{record['family']}, {classes} classes"
    return name, f"{record['width']:g}, {_pixels(record)}"


def _cell(record: Record | None) -> str:
    if record is None:
        return ""
    if not agree(record):
        return f"**?** {record['reason']}"
    if not record["accepted"]:
        return "✗"
    return f"✓ {record['fps']:,.0f}, {record['lut']:,}"


def matrix(records: list[Record]) -> str:
    """Return one row a family, and size where there are several; one column a bit width."""
    bits = sorted({record["bits"] for record in records})
    by_cell: dict[str, dict[tuple[str, str], dict[int, Record]]] = {}
    for record in records:
        rows = by_cell.setdefault(record["family"], {})
        rows.setdefault(_place(record), {})[record["bits"]] = record
    lines = []
    for family in FAMILIES.built_in:
        for place, cells in by_cell.get(family, {}).items():
            lines.append([*place, *(_cell(cells.get(b)) for b in bits)])
    return table(["network", "width, pixels", *(f"{b}W{b}A" for b in bits)], lines)


def exceptions(records: list[Record]) -> str:
    """Say what is refused, why, and what lint had said."""
    lines = []
    for family in FAMILIES.built_in:
        refused = [record for record in records if record["family"] == family and not record["accepted"]]
        if not refused:
            continue
        rules: set[str] = set()
        for record in refused:
            rules |= {error.partition(":")[0] for error in record["lint_errors"]}
        named = ", ".join(f"`{rule}`" for rule in sorted(rules))
        bits = ", ".join(map(str, sorted(record["bits"] for record in refused)))
        reason = refused[0]["reason"].split(" Complete list")[0]
        lines.append(f"- **{family}** at {bits} bits: {reason} Lint: {named}.")
    return "\n".join(lines) or "None."


def proofs(records: list[Record]) -> str:
    """Say what was compared in all accepted cells together."""
    proven = [record["proof"] for record in records if record["proof"]]
    images = _sum(proven, "images")
    equal = _sum(proven, "equal")
    differs = _sum(proven, "float32_torch_differs")
    accepted = [record for record in records if record["accepted"]]
    seconds = sorted(record["build_s"] for record in records if "build_s" in record)
    executed = [len(record["verified"]) for record in accepted]
    partly = [record["network"] for record in accepted if len(record["verified"]) < max(executed)]
    some = f"; of {', '.join(partly)} those of two minutes and the folded hardware" if partly else ""
    return (
        f"{len(accepted)} of {len(records)} cells accepted. {equal:,} of {images:,} test images equal between graph "
        f"and torch in float64; float32 torch gives another class than float64 on {differs} of them. FINN itself "
        f"executed the graph after each of its steps{some}: {sum(executed):,} graphs, all equal. A build took "
        f"{seconds[len(seconds) // 2]:.0f} s in the median, {seconds[-1]:.0f} s at most, on two busy CPU cores."
    )


def _sum(records: list[Record], name: str) -> int:
    """Add up a number over records; None counts as 0."""
    return sum(record[name] or 0 for record in records)


def steps(records: list[Record]) -> str:
    """Say what the graph after each of the compiler's steps made of the test images, over all cells that have it."""
    proven = [record for record in records if record.get("stages")]
    if not proven:
        return "Not run yet."
    by_step: dict[str, list[Record]] = {}
    for record in proven:
        for stage in record["stages"]:
            by_step.setdefault(stage["step"], []).append({"network": record["network"], **stage})
    rows = [["after step", "cells", "equal images", "compared tensors", "cells with a difference"]]
    notes = []
    for name, stages in by_step.items():
        off = [stage for stage in stages if stage["difference"] or stage["equal"] < stage["images"]]
        images = f"{_sum(stages, 'equal'):,} of {_sum(stages, 'images'):,}"
        tensors = f"{_sum(stages, 'tensors'):,} of {_sum(stages, 'of_tensors'):,}"
        rows.append([name, str(len(stages)), images, tensors, str(len(off))])
        notes += [_difference(stage) for stage in off if not stage["unchanged"]]
    networks = ", ".join(sorted({record["network"] for record in proven}))
    parts = [table(rows[0], rows[1:]), "\n".join(notes), f"{networks}."]
    return "\n\n".join(filter(None, parts))


def _difference(stage: Record) -> str:
    """Say in a line where a step's graph differs."""
    rounding = " (rounding of float32)" if stage["rounding"] else ""
    return f"- {stage['network']}, {stage['step']}: {stage['difference'] or 'classes only'}{rounding}"


def oracle(records: list[Record]) -> str:
    """Say how often lint and the compiler agreed on random networks."""
    if not records:
        return "Not run yet."
    wrong = [record for record in records if not agree(record)]
    open_ones = [record for record in records if untold(record)]
    accepted = _sum(records, "accepted")
    lines = [
        f"{len(records)} random networks from the zoo's building blocks: {accepted} accepted, {len(records) - accepted}"
        f" refused; lint and compiler agree on {len(records) - len(wrong) - len(open_ones)}."
    ]
    for record in open_ones:
        lines.append(
            f"- seed {record['seed']} tells nothing: {record['recipe']}. Lint says that FINN computes it otherwise, "
            "and all its images have one class."
        )
    for record in wrong:
        said = f"Lint: {record['lint_errors']}, FINN: {record['reason']}"
        lines.append(f"- seed {record['seed']}: {record['recipe']}. {said}")
    return "\n".join(lines)


def verdicts(records: list[Record]) -> Record:
    """Return what `qtrain models` shows."""
    families: Record = {}
    for record in sorted(records, key=lambda record: record["bits"]):
        family = families.setdefault(record["family"], {"accepted": [], "refused": {}})
        if not record["accepted"]:
            family["refused"][str(record["bits"])] = ", ".join(record["lint_errors"]) or record["reason"]
        elif record["bits"] not in family["accepted"]:
            family["accepted"].append(record["bits"])
    for family in families.values():  # of several sizes one that is refused counts
        family["accepted"] = [bits for bits in family["accepted"] if str(bits) not in family["refused"]]
    return {"finn_plus": records[0]["finn_plus"] if records else None, "families": families}


def _range(numbers: list[int]) -> str:
    """Return the smallest and the largest number in words, one where they are equal."""
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def main() -> None:
    """Write both files."""
    records = newest(MATRIX)
    images = [record["proof"]["images"] for record in records if record["proof"]]
    head = INTRO.format(
        steps=_range([record["steps"] for record in records if "steps" in record]),
        images=_range(images),
        version=records[0]["finn_plus"],
        board=records[0]["board"],
        fps=records[0]["target_fps"],
    )
    sections = [head, matrix(records), proofs(records), "## Exceptions", exceptions(records)]
    sections += ["## Every step of the compiler against the network", STEPS_INTRO, steps(records)]
    sections += ["## Lint against the compiler on random networks", oracle(newest(ORACLE))]
    PAGE.write_text("\n\n".join(sections) + "\n")
    VERDICTS.write_text(json.dumps(verdicts(records), indent=1) + "\n")


if __name__ == "__main__":
    main()
