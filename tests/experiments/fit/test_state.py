"""What a fit has done is on disk: candidates in their order, the time of all processes, names that are names."""

from pathlib import Path

import pytest

from qtrain.errors import UserError
from qtrain.experiments.fit.choose import Choice
from qtrain.experiments.fit.cost import ModelError
from qtrain.experiments.fit.state import State
from qtrain.records.fit import Candidate, CandidatesFile

ERROR = ModelError(4, 0.01, 0.02, 0.01, 0.5, 0.0, 0.0)


def candidate(name: str, **changes: object) -> Candidate:
    values: dict = {"name": name, "round": 1, "bits": {"a": 2}, "folding": {"a": [1, 3]}, "predicted": {}, "bound": 9.0}
    return Candidate(**values | changes)


def test_a_round_and_what_came_of_it_are_read_again(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.round == 0
    front = [Choice({"a": 2}, {"a": (1, 3)}, 0.5, {"LUT": 10.0}, 20.0, True)]
    state.add([candidate("round1-1"), candidate("round1-2")], front, ERROR)
    state.put(candidate("round1-2", state="done", validation_accuracy=90.0))
    again = State(tmp_path)
    assert [(one.name, one.state) for one in again.candidates] == [("round1-1", "planned"), ("round1-2", "done")]
    assert again.round == 1
    assert again.file.fronts[0][0]["predicted"] == {"LUT": 10.0}
    assert again.file.errors[0]["lut"] == 0.01


def test_the_time_of_all_processes_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("qtrain.experiments.fit.state.time.monotonic", lambda: now[0])
    state = State(tmp_path)

    def ended() -> None:
        with state.timed():
            now[0] = 160.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ended()
    now[0] = 500.0  # of another boot
    again = State(tmp_path)
    now[0] = 530.0
    assert again.spent == 90.0


def test_a_kill_forgets_few_seconds_of_a_fit_that_asks_whether_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("qtrain.experiments.fit.state.time.monotonic", lambda: now[0])
    stop = State(tmp_path).counting(lambda: now[0] == 123.0)
    for now[0] in (101.0, 110.0, 111.0, 120.0):
        assert not stop()
    now[0] = 123.0
    assert stop()
    assert State(tmp_path).spent == 20.0  # of a process that was killed here


def test_a_name_that_leads_out_of_the_folder_is_damage(tmp_path: Path) -> None:
    CandidatesFile(candidates=(candidate("../../home"),)).write(tmp_path)
    with pytest.raises(UserError, match="must have names of folders"):
        State(tmp_path)
