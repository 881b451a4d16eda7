"""Images a second of the batched augmentation against a per-sample pipeline, both in one run.

The per-sample pipeline stands in for torchvision's RandomCrop(32, padding=4), RandomHorizontalFlip and ToTensor behind
a DataLoader without workers: pad, crop, flip and convert each image by itself in plain torch, then stack. It needs no
PIL, so it is not torchvision's own speed. Images are random bytes; the time does not depend on them.

Usage: python benchmarks/data.py [--rounds 5] [--batch-size 100] [--out results/benchmarks.jsonl]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from common import RESULTS, append, show, spread
from torch import Tensor

from qtrain.data import Batches, Split
from qtrain.data.augment import crop_flip_gather

IMAGES = 45_000


def per_sample(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(split))
    for index in order.split(batch_size):
        samples = []
        for i in index.tolist():
            padded = F.pad(split.images[i], (4, 4, 4, 4))
            y, x = torch.randint(0, 9, (2,)).tolist()
            image = padded[:, y : y + 32, x : x + 32]
            if torch.rand(1).item() < 0.5:
                image = image.flip(-1)
            samples.append(image.contiguous().float().div(255))
        yield torch.stack(samples), split.labels[index]


def rate(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    """Return images a second of process time over a whole epoch, its draws included."""
    start = time.process_time()
    shown = sum(len(images) for images, _ in batches)
    return shown / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    split = Split(torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8), torch.arange(IMAGES) % 10)
    slices = Batches(split, arguments.batch_size, seed=0, augment=True, flip=True)
    gather = Batches(split, arguments.batch_size, seed=0, augment=True, flip=True)
    gather._crop_flip = crop_flip_gather
    arms: dict[str, Callable[[int], Iterator[tuple[Tensor, Tensor]]]] = {
        "per_sample": lambda _: per_sample(split, arguments.batch_size),
        "batched_slices": slices.epoch,
        "batched_gather": gather.epoch,
    }
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for round_ in range(-1, arguments.rounds):  # round -1 warms up
        for name, epoch in arms.items():
            found = rate(epoch(round_ + 1))
            if round_ >= 0:
                rates[name].append(found)
    numbers = {
        "batch_size": arguments.batch_size,
        "rounds": arguments.rounds,
        "images_per_s": {name: spread(r, 0) for name, r in rates.items()},
        "ratio_to_per_sample": {
            name: spread([a / b for a, b in zip(r, rates["per_sample"], strict=True)], 2) for name, r in rates.items()
        },
    }
    append("data", numbers, arguments.out)
    for name, found in numbers["images_per_s"].items():
        print(show(name, found, f"images/s, {numbers['ratio_to_per_sample'][name]['median']} x"))


if __name__ == "__main__":
    main()
