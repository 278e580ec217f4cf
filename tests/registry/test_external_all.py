"""Every family of timm and every classification model of torchvision, against the table in the docs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import external_models as external

WRITTEN = external.written()


def test_the_table_has_every_model_that_is_tried() -> None:
    assert list(WRITTEN) == external.names()
    commands = [cells[2:5] for name, cells in WRITTEN.items() if name.startswith("timm:")]
    assert commands.count([external.YES] * 3) >= 56


@pytest.mark.slow
@pytest.mark.parametrize("name", external.names())
def test_works_as_the_docs_say(name: str) -> None:
    _, parameters, *_, swapped = WRITTEN[name]
    assert external.built(name) == (parameters, swapped), (
        "write the table anew: python benchmarks/external_models.py table"
    )
