"""A split with each class in its proportion: the indices that scikit-learn draws, without its import of a second."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def stratified_split(labels: Indices, size: int, seed: int) -> tuple[Indices, Indices]:
    """Draw ``size`` of the labels, each class in its proportion.

    Runs on record rest on these draws: they are those of scikit-learn's ``train_test_split`` with ``stratify`` and a
    whole number as ``random_state``, which a test compares.

    Args:
        labels: class numbers, int [N]; each class that occurs has two or more.
        size: how many to draw, at least one a class, and as many must remain.
        seed: of the draws.

    Returns:
        Indices of those that remain and of those drawn, int64, each in random order.
    """
    draws = np.random.RandomState(seed)
    classes, numbers = np.unique(labels, return_inverse=True)
    counts = np.bincount(numbers, minlength=len(classes))
    rest = _shares(counts, len(labels) - size, draws)
    taken = _shares(counts - rest, size, draws)
    kept_parts = []
    drawn_parts = []
    for number, (count, keep, take) in enumerate(zip(counts, rest, taken, strict=True)):
        members = np.flatnonzero(numbers == number)[draws.permutation(count)]
        kept_parts.append(members[:keep])
        drawn_parts.append(members[keep : keep + take])
    kept = draws.permutation(np.concatenate(kept_parts))
    drawn = draws.permutation(np.concatenate(drawn_parts))
    return kept, drawn


def _shares(counts: Indices, total: int, draws: np.random.RandomState) -> Indices:
    """Divide ``total`` among classes in proportion to their counts; of equal remainders some are drawn."""
    exact = counts / counts.sum() * total  # in this order, since equal remainders are compared to the bit
    shares = np.floor(exact)
    missing = int(total - shares.sum())
    remainders = exact - shares
    for remainder in np.unique(remainders)[::-1]:
        if missing == 0:
            break
        equal = np.flatnonzero(remainders == remainder)
        more = min(len(equal), missing)
        shares[draws.choice(equal, size=more, replace=False)] += 1
        missing -= more
    return shares.astype(np.int64)
