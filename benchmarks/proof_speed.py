"""How long the proof takes, beside what it took in an earlier tree of this project, in one run.

Rows, each in a process of its own, the trees alternating:

- ``export``: CNV_4W4A, full width, with the proof on the whole CIFAR-10 test set; ``verify``: of that folder
- ``executor``: RESNET18_8W8A's exported graph on the whole test set, and qonnx's own executor on a few images of it
- ``estimate``: the compiler's build of RESNET20_4W4A with its golden images; ``verify-finn``: the proof inside it

Times are wall seconds and CPU seconds with all children's.

Usage: QTRAIN_DATA=... python benchmarks/proof_speed.py [--rows export,verify] [--before TREE] [--rounds 3] [--images N]
A tree is a checkout, e.g. of ``git worktree add ../before COMMIT``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS = {
    "export": "CNV_4W4A",
    "verify": "CNV_4W4A",
    "executor": "RESNET18_8W8A",
    "estimate": "RESNET20_4W4A",
    "verify-finn": "RESNET20_4W4A",
}
FINN_IMAGES, QONNX_IMAGES = 100, 4
BUILD = {"board": "ZCU104", "target_fps": 1000}


def trained(network: str) -> tuple[Any, Any, Any]:
    """A network whose statistics have moved over training images, with the test images and labels."""
    import torch

    from qtrain.data import load_data
    from qtrain.models import build_model

    data = load_data("cifar10")
    torch.manual_seed(0)
    model = build_model(network)
    with torch.no_grad():
        for images in data.train.images[:1000].split(100):
            model(images.float() / 255)
    return model.eval(), data.test.images, data.test.labels


def make_folder(network: str, folder: Path, images: int) -> dict[str, Any]:
    """Export a network with a proof on the first test images."""
    from qtrain.export import export_finn

    model, pixels, labels = trained(network)
    with timed() as found:
        proof = export_finn(model, folder, pixels=pixels[:images], labels=labels[:images])
    return found() | {"images": proof.images, "equal": proof.equal}


def verify_folder(_: str, folder: Path, images: int) -> dict[str, Any]:
    """Repeat the proof of a folder of all images."""
    from qtrain.export import verify

    with timed() as found:
        proof = verify(folder)
    return found() | {"images": proof.images, "equal": proof.equal}


def execute(network: str, folder: Path, images: int) -> dict[str, Any]:
    """Execute a graph on the test images with our executor, and on a few with qonnx's."""
    from qonnx.core.modelwrapper import ModelWrapper

    from qtrain.data import load_data
    from qtrain.export.linted import lint_network
    from qtrain.export.proof.against_torch import run_graph, run_qonnx

    path = folder.with_suffix(".onnx")
    if not path.exists():
        model, pixels, _ = trained(network)
        lint_network(model, tuple(pixels.shape[1:])).graph().save(str(path))
    graph = ModelWrapper(str(path))
    pixels = load_data("cifar10").test.images[:images]
    with timed() as theirs:
        few = run_qonnx(graph, pixels[:QONNX_IMAGES])
    with timed() as ours:
        classes, _ = run_graph(graph, pixels)
    equal = int((classes[: len(few)] == few).sum())
    qonnx = theirs() | {"images": len(few), "equal": equal}
    return ours() | {"images": len(classes), "qonnx": qonnx}


def estimate(_: str, folder: Path, images: int) -> dict[str, Any]:
    """Let the compiler build a folder up to its estimates."""
    from qtrain.export.compiler.start import estimate_build

    with tempfile.TemporaryDirectory() as temporary, timed() as found:
        result = estimate_build(folder, out=Path(temporary) / "build", **BUILD)  # type: ignore[arg-type]
    return found() | {"accepted": result.accepted}


def verify_inside(_: str, folder: Path, images: int) -> dict[str, Any]:
    """Prove the graphs inside the compiler on a fixed number of images."""
    from qtrain.export.proof.inside_finn import verify_finn

    with timed() as found:
        proof, failure = verify_finn(folder, images=FINN_IMAGES)
    return found() | {"images": proof.images, "holds": failure is None}


class timed:  # read as a word, like contextlib's
    """Wall and CPU seconds of what is inside, CPU with that of children that have ended; called for them afterwards."""

    def __enter__(self) -> Callable[[], dict[str, float]]:
        self._before = (time.perf_counter(), _cpu_seconds())
        return lambda: self._found

    def __exit__(self, *_: object) -> None:
        wall, cpu = self._before
        self._found = {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(_cpu_seconds() - cpu, 2),
            "memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        }


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


PARTS = {
    "export": make_folder,
    "verify": verify_folder,
    "executor": execute,
    "estimate": estimate,
    "verify-finn": verify_inside,
}


def part(tree: Path, name: str, folder: Path, images: int) -> dict[str, Any]:
    """Run one part in a process of its own, with the code of a tree."""
    command = [sys.executable, "-W", "ignore", __file__, "--part", name, str(folder), str(images)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise RuntimeError(f"{name} with {tree}:\n{result.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def measured(row: str, trees: dict[str, Path], rounds: int, images: int, work: Path) -> dict[str, Any]:
    """All rounds of a row: what the last one found, and the spread of times and of their ratio."""
    from common import spread

    network = ROWS[row]
    shared = work / row
    if row == "verify":
        part(trees["now"], "export", shared, images)
    if row in ("estimate", "verify-finn"):
        part(trees["now"], f"folder {network}", shared, FINN_IMAGES)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    for number in range(rounds):
        for name, tree in trees.items():
            folder = work / f"{row}-{name}-{number}" if row == "export" else shared
            found[name].append(part(tree, row, folder, images))
    record: dict[str, Any] = {"row": row, "network": network, "rounds": rounds}
    for name, times in found.items():
        spreads = {kind: spread([t[kind] for t in times], 2) for kind in ("wall_s", "cpu_s")}
        record[name] = {**times[-1], **spreads}
    if "before" in found:
        pairs = list(zip(found["before"], found["now"], strict=True))
        record["ratio"] = {k: spread([b[k] / n[k] for b, n in pairs]) for k in ("wall_s", "cpu_s")}
    return record


def main() -> None:
    """Measure, print and record."""
    from common import RESULTS, append, show

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--before", type=Path, help="an earlier tree of this project")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000, help="of the test set")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--part", nargs=3, metavar=("PART", "FOLDER", "IMAGES"), help="for this program itself")
    options = parser.parse_args()
    if options.part:
        warnings.filterwarnings("ignore")
        name, folder, images = options.part
        kind, _, network = name.partition(" ")
        run = make_folder if kind == "folder" else PARTS[kind]
        print(json.dumps(run(network or ROWS[kind], Path(folder), int(images))))
        return
    trees = {"now": Path(__file__).parents[1]}
    if options.before:
        trees = {"before": options.before.resolve(), **trees}
    for row in options.rows.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            record = measured(row, trees, options.rounds, options.images, Path(temporary))
        for name in trees:
            print(show(f"{row} {record['network']}, {name}, wall", record[name]["wall_s"], "s"))
            print(show(f"{row} {record['network']}, {name}, CPU", record[name]["cpu_s"], "s"))
        if "ratio" in record:
            print(show(f"{row} before / now, CPU", record["ratio"]["cpu_s"]))
        append("proof_speed", record, options.out)


if __name__ == "__main__":
    main()
