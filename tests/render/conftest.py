"""What these tests share: lines as long as a table is wide."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the text itself; how it fits a terminal is tested by itself."""
    monkeypatch.setenv("COLUMNS", "1000")
