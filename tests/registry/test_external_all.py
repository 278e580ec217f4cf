"""Every family of timm and every classification model of torchvision, against the table in the docs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import external_models as external

WRITTEN = external.written()


def test_the_table_has_every_model_and_what_is_on_record() -> None:
    assert list(WRITTEN) == external.names()
    record = external.Record(external.RECORD)
    for name, cells in WRITTEN.items():
        if "no: " not in cells[2]:  # else it is built
            assert external.row_of(name, record, cells) == external.Row(*cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", external.names())
def test_works_as_the_docs_say(name: str) -> None:
    _, parameters, *_, swapped = WRITTEN[name]
    bench = external.Record(external.RECORD).outcomes.get((f"{name}@{external.NORM}", external.BENCH))
    if bench and bench.kind == external.REFUSED:  # it can be built, and fails in a bench
        assert external.built(name)[0] == parameters
        assert swapped.startswith("no: ")
    else:
        advice = "write the table anew: python benchmarks/external_models.py table"
        assert external.built(name) == (parameters, swapped), advice
