"""Runs a page of the documentation: writes its files, runs its commands, puts what they print into the page.

    python -m docs_tools.run_page docs/own.md [FOLDER]

A block behind "New file `name`:" is written; a ``sh`` block is run by bash in the folder (a new one by default), and a
block without a language behind it gets its output. The tests run the same blocks.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"(?:^New file `(?P<file>[^`]+)`:\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.DOTALL)
_MOST_LINES = 26
_FIRST = 6
_ERASED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        text: of the block, without its fences.
        language: behind the opening fence; empty for an output.
        file: name of the file that it is; empty for none.
        start: where the text begins in the page.
        end: where it ends.
    """

    text: str
    language: str
    file: str
    start: int
    end: int


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    for match in _BLOCK.finditer(page):
        yield Block(match["text"], match["language"], match["file"] or "", match.start("text"), match.end("text"))


def run_block(block: Block, folder: Path) -> str:
    """Write a file, or run commands; return what they printed, nothing of a file or an output.

    Raises:
        RuntimeError: the last command ended with another status than 0.
    """
    if block.file:
        (folder / block.file).write_text(block.text)
        return ""
    if block.language != "sh":
        return ""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
    }
    done = subprocess.run(
        ["bash", "-c", block.text],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{block.text}ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def shortened(output: str) -> str:
    """Return an output as a page shows it: its first and last lines where it is long."""
    lines = [line.rstrip() for line in _ERASED.sub("", output).splitlines()]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_FIRST], "...", *lines[_FIRST - _MOST_LINES + 1 :]]
    return "\n".join(lines) + "\n"


def filled(page: str, folder: Path) -> str:
    """Run a page in a folder; return it with its outputs."""
    outputs: list[tuple[Block, str]] = []
    printed = ""
    for block in blocks(page):
        if block.language or block.file:
            printed = run_block(block, folder)
        else:
            outputs.append((block, shortened(printed.replace(f"{folder}/", ""))))
    for block, output in reversed(outputs):
        page = page[: block.start] + output + page[block.end :]
    return page


def main(path: str, folder: str = "") -> None:
    """Run the page at a path, and write it anew."""
    place = Path(folder or tempfile.mkdtemp(prefix="page-"))
    place.mkdir(parents=True, exist_ok=True)
    page = Path(path)
    page.write_text(filled(page.read_text(), place))


if __name__ == "__main__":
    main(*sys.argv[1:])
