"""What finn-base, the independent executor, answers on the graphs of the zoo: one line a network in finn_base.jsonl.

The networks are those of `finn_matrix.py`: narrow, a few training steps on the embedded digits. Exit status 1 where
finn-base differs on more images than float32's rounding explains.

Usage: python -m benchmarks.finn_base_opinions [--networks CNV,VGG11] [--bits 2] (after `make finn-base`)
"""

import argparse
import json
import tempfile
import warnings
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.finn_matrix import Cell, cells, trained
from benchmarks.matrix_images import images_of
from benchmarks.records import RESULTS
from qtrain.errors import UserError
from qtrain.export import export_finn
from qtrain.export.proof.finn_base import second_opinion
from qtrain.models import FAMILIES

IMAGES = 64  # proven at the export; finn-base executes as many of them as fit its minute


def opinion(cell: Cell) -> dict[str, Any]:
    """The record of one network; where finn-base does not take the graph, its reason."""
    train_images, train_labels, pixels, labels = images_of(cell.shape, cell.num_classes, IMAGES)
    record: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "network": cell.network}
    record |= {"width": cell.width, "image_size": cell.image_size}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "finn"
        export_finn(trained(cell, train_images, train_labels), folder, pixels=pixels, labels=labels, refused_too=True)
        try:
            return record | asdict(second_opinion(folder))
        except UserError as error:
            return record | {"reason": str(error)}


def main() -> None:
    """Ask and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [name for name, family in FAMILIES.built_in.items() if not family.float_only]
    parser.add_argument("--networks", default=",".join(names))
    parser.add_argument("--bits", default="2")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    flipped = []
    for cell in cells(options.networks.split(","), [int(bits) for bits in options.bits.split(",")]):
        record = opinion(cell)
        with (RESULTS / "finn_base.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(cell.network, record.get("reason") or f"{record['equal']} of {record['images']} equal", flush=True)
        if len(record.get("flipped", ())) > record.get("allowed", 0):
            flipped.append(cell.network)
    raise SystemExit(f"more images flipped than float32 explains: {', '.join(flipped)}" if flipped else 0)


if __name__ == "__main__":
    main()
