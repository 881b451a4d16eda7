"""What breaks a long silence: a log is promised a line every two minutes, whatever the work is at."""

import threading
import time
from collections.abc import Callable

LONGEST_SILENCE = 110.0  # seconds, so that the line is there within two minutes


class Heartbeat:
    """Calls a function whenever nothing was said for a while, from a thread of its own.

    Args:
        beat: called; what it says counts as said.
        silence: seconds without a word after which it is called.
    """

    def __init__(self, beat: Callable[[], None], silence: float = LONGEST_SILENCE):
        self._beat = beat
        self._silence = silence
        self._last = time.monotonic()
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to listen."""
        self.said()
        threading.Thread(target=self._listen, daemon=True).start()

    def said(self) -> None:
        """Note that something was said now."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """Call it no more."""
        self._over.set()

    def _listen(self) -> None:
        while not self._over.wait(max(0.0, self._last + self._silence - time.monotonic())):
            if time.monotonic() - self._last >= self._silence:
                self.said()
                self._beat()


def clock(seconds: float) -> str:
    """Return ``0:41``, ``12:05`` or ``3:12:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
