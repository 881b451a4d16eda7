"""Validations while a network trains: on a GPU each batch is one CUDA graph, and the host waits once.

Every epoch the same images go through the same kernels in the same batches. Captured, a validation is a graph that
clears the sums and quantizes the weights, and one launch a batch: which images, their loss and the hits are in it. What
it reads it reads where it lies, so that weights which training, an average or schedule-free's evaluation writes in
place are those that are judged. Where a tensor, a module or a value of Python's is another one than at the validation
before, this one runs kernel by kernel, and what was captured is captured anew.
"""

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qtrain.data import Split
from qtrain.data.augment import to_unit
from qtrain.models.fast_evaluation import FastEvaluation
from qtrain.training.captured.outcome import Kept
from qtrain.training.captured.repeated import Once, Repeated, Words, collecting
from qtrain.training.captured.state import PythonState
from qtrain.training.evaluation import Evaluation, Loss, add_batch, evaluation_of, new_sums
from qtrain.training.images_at_once import bytes_per_image, images_at_once
from qtrain.training.tf32 import tf32

VALIDATION = Words("validation", "batch")
WARM_UP = 1  # batches watched before the capture; a whole validation ran before them
PATIENCE = 10  # validations, beside those while quantizers collect, before which Python's values may have moved


class Validation:
    """Validations of one network on the same images, captured where that can be.

    Args:
        model: that ``fast_forward`` was called for, on the split's device.
        split: whole on the device.
        loss: of logits and labels.
        cuda: ``torch.cuda``, or what stands in for it.
        captures: whether batches may become graphs; else the same kernels are launched one by one.
        images: of a batch; by default as many as a share of the free memory holds.

    Attributes:
        why_not: why batches will not be captured any more; None while they are or may be.
        images: of a batch; where none were given, None before the first validation, which looks how much is free.
    """

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        loss: Loss,
        cuda: Any,
        *,
        captures: bool = True,
        images: int | None = None,
    ):
        self.why_not: str | None = None
        self.images = images
        self._model = model
        self._split = split
        self._loss = loss
        self._cuda = cuda
        self._captures = captures
        self._sums = new_sums(split.device)
        self._position = torch.zeros((), dtype=torch.int64, device=split.device)
        self._numbers = torch.arange(images or 0, device=split.device)
        self._fast = FastEvaluation(model)
        self._python: PythonState | None = None  # as it was at the last validation
        self._moved = 0
        self._units: dict[int, Repeated] = {}  # by images of the batch; 0 begins a validation

    @property
    def captured(self) -> bool:
        """Whether a validation is nothing but replays."""
        return bool(self._units) and all(unit.captured for unit in self._units.values())

    def is_of(self, split: Any, loss: Loss) -> bool:
        """Whether these are its images and its loss."""
        return split is self._split and loss is self._loss

    @torch.no_grad()
    def evaluate(self) -> Evaluation:
        """Run the model in evaluation mode on every image once; the mode it was in is restored."""
        model = self._model
        was_training = model.training
        model.eval()
        try:
            with tf32(False):
                self._run(steady=self._is_steady())
        finally:
            model.train(was_training)
        return evaluation_of(self._sums, len(self._split))

    def _run(self, *, steady: bool) -> None:
        """Launch a validation, whose sums are then underway.

        Args:
            steady: whether all is as it was at the validation before.
        """
        if not steady:
            self._fast = FastEvaluation(self._model)  # layers may have been replaced
        with self._fast.used():
            if self.images is None:
                self._choose_images()
            self._take(0, self._begin, self._fast.tensors(), steady)
            self._fast.prepared()
            for count in self._counts():
                self._take(count, partial(self._batch, count), (), steady)

    def _is_steady(self) -> bool:
        """Whether what Python decides by is as it was at the validation before; where not, graphs are forgotten."""
        moved = "nothing" if self._python is None else self._python.moved()
        if moved is None:
            return True
        if self._python is not None and not collecting(self._model):
            self._moved += 1
            if self._moved == PATIENCE and self.why_not is None and self._captures:
                self._give_up(f"{moved} changes again and again")
        self._python = PythonState(self._model, None, self._split.device, deep=False)
        for unit in self._units.values():
            unit.forget()
        return False

    def _take(self, images: int, once: Once, moves: tuple[Tensor, ...], steady: bool) -> None:
        """Do a part of a validation, captured where that can be; one reason is one for all parts."""
        if images not in self._units:
            cuda = self._cuda if self._captures and self.why_not is None else None
            self._units[images] = Repeated(VALIDATION, self._model, self._split.device, cuda, warm_up=WARM_UP)
        unit = self._units[images]
        if not steady:
            unit.take_plainly(once)
            return
        unit.take(once, (self._sums, self._position, *moves), looks=False)
        if unit.why_not is not None and self.why_not is None:
            self._stop(unit.why_not)

    def _begin(self, capturing: bool) -> Tensor:
        """Clear the sums, and quantize the weights as they are now."""
        self._sums.zero_()
        self._position.zero_()
        self._fast.prepare()
        return self._sums

    def _batch(self, count: int, capturing: bool) -> Tensor:
        """Judge the next ``count`` images, by launches alone."""
        at = self._numbers[:count] + self._position
        images = to_unit(self._split.images.index_select(0, at))
        labels = self._split.labels.index_select(0, at)
        add_batch(self._sums, self._model(images), labels, self._loss)
        self._position.add_(count)
        return self._sums

    def _counts(self) -> list[int]:
        """Images of each batch: the last one has what is left."""
        whole, rest = divmod(len(self._split), self.images or 1)
        return [self.images or 1] * whole + [rest] * (rest > 0)

    def _choose_images(self) -> None:
        """Look how much memory is free, and how much an image needs; nothing of the model or of chance is moved."""
        device = self._split.device
        free, _ = self._cuda.mem_get_info(device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            kept = Kept(PythonState(self._model, None, device, deep=False))
            self._fast.prepare()
            needed = bytes_per_image(self._try)
            kept.restore()
        self.images = images_at_once(len(self._split), needed, free)
        self._numbers = torch.arange(self.images, device=device)

    def _try(self, count: int) -> Tensor:
        """Run some images, the first ones, over and over where there are too few."""
        at = torch.arange(count, device=self._split.device) % len(self._split)
        found: Tensor = self._model(to_unit(self._split.images.index_select(0, at)))
        return found

    def _give_up(self, reason: str) -> None:
        self._stop(reason)
        warnings.warn(f"{VALIDATION.whole} goes on without a CUDA graph: {reason}", stacklevel=2)

    def _stop(self, reason: str) -> None:
        self.why_not = reason
        for unit in self._units.values():
            unit.stop()
