"""How long a checkpoint holds the training loop: serialised, written and synced in it, or copied and left to a thread.

All arms save the same state of a trained network, SGD with momentum, alternating. Behind the thread's arm the loop
trains a step while the file is written; its time, beside that of a step alone, says what the thread takes from it. A
third arm writes without checksum, reads nothing back and keeps no previous file: what those cost is a ratio to it.

Usage: python -W ignore benchmarks/checkpoint.py [--network CNV_2W2A] [--rounds 20] [--out results/benchmarks.jsonl]
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, append, show, spread

from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward
from qtrain.records.files import write_whole
from qtrain.training import checkpoint
from qtrain.training.saver import Saver

BATCH = 20


def write_unchecked(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint as it was written before it had a checksum."""
    buffer = io.BytesIO()
    torch.save({"format": checkpoint.FORMAT, **state}, buffer)
    write_whole(path, buffer.getbuffer())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="CNV_2W2A")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default a temporary one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = build_model(given.network).train()
    fast_forward(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.rand(BATCH, 3, 32, 32)

    def step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
        return time.perf_counter() - started

    step()
    state: dict[str, Any] = {"recipe": {}, "model": model.state_dict(), "method": optimizer.state_dict()}
    found: dict[str, list[float]] = {
        "in the loop": [],
        "unchecked": [],
        "left to a thread": [],
        "step alone": [],
        "step beside it": [],
    }
    with tempfile.TemporaryDirectory(dir=given.folder) as name, Saver(Path(name)) as saver:
        for _ in range(given.rounds):
            found["step alone"].append(1e3 * step())
            started = time.perf_counter()
            checkpoint.save(Path(name) / checkpoint.LAST, state)
            found["in the loop"].append(1e3 * (time.perf_counter() - started))
            started = time.perf_counter()
            write_unchecked(Path(name) / "unchecked.pt", state)
            found["unchecked"].append(1e3 * (time.perf_counter() - started))
            started = time.perf_counter()
            saver.save(state)
            found["left to a thread"].append(1e3 * (time.perf_counter() - started))
            found["step beside it"].append(1e3 * step())
            saver.wait()
        size = (Path(name) / checkpoint.LAST).stat().st_size / 1e6
    times = {name: spread(values, 2) for name, values in found.items()}
    ratios = [now / before for now, before in zip(found["left to a thread"], found["in the loop"], strict=True)]
    checked = [now / before for now, before in zip(found["in the loop"], found["unchecked"], strict=True)]
    times["ratio"] = spread(ratios)
    times["checked over unchecked"] = spread(checked)
    for name, values in times.items():
        print(show(name, values, "ms" if name in found else ""))
    append("checkpoint", {"network": given.network, "megabytes": round(size, 1), "times": times}, given.out)


if __name__ == "__main__":
    main()
