"""Options of data of one's own, as Python gives them, are looked at before any data are."""

from typing import Any

import pytest

from qtrain.data import DataOptions, load_data
from qtrain.errors import UserError


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"image_size": 48}, r"image_size must be height and width in pixels, such as \(48, 48\), but got 48"),
        ({"image_size": (48,)}, "image_size must be height and width in pixels"),
        ({"image_size": (48, 0)}, r"but got \(48, 0\)"),
        ({"image_size": (48.0, 48)}, r"but got \(48.0, 48\)"),
        ({"channels": 0}, "channels must be a whole number, 1 or more, but got 0"),
        ({"channels": True}, "but got True"),
        ({"layout": "HWC"}, "layout must be one of NCHW, NHWC, NHW, NCL, NF, but got 'HWC'"),
        ({"value_range": (1.0, 0.0)}, r"value_range must be two numbers, the lower first, .* but got \(1.0, 0.0\)"),
        ({"value_range": 255}, "but got 255"),
    ],
)
def test_a_value_of_another_kind_is_refused_where_it_is_given(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        DataOptions(**options)


def test_a_dictionary_is_no_options() -> None:
    with pytest.raises(UserError, match=r"options must be DataOptions, such as .*, but got \{'image_size': 48\}"):
        load_data("digits", options={"image_size": 48})  # type: ignore[arg-type]


def test_what_is_said_is_named_as_options_have_it() -> None:
    assert DataOptions(image_size=(32, 48), layout="NCHW").given() == ["--image-size", "--layout"]
    assert DataOptions().given() == []
