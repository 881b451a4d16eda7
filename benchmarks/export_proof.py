"""The proof of a full-width CNV on the whole real CIFAR-10 test set: time, memory, ratio to qonnx's executor.

Each network is exported by a process of its own and verified by another, so that the memory is that of one command.
qonnx's own executor runs the same graph on a few of the images in the same run, alternating with ours.

Usage: QTRAIN_DATA=... python benchmarks/export_proof.py [--networks CNV_1W1A,CNV_2W2A,CNV_4W4A] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, append, show, spread
from qonnx.core.modelwrapper import ModelWrapper

from qtrain.data import load_data
from qtrain.export import export_finn, verify
from qtrain.export.proof.against_torch import run_graph, run_qonnx
from qtrain.models import build_model

ROUNDS, QONNX_IMAGES, OUR_IMAGES = 5, 8, 200


def measured(seconds: float) -> dict[str, float]:
    """Wall seconds and the process' largest memory in GB."""
    return {
        "seconds": round(seconds, 1),
        "memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def export(network: str, folder: Path) -> dict[str, Any]:
    """Export with a proof on all test images; statistics have moved over 2,000 training images."""
    data = load_data("cifar10")
    torch.manual_seed(0)
    model = build_model(network)
    with torch.no_grad():
        for images in data.train.images[:2000].split(200):
            model(images.float() / 255)
    started = time.perf_counter()
    proof = export_finn(model.eval(), folder, pixels=data.test.images, labels=data.test.labels)
    return measured(time.perf_counter() - started) | {"images": proof.images, "equal": proof.equal}


def verified(folder: Path) -> dict[str, Any]:
    """The proof again, from the folder alone."""
    started = time.perf_counter()
    proof = verify(folder)
    return measured(time.perf_counter() - started) | {"images": proof.images, "equal": proof.equal}


def against_qonnx(folder: Path) -> dict[str, Any]:
    """Images a second of CPU time of both executors, alternating."""
    graph, data = ModelWrapper(str(folder / "model.onnx")), load_data("cifar10")
    rates: dict[str, list[float]] = {"qonnx": [], "ours": []}
    for _ in range(ROUNDS):
        for name, count, run in (("qonnx", QONNX_IMAGES, run_qonnx), ("ours", OUR_IMAGES, run_graph)):
            started = time.process_time()
            run(graph, data.test.images[:count])  # type: ignore[operator]
            rates[name].append(count / (time.process_time() - started))
    ratio = [ours / theirs for ours, theirs in zip(rates["ours"], rates["qonnx"], strict=True)]
    return {"qonnx_images_s": spread(rates["qonnx"]), "ours_images_s": spread(rates["ours"]), "ratio": spread(ratio)}


PARTS = {"export": export, "verify": lambda _, folder: verified(folder), "qonnx": lambda _, f: against_qonnx(f)}


def part(name: str, network: str, folder: Path) -> dict[str, Any]:
    """Run one part in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--part", name, network, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="CNV_1W1A,CNV_2W2A,CNV_4W4A")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--part", nargs=3, metavar=("PART", "NETWORK", "FOLDER"), help="for this program itself")
    options = parser.parse_args()
    if options.part:
        warnings.filterwarnings("ignore")
        name, network, folder = options.part
        print(json.dumps(PARTS[name](network, Path(folder))))
        return
    for network in options.networks.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            found = {name: part(name, network, Path(temporary) / "finn") for name in PARTS}
        for name in ("export", "verify"):
            f = found[name]
            print(f"{network} {name}: {f['equal']:,} of {f['images']:,} equal, {f['seconds']} s, {f['memory_gb']} GB")
        print(show(f"{network} ours / qonnx, CPU time", found["qonnx"]["ratio"]))
        append("export_proof", {"network": network, **found}, options.out)


if __name__ == "__main__":
    main()
