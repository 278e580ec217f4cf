"""The Pareto front of accuracy against a cost or a speed, as a pure function."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float] | None], *, smaller: bool) -> list[int]:
    """Indices of `points` (x, accuracy) that no other point beats, by x ascending; None is no point.

    A point is beaten by one that is no worse in both and better in one. `smaller` says that a smaller x is better.
    Means are taken as they are: intervals play no part.

    >>> front([(1.0, 0.8), (2.0, 0.9), (3.0, 0.85)], smaller=True)
    [0, 1]
    """
    sign = 1 if smaller else -1
    known = sorted((sign * point[0], -point[1], index) for index, point in enumerate(points) if point is not None)
    kept: list[tuple[float, float, int]] = []
    for x, y, index in known:
        if not kept or y < kept[-1][1] or (x, y) == kept[-1][:2]:
            kept.append((x, y, index))
    return [index for _, _, index in sorted(kept, key=lambda item: sign * item[0])]
