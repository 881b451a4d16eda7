"""Render docs/sweep-results.md and docs/sweeps/ from the sweeps in results/sweeps; `make results` calls it.

A folder there holds a sweep's sweep.json, sweep.jsonl and sweep.csv, as `qtrain sweep` wrote them. Its table and
figures go into the docs; so does its interactive page, which git ignores: plotly alone is 5 MB.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from qtrain.report.sweep.page import picture_texts, sweep_markdown, write_sweep_report
from qtrain.report.sweep.rows import read_sweep

ROOT = Path(__file__).parents[1]
SWEEPS, DOCS = ROOT / "results" / "sweeps", ROOT / "docs"
PAGE, FILES = "sweep-results.md", "sweeps"
INTRO = """# Recorded sweeps

Rendered by `make results` from the rows in `results/sweeps`. Each was made by the one command above its table, which
writes an interactive page too. A star marks the Pareto front of mean test accuracy against that column, ▲ a trial of a
search that no own cell of its sweep is as cheap and on validation images as accurate as; LUT, BRAM and frames/s are
FINN's estimates. Networks are narrow and runs short, so that two CPU cores could train them: read differences between
bit widths, not accuracies.
"""
Row = dict[str, Any]
STAGES = ("train", "lint", "export", "estimate")


def times(rows: list[Row]) -> str:
    """Say where the time went, over all cells."""
    failed = [row for row in rows if row["state"] == "failed"]
    proofs = [row["proof"] for row in rows if row["proof"]]
    said = f"{len(rows)} cells, {len(failed)} failed"
    if proofs:
        equal = sum(proof["equal"] for proof in proofs)
        images = sum(proof["images"] for proof in proofs)
        said += f"; {equal:,} of {images:,} test images equal in graph and torch"
    shares = []
    for stage in STAGES:
        seconds = sum(row["seconds"][stage] or 0 for row in rows)
        shares.append(f"{stage} {seconds:,.0f} s")
    return f"{said}. Wall time: {', '.join(shares)}."


def section(folder: Path, docs: Path) -> str:
    """Return the text of one sweep; its figures, table and page go to ``docs/sweeps/NAME``."""
    plan = json.loads((folder / "sweep.json").read_text())
    rows = [json.loads(line) for line in (folder / "sweep.jsonl").read_text().splitlines()]
    here = f"{FILES}/{folder.name}"
    texts = _draw(folder, docs / here)
    images = "\n".join(f"![{text}]({here}/{picture})" for picture, text in texts.items())
    page = f'<a href="{here}/report.html">the interactive page</a>'
    links = f"[All rows as CSV]({here}/sweep.csv); {page}, in the built site."
    head = f"## {_title(plan)}\n\n    {plan['command']}"
    return f"{head}\n\n{times(rows)} {links}\n\n{images}\n\n{sweep_markdown(folder)}"


def _draw(folder: Path, files: Path) -> dict[str, str]:
    """Write a sweep's figures, table and page into a folder; return the figures' names with what is seen on each."""
    files.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / folder.name))
        texts = picture_texts(read_sweep(copy))
        page = write_sweep_report(copy)
        for path in (page, copy / "sweep.csv", *copy.glob("report/*.png")):
            shutil.copy(path, files / path.name)
    return {path.name: texts[path.stem] for path in sorted(files.glob("*.png"))}


def _title(plan: Row) -> str:
    """Name a sweep by what tells it from the others."""
    title = f"{plan['family']} on {plan['data']}"
    if plan["warm_from"] is not None:
        return f"{title}, warm starts from {plan['warm_from']} bits beside training from scratch"
    if plan.get("search"):
        return f"{title}, bits searched for each layer"
    return title


def main(docs: Path = DOCS) -> None:
    """Write the page."""
    folders = sorted(path.parent for path in SWEEPS.glob("*/sweep.jsonl"))
    (docs / PAGE).write_text("\n".join([INTRO, *(section(folder, docs) for folder in folders)]))


if __name__ == "__main__":
    main()
