"""`zoo push`."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli import options
from zoo.cli.export import dataset, licence, prepare
from zoo.data.choice import Choice
from zoo.utils.extras import require


@click.command()
@options.run_argument
@click.argument("repo_id", metavar="REPO_ID")
@click.option("--dry-run", is_flag=True, help="List what would be uploaded and where; upload nothing.")
@click.option(
    "--to-folder", type=click.Path(path_type=Path), metavar="DIR", help="Write the files to this folder instead."
)
@click.option("--private", is_flag=True, help="Create the repository as private.")
@licence
@dataset
@options.data_dir
@options.choice_options
@options.registry
def push(
    run: Path,
    repo_id: str,
    dry_run: bool,
    to_folder: Path | None,
    private: bool,
    licence: str,
    dataset: str | None,
    data_dir: str | None,
    choice: Choice,
    registry: str | None,
) -> None:
    """Upload a trained model to a model repository on the Hugging Face Hub.

    RUN is the folder of a run, REPO_ID is NAMESPACE/NAME. The files are those of `zoo export --to safetensors` and are
    checked as there. The repository is created if it does not exist. Files of the same names are replaced, in one
    commit.
    """
    if dry_run and to_folder:
        raise click.UsageError("--dry-run and --to-folder exclude each other: one writes nothing")
    require("`zoo push` needs", ("huggingface_hub",))

    from zoo.export.make import write
    from zoo.export.push import check_repo, find_token, upload
    from zoo.results.folder import make_output

    check_repo(repo_id)
    token = "" if dry_run or to_folder else find_token()
    trained, exported = prepare(run, "safetensors", licence, dataset, data_dir, choice, registry)
    click.echo(f"{trained.model.name} seed {trained.result.seed}: {exported.check.line}")
    for name, content in exported.files.items():
        click.echo(f"  {name}  {len(content):,} bytes")
    total = f"{len(exported.files)} files, {sum(map(len, exported.files.values())):,} bytes"
    if dry_run:
        click.echo(f"dry run: {total} would go to the model repository {repo_id}; nothing was sent")
    elif to_folder:
        write(exported.files, make_output(to_folder, to_folder, "to_folder"))
        click.echo(f"wrote {total} to {to_folder}; nothing was sent")
    else:
        words = f"{trained.model.name}, recipe {trained.result.recipe.name}, seed {trained.result.seed}"
        click.echo(f"uploaded {total}: {upload(exported.files, repo_id, token, private, words)}")
