"""Options and completions that several commands share."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from zoo.errors import ZooError
from zoo.registry import load_registry

RUNS = Path("runs")
INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells expect


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Model names for the shell; a broken registry completes to nothing."""
    try:
        return [name for name in load_registry(ctx.params.get("registry")).names() if name.startswith(incomplete)]
    except ZooError:
        return []


def complete_recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the built-in recipes for the shell."""
    from zoo.listing import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


registry = click.option(
    "--registry", metavar="FILE", help="A registry.yaml above all others (after $ZOO_REGISTRY and the folder's own)."
)
data_dir = click.option(
    "--data-dir", metavar="DIR", help="Where data sets are; only there.  [default: $ZOO_DATA, then the user cache]"
)
models = click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
