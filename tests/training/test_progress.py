"""A reader who leaves early (``qtrain train ... | head``) ends no training."""

import json
import subprocess
import sys
from pathlib import Path

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


def python(code: str, *words: str) -> subprocess.Popen[str]:
    """Start an interpreter whose standard streams are pipes."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *words], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


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
