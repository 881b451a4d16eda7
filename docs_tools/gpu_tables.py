"""What the stages of `make gpu-evidence` found on GPUs, as the tables of docs/speed.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.records import lines, newest, of, spread, table

Record = dict[str, Any]
NOT_YET = "No GPU has run them yet: there are no records."
ARITHMETIC = ("float32", "tf32", "bfloat16")
STAGES = ("gpu_check", "epoch", "validation", "ceilings", "profile")
SETTING = ("device", "network", "width", "batch_size", "precision", "compile")


def gpu() -> str:
    """Return all tables of the recorded runs."""
    return tables(lines("benchmarks.jsonl"))


def tables(records: Sequence[Record]) -> str:
    """Return all tables; a sentence where no record is of a GPU."""
    found = [record for record in records if record["benchmark"] in STAGES and record.get("device", "cpu") != "cpu"]
    if not found:
        return NOT_YET
    parts = [
        _checks(of("gpu_check", found)),
        _ceilings(of("ceilings", found)),
        _epochs(of("epoch", found)),
        _validations(of("validation", found)),
        _profiles(of("profile", found)),
    ]
    return "\n\n".join(part for part in parts if part)


def _checks(records: Sequence[Record]) -> str:
    """Say how many checks passed on each device, by each one's last run, and which did not."""
    last: dict[str, dict[tuple[str, str], bool]] = {}
    for record in records:
        for check in record.get("checks", []):
            last.setdefault(record["device"], {})[record["network"], check["check"]] = check["passed"]
    found = []
    for device, checks in last.items():
        failed = [f"{network} {name}" for (network, name), passed in checks.items() if not passed]
        text = f"{device}: {len(checks) - len(failed)} of {len(checks)} checks of `make gpu-check` passed"
        if failed:
            text += f"; failed: {', '.join(failed)}"
        found.append(f"{text}.")
    return "\n\n".join(found)


def _ceilings(records: Sequence[Record]) -> str:
    """Say what each device can do at most."""
    found = []
    for record in newest(records, "device"):
        products = ", ".join(f"{record[f'{name}_tflop_per_s']:,.0f} in {name}" for name in ARITHMETIC)
        found.append(
            f"{record['device']}: a large copy moves {record['copy_gb_per_s']:,.0f} GB/s, read and written; a large "
            f"product runs at {products} TFLOP/s."
        )
    return "\n\n".join(found)


def _epochs(records: Sequence[Record]) -> str:
    """Return the seconds of an epoch, by each setting's last run."""
    rows = []
    for record in newest(records, *SETTING, "images"):
        seconds = [spread(record["epoch_s"]), spread(record["epoch_without_validation_s"])]
        rows.append([*_setting(record), *seconds, f"{record['first_epoch_s']:.1f}"])
    head = ["device", "network", "batch", "path"]
    head += ["s an epoch, validated and saved", "without validation", "first epoch"]
    return table(head, rows) if rows else ""


def _validations(records: Sequence[Record]) -> str:
    """Return the seconds of a validation, by each setting's last run."""
    last = newest(records, "device", "network", "width", "images")
    arms: dict[str, None] = {}
    for record in last:
        arms |= dict.fromkeys(record["times"])
    rows = []
    for record in last:
        times = [spread(record["times"][arm]) if arm in record["times"] else "" for arm in arms]
        about = f"{record['batch_size']:,}" if record["captured"] else f"NOT CAPTURED: {record['why_not']}"
        rows.append([record["device"], _network(record), f"{record['images']:,}", about, *times])
    head = ["device", "network", "images", "captured in batches of", *(f"{arm}, s" for arm in arms)]
    return table(head, rows) if rows else ""


def _profiles(records: Sequence[Record]) -> str:
    """Return where a step's time goes, by each setting's last run."""
    rows = []
    for record in newest(records, *SETTING):
        longest = ""
        if record["most"]:
            kernel = record["most"][0]
            longest = f"{kernel['name'][:40]}: {kernel['us']:,.0f}".replace("|", "\\|")
        row = _setting(record)
        row += ["yes" if record["captured"] else "NO", f"{record['step_us']:,.0f}", f"{record['kernels']:g}"]
        row += [f"{record['busy_us']:,.0f}", f"{record['gaps_us']:,.0f}"]
        row += [f"{record['megabytes']:,.0f} MB: {record['bytes_us']:,.0f}"]
        row += [f"{record['gflop']:,.0f} GFLOP: {record['products_us']:,.0f}"]
        rows.append([*row, longest])
    head = ["device", "network", "batch", "path", "captured", "µs a step", "kernels", "busy, µs", "gaps, µs"]
    head += ["bytes of its calls: µs at the copy's rate", "products: µs at the product's rate", "longest kernel, µs"]
    return table(head, rows) if rows else ""


def _setting(record: Record) -> list[str]:
    """Return the cells that say what was run."""
    path = record["precision"]
    if record["compile"]:
        path += ", compiled"
    return [record["device"], _network(record), str(record["batch_size"]), path]


def _network(record: Record) -> str:
    width = record["width"]
    return record["network"] if width == 1 else f"{record['network']} width {width:g}"
