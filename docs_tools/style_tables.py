"""What memory styles and resource types gave the search for the most frames, from its records alone."""

from benchmarks.records import NOT_YET, lines, newest, table


def styles() -> str:
    """Return a row for each network and board, the last record of each."""
    rows = []
    for r in newest(lines("styles.jsonl"), "network", "width", "board"):
        own = "none" if r["own_fps"] is None else f"{r['own_fps']:,.0f}"
        best = "none" if r["fps"] is None else f"{r['fps']:,.0f}"
        used = ", ".join(f"{amount:,.0f} {kind}" for kind, amount in r["used"].items() if amount)
        rows.append([f"{r['network']} width {r['width']:g}", r["board"], own, best, str(len(r["styles"])), used])
    head = ["network", "board", "frames/s in FINN's own styles", "frames/s of all that fit"]
    head += ["layers in others", "takes"]
    return table(head, rows) if rows else NOT_YET
