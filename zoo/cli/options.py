"""Options and completions that several commands share."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from zoo.errors import ZooError
from zoo.registry.merge import load_registry

RUNS = Path("runs")
Command = TypeVar("Command", bound=Callable[..., Any])
INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells expect


def again(*start: str) -> str:
    """The command that was given, begun with `start` (``zoo``, say), as what goes on after an interruption."""
    return shlex.join([*start, *(argument for argument in sys.argv[1:] if argument != "--restart")])


def picture(default: str) -> Callable[[Command], Command]:
    """The option ``--out`` of a command that draws one picture, in the file `default` unless told otherwise."""
    return click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path(default), show_default=True,
        help="The picture: .png, .svg or .pdf.",
    )  # fmt: skip


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Model names for the shell; a broken registry completes to nothing."""
    try:
        return [name for name in load_registry(ctx.params.get("registry")).names() if name.startswith(incomplete)]
    except ZooError:
        return []


def complete_recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of recipes for the shell; where two clash there are none."""
    from zoo.recipes.catalogue import recipe_names

    try:
        return [name for name in recipe_names() if name.startswith(incomplete)]
    except ZooError:
        return []


registry = click.option(
    "--registry", metavar="FILE", help="A registry.yaml above all others (after $ZOO_REGISTRY and the folder's own)."
)
data_dir = click.option(
    "--data-dir", metavar="DIR", help="Where data sets are; only there.  [default: $ZOO_DATA, then the user cache]"
)
table_format = click.option(
    "--format", "style", type=click.Choice(["text", "markdown", "csv", "latex", "json"]), default="text",
    show_default=True,
)  # fmt: skip
models = click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
