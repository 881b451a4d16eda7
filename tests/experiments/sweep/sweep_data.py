"""A sweep's folder with plausible rows from a seed: failed, refused and warm-started cells, with or without FINN."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOARD = {"LUT": 230400, "BRAM_18K": 624, "URAM": 96, "DSP": 1728}
REASON = "StreamingMaxPool takes no input of 8 bits; use average pooling (FINN's step_convert_to_hw)"
MACS = 58_000_000
WEIGHTS = 1_540_000
RECIPE = {"optimizer": "adam", "batch_size": 100, "width": 1.0, "scheduler": "aslr"}


def write_sweep(
    folder: Path,
    *,
    widths: tuple[int, ...] = (1, 2, 4, 8),
    seeds: tuple[int, ...] = (0, 1, 2),
    expressions: tuple[str, ...] = ("",),
    warm: bool = True,
    search: int = 0,
    compiler: bool = True,
    board: bool = True,
    randomness: int = 0,
) -> Path:
    """Write ``sweep.json`` and ``sweep.jsonl`` as ``qtrain sweep`` leaves them.

    CNV_8W1A diverged with every seed, one seed of CNV_2W1A did; FINN refuses 8 bits of activations; with ``compiler``
    off no FINN is installed, with ``board`` off there is no proof either.
    """
    chance = random.Random(randomness)
    rows = [
        _row(chance, (w, a), bits, seed, start, widths, compiler and board, board)
        for start in (("scratch", "warm") if warm else ("scratch",))
        for bits in (expressions if start == "scratch" else ("",))
        for w in widths
        for a in widths
        if start == "scratch" or (w, a) != (widths[-1], widths[-1])
        for seed in seeds
    ]
    planned = [row["cell"] for row in rows]
    rows += [_search_row(chance, i, compiler and board, board) for i in range(search)]
    plan = {
        **{"format": 1, "family": "CNV", "data": "digits", "weight_bits": list(widths), "act_bits": list(widths)},
        **{"expressions": list(expressions), "seeds": list(seeds), "warm_from": widths[-1] if warm else None},
        **{"board": "ZCU104" if board else None, "target_fps": 1000, "clock_ns": 10.0, "lr": 0.03, "recipe": RECIPE},
        **{"cells": planned, "command": "qtrain sweep CNV --weight-bits 1,2,4,8 --act-bits 1,2,4,8 --out sweep"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(plan))
    (folder / "sweep.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def edit_rows(folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the rows in place."""
    path = folder / "sweep.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _row(
    chance: random.Random,
    width: tuple[int, int],
    bits: str,
    seed: int,
    start: str,
    widths: tuple[int, ...],
    compiler: bool,
    board: bool,
) -> dict[str, Any]:
    weight, act = width
    depth = max(len(widths) - widths.index(weight), len(widths) - widths.index(act)) if start == "warm" else 1
    total = 8 * max(len(widths) - widths.index(min(width)), 1) if len(widths) > 1 else 8
    network = f"CNV_{weight}W{act}A"
    higher = [min((w for w in widths if w > b), default=b) for b in width]
    parent_end = "-warm" if start == "warm" and depth > 2 else ""
    name = "-".join(filter(None, [network, "warm" if start == "warm" else "", bits and _plain(bits), f"seed{seed}"]))
    top = 78 + 6.5 * (1 - 2.0**-weight) + 12 * (1 - 2.0**-act) + (0.8 if start == "warm" else 0) + chance.gauss(0, 0.35)
    row = _common(chance, (weight, act), top, 8 if start == "warm" else total, total, compiler and act != 8, board)
    row |= {"cell": name, "network": network, "weight_bits": weight, "act_bits": act, "bits": bits, "seed": seed}
    row |= {
        "start": start,
        "parent": f"CNV_{higher[0]}W{higher[1]}A{parent_end}-seed{seed}" if start == "warm" else None,
    }
    row["command"] = (
        f"qtrain train {network} --data digits --epochs {row['epochs']} --scheduler aslr --lr 0.03 --seed {seed} "
        f"{f'--bits {bits} ' if bits else ''}--out cells/{name} && qtrain export cells/{name} --board ZCU104 "
        f"--target-fps 1000 --out cells/{name}/finn && qtrain estimate cells/{name}/finn"
    )
    if compiler and act == 8:
        row |= {"finn": {"accepted": False, "reason": REASON}, "state": "failed", "stage": "estimate"}
        row["error"] = f"{REASON}; see cells/{name}/estimate/build.log"
        row["lint"] = [{"rule": "wide-pool", "severity": "warning", "layer": "features.6", "says": REASON, "step": "hw",
                        "mend": "average pooling"}]  # fmt: skip
    if start == "scratch" and not bits and ((weight, act) == (8, 1) or ((weight, act, seed) == (2, 1, 1))):
        _fail(row)
    return row


def _search_row(chance: random.Random, trial: int, compiler: bool, board: bool) -> dict[str, Any]:
    weight, act = chance.uniform(1, 8), chance.uniform(1, 7)
    top = 77.6 + 7.5 * (1 - 2.0**-weight) + 12.5 * (1 - 2.0**-act) + chance.gauss(0, 0.3)
    bits = ",".join(f"conv{i}={chance.choice((1, 2, 4, 8))}" for i in range(6))
    row = _common(chance, (weight, act), top, 3, 11, compiler, board)
    row |= {"cell": f"CNV_8W8A-{_plain(bits)}-seed0", "network": "CNV_8W8A", "weight_bits": 8, "act_bits": 8}
    row |= {"bits": bits, "seed": 0, "start": "search", "parent": "CNV_8W8A-seed0"}
    return row | {"command": f"qtrain train CNV_8W8A --bits {bits} --epochs 3 --out cells/trial{trial}"}


def _common(
    chance: random.Random, bits: tuple[float, float], top: float, epochs: int, total: int, compiler: bool, board: bool
) -> dict[str, Any]:
    weight, act = bits
    curve = [top - 30 * 0.6**e + chance.gauss(0, 0.4) for e in range(1, epochs + 1)]
    estimate = None
    if compiler:
        used = {"LUT": round(9000 * (1 + weight * act / 3)), "BRAM_18K": round(20 + 14 * weight), "URAM": 0, "DSP": 30}
        fps = 3200 / (1 + weight * act / 12)
        estimate = {
            **{"fps": fps, "latency_ns": 3e9 / fps, "cycles": round(1e8 / fps), "used": used, "available": BOARD},
            **{"fits": True, "meets_target": fps >= 1000, "board": "ZCU104", "target_fps": 1000, "clock_ns": 10.0},
        }
    proof = {
        **{"images": 397, "equal": 397, "accuracy_torch": round(top, 2), "accuracy_graph": round(top, 2)},
        **{"largest_logit_difference": 2.5e-8, "ties": 0, "float32_torch_differs": 0, "qonnx_images": 8},
        "qonnx_equal": 8,
    }
    macs = {"macs": MACS, "bops": round(MACS * weight * act), "weight_bits": round(WEIGHTS * weight)}
    return {
        **{"epochs": epochs, "total_epochs": total, "state": "done", "stage": None, "error": None},
        **{"test_accuracy": round(top, 2), "validation_accuracy": round(max(curve), 2), "best_epoch": epochs},
        "seconds": {
            "train": 12.1,
            "lint": 0.4,
            "export": 9.0 if board else None,
            "estimate": 25.0 if compiler else None,
        },
        **{"lint": [], "proof": proof if board else None, "proven": True if board else None},
        "cost": {"label": "counts", **macs, "output_bits": 32 * 10**6, "layers": []},
        "finn": {"accepted": True, "reason": "estimated"} if compiler else None,
        "estimate": estimate,
        "curve": {
            "train_loss": [1.2 * 0.75**e for e in range(1, epochs + 1)],
            "validation_accuracy": [round(value, 2) for value in curve],
            "lr": [0.03] * epochs,
        },
    }


def _fail(row: dict[str, Any]) -> None:
    row |= {"state": "failed", "stage": "train", "error": "the loss is nan in epoch 2 of 8, </script><b>not finite</b>"}
    row |= dict.fromkeys(("test_accuracy", "validation_accuracy", "best_epoch", "proof", "proven", "cost", "finn"))
    row |= {"estimate": None, "curve": {"train_loss": [1.0, float("nan")], "validation_accuracy": [9.0], "lr": [0.03]}}


def _plain(bits: str) -> str:
    return "".join(c if c.isalnum() or c in "_." else "-" for c in bits)
