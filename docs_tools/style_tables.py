"""What memory styles and resource types gave the search for the most frames, from its records alone."""

from benchmarks.records import NOT_YET, lines, table


def styles() -> str:
    """Return a row for each network and board, the last record of each."""
    newest = {(r["network"], r["width"], r["board"]): r for r in lines("styles.jsonl")}
    if not newest:
        return NOT_YET
    rows = []
    for (network, width, board), r in newest.items():
        own = "none" if r["own_fps"] is None else f"{r['own_fps']:,.0f}"
        best = "none" if r["fps"] is None else f"{r['fps']:,.0f}"
        used = ", ".join(f"{amount:,.0f} {kind}" for kind, amount in r["used"].items() if amount)
        rows.append([f"{network} width {width:g}", board, own, best, str(len(r["styles"])), used])
    head = [
        "network",
        "board",
        "frames/s in FINN's own styles",
        "frames/s of all that fit",
        "layers in others",
        "takes",
    ]
    return table(head, rows)
