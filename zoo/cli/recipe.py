"""`zoo recipe show|diff`."""

from __future__ import annotations

import click

from zoo.cli import options

HELP = "Show a recipe in full, or how two recipes differ."


@click.command()
@click.argument("recipe", metavar="NAME|FILE|RUN", shell_complete=options.complete_recipes)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the recipe first, for example optimizer.lr=0.1.",
)
def show(recipe: str, overrides: tuple[str, ...]) -> None:
    """Print a whole recipe as YAML, with its fingerprint.

    The argument is the name of a recipe, a recipe file, or a folder or result.json of runs. The output is a valid
    recipe file.
    """
    from zoo.render.recipes import as_yaml
    from zoo.results.recipe_source import find

    click.echo(as_yaml(find(recipe, overrides)), nl=False)


@click.command()
@click.argument("a", shell_complete=options.complete_recipes)
@click.argument("b", shell_complete=options.complete_recipes)
@options.formats("text", "markdown", "json")
def diff(a: str, b: str, style: str) -> None:
    """Print each field in which the recipes A and B differ.

    Each is the name of a recipe, a recipe file, either of them with changes (laptop,epochs=6,optimizer.lr=0.05), or a
    folder or result.json of runs.
    """
    from zoo.render.recipes import as_differences
    from zoo.results.recipe_source import find

    click.echo(as_differences(find(a), find(b), style), nl=False)


commands = {"show": show, "diff": diff}
