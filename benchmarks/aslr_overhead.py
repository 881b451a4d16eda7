"""What ASLR's draw costs beside one CNV_1W1A training step (forward, squared-hinge loss, backward, SGD, clipping).

Both are timed in the same steps, in process CPU time: the draw is called by hand where the pre-hook would call it, so
it meets the caches as the step left them ("in the step"). The same draw in a tight loop is "alone". One round is a few
steps and many lone draws, in turn. Images are random: the time does not depend on them.

Usage: python benchmarks/aslr_overhead.py [--rounds 7] [--steps 4] [--batch-size 100] [--out results/benchmarks.jsonl]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from common import RESULTS, append, show, spread

from qtrain import ASLR, layer_groups
from qtrain.models import build_model
from qtrain.training.losses import squared_hinge

LONE_DRAWS = 2000


class Trainer:
    """CNV_1W1A with one parameter group a layer, and the two clocks."""

    def __init__(self, batch_size: int, width: float) -> None:
        torch.manual_seed(0)
        self.model = build_model("CNV_1W1A", width=width).train()
        self.optimizer = torch.optim.SGD(layer_groups(self.model), lr=0.01, momentum=0.9)
        self.scheduler = ASLR(self.optimizer)
        self.scheduler.remove()  # no hook: the draw is called, and timed, by hand at the same place
        self.images = torch.rand(batch_size, 3, 32, 32)
        self.labels = torch.randint(0, 10, (batch_size,))

    def step(self) -> tuple[float, float]:
        """Return the CPU seconds of a step without its draw, and of the draw."""
        start = time.process_time()
        self.optimizer.zero_grad()
        squared_hinge(self.model(self.images), self.labels).backward()
        drawing = time.process_time()
        self.scheduler.draw()
        drawn = time.process_time()
        self.optimizer.step()
        self.model.clip_weights()
        return time.process_time() - start - (drawn - drawing), drawn - drawing

    def lone_draw(self) -> float:
        """Return the CPU seconds of a draw in a tight loop."""
        start = time.process_time()
        for _ in range(LONE_DRAWS):
            self.scheduler.draw()
        return (time.process_time() - start) / LONE_DRAWS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="training steps a round")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trainer = Trainer(arguments.batch_size, arguments.width)
    trainer.step()
    steps, draws, lone = [], [], []
    for _ in range(arguments.rounds):
        pairs = [trainer.step() for _ in range(arguments.steps)]
        steps.append(statistics.mean(step for step, _ in pairs))
        draws.append(statistics.mean(draw for _, draw in pairs))
        lone.append(trainer.lone_draw())
    rows = {
        "step without its draw, ms": spread([1e3 * t for t in steps], 1),
        "draw in the step, us": spread([1e6 * t for t in draws], 1),
        "draw alone, us": spread([1e6 * t for t in lone], 1),
        "draw in the step, % of a step": spread([100 * d / s for d, s in zip(draws, steps, strict=True)], 4),
    }
    numbers = {
        "network": "CNV_1W1A",
        "width": arguments.width,
        "batch_size": arguments.batch_size,
        "groups": len(trainer.optimizer.param_groups),
        "rounds": arguments.rounds,
        "steps_a_round": arguments.steps,
        "cpu_time": rows,
    }
    append("aslr_overhead", numbers, arguments.out)
    for name, found in rows.items():
        print(show(name, found))


if __name__ == "__main__":
    main()
