"""Loss and accuracy of a network on a split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qtrain.data import Split, ordered_batches
from qtrain.training.distributed import ALONE, Ranks
from qtrain.training.tf32 import tf32

_BATCHES = {"cpu": 100}  # what its caches hold; logits are the same to the bit whatever the batch
_BATCH = 500

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Loss and accuracy of a network on one split.

    Attributes:
        loss: mean over the images.
        accuracy: top-1, in percent.
    """

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    loss: Loss,
    batch_size: int | None = None,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Run ``model`` in evaluation mode on every image once; the mode it was in is restored.

    Of several ranks each runs its part of the images, and all get the whole split's numbers.

    Args:
        model: takes float images [N, C, H, W] in [0, 1], gives logits [N, classes].
        split: on the model's device.
        loss: of logits and labels.
        batch_size: images at a time; by default what is fast on the device.
        ranks: of the run.
    """
    batch_size = batch_size or _BATCHES.get(split.device.type, _BATCH)
    was_training = model.training
    model.eval()
    sums = new_sums(split.device)
    with tf32(False):
        for images, labels in ordered_batches(split, batch_size, rank=ranks.rank, ranks=ranks.size):
            add_batch(sums, model(images), labels, loss)
    model.train(was_training)
    ranks.sum(sums)
    return evaluation_of(sums, len(split))


def new_sums(device: torch.device) -> Tensor:
    """Return where the batches' losses and hits are added up, float64 [2] on ``device``."""
    return torch.zeros(2, dtype=torch.float64, device=device)


def add_batch(sums: Tensor, logits: Tensor, labels: Tensor, loss: Loss) -> None:
    """Add a batch's loss, as often as it has images, and its hits to ``sums``; launches alone."""
    sums[0].add_(loss(logits, labels) * len(labels))
    sums[1].add_((logits.argmax(1) == labels).sum())


def evaluation_of(sums: Tensor, images: int) -> Evaluation:
    """Read the sums over so many images: the host waits here, once."""
    total, hits = sums.tolist()
    return Evaluation(total / images, 100 * hits / images)
