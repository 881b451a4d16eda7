"""What a person sees of a run: a bar that fits, a table that stays; elsewhere lines at each tenth and no silence."""

import io
import threading
from typing import Any

import pytest
from rich.console import Console

from qtrain.training.heartbeat import clock
from qtrain.training.terminal import Bar, Lines, Terminal

WIDE = "my_package.networks:AVeryLongNameOfANetwork_4W4A aslr_decay seed 123"


def record(epoch: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """Return what a watcher needs of an epoch's record."""
    values = {"epoch": epoch, "loss": 0.71234, "validation_accuracy": accuracy, "lr": 0.0123456}
    return {**values, "images_per_second": 123456.7, "seconds": 4000.0, **more}


def trained(watch: Any, epochs: int, steps: int, title: str = "run", done: int = 0) -> None:
    """Tell a watcher of a run of so many epochs, of so many steps each."""
    watch.start(title, epochs * steps, done)
    for epoch in range(done // steps, epochs):
        for _ in range(steps):
            watch.step(10)
        watch.epoch(record(epoch + 1, 50.0 + epoch % 7), epochs)
    watch.finish()


@pytest.mark.parametrize("columns", [80, 120])
def test_bar_and_table_fit_the_terminal(columns: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=columns, color_system=None, legacy_windows=False)
    watch = Bar(console)
    watch.start(WIDE, 100_000, 0)
    bars = []
    for step in range(3):
        watch.step(1_000_000)
        screen.truncate(0)
        screen.seek(0)
        watch._bar.refresh()  # type: ignore[union-attr]
        bars.append(screen.getvalue().replace("\x1b", "\n").splitlines()[-1])
        assert "images/s" in bars[step]
        assert "left" in bars[step]
        assert "%" in bars[step]
    watch.epoch(record(1, 100.0), 500)
    watch.finish()
    assert all(len(line.split("[2K")[-1]) <= columns - 2 for line in bars)  # ^C is echoed behind it
    table = [line for line in screen.getvalue().splitlines() if "epoch " in line or "100.00 %" in line]
    assert table
    assert all(len(line.split("[2K")[-1]) <= columns for line in table)


def test_the_table_has_a_row_an_epoch_with_the_best_so_far() -> None:
    screen = io.StringIO()
    watch = Bar(Console(file=screen, force_terminal=True, width=80, color_system=None))
    watch.start("run", 9, 6)
    watch.epoch(record(7, 40.0, best_accuracy=61.25), 9)
    watch.epoch(record(8, 70.0, best_accuracy=70.0), 9)
    watch.finish()
    rows = [line.split()[-9:-3] for line in screen.getvalue().splitlines() if "0.7123" in line]
    assert rows == [
        ["7", "0.7123", "40.00", "%", "61.25", "%"],  # the best lies before this process
        ["8", "0.7123", "70.00", "%", "70.00", "%"],
    ]


@pytest.mark.parametrize(("epochs", "steps"), [(1, 100), (3, 7), (10, 4), (25, 3), (100, 2), (500, 1)])
def test_a_log_has_a_line_for_each_tenth_of_the_run_and_few_more(epochs: int, steps: int) -> None:
    said: list[str] = []
    trained(Lines(said.append), epochs, steps)
    shares = set()
    for line in said:
        words = line.split()
        if "epoch" in words:
            shares.add(int(words[words.index("epoch") + 1].partition("/")[0]) / epochs)
        else:
            shares.add(int(words[words.index("step") + 1].replace(",", "")) / (epochs * steps))
    for tenth in range(1, 11):
        latest = tenth / 10 + 1 / steps / epochs
        assert any(tenth / 10 <= share <= latest for share in shares), (tenth, said)
    assert len(said) <= 10 + (epochs if epochs < 20 else 0)
    assert f"epoch {epochs}/{epochs}" in said[-1]


def test_verbose_has_a_line_for_every_epoch_and_a_resumed_run_goes_on_counting() -> None:
    said: list[str] = []
    trained(Lines(said.append, every_epoch=True), 50, 2, done=40)
    assert [line.split()[2] for line in said] == [f"{epoch}/50" for epoch in range(21, 51)]
    said.clear()
    trained(Lines(said.append), 50, 2, done=50)
    assert [line.split()[2] for line in said] == [f"{epoch}/50" for epoch in (30, 35, 40, 45, 50)]


def test_a_silence_is_broken_though_no_step_ends() -> None:
    spoken = threading.Semaphore(0)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        spoken.release()

    watch = Lines(say, silence=0.01)
    watch.start("run", 1000, 0)
    watch.step(10)
    assert spoken.acquire(timeout=60)
    assert spoken.acquire(timeout=60)  # and again: the run is at its second step all the while
    watch.finish()
    assert said[1].startswith("run  step 1 of 1,000 (0 %)  ")
    assert said[1].endswith(" left")


def test_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    trained(Terminal(), 2, 1)
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["1/2", "2/2"]


def test_times() -> None:
    assert [clock(seconds) for seconds in (0.4, 41, 725, 11525.2)] == ["0:00", "0:41", "12:05", "3:12:05"]
