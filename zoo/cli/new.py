"""`zoo new norm|architecture|recipe`."""

from __future__ import annotations

from pathlib import Path

import click

HELP = "Create a package that adds a norm, an architecture or a recipe, to edit, install and publish."
# Kind -> what to do with it once it is installed.
_TRY = {
    "norm": "zoo bench resnet20_bn resnet20_{name} --recipe smoke",
    "architecture": "zoo bench {name}_bn {name}_ln --recipe smoke",
    "recipe": "zoo bench resnet20_bn resnet20_ln --recipe {name}",
}


def _command(kind: str, what: str) -> click.Command:
    @click.command(
        kind,
        help=f"Create the package zoo-{kind}-NAME: {what}, tests, and an entry point that zoo finds.\n\n"
        "The package works as created; replace its computation by yours.",
    )
    @click.argument("name")
    @click.option(
        "--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), metavar="DIR",
        help="Folder to create the package in.  [default: the working directory]",
    )  # fmt: skip
    def new(name: str, into: Path) -> None:
        from zoo.scaffold import write

        for path in write(kind, name, into):
            click.echo(path)
        folder = into / f"zoo-{kind}-{name}"
        click.echo(f"\npip install -e '{folder}[test]'\n{_TRY[kind].format(name=name)}\npytest {folder}")

    return new


commands = {
    "norm": _command("norm", "a module, its line in a registry"),
    "architecture": _command("architecture", "a module, its line in a registry"),
    "recipe": _command("recipe", "a recipe file"),
}
