"""Pareto fronts: the points that no other point beats in both accuracy and cost."""

from collections.abc import Sequence


def pareto_front(
    costs: Sequence[float | None], accuracies: Sequence[float | None], more_is_better: bool = False
) -> list[int]:
    """Return the points on the front, from the best cost to the best accuracy.

    A point is beaten by one that is at least as good in both and better in one; so points that are equal in both are
    on the front together.

    Args:
        costs: one a point; a point without one takes no part.
        accuracies: in the same order; a point without one takes no part.
        more_is_better: whether a large cost is a good one, as frames/s are.

    Returns:
        Indices into ``costs``.

    Raises:
        ValueError: not as many costs as accuracies.
    """
    sign = -1 if more_is_better else 1
    known = []
    for i, (cost, accuracy) in enumerate(zip(costs, accuracies, strict=True)):
        if cost is not None and accuracy is not None:
            known.append((sign * cost, -accuracy, i))
    front: list[tuple[float, float, int]] = []
    for point in sorted(known):
        if not front or point[1] < front[-1][1] or point[:2] == front[-1][:2]:
            front.append(point)
    return [i for _, _, i in front]
