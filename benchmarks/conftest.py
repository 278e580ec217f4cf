"""What the suites share: one line per acceptance figure, printed at the end and kept in pytest-benchmark's JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FIGURES: list[dict[str, Any]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Threads and memory as every zoo command has them, for the peers too that run in this process."""
    from zoo.engine.machine import choose_device, configure_threads
    from zoo.engine.memory import configure_allocator

    configure_threads()
    configure_allocator(choose_device())


@pytest.fixture
def figure() -> Callable[..., None]:
    """``figure(name, value, least=2.5)`` notes a figure with its bound, and fails when it is missed."""

    def note(name: str, value: float, *, least: float | None = None, most: float | None = None, unit: str = "") -> None:
        missed = (least is not None and value < least) or (most is not None and value > most)
        FIGURES.append({"name": name, "value": value, "unit": unit, "least": least, "most": most, "missed": missed})
        assert not missed, line(FIGURES[-1])

    return note


def line(told: dict[str, Any]) -> str:
    """One figure with its bound."""
    bound = "".join(f", at {name} {told[name]:g}" for name in ("least", "most") if told[name] is not None)
    unit = f" {told['unit']}" if told["unit"] else ""
    return f"{'MISSED  ' if told['missed'] else ''}{told['name']}: {told['value']:.4g}{unit}{bound}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures, whether they were met or not."""
    if FIGURES:
        terminalreporter.section("figures")
        for told in FIGURES:
            terminalreporter.write_line(line(told))


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What a submitted file says of the machine: zoo's record of it, and not its name."""
    from zoo.engine.environment import describe
    from zoo.engine.machine import choose_device

    machine_info.pop("node", None)
    machine_info["zoo"] = describe(choose_device())


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]) -> None:
    """``--benchmark-json`` keeps the figures too."""
    output_json["figures"] = FIGURES
