"""What the suites share: one line per acceptance figure, printed at the end and kept in pytest-benchmark's JSON."""

from __future__ import annotations

from collections.abc import Callable

import pytest

LINES: list[str] = []


@pytest.fixture
def figure() -> Callable[..., None]:
    """``figure(name, value, least=2.5)`` notes a figure with its bound, and fails when it is missed."""

    def note(name: str, value: float, *, least: float | None = None, most: float | None = None, unit: str = "") -> None:
        bound = f", at least {least:g}" if least is not None else f", at most {most:g}" if most is not None else ""
        missed = (least is not None and value < least) or (most is not None and value > most)
        LINES.append(f"{'MISSED  ' if missed else ''}{name}: {value:.4g}{unit}{bound}")
        assert not missed, LINES[-1]

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures, whether they were met or not."""
    if LINES:
        terminalreporter.section("figures")
        for line in LINES:
            terminalreporter.write_line(line)
