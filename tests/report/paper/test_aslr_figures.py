"""Figures 3 and 4 redrawn from the class: the numbers they show, and that they draw them."""

import io

import pytest

from qtrain.report.paper.aslr_figures import draw_data, figure_3, figure_4, search_data


def test_figure_3_shows_legs_of_growing_length_in_turn_up_and_down():
    trace = search_data([0.3] + [0.31] * 21)
    assert [leg.direction * (len(leg.centres) - 1) for leg in trace.legs] == [1, -2, 3, -4, 5, -6]
    assert trace.legs[0].centres == (0.1, 0.2)
    assert trace.legs[1].centres == (0.2, 0.1, 0.09)
    assert trace.legs[3].centres == (0.3, 0.2, 0.1, 0.09, 0.08)
    assert trace.resets == (0,)


def test_figure_3s_legs_meet_end_to_end_and_its_resets_keep_the_centre():
    trace = search_data()
    assert trace.resets == (0, 1, 2, 24)
    assert all(trace.centres[leg.first] == leg.centres[0] for leg in trace.legs)
    assert all(trace.centres[leg.first + len(leg.centres) - 1] == leg.centres[-1] for leg in trace.legs)
    assert trace.legs[-1].centres == (0.07, 0.08)  # the first move after an improvement is up


def test_figure_4s_draws_lie_in_a_band_as_wide_as_one_grid_step():
    trace = draw_data([0.4, 0.41, 0.41, 0.41, 0.41], layers=3, batches_per_epoch=5)
    assert trace.centres[::5] == (0.1, 0.1, 0.2, 0.1, 0.09)
    assert (trace.low[-1], trace.high[-1]) == pytest.approx((0.085, 0.095))
    assert (trace.low[0], trace.high[0]) == pytest.approx((0.05, 0.15))
    for draws, low, high in zip(trace.draws, trace.low, trace.high, strict=True):
        assert len(set(draws)) == 3
        assert low <= min(draws) <= max(draws) <= high


def test_the_drawn_lines_carry_the_numbers():
    search, draws = search_data(), draw_data()
    above, below = figure_3(search).axes
    assert tuple(above.lines[0].get_ydata()) == search.costs
    assert tuple(below.lines[0].get_ydata()) == search.centres
    assert [text.get_text() for text in below.texts] == ["+1", "-2", "+3", "-4", "+5", "-6", "+1"]
    (axes,) = figure_4(draws).axes
    centre, *layers = axes.lines
    assert tuple(centre.get_ydata()[:-1]) == draws.centres
    assert [tuple(layer.get_ydata()) for layer in layers] == list(zip(*draws.draws, strict=True))


@pytest.mark.parametrize("figure", [figure_3, figure_4])
def test_a_figure_can_be_written_as_png(figure):
    file = io.BytesIO()
    figure().savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
