"""`zoo completion`."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, models and recipes.

    \b
    bash: eval "$(zoo completion bash)"
    zsh:  eval "$(zoo completion zsh)"
    fish: zoo completion fish | source
    """
    click.echo(SHELLS[shell](ctx.find_root().command, {}, "zoo", "_ZOO_COMPLETE").source())
