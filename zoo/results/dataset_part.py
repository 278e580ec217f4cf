"""The dataset of a stored run: what it is, and what of it the run used."""

from __future__ import annotations

from typing import Annotated

from pydantic import FailFast, Field

from zoo.data.choice import Choice, TestSplit
from zoo.results import fields
from zoo.results.recipe_part import Part


class Normalization(Part):
    """What ``Normalize: {from: train}`` stood for: of the images trained on, R, G, B, values from 0 to 1."""

    mean: tuple[fields.Share, fields.Share, fields.Share]
    std: tuple[fields.Scale, fields.Scale, fields.Scale]


class DatasetPart(Part):
    """Image counts as the run used them; `fingerprint` covers images and labels. No path: results travel.

    `normalization` is None where the recipe does not ask for it. `unusual` says what is unusual about the data
    (:mod:`zoo.runner.unusual`). What was chosen of a folder that leaves a choice is kept
    (:class:`zoo.data.choice.Choice`). Older results lack all three.
    """

    name: fields.Component
    fingerprint: fields.Sha256
    classes: Annotated[list[fields.Text], Field(min_length=1), FailFast()]
    train_images: fields.Whole
    holdout_images: fields.Whole
    test_images: fields.Whole
    normalization: Normalization | None = None
    unusual: Annotated[list[fields.Text], FailFast()] = Field(default_factory=list)
    test_split: TestSplit = "test"
    split: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    image_column: fields.Text | None = None
    label_column: fields.Text | None = None

    @property
    def choice(self) -> Choice:
        """What opens the same data again."""
        return Choice(self.test_split, self.split, self.image_column, self.label_column)

    @property
    def notes(self) -> list[str]:
        """What is unusual, as notes below a table that may have several datasets."""
        return [f"{self.name}: {words}." for words in self.unusual]
