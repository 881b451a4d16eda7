"""Render the FINN matrix: docs/finn-matrix.md, and the verdicts that ship with the package; `make results` calls it."""

import json
from pathlib import Path
from typing import Any

from qtrain.models import FAMILIES

ROOT = Path(__file__).parents[1]
MATRIX, ORACLE = ROOT / "results" / "finn_matrix.jsonl", ROOT / "results" / "lint_oracle.jsonl"
PAGE, VERDICTS = ROOT / "docs" / "finn-matrix.md", ROOT / "models" / "finn_verdicts.json"
Record = dict[str, Any]

INTRO = """# Every network at every bit width through the real FINN

Rendered by `make results` from `results/finn_matrix.jsonl`, which `make finn-matrix` writes and continues. A cell is a
narrow network after {steps} training steps on the embedded digits, exported, compared with torch in float64 on
{images} test images (the digits' whole test set; fewer of some deep ones) at the last stage and on 16 at every other,
then built by finn-plus {version} up to its estimates, with its own executions of the graphs. Numbers are frames/s and
LUT of that **narrow** network on a {board}, {fps} frames/s asked: estimates, good for saying that the build went
through, not for sizing a board.

- ✓ the whole network is one dataflow partition, all classes equal, every execution of the graph by FINN equal
- ✗ refused, as `qtrain lint` announces it
- **?** lint and the compiler disagree
"""

STEPS_INTRO = """`qtrain verify --finn` on every cell below: all test images through the graph after each step, and on
16 of them every threshold layer against its quantizer. Before `step_streamline_scales` constants are float32, and a
value within their rounding of a quantizer's boundary may fall either way; such cells are listed with the distance."""


def newest(path: Path) -> list[Record]:
    """The records of a file; of several for one network and size the last."""
    lines = path.read_text().splitlines() if path.exists() else []
    return list(
        {
            (r.get("network"), r.get("width"), r.get("image_size"), r.get("seed")): r for r in map(json.loads, lines)
        }.values()
    )


def _cell(record: Record | None) -> str:
    if record is None:
        return ""
    if bool(record["lint_errors"]) == record["accepted"]:
        return f"**?** {record['reason']}"
    if not record["accepted"]:
        return "✗"
    return f"✓ {record['fps']:,.0f}, {record['lut']:,}"


def matrix(records: list[Record]) -> str:
    """One row a family, one column a bit width."""
    bits = sorted({r["bits"] for r in records})
    by_cell = {(r["family"], r["bits"]): r for r in records}
    sizes = {r["family"]: f"{r['width']:g}, {r['image_size']}" for r in records}
    rows = [["network", "width, pixels", *(f"{b}W{b}A" for b in bits)], ["---"] * (len(bits) + 2)]
    for family in (name for name in FAMILIES.built_in if name in sizes):
        rows.append([family, sizes[family], *(_cell(by_cell.get((family, b))) for b in bits)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def exceptions(records: list[Record]) -> str:
    """What is refused, why, and what lint had said."""
    lines = []
    for family in FAMILIES.built_in:
        refused = [r for r in records if r["family"] == family and not r["accepted"]]
        if refused:
            rules = sorted({error.partition(":")[0] for r in refused for error in r["lint_errors"]})
            bits = ", ".join(str(r["bits"]) for r in sorted(refused, key=lambda r: r["bits"]))
            reason = refused[0]["reason"].split(" Complete list")[0]
            lines.append(f"- **{family}** at {bits} bits: {reason} Lint: {', '.join(f'`{r}`' for r in rules)}.")
    return "\n".join(lines) or "None."


def proofs(records: list[Record]) -> str:
    """What was compared in all accepted cells together."""
    proven = [r["proof"] for r in records if r["proof"]]
    images, equal = sum(p["images"] for p in proven), sum(p["equal"] for p in proven)
    differs = sum(p["float32_torch_differs"] or 0 for p in proven)
    accepted = sum(r["accepted"] for r in records)
    seconds = sorted(r["build_s"] for r in records if "build_s" in r)
    executed = [len(r["verified"]) for r in records if r["accepted"]]
    partly = [r["network"] for r in records if r["accepted"] and len(r["verified"]) < max(executed)]
    some = f"; of {', '.join(partly)} those of two minutes and the folded hardware" if partly else ""
    return (
        f"{accepted} of {len(records)} cells accepted. {equal:,} of {images:,} test images equal between graph and "
        f"torch in float64; float32 torch gives another class than float64 on {differs} of them. FINN itself executed "
        f"the graph after each of its steps{some}: {sum(executed):,} graphs, all equal. A build took "
        f"{seconds[len(seconds) // 2]:.0f} s in the median, {seconds[-1]:.0f} s at most, on two busy CPU cores."
    )


def steps(records: list[Record]) -> str:
    """What the graph after each of the compiler's steps made of the test images, over all cells that have it."""
    proven = [r for r in records if r.get("stages")]
    if not proven:
        return "Not run yet."
    names = {stage["step"]: None for record in proven for stage in record["stages"]}
    rows = [["after step", "cells", "equal images", "compared tensors", "cells with a difference"], ["---"] * 5]
    notes = []
    for name in names:
        found = [(r["network"], s) for r in proven for s in r["stages"] if s["step"] == name]
        images, equal = sum(s["images"] for _, s in found), sum(s["equal"] for _, s in found)
        tensors, of = sum(s["tensors"] for _, s in found), sum(s["of_tensors"] for _, s in found)
        off = [(n, s) for n, s in found if s["difference"] or s["equal"] < s["images"]]
        rows.append([name, str(len(found)), f"{equal:,} of {images:,}", f"{tensors:,} of {of:,}", str(len(off))])
        notes += [
            f"- {network}, {name}: {s['difference'] or 'classes only'}{' (rounding of float32)' * s['rounding']}"
            for network, s in off
            if not s["unchanged"]
        ]
    networks = ", ".join(sorted({r["network"] for r in proven}))
    lines = [
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
        *(["\n".join(notes)] if notes else []),
        networks + ".",
    ]
    return "\n\n".join(lines)


def oracle(records: list[Record]) -> str:
    """How often lint and the compiler agreed on random networks."""
    if not records:
        return "Not run yet."
    wrong = [r for r in records if bool(r["lint_errors"]) == r["accepted"]]
    accepted = sum(r["accepted"] for r in records)
    text = (
        f"{len(records)} random networks from the zoo's building blocks: {accepted} accepted, {len(records) - accepted}"
    )
    text += f" refused; lint and compiler agree on {len(records) - len(wrong)}."
    return text + "".join(
        f"\n- seed {r['seed']}: {r['recipe']}. Lint: {r['lint_errors']}, FINN: {r['reason']}" for r in wrong
    )


def verdicts(records: list[Record]) -> Record:
    """What `qtrain models` shows."""
    families: Record = {}
    for record in sorted(records, key=lambda r: r["bits"]):
        family = families.setdefault(record["family"], {"accepted": [], "refused": {}})
        if record["accepted"]:
            family["accepted"].append(record["bits"])
        else:
            family["refused"][str(record["bits"])] = ", ".join(record["lint_errors"]) or record["reason"]
    return {"finn_plus": records[0]["finn_plus"] if records else None, "families": families}


def _ends(numbers: list[int]) -> tuple[int, int]:
    return min(numbers), max(numbers)


def main() -> None:
    """Write both files."""
    records = newest(MATRIX)
    head = INTRO.format(
        steps=next(r["steps"] for r in records if "steps" in r),
        images=" to ".join(f"{n}" for n in sorted({*_ends([r["proof"]["images"] for r in records if r["proof"]])})),
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
