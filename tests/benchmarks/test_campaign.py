"""The evidence campaign: what it plans from what has ended, how it goes on, what it refuses; its page."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import campaign
from benchmarks.campaign import Stop, finished, missing, move_to, run_all
from benchmarks.campaign_plan import (
    BITS,
    CONTROL,
    FULL,
    GRID,
    HOME,
    ONE_RATE,
    RANGE_TEST,
    RATES,
    SEEDS,
    SENSITIVITY,
    TUNED_ONCE,
    Run,
    one_rate,
    plan,
    tuned,
)
from docs_tools.campaign import page
from docs_tools.campaign.first_rate import first_rate_table, warned_text
from docs_tools.campaign.rivals import once_table, rival_table
from docs_tools.campaign.shows import shows
from docs_tools.campaign.ways import CONTROLLED, ONCE, OURS, Way, gap, verdict_of
from docs_tools.campaign.widths import accuracy_table, gap_table, reach_table, verdict_line
from qtrain.schedulers.catalogue import DEFAULT

ROOT = Path(__file__).parents[2]


def records(run: Run, accuracy: float, lr: float = 0.02) -> list[dict[str, Any]]:
    """What a finished run leaves, with the validation accuracy that its test accuracy is."""
    epochs = [{"type": "epoch", "validation_accuracy": accuracy * part} for part in (0.5, 1.0)]
    ending = {"type": "result", "test_accuracy": accuracy, "validation_accuracy": accuracy, "seconds": 60.0}
    facts = {"type": "campaign", "name": run.name, "cpu": "a CPU", "resumed": 0}
    return [{"type": "run", "recipe": {"lr": lr}}, *epochs, facts, ending]


def everything() -> dict[str, list[dict[str, Any]]]:
    """Finish whatever can be named, until nothing is left; better at lower rates and more bits."""
    found: dict[str, list[dict[str, Any]]] = {}
    while todo := missing(found):
        for run in todo:
            rate = 0.02 if isinstance(run.lr, str) else run.lr
            found[run.name] = records(run, 60 + run.bits - 100 * rate + 0.1 * run.seed)
    return found


def test_the_table_is_complete_once_nothing_is_left_to_run() -> None:
    found = everything()
    assert (
        len(found)
        == (len(RATES) * 5 + 2) * 2 * 3
        + 5 * 2 * 3
        + 1
        + len(GRID) * len(BITS)
        + 4 * 4 * 3
        + 4 * 2
        + 2 * 3 * 4
        + 3
        + 11
        + 4 * 3
    )
    for shown in (first_rate_table, accuracy_table, gap_table, reach_table, rival_table, once_table, shows):
        assert "missing" not in shown(found)
    last = next(reversed(found))
    assert last.startswith(f"{FULL}-greedy")  # a rival, which the table does without
    del found[last]
    assert "missing" not in accuracy_table(found)
    assert row(rival_table(found), 4)[4].startswith("62.05 ± 0.07 (2 of 3 seeds); -1.00 [")
    for lr, name in ((0.01, "aslr_decay"), (0.01, "multistep")):
        assert Run(SENSITIVITY, name, 1, lr, 2).name in found


def test_runs_that_rest_on_numbers_still_to_be_found_come_once_they_are() -> None:
    at_first = set(missing({}))
    assert RANGE_TEST in at_first
    alone = {RANGE_TEST, *(Run(FULL, TUNED_ONCE, HOME, lr, SEEDS[0]) for lr in GRID)}
    assert not any(run.part == FULL and run.scheduler in ONE_RATE for run in at_first - alone)
    found = {RANGE_TEST.name: records(RANGE_TEST, 60, lr=0.03)}
    assert one_rate(found) == 0.03
    assert Run(FULL, "aslr", 1, 0.03, 2) in missing(found)


def test_the_grids_best_rate_is_of_validation_accuracy_and_of_equals_the_larger() -> None:
    runs = [Run(FULL, "multistep", 4, lr, SEEDS[0]) for lr in GRID]
    found = {run.name: records(run, {0.05: 70.0, 0.02: 70.0}.get(run.lr, 60.0)) for run in runs}  # type: ignore[arg-type]
    assert tuned(found, 4) == 0.05
    assert tuned({name: found[name] for name in list(found)[:3]}, 4) is None
    found[runs[1].name] = [{"type": "run"}, {"type": "failed", "reason": "the loss is nan"}]
    assert tuned(found, 4) == 0.02


def test_no_two_runs_have_one_name() -> None:
    runs = set(plan(everything()))
    assert len({run.name for run in runs}) == len(runs)


@pytest.mark.parametrize("run", [Run(SENSITIVITY, "wsd", 1, 0.1, 0), RANGE_TEST], ids=lambda run: run.name)
def test_every_run_is_one_that_train_takes(run: Run, cli: Callable[..., Any]) -> None:
    told = cli("train", *run.arguments, "--print-config").out
    assert f"lr: {run.lr}" in told
    assert "split_seed: 0" in told


@pytest.mark.parametrize("content", ["", '{"type": "run"}\n{"type": "epo', '{"type": "run"}\n', "[]\n"])
def test_a_record_that_was_cut_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "full-x.jsonl").write_text(content)
    with pytest.raises(Stop, match=r"full-x.jsonl is cut or damaged; take it from git again"):
        finished(tmp_path)


def test_what_is_missing_in_the_tables_says_so_and_three_seeds_have_an_interval_and_an_answer() -> None:
    found = everything()
    one_seed = {name: records for name, records in found.items() if name.endswith("seed0")}
    assert "(1 of 3 seeds)" in accuracy_table(one_seed)
    assert "[" not in gap_table(one_seed)
    assert row(gap_table(one_seed), 8)[1].endswith(" undecided")  # one seed decides nothing
    assert "missing" in accuracy_table({})
    assert "missing" in gap_table({})
    assert verdict_line({}) == ""
    assert all("(lr 0.01)" in text for text in row(accuracy_table(found), 8)[5:])  # the tuned rate
    assert row(gap_table(found), 8)[5] == "+0.00 [+0.00..+0.00] holds"  # of two that were tuned
    assert row(gap_table(found), 8)[1] == "-1.00 [-1.00..-1.00] falls short"  # lr 0.02 is a point below 0.01
    assert "aslr_decay falls short at 4 of 4 bit widths (1, 2, 4, 8)" in verdict_line(found)


def row(table: str, bits: int) -> list[str]:
    """The cells of a bit width's row, the width itself first."""
    line = next(line for line in table.splitlines() if line.startswith(f"| {bits} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_run_that_diverged_is_lost_and_counts_as_nothing() -> None:
    found = everything()
    lost = Run(FULL, "aslr_decay", 4, 0.02, 1)
    found[lost.name] = [*found[lost.name][:-1], {"type": "failed", "reason": "the loss is nan"}]
    assert row(gap_table(found), 4)[2].endswith(" falls short")
    assert row(accuracy_table(found), 4)[2].startswith("41.40 ")


def test_the_page_counts_the_runs_that_were_warned_of_their_rate() -> None:
    found = {name: records for name, records in finished().items() if name.startswith(f"{SENSITIVITY}-")}
    assert "of 30 from 0.3 do, each at least" in warned_text(found)
    assert warned_text({}) == ""


def test_the_readme_leads_with_the_table_and_what_it_shows() -> None:
    found = everything()
    whole = page.readme(found)
    parts = (shows(found), accuracy_table(found), verdict_line(found), "How much depends on the first rate")
    assert sorted(parts, key=whole.index) == list(parts)
    assert f"At 1 bit `{DEFAULT}` ends at 60.8 % from 0.003, the best of 5 first rates" in whole
    del found[Run(FULL, "wsd", 2, 0.02, 2).name]
    assert "60.05 ± 0.07 (2 of 3 seeds) (lr 0.02)" in page.readme(found)
    assert "missing" in page.readme({})


def test_the_page_says_how_little_the_baseline_needed_and_what_the_default_does_from_a_rate_tuned_alike() -> None:
    found = everything()
    told = shows(found)
    assert f"without a tuning run, `{DEFAULT}` is -1.0/-1.0/-1.0/-1.0 from the multi-step" in told
    assert "ahead of `aslr` in 0 of 12, of `aslr_decay` in 0 of 12, of `wsd` in 0 of 12 pairs" in told  # all are equal
    assert "(4 runs: 0.01) it is +0.0/+0.0/+0.0/+0.0 from that multi-step, and ahead in 0 of 12 pairs." in told
    assert "from the range test's rate, and +0.0/+0.0/+0.0/+0.0 from the tuned one (3 seeds)." in told
    assert "0.01, is its best at 4 of 4 widths: on this network it needed no retuning either." in told
    assert row(once_table(found), 2)[2:] == [
        "+1.00 [+1.00..+1.00]",
        "61.10 ± 0.10 (lr 0.01)",
        "+0.00 [+0.00..+0.00]",
    ]
    best = Run(FULL, "multistep", 4, 0.1, SEEDS[0])
    found[best.name] = records(best, 90.0)
    assert "its best at 3 of 4 widths (1, 2, 8)." in shows(found)
    alone = {name: kept for name, kept in found.items() if not name.startswith(f"{FULL}-aslr_capped-8bit-lr0.1-")}
    assert "tuned at 8 bits alone" not in shows(alone)


def test_what_the_pages_say_in_prose_of_the_campaign_is_in_its_records() -> None:
    """README's last section, docs/aslr.md and docs/schedulers.md name these without a generator."""
    found = finished()
    answers = {bits: str(verdict_of(found, OURS[DEFAULT], bits).answer) for bits in BITS}  # type: ignore[union-attr]
    assert answers == {1: "undecided", 2: "undecided", 4: "undecided", 8: "falls short"}
    assert {str(verdict_of(found, ONCE, bits).answer) for bits in BITS} == {"undecided"}  # type: ignore[union-attr]
    assert "and ahead in 12 of 12 pairs." in shows(found)
    assert all(f"of `{name}` in 12 of 12" in shows(found) for name in ("aslr", "aslr_decay"))

    def points(ours: Way, theirs: Way) -> list[float]:
        gaps = [gap(found, ours, theirs, bits) for bits in BITS]
        assert all(difference is not None and difference.seeds == len(SEEDS) for difference in gaps)
        return [difference.mean for difference in gaps if difference is not None]

    lost = points(ONCE, OURS[DEFAULT])
    assert all(3 <= value < 4 for value in lost[2:])  # "three to four points at 4 and 8 bits"
    for bits in (1, 2):
        difference = gap(found, ONCE, OURS[DEFAULT], bits)
        assert difference is not None
        assert difference.low is not None
        assert difference.low < 0  # "at 1 and 2 bits nothing that three seeds show"
    assert all(2 <= value < 3.5 for value in points(OURS[DEFAULT], OURS[CONTROL]))  # "two to three points"
    assert all(abs(value) < 0.6 for value in points(ONCE, CONTROLLED))  # "some half a point"
    brought = [gap(found, ONCE, CONTROLLED, bits) for bits in BITS]
    assert all(of.low < 0 < of.high for of in brought)  # type: ignore[union-attr,operator]  # "all hold 0"


@dataclass(frozen=True)
class Tiny(Run):
    """A run of seconds in the place of one of the campaign's."""

    @property
    def arguments(self) -> list[str]:
        shape = "--data=digits --width=0.125 --train_size=100 --validation_size=40 --optimizer=adam --epochs=40"
        return ["CNV_1W1A", *shape.split(), f"--scheduler={self.scheduler}", f"--lr={self.lr}", f"--seed={self.seed}"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that holds a campaign of two runs, with the checkout's own code."""
    runs = [Tiny(FULL, "aslr", 1, 0.02, 0), Tiny(FULL, "wsd", 1, 0.02, 0)]
    monkeypatch.setattr(campaign, "plan", lambda found: runs)
    monkeypatch.setattr(campaign, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(campaign, "COMMITS", tmp_path / "records/commits.json")
    monkeypatch.setattr(campaign, "WORK", tmp_path / "work")
    monkeypatch.setattr(campaign, "finished", lambda: finished(tmp_path / "records"))
    monkeypatch.setattr(campaign, "code_at", lambda commits, place: ROOT)
    monkeypatch.setattr("os.nice", lambda by: 0)  # it cannot be taken back
    monkeypatch.setattr(campaign, "_yield_to_all", lambda process: None)  # beside other tests it would never end
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    move_to("HEAD")
    yield tmp_path
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


@pytest.mark.slow
def test_a_campaign_that_is_stopped_goes_on_and_its_records_say_so(place: Path) -> None:
    def stop_once_something_is_saved() -> None:
        while not list((place / "work").glob("*/checkpoint.pt")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_once_something_is_saved, daemon=True)
    stopper.start()
    run_all(2, place, None)
    assert len(finished(place / "records")) < 2
    run_all(2, place, None)
    found = finished(place / "records")
    assert len(found) == 2
    facts = [record for of in found.values() for record in of if record["type"] == "campaign"]
    assert max(fact["resumed"] for fact in facts) >= 1
    assert all(records[-1]["type"] == "result" and records[0]["commit"] for records in found.values())


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda place: place / "nowhere", "nowhere does not exist; name CIFAR-10's folder"),
        (lambda place: campaign.COMMITS.unlink() or place, "commits.json is missing; --move-to HEAD begins a campaign"),
        (
            lambda place: (place / "records/full-y.jsonl").write_text("{") and place,
            "full-y.jsonl is cut or damaged",
        ),
    ],
)
def test_wrong_input_is_one_line_and_nothing_runs(place: Path, break_it: Any, says: str) -> None:
    with pytest.raises(Stop, match=says):
        run_all(1, break_it(place), None)
    assert not list((place / "work").glob("full-*"))


def test_two_campaigns_do_not_work_in_one_folder(place: Path) -> None:
    campaign.WORK.mkdir()
    held = campaign._alone()
    with pytest.raises(Stop, match="another campaign is at work in"):
        run_all(1, place, None)
    held.close()


def test_a_clone_that_was_changed_is_refused(tmp_path: Path) -> None:
    commit = json.loads((ROOT / "results/campaign/commits.json").read_text())[-1:]
    code = campaign.code_at(commit, tmp_path / "code")
    assert (code / "qtrain/cli.py").exists()
    (code / "qtrain/cli.py").write_text("")
    with pytest.raises(Stop, match="was changed; delete it, and the campaign makes it anew"):
        campaign.code_at(commit, tmp_path / "code")
