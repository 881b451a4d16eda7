"""A reader who leaves early (``qtrain train ... | head``) ends no training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ["--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40", "--batch-size=20", "--epochs=3"]
TELL = """
import logging
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # nvcc without a GPU: as the command line has it
from qtrain.training.progress import tell
tell("first")
input()  # the reader has left
for line in ("second", "third"):
    tell(line)
print("fourth")
"""


AFTER = """
import sys
from qtrain.training.progress import PatientConsole, tell, whoever_listens
tell("told")
with whoever_listens():
    for _ in range(2):
        print("a table " * 2000)
PatientConsole().print("a row")
print("printed")
sys.exit(7)
"""


def python(code: str, *words: str) -> subprocess.Popen[str]:
    """Start an interpreter whose standard streams are pipes."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *words], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


@pytest.mark.slow
def test_a_training_goes_on_to_its_end(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["train", "CNV_1W1A", *SMALL, "--out", str(out)]
    with python("from qtrain.cli import main; main()", *command) as process:
        assert "step 1 of 9" in process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert (process.wait(120), said) == (0, "")
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert [record["type"] for record in records] == ["run", "epoch", "epoch", "epoch", "result"]


def test_what_is_told_to_nobody_raises_nothing() -> None:
    with python(TELL) as process:
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 0)


FULL = "cannot write to standard output: No space left on device; going on without\n"


@pytest.mark.parametrize(
    ("streams", "said"),
    [(">/dev/full", FULL), (">/dev/full 2>/dev/full", ""), ("| true", ""), (">&-", ""), (">&- 2>&-", ""), ("2>&-", "")],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_streams_that_take_nothing_end_nothing_behind_the_work(
    streams: str, said: str, unbuffered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status stays, and of a full disk there is one line."""
    code = f"from qtrain.commands.streams import open_streams; open_streams()\n{AFTER}"
    (tmp_path / "after.py").write_text(code)
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    line = f"set -o pipefail; {sys.executable} -W ignore after.py {streams}"
    run = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (7, said)


def test_a_terminal_that_is_gone_ends_no_training() -> None:
    """As behind a shell's disown: the process lives on, and every write to the terminal fails."""
    code = (
        "import sys, time; from qtrain.training.terminal import Terminal\n"
        + """
watch = Terminal()
print("ready", file=sys.stderr, flush=True)
sys.stdin.readline()
watch.start("run", 4, 0)
for _ in range(4):
    watch.step(1)
    time.sleep(0.1)
row = dict.fromkeys(("loss", "validation_accuracy", "lr", "images_per_second", "seconds"), 1.0)
watch.epoch({"epoch": 1, **row}, 1)
watch.finish()
sys.exit(7)
"""
    )
    master, slave = os.openpty()
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        stdin=pipe,
        stdout=slave,
        stderr=pipe,
        text=True,
        start_new_session=True,
    ) as process:
        os.close(slave)
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        os.close(master)
        said = process.communicate("\n", timeout=60)[1]
    assert said == "cannot write to standard output: Input/output error; going on without\n"
    assert process.returncode == 7
