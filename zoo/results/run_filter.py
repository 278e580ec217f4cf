"""A choice among stored runs, made before their files are checked, by the names in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch

_NAMES = re.compile(rb'"name"\s*:\s*"([^"]*)"')


@dataclass(frozen=True)
class RunFilter:
    """A dataset, a recipe (its name, or name-fingerprint as in tables) and patterns of models; None and () are all.

    Folders may have been renamed or copied, so their names choose nothing.
    """

    dataset: str | None = None
    recipe: str | None = None
    models: tuple[str, ...] = ()

    def may_have(self, text: bytes) -> bool:
        """Whether the ``result.json`` with that `text` can be chosen. What is not whole is left to its reader."""
        if self == ALL or b"\\" in text or text.count(b"{") != text.count(b"}"):
            return True
        names = {name.decode(errors="replace") for name in _NAMES.findall(text)}  # of its parts, these three among them
        return (
            (self.dataset is None or self.dataset in names)
            and (self.recipe is None or bool({self.recipe, self.recipe.rpartition("-")[0]} & names))
            and (not self.models or any(fnmatch(name, pattern) for name in names for pattern in self.models))
        )


ALL = RunFilter()
