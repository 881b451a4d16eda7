"""The learning-rate range test: raise the rate on a line, watch the accuracy, take the middle of the usable window.

Source: Khodamoradi, Denolf, Vissers, Kastner, "ASLR: an Adaptive Scheduler for Learning Rate", Section IV a; the test
is Smith's (arXiv 1506.01186). ``find_window`` and ``suggest`` judge a curve, ``lr_range_test`` records one; what it
puts back afterwards is ``lr_range_state``'s business.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.schedulers.lr_range_state import restored

SMALLEST_MARGIN = 2.0  # points of accuracy
HALF_WIDTH = 2  # of the running median, in readings
LOSS_MEMORY = 0.9  # of the smoothed loss, a step
EXPLODED = 4.0  # times the best smoothed loss
FEWEST_READINGS = 8
_ADVICE = "try a higher --high or a lower --low, or give it more --steps"


@dataclass(frozen=True)
class Window:
    """The learning rates that train usefully.

    Attributes:
        low: first rate at which the network learns.
        high: last rate at which it still does.
        margin: points of accuracy that count as a rise or a fall.
        fell: whether the accuracy fell above ``high``; else ``high`` is where the test ended.
    """

    low: float
    high: float
    margin: float
    fell: bool


@dataclass(frozen=True)
class LrRange:
    """What a range test found.

    Attributes:
        rates: the rate of the last step before each reading of the accuracy; the first is from before any step.
        accuracies: the readings, in percent.
        smoothed: the same, smoothed.
        losses: of every step.
        loss_rates: the rate of every step.
        window: the usable rates.
        suggestion: the window's midpoint, rounded to one significant digit.
        steps: optimizer steps taken.
        stopped: why it ended before the highest rate; empty where it did not.
    """

    rates: tuple[float, ...]
    accuracies: tuple[float, ...]
    smoothed: tuple[float, ...]
    losses: tuple[float, ...]
    loss_rates: tuple[float, ...]
    window: Window
    suggestion: float
    steps: int
    stopped: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def smooth(accuracies: Sequence[float]) -> list[float]:
    """Running median of five readings, centred, of fewer towards the ends (which stay as they are).

    A median drops single outliers, which low-bit networks have, and moves a step in the curve to neither side.
    """
    found = []
    for i in range(len(accuracies)):
        half = min(HALF_WIDTH, i, len(accuracies) - 1 - i)
        found.append(float(median(accuracies[i - half : i + half + 1])))
    return found


def margin(accuracies: Sequence[float]) -> float:
    """``max(2 points, 2 standard deviations)`` of a reading around its smoothed curve.

    The deviation is 1.4826 times the median distance, which a few outliers don't move.
    """
    distances = [abs(a - s) for a, s in zip(accuracies, smooth(accuracies), strict=True)]
    inner = distances[1:-1]  # the ends are their own medians
    return max(SMALLEST_MARGIN, 2 * 1.4826 * median(inner)) if inner else SMALLEST_MARGIN


def find_window(rates: Sequence[float], accuracies: Sequence[float]) -> Window:
    """Find the usable rates of a curve.

    With d the ``margin`` and the accuracies smoothed: ``low`` is the first rate whose accuracy exceeds the start by
    more than d, ``high`` the last before the accuracy falls by more than d below its running peak.

    Args:
        rates: rising.
        accuracies: one a rate, in percent; the first is the start's.

    Raises:
        UserError: the accuracy never rises, or there are too few readings to tell.
    """
    if len(rates) != len(accuracies):
        raise ValueError(f"{len(rates)} rates, but {len(accuracies)} accuracies")
    known = [(r, a) for r, a in zip(rates, accuracies, strict=True) if math.isfinite(a)]
    if len(known) < 3:
        raise UserError(
            f"no usable learning rate: the test ended after {len(known)} readings of the accuracy, at rate "
            f"{rates[-1] if rates else 0:.3g}; lower --high, or give it more --steps or a smaller --every"
        )
    curve = smooth([a for _, a in known])
    d = margin([a for _, a in known])
    low = next((i for i, a in enumerate(curve) if a > curve[0] + d), None)
    if low is None:
        raise UserError(
            f"no usable learning rate from {rates[0]:.3g} to {rates[-1]:.3g}: the accuracy never rose more than "
            f"{d:.1f} points above its start ({curve[0]:.1f} %); {_ADVICE}"
        )
    peak = curve[low]
    high = len(curve) - 1
    for i in range(low, len(curve)):
        peak = max(peak, curve[i])
        if curve[i] < peak - d:
            high = i - 1
            break
    return Window(known[low][0], known[high][0], d, high < len(curve) - 1)


def suggest(low: float, high: float) -> float:
    """The midpoint of the window with one significant digit, so that ASLR's grid is exact.

    Where rounding leaves the window, the nearest such number inside it.

    Raises:
        UserError: the window holds no number of one significant digit.
    """
    middle = (low + high) / 2
    nearest = float(f"{middle:.0e}")
    exponent = math.floor(math.log10(middle))
    grid = [float(f"{digit}e{e}") for e in (exponent - 1, exponent, exponent + 1) for digit in range(1, 10)]
    inside = [rate for rate in (nearest, *sorted(grid, key=lambda r: abs(r - middle))) if low <= rate <= high]
    if not inside:
        raise UserError(
            f"the usable learning rates, {low:.3g} to {high:.3g}, hold none of one significant digit; give the test "
            f"more --steps with --high {2 * high:.1g}, or choose a rate such as {middle:.2g} by hand"
        )
    return inside[0]


def lr_range_test(
    model: nn.Module,
    optimizer: Optimizer,
    step: Callable[[], Tensor | float],
    accuracy: Callable[[], float],
    *,
    low: float = 0.0,
    high: float,
    steps: int,
    every: int | None = None,
) -> LrRange:
    """Train with a rate that rises on a line from ``low`` to ``high``, find the usable window, and undo it all.

    It ends early on a loss that is not finite, or whose exponential mean (0.9, bias-corrected) exceeds 4 times its
    best. Losses on a GPU are looked at where the accuracy is read, so that no step waits for the GPU; what comes after
    the end is left out. Afterwards, also after an error, everything is as it was, bit for bit: parameters, gradients,
    buffers and plain numbers of the modules (Brevitas counts steps so), their modes, the optimizer, and the random
    numbers of Python, numpy, torch and CUDA.

    Args:
        model: that ``step`` trains.
        optimizer: over its parameters, without a scheduler that sets its rates. Groups keep their ratios to the first.
        step: takes one optimizer step on the next mini-batch, in training mode, and returns its loss, a tensor that the
            next step may overwrite.
        accuracy: in percent, on held-out images that are always the same; called in evaluation mode.
        low: rate of the first step, 0 or more.
        high: rate of the last step.
        steps: optimizer steps to take at most.
        every: steps between two readings of the accuracy; default a fortieth of ``steps``.

    Raises:
        UserError: numbers out of range, or no usable window: then what to try, never a guess.
    """
    every = max(1, steps // 40) if every is None else every
    _check_numbers(low, high, steps, every)
    recorder = _Recorder()
    with restored(model, optimizer):
        ratios = _ratios(optimizer)
        recorder.read(low, _read(model, accuracy))
        waiting: list[tuple[float, Tensor | float]] = []
        for t in range(steps):
            rate = low + t / (steps - 1) * (high - low)
            model.train()
            loss = _step_at(optimizer, ratios, rate, step)
            waiting.append((rate, loss))
            reads = (t + 1) % every == 0 or t == steps - 1
            if reads or not _is_elsewhere(loss):
                recorder.take_all(waiting)
                waiting = []
            if recorder.stopped:
                break
            if reads:
                recorder.read(rate, _read(model, accuracy))
    return recorder.judged()


class _Recorder:
    """A curve in the making."""

    def __init__(self) -> None:
        self.rates = list[float]()
        self.accuracies = list[float]()
        self.loss_rates = list[float]()
        self.losses = list[float]()
        self.stopped = ""
        self._mean = 0.0
        self._best = math.inf

    def read(self, rate: float, accuracy: float) -> None:
        self.rates.append(rate)
        self.accuracies.append(accuracy)

    def take_all(self, waiting: list[tuple[float, Tensor | float]]) -> None:
        """Take in the losses of some steps, in their order, up to one that ends the test."""
        for rate, loss in waiting:
            if not self.stopped:
                self.take(rate, float(loss))

    def take(self, rate: float, loss: float) -> None:
        self.loss_rates.append(rate)
        self.losses.append(loss)
        if not math.isfinite(loss):
            self.stopped = f"the loss was {loss}"
            return
        self._mean = LOSS_MEMORY * self._mean + (1 - LOSS_MEMORY) * loss
        mean = self._mean / (1 - LOSS_MEMORY ** len(self.losses))
        self._best = min(self._best, mean)
        if mean > EXPLODED * self._best:
            self.stopped = f"the smoothed loss was {mean:.3g}, above {EXPLODED:g} times its best, {self._best:.3g}"

    def judged(self) -> LrRange:
        window = find_window(self.rates, self.accuracies)
        return LrRange(
            rates=tuple(self.rates),
            accuracies=tuple(self.accuracies),
            smoothed=tuple(smooth(self.accuracies)),
            losses=tuple(self.losses),
            loss_rates=tuple(self.loss_rates),
            window=window,
            suggestion=suggest(window.low, window.high),
            steps=len(self.losses),
            stopped=self.stopped,
        )


def _check_numbers(low: float, high: float, steps: int, every: int) -> None:
    if not (0 <= low < high < math.inf):
        raise UserError(f"low must be 0 or more and high above it, but got --low {low:g} and --high {high:g}")
    if every < 1:
        raise UserError(f"every must be 1 step or more, but got --every {every}")
    if steps < max(2, FEWEST_READINGS * every):
        raise UserError(
            f"steps must leave {FEWEST_READINGS} readings of the accuracy, one every {every} steps, but got --steps "
            f"{steps}; give {FEWEST_READINGS * every} or more"
        )


def _ratios(optimizer: Optimizer) -> list[float]:
    """Each group's rate over the first one's, which may be 0 only if all are alike."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if all(rate == rates[0] for rate in rates):
        return [1.0] * len(rates)
    if rates[0] <= 0:
        raise UserError(f"the first group's rate must be above 0 where rates differ, but got {rates[0]}")
    return [rate / rates[0] for rate in rates]


def _step_at(
    optimizer: Optimizer, ratios: Sequence[float], rate: float, step: Callable[[], Tensor | float]
) -> Tensor | float:
    """One step with the given rate; returns its loss, which no later step changes."""
    wanted = [ratio * rate for ratio in ratios]
    for group, value in zip(optimizer.param_groups, wanted, strict=True):
        group["lr"] = value
    loss = step()
    if [float(group["lr"]) for group in optimizer.param_groups] != wanted:
        raise UserError("something else sets the optimizer's rates, a scheduler perhaps; run the test without it")
    return loss.detach().clone() if isinstance(loss, Tensor) else loss


def _is_elsewhere(loss: Tensor | float) -> bool:
    """Whether reading the loss has the host wait for a device."""
    return isinstance(loss, Tensor) and loss.device.type != "cpu"


def _read(model: nn.Module, accuracy: Callable[[], float]) -> float:
    model.eval()
    return float(accuracy())
