"""What was trained beside the table's ways: other schedulers at its rate, and ASLR's default tuned as multi-step is."""

from benchmarks.campaign_plan import BITS, CONTROL, GRID, HOME, RIVAL_BITS, TUNED_ONCE
from benchmarks.records import table
from docs_tools.campaign.cells import MISSING, Found, gap_text, mean_text
from docs_tools.campaign.ways import CONTROLLED, ONCE, OTHERS, OURS, TUNED, cell, gap
from docs_tools.campaign.widths import accuracy_text


def rival_table(found: Found) -> str:
    """Return accuracies of other schedulers at ASLR's rate, with their difference to the tuned multi-step."""
    rows = []
    for bits in RIVAL_BITS:
        cells = []
        for way in OTHERS:
            text = mean_text(cell(found, way, bits))
            cells.append(text if text == MISSING else f"{text}; {gap_text(gap(found, way, TUNED, bits))}")
        rows.append([str(bits), *cells])
    return table(["bits", *(f"{way.title}; minus tuned" for way in OTHERS)], rows)


def once_table(found: Found) -> str:
    """Return what ASLR's default reaches from the rate that its own grid finds at 8 bits, and wsd from the same."""
    head = [ONCE.title, "minus itself at the range test's rate", CONTROLLED.title, f"{TUNED_ONCE} minus {CONTROL}"]
    rows = []
    for bits in BITS:
        own = accuracy_text(found, ONCE, bits), gap_text(gap(found, ONCE, OURS[TUNED_ONCE], bits))
        control = accuracy_text(found, CONTROLLED, bits), gap_text(gap(found, ONCE, CONTROLLED, bits))
        rows.append([str(bits), *own, *control])
    return table(["bits", *head], rows)


ONCE_TEXT = (
    f"Where `{TUNED_ONCE}` is behind, is its first rate wrong or its search? Asked after the table above was seen: its "
    f"one rate tuned at {HOME} bits alone on multi-step's grid ({len(GRID)} runs), and carried to the other widths."
)
