"""The recipe of a stored run: its content, held to the shape of a recipe and to its fingerprint."""

from __future__ import annotations

import functools
import json

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from zoo.recipes.load import one_line
from zoo.recipes.recipe import Recipe, StoredContent, fingerprint_of, slug_of
from zoo.recipes.schema import Tuned
from zoo.recipes.tta import TestTimeAugmentation
from zoo.results.fields import FileName, Plain, Sha256, Text


class Part(BaseModel):
    """Frozen; an unknown key is an error, so that an edited or foreign file is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecipePart(Part):
    """`content` is :meth:`zoo.recipes.recipe.Recipe.canonical`, whose SHA-256 is `fingerprint`."""

    name: FileName
    fingerprint: Sha256
    content: dict[Text, Plain]

    @model_validator(mode="after")
    def _unedited(self) -> RecipePart:
        if fingerprint_of(self.content) != self.fingerprint:
            raise ValueError("the fingerprint is not that of the content")
        self.typed  # noqa: B018  # raises where the content is no recipe's
        return self

    @functools.cached_property
    def typed(self) -> StoredContent:
        """`content` by its sections."""
        return _typed(json.dumps(self.content))

    @property
    def of_old(self) -> bool:
        """Whether an older zoo made it, so that this one cannot make a recipe with the same fingerprint of it."""
        content = {key: value for key, value in self.content.items() if key != "harness"}
        try:
            recipe = Recipe.model_validate({"name": self.name, "description": "", "dataset": ""} | content)
        except ValueError:
            return True
        return recipe.fingerprint != self.fingerprint

    @property
    def slug(self) -> str:
        """As folders and tables call the recipe."""
        return slug_of(self.name, self.fingerprint)

    @property
    def precision(self) -> str:
        """In which the run was trained and evaluated, such as ``bf16``."""
        return self.typed.precision

    @property
    def epochs(self) -> int:
        """How long the recipe trains."""
        return self.typed.epochs

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) to which images were resized as they were decoded; None where they were left as they are."""
        return self.typed.image_size

    @property
    def tta(self) -> TestTimeAugmentation:
        """What of each image is shown to the model in evaluation."""
        return TestTimeAugmentation.of(self.content)

    @property
    def tuned(self) -> Tuned | None:
        """What was spent on its values; None where the recipe was not tuned."""
        return self.typed.tuned

    @property
    def selection_split(self) -> str:
        """The split that chooses the weights: ``holdout`` or ``test``."""
        return self.typed.selection.split


@functools.lru_cache(maxsize=1024)  # the runs of a table have one recipe
def _typed(content: str) -> StoredContent:
    """A recipe's content from JSON. Raises ValueError with one line."""
    try:
        return StoredContent.model_validate_json(content, strict=True)
    except ValidationError as problem:
        raise ValueError(one_line(problem)) from None
