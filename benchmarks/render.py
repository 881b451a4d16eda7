"""Render results/README.md from the recorded runs: `make results`. No number in it is typed."""

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
CHOICES = """Read these with how they came about. Two rows compare ASLR with a baseline tuned for that length: 12
epochs at 0.1, and 30 epochs at 0.05; ASLR falls short in both. The recipe's length was raised from
12 to 30 epochs after the first of them, and the rate 0.02 of the last one was picked with ASLR's
test accuracies in view."""


def lines(name: str) -> list[dict[str, Any]]:
    """The records of one file, oldest first."""
    path = RESULTS / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def spread(found: dict[str, float], digits: int = 2) -> str:
    """Median with least and largest."""
    return f"{found['median']:,.{digits}f} [{found['min']:,.{digits}f}..{found['max']:,.{digits}f}]"


def cifar_to_finn() -> str:
    """Trained on real CIFAR-10, proven on its test set, built by the real FINN."""
    rows = []
    for r in lines("cifar_to_finn.jsonl"):
        recipe, proof, finn = r["recipe"], r["proof"], r["finn"]
        rows.append(
            [
                f"{recipe['network']} width {recipe['width']:g}{', ' + recipe['bits'] if recipe.get('bits') else ''}",
                f"{recipe['epochs']} epochs of {recipe['train_size'] or 'all'} images, {recipe['scheduler']} "
                f"{recipe['lr']:g}",
                f"{proof['accuracy_torch']:.2f} / {proof['accuracy_graph']:.2f}",
                f"{proof['equal']:,} of {proof['images']:,}",
                f"{proof['ties']}",
                f"{r['export_s']:.0f} / {r['verify_s']:.0f}",
                "accepted" if finn["accepted"] else finn["reason"],
                f"{finn['fps']:,.0f}",
                f"{finn['lut']:,}",
                f"{finn['bram_18k']}",
            ]
        )
    head = ["network", "training", "test accuracy, % (torch / graph)", "equal images", "ties", "export / verify, s"]
    head += [f"FINN ({lines('cifar_to_finn.jsonl')[-1]['board']}, estimates)", "frames/s", "LUT", "BRAM_18K"]
    return table(head, rows)


def comparisons() -> str:
    """Every comparison that was run, in that order."""
    rows = []
    for r in lines("comparisons.jsonl"):
        recipe, cells = r["recipe"], r["cells"]
        by_scheduler = {s: [c["test_accuracy"] for c in cells if c["scheduler"] == s] for s in r["schedulers"]}
        for name, values in by_scheduler.items():
            deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            gap = r["differences"].get(name)
            rows.append(
                [
                    f"{recipe['network']} width {recipe['width']:g}, {recipe['data']}, {recipe['epochs']} epochs",
                    f"{recipe['lr']:g}",
                    f"{name} ({', '.join(f'{m:g}' for m in recipe['milestones'])})" if name == "multistep" else name,
                    f"{statistics.mean(values):.2f}{deviation}",
                    f"{statistics.mean(gap):+.2f} [{min(gap):+.2f}..{max(gap):+.2f}]" if gap else "",
                    str(len(values)),
                ]
            )
    return table(
        ["runs", "lr0 of all", "scheduler (milestones)", "test accuracy, %", "ASLR minus it, points", "seeds"], rows
    )


def tuning() -> str:
    """What the baseline's tuning cost."""
    rows = []
    for r in lines("tuning.jsonl"):
        for point in r["points"]:
            mean = statistics.mean(point["validation_accuracy"])
            steps = ", ".join(f"{m:g}" for m in point["milestones"])
            epochs = str(r["recipe"]["epochs"])
            rows.append(
                [r["recipe"]["data"], epochs, f"{point['lr']:g}", steps, f"{mean:.2f}", f"{point['seconds']:.0f}"]
            )
    return table(["data", "epochs", "lr", "milestones (fractions)", "validation accuracy, %", "seconds"], rows)


def speed() -> str:
    """The last record of each training benchmark."""
    last = {(r["network"], r["batch_size"]): r for r in lines("benchmarks.jsonl") if r["benchmark"] == "train_step"}
    rows = [
        [
            network,
            str(batch),
            spread(r["images_per_s"]["bnn_pynq, with data"], 0),
            spread(r["images_per_s"]["qtrain, with data"], 0),
            spread(r["ratio_to_bnn_pynq"]["with data"]),
        ]
        for (network, batch), r in last.items()
    ]
    return table(["network", "batch", "bnn_pynq, images/s of CPU time", "qtrain", "ratio"], rows)


def draws() -> str:
    """The last record of the draw's cost."""
    records = [r for r in lines("benchmarks.jsonl") if r["benchmark"] == "aslr_overhead"]
    share = records[-1]["cpu_time"]["draw in the step, % of a step"]
    return f"ASLR's draws cost {spread(share, 3)} % of a CNV_1W1A step (batch {records[-1]['batch_size']}, one thread)."


def main() -> None:
    """Write the page."""
    sections = {
        "From CIFAR-10 to FINN": cifar_to_finn(),
        "ASLR against other schedules, in the order of running": f"{CHOICES}\n\n{comparisons()}",
        "What tuning the baseline cost": tuning(),
        "Training speed on a CPU": f"{speed()}\n\n{draws()}",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    intro = "Rendered by `make results` from the JSON lines beside this file; spreads are median [least..largest]."
    (RESULTS / "README.md").write_text(f"# Recorded results\n\n{intro}\n\n{body}\n")


if __name__ == "__main__":
    main()
