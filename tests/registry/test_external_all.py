"""Every family of timm and every classification model of torchvision, against the table in the docs."""

from __future__ import annotations

import external_models as external
import pytest

WRITTEN = external.written()


def test_the_table_has_every_model_that_is_tried() -> None:
    assert list(WRITTEN) == external.names()
    works = [line for line in WRITTEN.values() if "| no: " not in line]
    assert sum(line.startswith("| timm:") for line in works) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("name", external.names())
def test_works_as_the_docs_say(name: str) -> None:
    assert external.attempt(name).line == WRITTEN[name], (
        "write the table anew: python tests/registry/external_models.py"
    )
