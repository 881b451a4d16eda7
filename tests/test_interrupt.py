"""Work that cannot be stopped inside is left as soon as somebody asks."""

import threading

import pytest

from qtrain.interrupt import Interrupted, left_on_stop


def test_work_that_ends_gives_its_value_and_its_error() -> None:
    assert left_on_stop(lambda: 7, lambda: False) == 7

    def late() -> int:
        raise TimeoutError("of the work itself")

    with pytest.raises(TimeoutError, match="of the work itself"):
        left_on_stop(late, lambda: False)


def test_work_is_left_when_asked_to_stop() -> None:
    end = threading.Event()
    asked = []

    def stop() -> bool:
        asked.append(end.is_set())
        return len(asked) == 3

    with pytest.raises(Interrupted):
        left_on_stop(end.wait, stop)
    assert asked == [False, False, False]
    end.set()
