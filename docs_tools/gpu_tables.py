"""What the stages of `make gpu-evidence` found on GPUs, as the tables of docs/speed.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.records import lines, spread, table

Records = Sequence[dict[str, Any]]
NOT_YET = "No GPU has run them yet: there are no records."
ARITHMETIC = ("float32", "tf32", "bfloat16")
NAMES = ("gpu_check", "epoch", "validation", "ceilings", "profile")


def gpu() -> str:
    """All tables of the recorded runs."""
    return tables(lines("benchmarks.jsonl"))


def tables(records: Records) -> str:
    """All tables; a sentence where no record is of a GPU."""
    found = [r for r in records if r["benchmark"] in NAMES and r.get("device", "cpu") != "cpu"]
    if not found:
        return NOT_YET
    parts = [_checks(found), _ceilings(found), _epochs(found), _validations(found), _profiles(found)]
    return "\n\n".join(part for part in parts if part)


def _checks(records: Records) -> str:
    """How many checks passed on each device, by each one's last run, and which did not."""
    last: dict[str, dict[tuple[str, str], bool]] = {}
    for r in _of("gpu_check", records):
        for check in r.get("checks", []):
            last.setdefault(r["device"], {})[r["network"], check["check"]] = check["passed"]
    found = []
    for device, checks in last.items():
        failed = [f"{network} {name}" for (network, name), passed in checks.items() if not passed]
        text = f"{device}: {len(checks) - len(failed)} of {len(checks)} checks of `make gpu-check` passed"
        found.append(f"{text}; failed: {', '.join(failed)}." if failed else f"{text}.")
    return "\n\n".join(found)


def _ceilings(records: Records) -> str:
    last = {r["device"]: r for r in _of("ceilings", records)}
    found = []
    for device, r in last.items():
        products = ", ".join(f"{r[f'{name}_tflop_per_s']:,.0f} in {name}" for name in ARITHMETIC)
        found.append(
            f"{device}: a large copy moves {r['copy_gb_per_s']:,.0f} GB/s, read and written; a large product runs at "
            f"{products} TFLOP/s."
        )
    return "\n\n".join(found)


def _epochs(records: Records) -> str:
    keys = ("device", "network", "width", "batch_size", "precision", "compile", "images")
    last = {tuple(r[key] for key in keys): r for r in _of("epoch", records)}
    rows = [
        [
            *(r["device"], _network(r), str(r["batch_size"]), _path(r)),
            *(spread(r["epoch_s"]), spread(r["epoch_without_validation_s"]), f"{r['first_epoch_s']:.1f}"),
        ]
        for r in last.values()
    ]
    head = [
        "device",
        "network",
        "batch",
        "path",
        "s an epoch, validated and saved",
        "without validation",
        "first epoch",
    ]
    return table(head, rows) if rows else ""


def _validations(records: Records) -> str:
    """Seconds of a validation, by each setting's last run."""
    last = {(r["device"], r["network"], r["width"], r["images"]): r for r in _of("validation", records)}
    if not last:
        return ""
    arms = list(dict.fromkeys(arm for r in last.values() for arm in r["times"]))
    rows = []
    for r in last.values():
        times = [spread(r["times"][arm]) if arm in r["times"] else "" for arm in arms]
        about = f"{r['batch_size']:,}" if r["captured"] else f"NOT CAPTURED: {r['why_not']}"
        rows.append([r["device"], _network(r), f"{r['images']:,}", about, *times])
    head = ["device", "network", "images", "captured in batches of", *(f"{arm}, s" for arm in arms)]
    return table(head, rows)


def _profiles(records: Records) -> str:
    keys = ("device", "network", "width", "batch_size", "precision", "compile")
    last = {tuple(r[key] for key in keys): r for r in _of("profile", records)}
    rows = [
        [
            *(r["device"], _network(r), str(r["batch_size"]), _path(r), "yes" if r["captured"] else "NO"),
            *(f"{r['step_us']:,.0f}", f"{r['kernels']:g}", f"{r['busy_us']:,.0f}", f"{r['gaps_us']:,.0f}"),
            f"{r['megabytes']:,.0f} MB: {r['bytes_us']:,.0f}",
            f"{r['gflop']:,.0f} GFLOP: {r['products_us']:,.0f}",
            f"{r['most'][0]['name'][:40]}: {r['most'][0]['us']:,.0f}" if r["most"] else "",
        ]
        for r in last.values()
    ]
    head = ["device", "network", "batch", "path", "captured", "µs a step", "kernels", "busy, µs", "gaps, µs"]
    head += ["bytes of its calls: µs at the copy's rate", "products: µs at the product's rate", "longest kernel, µs"]
    return table(head, [[cell.replace("|", "\\|") for cell in row] for row in rows]) if rows else ""


def _of(benchmark: str, records: Records) -> list[dict[str, Any]]:
    return [r for r in records if r["benchmark"] == benchmark]


def _network(record: dict[str, Any]) -> str:
    width = record["width"]
    return record["network"] if width == 1 else f"{record['network']} width {width:g}"


def _path(record: dict[str, Any]) -> str:
    return f"{record['precision']}{', compiled' if record['compile'] else ''}"
