"""The terminal that reports are printed to."""

from rich.console import Console


class ReportConsole(Console):
    """rich's, but a reader who leaves early (``qtrain models | head``) is the caller's to hear of.

    rich itself would exit with status 1, which here means that a comparison or a lint failed.
    """

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that is being handled."""
        raise
