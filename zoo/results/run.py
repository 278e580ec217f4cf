"""One run: a model with one seed, and where its files go."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.registry.model import Model
from zoo.results.folder import RunFolder


@dataclass(frozen=True)
class Run:
    """One model with one seed, and where its files go."""

    model: Model
    seed: int
    folder: RunFolder

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.model.name} seed {self.seed}"
