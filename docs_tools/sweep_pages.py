"""Render docs/sweep-results.md and docs/sweeps/ from the sweeps in results/sweeps; `make results` calls it.

A folder there holds a sweep's sweep.json, sweep.jsonl and sweep.csv, as `qtrain sweep` wrote them. Its table and
figures go into the docs; so does its interactive page, which git ignores: plotly alone is 5 MB.
"""

import json
import shutil
import tempfile
from pathlib import Path

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
STAGES = ("train", "lint", "export", "estimate")


def times(rows: list[dict]) -> str:  # type: ignore[type-arg]
    """Where the time went, over all cells."""
    total = {stage: sum(row["seconds"][stage] or 0 for row in rows) for stage in STAGES}
    shares = ", ".join(f"{stage} {seconds:,.0f} s" for stage, seconds in total.items())
    proofs = [row["proof"] for row in rows if row["proof"]]
    equal = f"{sum(p['equal'] for p in proofs):,} of {sum(p['images'] for p in proofs):,}"
    failed = sum(row["state"] == "failed" for row in rows)
    proven = f"; {equal} test images equal in graph and torch" if proofs else ""
    return f"{len(rows)} cells, {failed} failed{proven}. Wall time: {shares}."


def section(folder: Path, docs: Path) -> str:
    """One sweep; its figures, table and page go to ``docs/sweeps/NAME``."""
    plan = json.loads((folder / "sweep.json").read_text())
    rows = [json.loads(line) for line in (folder / "sweep.jsonl").read_text().splitlines()]
    files = docs / FILES / folder.name
    files.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / folder.name))
        texts = picture_texts(read_sweep(copy))
        page = write_sweep_report(copy)
        for path in (page, copy / "sweep.csv", *copy.glob("report/*.png")):
            shutil.copy(path, files / path.name)
    here = f"{FILES}/{folder.name}"
    images = "\n".join(f"![{texts[path.stem]}]({here}/{path.name})" for path in sorted(files.glob("*.png")))
    page = f'<a href="{here}/report.html">the interactive page</a>'
    links = f"[All rows as CSV]({here}/sweep.csv); {page}, in the built site."
    what = ", bits searched for each layer" if plan.get("search") else ""
    if plan["warm_from"] is not None:
        what = f", warm starts from {plan['warm_from']} bits beside training from scratch"
    head = f"## {plan['family']} on {plan['data']}{what}\n\n    {plan['command']}"
    return f"{head}\n\n{times(rows)} {links}\n\n{images}\n\n{sweep_markdown(folder)}"


def main(docs: Path = DOCS) -> None:
    """Write the page."""
    folders = sorted(path.parent for path in SWEEPS.glob("*/sweep.jsonl"))
    (docs / PAGE).write_text("\n".join([INTRO, *(section(folder, docs) for folder in folders)]))


if __name__ == "__main__":
    main()
