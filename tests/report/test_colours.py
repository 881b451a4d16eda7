"""Colours of pages: read easily on light and dark screens, and told apart by colour-blind readers."""

import itertools
import math

import pytest

from qtrain.report.colours import GRAPHICS, TEXT, THEME, both, contrast, looks_of, readable
from qtrain.schedulers.catalogue import DEFAULT, SCHEDULERS

SCREENS = {"light": 0, "dark": 1}
TOGETHER = ("aslr", "aslr_decay", DEFAULT, "multistep", "cosine", "wsd")  # of the campaign and the paper's comparison
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
BLINDNESS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def seen(colour: str, blindness: str) -> tuple[float, float, float]:
    """Return a colour in CIELAB as an eye sees it."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    rows = BLINDNESS[blindness]
    r, g, b = (min(1.0, max(0.0, sum(a * v for a, v in zip(row, linear, strict=True)))) for row in rows)
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # WCAG's own well-known case
    assert contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_every_text_of_a_page_can_be_read(screen: int) -> None:
    for back in ("page", "card", "code"):
        for ink in ("ink", "soft", "good", "bad", "open"):
            assert contrast(THEME[ink][screen], THEME[back][screen]) >= TEXT, (ink, back)
        for drawn in ("edge", "focus"):
            assert contrast(THEME[drawn][screen], THEME[back][screen]) >= GRAPHICS, (drawn, back)
    for state in ("good", "bad", "open"):
        assert contrast(THEME[state][screen], THEME[f"{state}-back"][screen]) >= TEXT
    parts = [int(THEME["open"][screen][i : i + 2], 16) for i in (1, 3, 5)]
    assert max(parts) - min(parts) < 0x20  # undecided is grey: neither good nor bad


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_every_scheduler_can_be_seen_and_those_drawn_together_told_apart(screen: int) -> None:
    colours = {name: both(row.colour)[screen] for name, row in SCHEDULERS.built_in.items()}
    assert min(contrast(colour, THEME["card"][screen]) for colour in colours.values()) >= GRAPHICS
    for one, other in itertools.combinations(TOGETHER, 2):
        for blindness in BLINDNESS:
            apart = math.dist(seen(colours[one], blindness), seen(colours[other], blindness))
            assert apart >= 15, (one, other, blindness)


def test_the_colours_of_figures_are_told_apart_too() -> None:
    for one, other in itertools.combinations(TOGETHER, 2):
        pair = [SCHEDULERS.built_in[name].colour for name in (one, other)]
        for blindness in BLINDNESS:
            assert math.dist(*(seen(colour, blindness) for colour in pair)) >= 15, (one, other, blindness)


def test_no_two_schedulers_look_alike_without_any_colour() -> None:
    looks = looks_of(list(SCHEDULERS.built_in))
    assert len({(look.dash, look.symbol) for look in looks.values()}) == len(looks)
    assert len({look.swatch.replace(look.variable, "") for look in looks.values()}) == len(looks)


def test_a_colour_that_can_be_read_stays_as_it_is() -> None:
    assert readable("#0072B2", "#ffffff") == "#0072B2"
    assert contrast(readable("#ffff00", "#ffffff", 4.5), "#ffffff") >= 4.5
    assert contrast(readable("#000000", "#1b212a", 4.5), "#1b212a") >= 4.5
