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
@click.option("--dry-run", is_flag=True, help="Only list what would be uploaded, and where to.")
@click.option("--to-folder", type=click.Path(path_type=Path), metavar="DIR", help="Write it to this folder instead.")
@click.option("--private", is_flag=True, help="Of a repository that does not exist yet.")
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
    """Upload one finished run to a model repository of the Hugging Face hub.

    RUN is a run's folder, REPO_ID is NAMESPACE/NAME. Uploaded is what `zoo export --to safetensors` writes, checked as
    it is. The repository is made where it does not exist; files of the same names are replaced, in one commit.
    """
    if dry_run and to_folder:
        raise click.UsageError("--dry-run and --to-folder exclude each other: one writes nothing")
    require("`zoo push` needs", ("huggingface_hub",), "hub")

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
