"""Folders of this project in official FINN's main and dev and in FINN+, each by its own build.py, up to the estimates.

Usage: official_finn.py --main DIR --dev DIR [--finn-plus PYTHON] [--networks CNV_1,RESNET20_2] [--folded] [--again]

DIR is the folder of a compiler's environment: `finn` and `qonnx`, git checkouts at the commits to try, and `venv`, a
virtual environment of Python 3.10 with what FINN's requirements.txt pins; docs/official-finn.md says which of them are
needed. --finn-plus names an interpreter that has finn-plus; else this one.

One line a network and compiler goes to results/official_finn.jsonl, and what stands there is not run again. With
--folded the folder is built a second time, from a folding that `qtrain estimate --save-folding` would write for
several times the frames/s: official FINN's figures then show whether the translated folding reached the same layers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.finn_matrix import BOARD, TARGET_FPS, Cell, cells, trained
from benchmarks.matrix_images import images_of
from qtrain.export import export_finn, get_board
from qtrain.export.compiler.child import run_group
from qtrain.export.compiler.result import figures
from qtrain.export.compiler.start import compiler_environment, estimate_build, find_compiler
from qtrain.export.folder.folding import read_folding, save_folding

RESULTS = Path(__file__).parents[1] / "results" / "official_finn.jsonl"
WORKER = Path(__file__).with_name("_official_worker.py")
IMAGES = 64
LIMIT = 1800.0  # seconds for a build; several times what the slowest takes
FASTER = 8  # with --folded: times the frames/s of the folder
NETWORKS = (
    *("CNV_1", "CNV_2", "CNV_4", "CNV_8", "TFC_1", "VGG_SMALL_2", "VGG11_2", "VGG11_4"),
    *("RESNET20_2", "WRN20_2", "RESNET18_1", "RESNET18_4", "RESNET10_2", "WRN20_4", "LFC_2"),
)
# Official FINN executes a layer value by value: an image of a deep network at full width takes a minute.
WIDTHS = {"RESNET20": 0.25, "WRN20": 0.25, "RESNET18": 0.125, "RESNET10": 0.125, "VGG11": 0.125, "VGG_SMALL": 0.125}


@dataclass(frozen=True)
class Compiler:
    """A compiler to run folders with.

    Attributes:
        name: ``main``, ``dev`` or ``finn-plus``.
        python: its interpreter.
        root: FINN's checkout; None for finn-plus.
        sources: folders for the interpreter's path.
        commits: of its checkouts, by name.
    """

    name: str
    python: Path
    root: Path | None
    sources: tuple[Path, ...]
    commits: dict[str, str]


def official(name: str, folder: Path) -> Compiler:
    """Read the environment of an official FINN; end with one line that names what is missing of it."""
    python = folder / "venv" / "bin" / "python"
    for needed in (folder / "finn" / "src", folder / "qonnx" / "src", python):
        if not needed.exists():
            raise SystemExit(
                f"official_finn: --{name} {folder} has no {needed.relative_to(folder)}; it must hold the checkouts "
                "finn and qonnx and the virtual environment venv (docs/official-finn.md)"
            )
    commits = {part: commit(folder / part) for part in ("finn", "qonnx")}
    return Compiler(name, python, folder / "finn", (folder / "finn" / "src", folder / "qonnx" / "src"), commits)


def commit(checkout: Path) -> str:
    """The commit of a checkout; ends with one line where it is none."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"official_finn: {checkout} is no git checkout, so its commit cannot be recorded")
    return run.stdout.strip()[:12]


def finn_plus(python: str | None) -> Compiler:
    """finn-plus, in an interpreter that has it."""
    found = find_compiler(python)
    if found is None:
        raise SystemExit("official_finn: there is no finn-plus here; make finn installs it, --finn-plus names another")
    return Compiler("finn-plus", Path(found), None, (), {})


def cell_of(name: str) -> Cell:
    """The network of FAMILY_BITS, narrow."""
    family, _, bits = name.rpartition("_")
    try:
        cell = cells([family], [int(bits)])[0]
    except (KeyError, ValueError):
        raise SystemExit(f"official_finn: {name} is no network; one is FAMILY_BITS, such as CNV_2") from None
    return replace(cell, width=WIDTHS.get(family, cell.width))


def export(cell: Cell, folder: Path) -> None:
    """Train the network for a few steps on the digits and export it with ``IMAGES`` test images."""
    train_images, train_labels, pixels, labels = images_of(cell.shape, cell.num_classes, IMAGES)
    model = trained(cell, train_images, train_labels)
    target = {"board": BOARD, "target_fps": TARGET_FPS, "network": cell.network}
    export_finn(model, folder, pixels=pixels, labels=labels, refused_too=True, **target)


def fold(folder: Path, scratch: Path) -> None:
    """Save a faster folding into the folder, as ``qtrain estimate --save-folding`` does."""
    board, target = get_board(BOARD), FASTER * TARGET_FPS
    build = estimate_build(folder, board=BOARD, target_fps=target, out=scratch, images=1, timeout_s=LIMIT)
    if not build.accepted:
        raise SystemExit(f"official_finn: finn-plus refuses {folder.name}: {build.reason}")
    folding = read_folding(scratch / "report" / "auto_folding_config.json")
    save_folding(folder, folding, board, target, 10.0, made_by=f"finn-plus {build.versions['finn-plus']}")


def run(compiler: Compiler, folder: Path) -> dict[str, Any]:
    """Build a copy of a folder; return what the worker found, with FINN's figures."""
    with tempfile.TemporaryDirectory(prefix="official-finn-") as scratch:
        place = Path(scratch)
        copy, answer = Path(shutil.copytree(folder, place / "folder")), place / "answer.json"
        # main takes minutes an image to round each value to its type; unrounded, the graphs are exact or differ
        environment = compiler_environment(place) | {"SANITIZE_QUANT_TENSORS": "0"}
        if compiler.root is not None:
            paths = {"FINN_ROOT": str(compiler.root), "PYTHONPATH": ":".join(map(str, compiler.sources))}
            environment |= paths
        command = [str(compiler.python), "-W", "ignore", str(WORKER), str(copy), str(IMAGES), str(answer)]
        log = place / "log"
        status = run_group(command, env=environment, cwd=place, log=log, timeout_s=LIMIT)
        if not answer.exists():
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
            return {"status": status, "said": f"ended without an answer: {last[0]}"}
        return json.loads(answer.read_text()) | figures(copy / "output" / "report")


def record(cell: Cell, compiler: Compiler, found: dict[str, Any], folded: bool) -> dict[str, Any]:
    """A line of the results."""
    units = {name: "x".join(str(v) for v in sizes.values()) for name, sizes in found.pop("units", {}).items()}
    golden = {kind: f"{sum(equal)} of {len(equal)}" for kind, equal in found.pop("golden", {}).items()}
    parent = found.pop("parent", [])
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **{"network": cell.network, "width": cell.width, "image_size": cell.image_size, "folded": folded},
        **{"board": BOARD, "target_fps": TARGET_FPS * (FASTER if folded else 1)},
        **{"compiler": compiler.name, "commits": compiler.commits},
        **found,
        **{"one_partition": sorted(parent) == ["StreamingDataflowPartition", "Transpose"], "parent": parent},
        **{"golden": golden, "units": units},
    }


def key(line: dict[str, Any]) -> tuple[Any, ...]:
    """What a line is about."""
    return line["network"], line["width"], line["folded"], line["compiler"], *sorted(line["commits"].values())


def known() -> set[tuple[Any, ...]]:
    """What is recorded."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {key(json.loads(line)) for line in lines}


def measure(cell: Cell, compilers: Sequence[Compiler], folded: bool) -> None:
    """Export a network and run its folder in each compiler; append the lines."""
    with tempfile.TemporaryDirectory(prefix="official-finn-") as scratch:
        folder = Path(scratch) / cell.network
        export(cell, folder)
        if folded:
            fold(folder, Path(scratch) / "build")
        for compiler in compilers:
            started = time.monotonic()
            line = record(cell, compiler, run(compiler, folder), folded)
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            classes = line.get("classes", {})
            print(
                f"{cell.network}{' folded' * folded} {compiler.name}: status {line['status']} {line['said']} "
                f"one partition {line['one_partition']}, golden {line['golden']}, classes {classes.get('equal')} of "
                f"{classes.get('images')}, {time.monotonic() - started:.0f} s",
                flush=True,
            )


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--main", type=Path, required=True, help="environment of official FINN's main")
    parser.add_argument("--dev", type=Path, required=True, help="environment of official FINN's dev")
    parser.add_argument("--finn-plus", help="interpreter that has finn-plus; default this one")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="FAMILY_BITS, separated by commas")
    parser.add_argument("--folded", action="store_true", help="from a saved folding")
    parser.add_argument("--again", action="store_true", help="run what is recorded, too")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    compilers = [official("main", options.main.resolve()), official("dev", options.dev.resolve())]
    compilers.append(finn_plus(options.finn_plus))
    for cell in [cell_of(name) for name in options.networks.split(",")]:
        done = set() if options.again else known()
        missing = [
            compiler
            for compiler in compilers
            if (cell.network, cell.width, options.folded, compiler.name, *sorted(compiler.commits.values())) not in done
        ]
        if missing:
            measure(cell, missing, options.folded)


if __name__ == "__main__":
    sys.exit(main())
