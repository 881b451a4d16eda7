"""A start that finds its own rate: climb while each epoch is better, fall back when one is worse.

ASLR's search moves in steps that suit a rate that is nearly right. From a start far too low it never moves, since every
epoch is better than the last; from one far too high it goes up first, and the weights do not come back. The climb goes
in notches of the square root of ten, as a bold driver does (Battiti, "Accelerated backpropagation learning", 1989): up
after a better epoch, and after a worse one the weights of the best are put back.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

NOTCH = Decimal(10).sqrt()


class Restore(StrEnum):
    """Which weights the next epoch begins with, where not with those that were judged."""

    START = "start"
    BEST = "best"


def notched(rate: Decimal, notches: int) -> Decimal:
    """Move a rate by so many notches, to one significant digit, where ASLR's grid is exact."""
    return Decimal(f"{rate * NOTCH**notches:.0e}").normalize()


@dataclass
class Climb:
    """The rates of the first epochs.

    From a start the rate climbs a notch after every epoch that is better than the best. Where one is worse the climb
    is over: the best weights come back, and training goes on a notch below their rate. Where already the first move up
    was worse, the start may have been too high, and weights that a high rate has saturated are slow to come back: it
    starts again from the first weights at a tenth of the rate, keeps the better of the two, and does not climb back to
    where it began.

    Attributes:
        rate: of the coming epoch.
        start: rate of the present start's first epoch.
        best: lowest error so far; None before the first.
        best_rate: rate of the epoch that reached it.
        ceiling: a rate that was worse than a tenth of it; None where there is none.
        trial: whether the coming epoch is the first of a start that is not the first one.
        over: whether the climb has ended.
    """

    rate: Decimal
    start: Decimal
    best: float | None = None
    best_rate: Decimal = Decimal(0)
    ceiling: Decimal | None = None
    trial: bool = False
    over: bool = False

    @classmethod
    def at(cls, rate: Decimal) -> "Climb":
        """A climb that begins at ``rate``."""
        return cls(rate, rate)

    def judge(self, error: float) -> Restore | None:
        """Take in an epoch's validation error, set the next epoch's rate, say which weights it begins with.

        Args:
            error: lower is better; infinity where the epoch diverged.

        Returns:
            None where it goes on with the weights that were judged. They are the best wherever ``best`` is ``error``.
        """
        if error < (math.inf if self.best is None else self.best):
            if self.trial:
                self.ceiling, self.start, self.trial = self.start, self.rate, False
            self.best, self.best_rate = error, self.rate
            self.rate = notched(self.rate, 1)
            if self.ceiling is not None and self.rate >= self.ceiling:
                self.over, self.rate = True, notched(self.best_rate, -1)
            return None
        if self.best is None:
            self.rate = self.start = notched(self.start, -2)
            return Restore.START
        if self.best_rate == self.start and not self.trial:
            self.rate, self.trial = notched(self.start, -2), True
            return Restore.START
        self.over = True
        # Between a tenth and a notch more, which were both worse, the start was right.
        self.rate = self.best_rate if self.trial else notched(self.best_rate, -1)
        return Restore.BEST
