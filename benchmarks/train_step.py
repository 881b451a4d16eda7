"""Training CNV end to end, data and augmentation included: qtrain against bnn_pynq, both in one run.

bnn_pynq's model and loss classes are used as brevitas ships them; its trainer imports torchvision, which has no CPU
build for every torch, so its step (trainer.py: one-hot targets, loss, Adam, clip_weights, a reading of the accuracy
every 10 steps) is driven from here, and a per-sample pipeline in plain torch stands in for torchvision's transforms.
Arms alternate, a few steps each a round; images a second of process CPU time.

Usage: python benchmarks/train_step.py [--networks CNV_1W1A CNV_2W2A] [--batch-size 100] [--rounds 5] [--steps 4]
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from common import RESULTS, append, show, spread
from data import per_sample
from torch import Tensor

from qtrain.data import Batches, Split
from qtrain.models import build_model, parse_name
from qtrain.recipe import default_recipe
from qtrain.training.losses import LOSSES
from qtrain.training.make_method import make_method

LOG_EVERY = 10  # bnn_pynq's log_freq


def endless(epochs: Callable[[int], Iterator[tuple[Tensor, Tensor]]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Mini-batches of one epoch after the other."""
    return (batch for epoch in itertools.count() for batch in epochs(epoch))


def bnn_pynq(network: str, split: Split, batch_size: int, pipeline: bool) -> Callable[[], None]:
    """Return a function that takes one step as bnn_pynq's trainer does, without its data pipeline on request."""
    from brevitas_examples.bnn_pynq.models.CNV import CNV
    from brevitas_examples.bnn_pynq.models.losses import SqrHingeLoss

    name = parse_name(network)
    model = CNV(10, name.weight_bits, name.act_bits, 8, 3).train()
    criterion, optimizer = SqrHingeLoss(), torch.optim.Adam(model.parameters(), lr=0.02)
    fixed = next(per_sample(split, batch_size))
    batches = endless(lambda _: per_sample(split, batch_size)) if pipeline else itertools.repeat(fixed)
    steps = itertools.count()

    def step() -> None:
        images, labels = next(batches)
        target = torch.empty(len(labels), 10).fill_(-1).scatter_(1, labels.unsqueeze(1), 1)
        output = model(images)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.clip_weights(-1, 1)
        if next(steps) % LOG_EVERY == 0:
            output.detach().topk(5)[1].eq(labels[:, None]).sum().item()
            loss.item()

    return step


def qtrain(network: str, split: Split, batch_size: int, pipeline: bool) -> Callable[[], None]:
    """Return a function that takes one step as qtrain.training.loop does."""
    recipe = default_recipe(network, "cifar10").replace(batch_size=batch_size)
    model = build_model(network).to(memory_format=torch.channels_last).train()
    source = Batches(split, batch_size, seed=0, augment=True, flip=True)
    method, loss_function = make_method(model, recipe, len(source)), LOSSES[recipe.loss]
    batches = endless(source.epoch) if pipeline else itertools.repeat(next(source.epoch(0)))
    loss_sum = torch.zeros((), dtype=torch.float64)

    def step() -> None:
        images, labels = next(batches)
        loss = loss_function(model(images), labels)
        method.optimizer.zero_grad()
        loss.backward()
        method.optimizer.step()
        model.clip_weights()
        loss_sum.add_(loss.detach() * len(labels))

    return step


def main() -> None:
    """Run the arms in turn, print the table, append the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["CNV_1W1A", "CNV_2W2A"])
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of each arm a round")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    count = max(5000, 2 * options.batch_size)
    split = Split(torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8), torch.arange(count) % 10)
    for network in options.networks:
        arms = {
            f"{name}, {what}": make(network, split, options.batch_size, what == "with data")
            for what in ("with data", "step alone")
            for name, make in (("bnn_pynq", bnn_pynq), ("qtrain", qtrain))
        }
        rates: dict[str, list[float]] = {name: [] for name in arms}
        for round_ in range(-1, options.rounds):  # round -1 warms up
            for name, step in arms.items():
                start = time.process_time()
                for _ in range(options.steps):
                    step()
                if round_ >= 0:
                    rates[name].append(options.steps * options.batch_size / (time.process_time() - start))
        ratios = {
            what: spread([a / b for a, b in zip(rates[f"qtrain, {what}"], rates[f"bnn_pynq, {what}"], strict=True)])
            for what in ("with data", "step alone")
        }
        numbers = {
            "network": network,
            "batch_size": options.batch_size,
            "rounds": options.rounds,
            "steps_a_round": options.steps,
            "images_per_s": {name: spread(r, 1) for name, r in rates.items()},
            "ratio_to_bnn_pynq": ratios,
        }
        append("train_step", numbers, options.out)
        print(network)
        for name, r in rates.items():
            print(show(name, spread(r, 1), "images/s"))
        for what, found in ratios.items():
            print(show(f"qtrain / bnn_pynq, {what}", found))


if __name__ == "__main__":
    main()
