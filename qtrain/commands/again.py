"""Command lines that are printed for a person to run: what goes on with an interrupted one, and what comes next."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from qtrain.commands.words import dashed
from qtrain.errors import UserError, is_out_of_storage

_NAME = "qtrain"


class GoesOn(KeyboardInterrupt):
    """A command was interrupted, and another one goes on where it stopped.

    Args:
        said: what was interrupted, and where it is saved; empty where nothing is known of that.
        again: the command line.
    """

    def __init__(self, said: str, again: str):
        super().__init__(said)
        self.again = again


class OutOfStorage(UserError):
    """What a command writes cannot be written any more, and a command goes on once it can.

    Args:
        error: that ended it.
        kept: what is safe, in words.
        again: the command line.
    """

    def __init__(self, error: OSError, kept: str, again: str):
        super().__init__(f"{error.filename}: {error.strerror}; {kept}")
        self.again = again


@contextmanager
def going_on(kept: str | Callable[[], str], again: str | Callable[[], str]) -> Iterator[None]:
    """Inside, a full disk ends the command with what is safe, and the command that goes on.

    Args:
        kept: what is safe, or what says it then.
        again: the command line, or what returns it then.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or not is_out_of_storage(error):
            raise
        raise OutOfStorage(
            error, kept if isinstance(kept, str) else kept(), again if isinstance(again, str) else again()
        ) from error


def program() -> str:
    """Return how this program was started, so that a printed command runs where it is pasted."""
    called = sys.argv[0]
    name = Path(called).name
    if name == "cli.py":  # python -m qtrain.cli
        return f"{shlex.quote(sys.executable)} -m qtrain.cli"
    found = shutil.which(_NAME)
    if name != _NAME or (found is not None and Path(found).resolve() == Path(called).resolve()):
        return _NAME
    return shlex.quote(called)


def command_line(*words: object) -> str:
    """Return a command line of this program."""
    return f"{program()} {shlex.join(map(str, words))}"


def same_command(name: str, words: Sequence[str]) -> str:
    """Return the command line that was given.

    Args:
        name: of the command.
        words: behind it, normalised.
    """
    return _launched(command_line(name, *map(_as_given, words)))


def resume_training(folder: Path, words: Sequence[str], kept: Collection[str]) -> str:
    """Return the command line that goes on with a run.

    Args:
        folder: of the run.
        words: behind the command that was given, normalised.
        kept: options, without dashes, that are given again where they were given.
    """
    return _launched(command_line("train", "--resume", folder, *given_of(words, kept)))


def given_of(words: Sequence[str], names: Collection[str]) -> list[str]:
    """Return these options, which all take a value, with their values as they were given."""
    found = []
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name[2:] in names:
            found += [dashed(name), value if equals else following]
    return found


def _as_given(word: str) -> str:
    """Write an option with dashes; a value stays."""
    name, equals, value = word.partition("=")
    return f"{dashed(name)}{equals}{value}" if name.startswith("--") else word


def _launched(command: str) -> str:
    """Put torchrun in front where it started this process; on several machines each has its own words for it."""
    if "RANK" not in os.environ:
        return command
    here = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if os.environ.get("WORLD_SIZE") != here:
        return f"torchrun and its options as before, then: --no-python {command}"
    return f"torchrun --standalone --nproc-per-node {here} --no-python {command}"
