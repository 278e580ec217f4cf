"""The rows of one table against its baseline: which row may have a verdict, and its difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.comparison.baseline import differences, withheld
from zoo.comparison.row import QUALITY, Row
from zoo.errors import ResultError


@dataclass(frozen=True)
class Against:
    """What rows are tested against, and how: see :func:`zoo.comparison.groups.compare`."""

    baseline: str
    margin: float
    allow_dirty: bool

    def tested(self, rows: Sequence[Row], where: str) -> list[Row]:
        """`rows`, the others than the baseline's with their difference from it; `where` says what they are of.

        Raises :class:`ResultError` where the baseline has several rows, or predictions are damaged.
        """
        bases = [row for row in rows if row.model == self.baseline]
        if len(bases) > 1:
            raise ResultError(
                f"baseline {self.baseline} stands in {len(bases)} rows of {where} (one seed on several machines, or "
                "its definition or tuned values differ); name the folder of one of them"
            )
        others = [row for row in rows if row.model != self.baseline]
        shifts = differences(
            self.baseline,
            bases[0].tested,
            [row.tested for row in others],
            [bool(row.diverged or bases[0].diverged) for row in others],
            [None if self.allow_dirty else withheld(bases[0].uncommitted, row.uncommitted) for row in others],
            QUALITY,
            self.margin,
        )
        return bases + [row.beside(bases[0], shift) for row, shift in zip(others, shifts, strict=True)]
