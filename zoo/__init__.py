"""zoo: a model zoo and fair benchmark harness for normalisation layers on CIFAR-10.

The Python interface (docs/api.md) is :func:`zoo.api.build`, :func:`zoo.api.load_model`, :func:`zoo.api.load_results`
and :func:`zoo.api.compare`, as ``zoo.build`` and so on. They are imported on first use, so that ``import zoo`` and the
command line stay light. No submodule may have one of these names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.utils.version import __version__

if TYPE_CHECKING:
    from zoo.api import build, compare, load_model, load_results

__all__ = ["__version__", "build", "compare", "load_model", "load_results"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from zoo import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
