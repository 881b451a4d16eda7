"""How much a command says: ``--quiet`` leaves the result alone, ``--verbose`` adds what it works with."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from qtrain.commands.options import loggers_of
from qtrain.commands.parser import Parser
from qtrain.errors import UserError
from qtrain.training.context import RunContext
from qtrain.training.heartbeat import Heartbeat, clock
from qtrain.training.progress import Silent, Watcher, tell, tell_error

if TYPE_CHECKING:
    from qtrain.experiments.view import CellsView

VERBOSE = "--verbose"
NO_FOLDER = "the folder that this was started in is gone; change to one that is there"


@dataclass(frozen=True)
class Voice:
    """What of a command's doing is said, and how.

    Attributes:
        quiet: nothing but the result and errors.
        verbose: what it works with too, and where there is no terminal a line for every epoch.
    """

    quiet: bool = False
    verbose: bool = False

    def say(self, line: str) -> None:
        """Say what is being done."""
        if not self.quiet:
            tell(line)

    def detail(self, line: str) -> None:
        """Say what most people need not know."""
        if self.verbose:
            tell(line)

    def watch(self) -> Watcher:
        """Return what shows a run."""
        if self.quiet:
            return Silent()
        from qtrain.training.terminal import Terminal  # rich's bar, which help and refusals can do without

        return Terminal(verbose=self.verbose)

    def view(self) -> "CellsView":
        """Return what shows the cells of a comparison or sweep."""
        from qtrain.experiments.view import NoView, terminal_view

        return NoView() if self.quiet else terminal_view()

    def loading(self) -> None:
        """Say on a terminal that torch is being loaded, which takes seconds; nothing where it is loaded already.

        A command calls this behind everything that it can refuse without torch.

        Raises:
            UserError: the current folder is gone, of which torch's libraries would die.
        """
        if not has_folder():
            raise UserError(NO_FOLDER)
        if "torch" not in sys.modules:
            self.doing("loading torch")

    @contextmanager
    def at_work(self, what: str) -> Iterator[None]:
        """Inside, what takes minutes says every two of them that it goes on.

        Args:
            what: is being done, as in ``proving the graph``.
        """
        began = time.monotonic()

        def beat() -> None:
            tell_error(f"still {what}: {clock(time.monotonic() - began)}")

        heartbeat = Heartbeat(beat)
        if not self.quiet:
            heartbeat.start()
        try:
            yield
        finally:
            heartbeat.stop()

    def doing(self, line: str) -> None:
        """Say on a terminal what takes a while; a log need not have it."""
        if not self.quiet and sys.stderr.isatty():
            tell_error(line)


def has_folder() -> bool:
    """Whether the current folder is there still."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def add_voice(parser: Parser) -> None:
    """Add the two options."""
    parser.add("--quiet", action="store_true", help="say nothing but the result and errors")
    parser.add(
        VERBOSE,
        action="store_true",
        help="say too what it works with; behind an error, where in the code it came from",
    )


def voice_of(options: Namespace) -> Voice:
    """Return how much a command is to say.

    Raises:
        UserError: both were given.
    """
    if options.quiet and options.verbose:
        raise UserError("--quiet and --verbose exclude each other; give one of them")
    return Voice(options.quiet, options.verbose)


def context_of(options: Namespace, voice: Voice | None = None) -> RunContext:
    """Return where data and device of a command's runs are, told as the command was asked to, or by ``voice``."""
    voice = voice or voice_of(options)
    return RunContext(
        options.data_root,
        options.device,
        watch=voice.watch(),
        say=voice.say,
        detail=voice.detail,
        log=loggers_of(options),
    )
