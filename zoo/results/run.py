"""The runs of a bench: models times seeds, and where their files go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.recipes.recipe import Recipe
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


def planned_runs(models: Sequence[Model], seeds: Iterable[int], recipe: Recipe, dataset: str, runs: Path) -> list[Run]:
    """All runs, seed by seed, so that a bench that is stopped has compared all models on the seeds it has done."""
    return [
        Run(model, seed, RunFolder.of(runs, dataset, recipe.slug, model.name, seed))
        for seed in seeds
        for model in models
    ]


def models_of(runs: Sequence[Run]) -> list[Model]:
    """Each model of `runs` once, in their order."""
    return list({run.model.name: run.model for run in runs}.values())
