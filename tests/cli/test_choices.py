"""The command line spells its choices out, to import nothing heavy; here they meet what they stand for."""

from __future__ import annotations

from typing import get_args

import click

from zoo.cli.bench import bench
from zoo.cli.compare import compare
from zoo.cli.evaluate import evaluate
from zoo.cli.lr_find import lr_find
from zoo.cli.speed import speed
from zoo.data.augment.executor import EXECUTORS
from zoo.engine.memory_format import LAYOUTS
from zoo.registry.entries import Layout
from zoo.render import robustness
from zoo.render.document import FORMATS


def choices(command: click.Command, name: str) -> list[str]:
    """What one option of a command takes."""
    (found,) = [list(option.type.choices) for option in command.params if option.name == name]
    return found


def test_choices_are_those_of_the_engine() -> None:
    assert choices(bench, "layout") == choices(lr_find, "layout") == list(LAYOUTS) == list(get_args(Layout))
    assert choices(speed, "layout") == ["auto", *LAYOUTS]
    assert choices(bench, "executor") == list(EXECUTORS)
    assert choices(compare, "style") == list(FORMATS)
    assert choices(evaluate, "style") == list(robustness.STYLES)
