"""Recorded exports that other programs took or executed, as sections of results: FINN's builds, finn-base's answers."""

from typing import Any

from benchmarks.records import lines, newest, table

Record = dict[str, Any]


def cifar_to_finn() -> str:
    """Return networks trained on real CIFAR-10, proven on its test set and built by the real FINN."""
    records = lines("cifar_to_finn.jsonl")
    head = ["network", "training", "test accuracy, % (torch / graph)", "equal images", "ties", "export / verify, s"]
    head += [f"FINN ({records[-1]['board']}, estimates)", "frames/s", "LUT", "BRAM_18K"]
    return table(head, [_built(record) for record in records])


def _built(record: Record) -> list[str]:
    """Return the row of a build."""
    recipe = record["recipe"]
    proof = record["proof"]
    finn = record["finn"]
    network = f"{recipe['network']} width {recipe['width']:g}"
    if recipe.get("bits"):
        network += f", {recipe['bits']}"
    images = recipe["train_size"] or "all"
    row = [network, f"{recipe['epochs']} epochs of {images} images, {recipe['scheduler']} {recipe['lr']:g}"]
    row += [f"{proof['accuracy_torch']:.2f} / {proof['accuracy_graph']:.2f}"]
    row += [f"{proof['equal']:,} of {proof['images']:,}", f"{proof['ties']}"]
    row += [f"{record['export_s']:.0f} / {record['verify_s']:.0f}"]
    row += ["accepted" if finn["accepted"] else finn["reason"]]
    return [*row, f"{finn['fps']:,.0f}", f"{finn['lut']:,}", f"{finn['bram_18k']}"]


def second_opinions() -> str:
    """Return the last answer of finn-base on each network."""
    rows = []
    for record in newest(lines("finn_base.jsonl"), "network"):
        row = [record["network"], f"{record['width']:g}"]
        reason = record.get("reason")
        if reason:
            rows.append([*row, reason, "", "", ""])
            continue
        row += [f"{record['equal']} of {record['images']}", str(len(record["ties"]))]
        row += [f"{len(record['flipped'])} ({record['allowed']} allowed)"]
        rows.append([*row, f"{record['equal_logits']} of {record['images']}"])
    return table(["network", "width", "images with torch's class", "ties", "flipped", "equal logits"], rows)
