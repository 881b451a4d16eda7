"""Render docs/official-finn.md from results/official_finn.jsonl; `make results` calls it."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "results" / "official_finn.jsonl", ROOT / "docs" / "official-finn.md"
COMPILERS = ("main", "dev", "finn-plus")
SIZES = {"MVAU": 2, "VVAU": 1, "Thresholding": 1}  # of a unit's numbers those that are the layer's, not its folding's
Record = dict[str, Any]

INTRO = """# Folders of this project in official FINN

Rendered by `make results` from `results/official_finn.jsonl`, which `benchmarks/official_finn.py` writes. Each network
is narrow, trained for a few steps on the embedded digits, and exported; its folder, as it is, then runs with its own
`python build.py --estimates` in three compilers, without Vivado:

{versions}

In the table:

- partition: the parent graph is one StreamingDataflowPartition behind the host's Transpose
- golden pair: FINN's own executions of the graph by its verify steps, images with the expected class of all
- classes: test images with torch's class (float64) in the graph after create_dataflow_partition, FINN's Python model of
  every layer; where a matrix unit takes a whole image as one vector, which `main`'s model of it does not flatten though
  its hardware stream needs no flatten, the flatten is put back for this comparison
- LUT, BRAM (18 Kb), frames/s: FINN's estimates of the **narrow** network on {board}, {fps} frames/s asked
"""

FOLDED = """## From a saved folding

The same folders with a folding as `qtrain estimate --save-folding` writes it, made by finn-plus for {fps} frames/s.
Each compiler's own configuration is used: finn-plus has its folding as it is, official FINN the parallelism of matrix
units and thresholds by name and folds the rest for the same target. The slowest layer of all decides on the frames/s,
so a layer that was hit by mistake, or missed, would show.
"""

UNITS = """## Names of the layers

{units} matrix units and thresholds, in the networks above, have the same name and the same size in each of the three
compilers; {others}."""

SETUP = """## How one gets there

`benchmarks/official_finn.py --main DIR --dev DIR` wants a folder for each compiler, which holds

- `finn`: a git checkout of github.com/Xilinx/finn at the commit to try; its `src` is enough;
- `qonnx`: a git checkout of github.com/fastmachinelearning/qonnx at the commit that FINN's `fetch-repos.sh` names;
- `venv`: a virtual environment of Python 3.10 with, at the versions that FINN's `requirements.txt` pins: bitstring,
  clize, dataclasses-json, importlib-resources, numpy, onnx, onnxruntime, protobuf, psutil, scipy, sigtools, toposort,
  vcdvcd, wget, for `dev` onnxscript too; onnxoptimizer, pyyaml, pytest and pandas of any version.

Neither checkout is installed: the script puts their `src` on the path. What FINN imports at its start and estimates
never use (pyverilator, torch, torchvision, brevitas_examples) is stood in for by empty modules, `XILINX_VIVADO` names
no folder, `HOME` and `FINN_BUILD_DIR` are fresh ones, and qonnx's rounding of each value to its type is off
(`SANITIZE_QUANT_TENSORS=0`): `main` takes seconds an image for it, and unrounded values are the stricter comparison.
"""


def newest(path: Path) -> list[Record]:
    """The records; of several for one network, folding and compiler the last."""
    lines = path.read_text().splitlines() if path.exists() else []
    return list({(r["network"], r["folded"], r["compiler"]): r for r in map(json.loads, lines)}.values())


def versions(records: list[Record]) -> str:
    """The compilers with their commits."""
    said = []
    for name in COMPILERS:
        of = [r for r in records if r["compiler"] == name]
        commits = sorted({tuple(sorted(r["commits"].items())) for r in of})
        if name == "finn-plus":
            said.append(
                " and ".join(sorted({f"finn-plus {r['versions']['finn-plus']}" for r in of if "versions" in r}))
            )
            continue
        said += [f"official `{name}` {dict(c)['finn'][:9]} with qonnx {dict(c)['qonnx'][:9]}" for c in commits]
    return "\n".join(f"- {line}" for line in said)


def golden(record: Record) -> str:
    """Images with the expected class, over all verify steps."""
    pairs = [[int(n) for n in text.split(" of ")] for text in record["golden"].values()]
    return f"{sum(p[0] for p in pairs)} of {sum(p[1] for p in pairs)}" if pairs else ""


def row(record: Record) -> list[str]:
    """A line of the table."""
    classes = record.get("classes")
    figures = [record.get(name) for name in ("lut", "bram_18k", "fps")]
    return [
        record["network"],
        f"{record['width']:g}, {record['image_size']}",
        record["compiler"],
        "yes" if record["one_partition"] else "no",
        golden(record),
        f"{classes['equal']} of {classes['images']}" if classes else "not executed",
        *(f"{value:,.0f}" if value is not None else "" for value in figures),
    ]


def table(records: list[Record]) -> str:
    """All records, the compilers of a network one below the other."""
    head = ["network", "width, pixels", "compiler", "partition", "golden pair", "classes", "LUT", "BRAM", "frames/s"]
    order = list(dict.fromkeys(r["network"] for r in records))
    ranked = sorted(records, key=lambda r: (order.index(r["network"]), COMPILERS.index(r["compiler"])))
    rows = [head, ["---"] * len(head), *map(row, ranked)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def disagreements(records: list[Record]) -> str:
    """What did not go as in the other compilers, in the compiler's words."""
    lines = []
    for r in records:
        classes = r.get("classes")
        said = r.get("said") or r.get("error") or ""
        if said or not r["one_partition"] or (classes and classes["equal"] < classes["images"]):
            lines.append(f"- {r['network']}, {r['compiler']}: {said or 'see the table'}")
        for kind, text in r["golden"].items():
            equal, images = text.split(" of ")
            if equal != images:
                exact = r["golden"].get("streamlined_python", "none")
                lines.append(
                    f"- {r['network']}, {r['compiler']}: {kind} {text} images, in float32 that rounds at a quantizer's "
                    f"boundary; streamlined_python, integers alone, {exact}"
                )
    return "\n".join(lines) or "None."


def sizes(record: Record) -> dict[str, str]:
    """Names of matrix units and thresholds with the layer's size."""
    return {n: "x".join(v.split("x")[: SIZES[n.split("_")[0]]]) for n, v in record.get("units", {}).items()}


def units(records: list[Record]) -> str:
    """Whether the names that a translated folding uses mean the same layers everywhere."""
    same, other = 0, []
    for network in dict.fromkeys(r["network"] for r in records):
        found = {r["compiler"]: sizes(r) for r in records if r["network"] == network and r.get("units")}
        if len(found) < len(COMPILERS):
            continue
        for name in dict.fromkeys(name for of in found.values() for name in of):
            if len({of.get(name) for of in found.values()}) == 1:
                same += 1
            else:
                other.append(f"{network} {name} ({', '.join(f'{c}: {of.get(name)}' for c, of in found.items())})")
    return UNITS.format(units=f"{same:,}", others=f"others: {'; '.join(other)}" if other else "there are no others")


def main() -> None:
    """Write the page."""
    records = newest(RESULTS)
    plain = [r for r in records if not r["folded"]]
    folded = [r for r in records if r["folded"]]
    head = INTRO.format(versions=versions(plain), board=plain[0]["board"], fps=plain[0]["target_fps"])
    sections = [head, table(plain), "## What differs", disagreements(plain), units(plain)]
    if folded:
        sections += [FOLDED.format(fps=folded[0]["target_fps"]), table(folded), disagreements(folded)]
    PAGE.write_text("\n\n".join(section.strip() for section in [*sections, SETUP]) + "\n")


if __name__ == "__main__":
    main()
