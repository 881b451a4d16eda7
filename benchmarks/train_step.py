"""Training steps end to end, data and augmentation included: bnn_pynq, this project's paths and a float twin in turn.

Each arm is a process of its own (see arms.py); they take turns, a few steps each a round. Rates are images a second of
processor time on a CPU and of real time on a GPU. The float twin, compiled, is the ceiling of what quantizers can cost;
products alone, its convolutions and matrix products without the rest, that of all else.

Usage: python benchmarks/train_step.py [--networks CNV_1W1A,CNV_4W4A] [--batch-sizes 100,256] [--arms bnn_pynq,qtrain]
       [--device cpu] [--rounds 5] [--steps 4] [--threads 1] [--without-data]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from arms import ARMS, Arm, Setting
from common import RESULTS, append, show, spread

BASE = "bnn_pynq"


def main() -> None:
    """Run the arms in turn, print the table, append a record for each network and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="CNV_1W1A,CNV_2W2A,CNV_4W4A")
    parser.add_argument("--batch-sizes", default="100,256")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of each arm a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--without-data", action="store_true", help="the step alone, on one batch")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    names = options.arms.split(",")
    if unknown := [name for name in names if name not in ARMS]:
        parser.error(f"unknown arms {', '.join(unknown)}; there are {', '.join(ARMS)}")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    for network in options.networks.split(","):
        for batch_size in map(int, options.batch_sizes.split(",")):
            pipeline = not options.without_data
            setting = Setting(network, batch_size, options.device, pipeline, width=options.width)
            arms = [Arm(name, setting, options.threads) for name in names]
            rates: dict[str, list[float]] = {name: [] for name in names}
            for round_ in range(-1, options.rounds):  # round -1 warms up
                for arm in arms:
                    rate = arm.rate(options.steps)
                    if round_ >= 0:
                        rates[arm.name].append(rate)
            numbers = {
                "network": network,
                "batch_size": batch_size,
                "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
                "bfloat16": options.device == "cuda" or torch.cpu._is_avx512_bf16_supported(),
                "with_data": pipeline,
                "width": options.width,
                "rounds": options.rounds,
                "steps_a_round": options.steps,
                "images_per_s": {name: spread(found, 1) for name, found in rates.items()},
                "seconds_to_first_step": {arm.name: round(arm.start_seconds, 1) for arm in arms},
            }
            if BASE in rates:
                numbers["ratio_to_bnn_pynq"] = {
                    name: spread([a / b for a, b in zip(found, rates[BASE], strict=True)])
                    for name, found in rates.items()
                    if name != BASE
                }
            for arm in arms:
                arm.stop()
            append("train_step", numbers, options.out)
            print(f"{network}, batch {batch_size}")
            for name, found in rates.items():
                print(show(name, spread(found, 1), "images/s"))
            for name, ratio in numbers.get("ratio_to_bnn_pynq", {}).items():
                print(show(f"{name} / {BASE}", ratio))


if __name__ == "__main__":
    main()
