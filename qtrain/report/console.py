"""The terminal that reports are printed to."""

from rich.console import Console
from rich.text import Text

from qtrain.errors import printable


class ReportConsole(Console):
    """A console of rich's that leaves it to the caller to hear of a reader who leaves early.

    On ``qtrain models | head`` rich itself would exit with status 1, which here means that a comparison or a lint
    failed.
    """

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that is being handled."""
        raise


def report_console() -> Console:
    """Return a console that colours nothing by itself."""
    return ReportConsole(highlight=False)


def plain_text(value: str, console: Console, style: str = "") -> Text:
    """Return text that is no markup and steers no terminal; in ASCII where the terminal has nothing else."""
    if not console.encoding.lower().startswith("utf"):
        value = value.replace("±", "+/-").encode("ascii", "replace").decode()
    return Text(printable(value, keep="\n"), style)
