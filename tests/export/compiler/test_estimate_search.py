"""The search for the largest target: on any staircase of foldings it ends at the best that fits, after few probes."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from qtrain.export.compiler._folding import MOST_PROBES, WIDTHS, _merit, search_targets, search_widths, whole

CLOCK = 100_000_000  # cycles a second


def folds(stairs: list[tuple[int, int]], board: int):
    """Fold as FINN does: the first stair (cycles, size) that is fast enough, else the fastest."""

    def probe(target: int) -> dict:
        allowed = int(CLOCK / target)
        cycles, size = next((stair for stair in stairs if stair[0] <= allowed), stairs[-1])
        return {"target_fps": target, "fps": CLOCK / cycles, "size": size, "fits": size <= board}

    return probe


@st.composite
def staircases(draw, monotone=True):
    """Return foldings from slow to fast; monotone ones also from small to large."""
    cycles = sorted(draw(st.sets(st.integers(1, 50_000_000), min_size=1, max_size=12)), reverse=True)
    sizes = draw(st.lists(st.integers(1, 100), min_size=len(cycles), max_size=len(cycles)))
    return list(zip(cycles, sorted(sizes) if monotone else sizes, strict=True))


@given(stairs=staircases(), board=st.integers(1, 100), first=st.integers(1, 200_000))
@settings(max_examples=200, deadline=None)
def test_the_fastest_folding_that_fits_is_found(stairs, board, first):
    probes, complete = search_targets(folds(stairs, board), first, CLOCK)
    reachable = [CLOCK // cycles for cycles, size in stairs if size <= board]  # a target is a whole number
    found = [whole(probe["fps"]) for probe in probes if probe["fits"]]
    assert max(found, default=0) == max(reachable, default=0)
    assert complete == bool(found)
    assert len(probes) < MOST_PROBES


@given(stairs=staircases(monotone=False), board=st.integers(1, 100), first=st.integers(1, 200_000))
@settings(max_examples=200, deadline=None)
def test_where_larger_targets_may_be_smaller_a_complete_search_still_finds_the_fastest(stairs, board, first):
    probes, complete = search_targets(folds(stairs, board), first, CLOCK)
    found = [whole(probe["fps"]) for probe in probes if probe["fits"]]
    reachable = [CLOCK // cycles for cycles, size in stairs if size <= board and cycles <= CLOCK]
    if complete:
        assert max(found) == max(reachable)
    else:
        assert not found


@given(stairs=staircases(monotone=False), board=st.integers(1, 100))
@example(stairs=[(10_000_001, 1)], board=1)  # 9.9999999 frames/s do not meet 10
@settings(max_examples=100, deadline=None)
def test_the_best_target_can_be_asked_for_again_and_is_met(stairs, board):
    fitting = [probe for probe in search_targets(folds(stairs, board), 1000, CLOCK)[0] if probe["fits"]]
    if fitting:
        met = [probe for probe in fitting if probe["target_fps"] <= probe["fps"]]
        assert max(whole(probe["fps"]) for probe in met) == max(whole(probe["fps"]) for probe in fitting)


def test_what_measured_cnv_2w2a_on_pynq_z1_showed_is_found():
    # cycles and BRAM_18K of FINN 1.6.1: 291 of 280 at 2,034 frames/s, 277 at 3,028.
    measured = [(98_304, 235), (66_236, 211), (50_176, 259), (49_152, 291), (33_020, 277), (25_088, 317)]
    probes, complete = search_targets(folds(measured, board=280), 1000, CLOCK)
    assert complete
    assert max(whole(probe["fps"]) for probe in probes if probe["fits"]) == 3028


def test_a_network_that_never_fits_is_given_up_without_a_claim_to_have_tried_all():
    probes, complete = search_targets(folds([(100_000, 200), (50_000, 300)], board=100), 1500, CLOCK)
    assert not complete
    assert not any(probe["fits"] for probe in probes)
    assert {1, 1500, CLOCK} <= {probe["target_fps"] for probe in probes}


def test_the_number_of_probes_is_bounded_and_then_said():
    def probe(target: int) -> dict:  # each second folding is too large, and there are thousands
        cycles = max(int(CLOCK / target), 1001)
        return {"target_fps": target, "fps": CLOCK / cycles, "fits": cycles % 2 == 0}

    probes, complete = search_targets(probe, 1000, CLOCK)
    assert len(probes) == MOST_PROBES
    assert not complete
    assert len({found["target_fps"] for found in probes}) == len(probes)


def test_a_folding_that_finn_breaks_off_bounds_the_search():
    steps = folds([(100_000, 10), (50_000, 20), (10_000, 30)], board=100)

    def probe(target: int) -> dict:
        return steps(target) if target <= 2500 else {"target_fps": target, "fps": 0.0, "fits": False, "error": "boom"}

    probes, _ = search_targets(probe, 1000, CLOCK)
    assert max(found["fps"] for found in probes if found["fits"]) == 10_000
    assert any("error" in found for found in probes)


def at_widths(stairs: dict[int, list[tuple[int, int]]], board: int):
    """Fold at any of the widths, each with stairs of its own."""

    def probe(target: int, width: int) -> dict:
        return {"mvau_wwidth_max": width, **folds(stairs[width], board)(target)}

    return probe


@given(board=st.integers(1, 100), data=st.data())
@settings(max_examples=100, deadline=None)
def test_wider_streams_are_tried_while_the_board_has_room_and_they_are_faster(board, data):
    stairs = {width: data.draw(staircases()) for width in WIDTHS}
    probes, complete = search_widths(at_widths(stairs, board), 1000, CLOCK, WIDTHS)
    tried = list(dict.fromkeys(probe["mvau_wwidth_max"] for probe in probes))
    assert tried == list(WIDTHS[: len(tried)])
    tops = [CLOCK / stairs[width][-1][0] for width in tried]
    room = [stairs[width][-1][1] <= board for width in tried]
    assert all(room[:-1])
    assert tops[:-1] == sorted(set(tops[:-1]))
    if len(tried) < len(WIDTHS):
        assert not room[-1] or tops[-1] <= tops[-2]
    reachable = [CLOCK // cycles for width in tried for cycles, size in stairs[width] if size <= board]
    found = [whole(probe["fps"]) for probe in probes if probe["fits"]]
    assert max(found, default=0) == max(reachable, default=0)
    assert complete <= bool(found)


def test_of_foldings_as_fast_the_one_in_finns_own_styles_wins():
    own = {"target_fps": 900, "fps": 1000.0}
    styled = {"target_fps": 1000, "fps": 1000.0, "styles": {"MVAU_hls_0": {"resType": "dsp"}}}
    missed = {"target_fps": 5000, "fps": 4000.0}
    assert max([styled, own, missed], key=_merit) == own
    assert max([own, {**styled, "fps": 1001.0}, missed], key=_merit)["fps"] == 1001.0
