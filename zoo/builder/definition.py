"""The definition of a model that is built: what its entries say, and the code that its modules run."""

from __future__ import annotations

import contextlib
from typing import Any

from zoo.builder.construct import build
from zoo.errors import RegistryError
from zoo.registry.fingerprint import definition
from zoo.registry.model import Model
from zoo.registry.reach import remembered


def definition_of(model: Model, num_classes: int) -> dict[str, Any]:
    """The :func:`~zoo.registry.fingerprint.definition` of `model` for so many classes, built here where it was not yet.

    No random number is drawn, and what is built in is not built. Of a model that cannot be built it is what its
    builders import: whoever trains or evaluates it reports why.
    """
    if remembered(model, num_classes) is None:
        import torch

        with torch.random.fork_rng(devices=[]), contextlib.suppress(RegistryError):
            build(model, num_classes)
    return definition(model, remembered(model, num_classes) or ())
