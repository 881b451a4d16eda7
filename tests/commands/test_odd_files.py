"""Files of a user's that are none, or that say odd things, through the commands."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.errors import printable
from tests.checks import check_refusal
from tests.report.runs.run_folders import write_run

RECIPE = "network: CNV_1W1A\ndata: digits\nepochs: 1\nwidth: 0.125\ntrain_size: 200\n"
SPELLINGS = [
    ("seed: 010", ("mine.yaml, line 6: 010 is 8 in YAML 1.1 and 10 in 1.2", "write 10 or 8")),
    ("batch_size: 1:30", ("mine.yaml, line 6: 1:30 is 90 in YAML 1.1", "write 90")),
    ("lr: 0.05\nlr: 0.9", ("mine.yaml, line 7: lr is there twice, in line 6 too", "leave one of them out")),
    ("net_args: {y: &x {z: *x}}", ("mine.yaml, line 6: anchors and aliases", "write the value out")),
    ("augment: no", ("mine.yaml, line 6: no is false in YAML 1.1", "write false")),
    ("epochs: 2000000000000", ("epochs is there twice",)),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("line", "says"), SPELLINGS, ids=[line[:12] for line, _ in SPELLINGS])
def test_a_recipe_says_what_to_write_wherever_it_is_read(line: str, says: tuple[str, ...], cli: Callable) -> None:
    Path("mine.yaml").write_text(f"{RECIPE}{line}\n")
    check_refusal(cli("train", "--config", "mine.yaml", "--print-config"), 2, *says)
    Path("run").mkdir()
    os.rename("mine.yaml", "run/recipe.yaml")
    check_refusal(cli("train", "--resume", "run"), 2, *(part.replace("mine.yaml", "run/recipe.yaml") for part in says))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--batch-size", "1:30"), "batch_size cannot be read: 1:30 is 90 in YAML 1.1 and a text in 1.2; write 90"),
        (("--lr", "1_0"), "lr cannot be read: 1_0 is a number in YAML 1.1 and a text in 1.2; write 10"),
        (("--net-args", "{depth: 010}"), "net_args cannot be read: 010 is 8 in YAML 1.1 and 10 in 1.2"),
        (("--epochs", "9" * 5000), "epochs cannot be read: a number has 5000 digits"),
    ],
    ids=lambda value: value[0][:20],
)
def test_an_option_is_read_as_a_recipe_is(words: tuple[str, ...], says: str, cli: Callable) -> None:
    check_refusal(cli("train", "CNV_1W1A", "--data", "digits", *words, "--print-config"), 2, says)


def test_a_number_that_nothing_can_be_counted_to_is_refused(cli: Callable) -> None:
    says = "epochs must be a whole number, 1 to 1000000000, but got 2000000000"
    check_refusal(cli("train", "CNV_1W1A", "--data", "digits", "--epochs", 2 * 10**9), 2, says)


@pytest.mark.parametrize("command", ["--config", "--resume", "--init-from"])
def test_no_command_waits_for_a_pipe(command: str, cli: Callable) -> None:
    os.mkfifo("pipe")
    Path("run").mkdir()
    os.mkfifo("run/recipe.yaml")
    given = {"--config": "pipe", "--resume": "run", "--init-from": "pipe"}[command]
    says = "not a run folder" if command == "--resume" else "is a named pipe, and a file is needed"
    check_refusal(cli("train", "CNV_1W1A" if command != "--resume" else "--quiet", command, given), 2, says)


def test_a_name_steers_no_terminal(cli: Callable) -> None:
    name = os.fsdecode(b"a\xff\x1b[31mb\n\xe2\x80\xaec")
    run = write_run(Path("runs") / name)
    outcome = cli("runs", "runs")
    assert r"a\xff\x1b[31mb\n\u202ec" in outcome.out
    (run / "records.jsonl").write_text('{"type"\n')
    outcome = cli("runs", "runs")
    assert outcome.status == 0
    assert r"damaged: runs/a\xff\x1b[31mb\n\u202ec/records.jsonl is damaged" in outcome.out
    check_refusal(cli("train", "--resume", run), 2, r"a\xff\x1b[31mb \u202ec")


def test_what_can_be_printed_stays_as_it_is() -> None:
    assert printable("é ü 中 a\\n") == "é ü 中 a\\n"
    assert printable("a\nb\tc\x00", keep="\n") == "a\nb\\tc\\x00"


def test_too_little_memory_is_one_line(cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError("Unable to allocate 640. MiB")

    monkeypatch.setattr("qtrain.report.runs.scan.scan", too_large)
    check_refusal(cli("runs", "."), 2, "there is not enough memory (Unable to allocate 640. MiB); give smaller inputs")
