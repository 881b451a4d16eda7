"""Render docs/official-finn.md from results/official_finn.jsonl; `make results` calls it."""

import itertools
import json
from pathlib import Path
from typing import Any

from benchmarks.records import newest, table

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "results" / "official_finn.jsonl", ROOT / "docs" / "official-finn.md"
PLUS = "finn-plus"
COMPILERS = ("main", "dev", PLUS)
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


def read(path: Path) -> list[Record]:
    """Return the records; of several for one network, folding and compiler the last."""
    lines = path.read_text().splitlines() if path.exists() else []
    return newest(map(json.loads, lines), "network", "folded", "compiler")


def versions(records: list[Record]) -> str:
    """Return the compilers with their commits."""
    lines = []
    for branch in ("main", "dev"):
        commits = {(r["commits"]["finn"], r["commits"]["qonnx"]): None for r in _of(branch, records)}
        lines += [f"- official `{branch}` {finn[:9]} with qonnx {qonnx[:9]}" for finn, qonnx in sorted(commits)]
    releases = {record["versions"][PLUS] for record in _of(PLUS, records) if "versions" in record}
    lines.append("- " + " and ".join(f"{PLUS} {release}" for release in sorted(releases)))
    return "\n".join(lines)


def _of(compiler: str, records: list[Record]) -> list[Record]:
    return [record for record in records if record["compiler"] == compiler]


def golden(record: Record) -> str:
    """Return the images with the expected class, over all verify steps."""
    if not record["golden"]:
        return ""
    pairs = [_equal_of(text) for text in record["golden"].values()]
    return f"{sum(equal for equal, _ in pairs)} of {sum(images for _, images in pairs)}"


def _equal_of(text: str) -> tuple[int, int]:
    """Read "7 of 10"."""
    equal, images = text.split(" of ")
    return int(equal), int(images)


def row(record: Record) -> list[str]:
    """Return a line of the table."""
    classes = record.get("classes")
    cells = [record["network"], f"{record['width']:g}, {record['image_size']}", record["compiler"]]
    cells.append("yes" if record["one_partition"] else "no")
    cells.append(golden(record))
    cells.append(f"{classes['equal']} of {classes['images']}" if classes else "not executed")
    for name in ("lut", "bram_18k", "fps"):
        value = record.get(name)
        cells.append("" if value is None else f"{value:,.0f}")
    return cells


def estimates(records: list[Record]) -> str:
    """Return the table of all records, the compilers of a network one below the other."""
    head = ["network", "width, pixels", "compiler", "partition", "golden pair", "classes", "LUT", "BRAM", "frames/s"]
    order = networks(records)
    ranked = sorted(records, key=lambda r: (order.index(r["network"]), COMPILERS.index(r["compiler"])))
    return table(head, [row(record) for record in ranked])


def networks(records: list[Record]) -> list[str]:
    """Return each network once, in the order of the records."""
    return list(dict.fromkeys(record["network"] for record in records))


def disagreements(records: list[Record]) -> str:
    """Say what did not go as in the other compilers, in the compiler's words."""
    lines = []
    for record in records:
        classes = record.get("classes")
        said = record.get("said") or record.get("error")
        where = f"- {record['network']}, {record['compiler']}"
        if said or not record["one_partition"] or (classes and classes["equal"] < classes["images"]):
            lines.append(f"{where}: {said or 'see the table'}")
        for kind, text in record["golden"].items():
            equal, images = _equal_of(text)
            if equal != images:
                exact = record["golden"].get("streamlined_python", "none")
                lines.append(
                    f"{where}: {kind} {text} images, in float32 that rounds at a quantizer's boundary; "
                    f"streamlined_python, integers alone, {exact}"
                )
    return "\n".join(lines) or "None."


def sizes(record: Record) -> dict[str, str]:
    """Return the names of matrix units and thresholds with the layer's size."""
    found = {}
    for name, size in record.get("units", {}).items():
        kind = name.split("_")[0]
        found[name] = "x".join(size.split("x")[: SIZES[kind]])
    return found


def units(records: list[Record]) -> str:
    """Say whether the names that a translated folding uses mean the same layers everywhere."""
    same = 0
    others = []
    for network in networks(records):
        by_compiler = {r["compiler"]: sizes(r) for r in records if r["network"] == network and r.get("units")}
        if len(by_compiler) < len(COMPILERS):
            continue
        for name in dict.fromkeys(itertools.chain.from_iterable(by_compiler.values())):
            found = {compiler: of.get(name) for compiler, of in by_compiler.items()}
            if len(set(found.values())) == 1:
                same += 1
            else:
                each = ", ".join(f"{compiler}: {size}" for compiler, size in found.items())
                others.append(f"{network} {name} ({each})")
    said = f"others: {'; '.join(others)}" if others else "there are no others"
    return UNITS.format(units=f"{same:,}", others=said)


def main() -> None:
    """Write the page."""
    records = read(RESULTS)
    plain = [r for r in records if not r["folded"]]
    folded = [r for r in records if r["folded"]]
    head = INTRO.format(versions=versions(plain), board=plain[0]["board"], fps=plain[0]["target_fps"])
    sections = [head, estimates(plain), "## What differs", disagreements(plain), units(plain)]
    if folded:
        sections += [FOLDED.format(fps=folded[0]["target_fps"]), estimates(folded), disagreements(folded)]
    PAGE.write_text("\n\n".join(section.strip() for section in [*sections, SETUP]) + "\n")


if __name__ == "__main__":
    main()
