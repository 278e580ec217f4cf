"""`zoo export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli import options
from zoo.data.choice import Choice
from zoo.errors import DataError
from zoo.utils.extras import require

if TYPE_CHECKING:
    from zoo.export.make import Export
    from zoo.trained.load import TrainedRun

TO = ("safetensors", "torch-export", "onnx")  # zoo.export.formats.FORMATS, which imports torch
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}

licence = click.option(
    "--license", "licence", default="unknown", show_default=True, metavar="ID",
    help="Licence of the weights in the model card, by its name on the Hub: mit, apache-2.0, cc-by-4.0 ...",
)  # fmt: skip
dataset = click.option(
    "--dataset", metavar="NAME|DIR",
    help="Other test images with the same classes to check the export on.  [default: the run's own]",
)  # fmt: skip


@click.command()
@options.run_argument
@click.option("--to", type=click.Choice(TO), required=True, help="Format of the export.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Output folder.  [default: export/FORMAT/ in the run's folder]",
)  # fmt: skip
@licence
@dataset
@options.data_dir
@options.choice_options
@options.registry
def export(
    run: Path,
    to: str,
    out: Path | None,
    licence: str,
    dataset: str | None,
    data_dir: str | None,
    choice: Choice,
    registry: str | None,
) -> None:
    """Export a trained model for other programs, with a model card.

    RUN is the folder of a run. The graph includes the recipe's Resize and Normalize. Its input is a batch of float32
    images (N, 3, H, W) from 0 to 1, its output the logits; N is free. Before anything is written, the export is loaded
    again and compared with the run on its test images, and the Python code of the model card is run. Stored files do
    not change.
    """
    require(f"`zoo export --to {to}` needs", NEEDS.get(to, ()))

    from zoo.export.make import write
    from zoo.results.folder import EXPORT, make_output

    trained, exported = prepare(run, to, licence, dataset, data_dir, choice, registry)
    folder = make_output(out, trained.folder.path / EXPORT / to)
    write(exported.files, folder)
    click.echo(f"{trained.model.name} seed {trained.result.seed} as {to}: {exported.check.line}")
    click.echo(f"wrote {', '.join(exported.files)} to {folder}")


def prepare(
    run: Path,
    to: str,
    licence: str,
    dataset: str | None,
    data_dir: str | None,
    choice: Choice,
    registry: str | None,
) -> tuple[TrainedRun, Export]:
    """The run, and its export in memory, checked on its own test images or those of `dataset`."""
    from zoo.data.datasets import Dataset
    from zoo.engine.guard import guarded
    from zoo.engine.machine import configure_threads
    from zoo.export.graph import preparation
    from zoo.export.make import export as make
    from zoo.registry.merge import load_registry
    from zoo.trained.load import open_run, open_test

    configure_threads()
    trained = open_run(run, load_registry(registry))
    preparation(trained)  # a recipe that cannot be exported is refused before data is searched for
    data = open_test([trained], dataset, data_dir, choice)
    if not isinstance(data, Dataset):  # none that a run is trained on
        raise DataError(
            f"{data.name} has no training split, and an export is checked on a dataset with both splits; name one with "
            "--dataset NAME"
        )
    with guarded(str(trained.folder.path), "export"):
        return trained, make(trained, data, to, licence)
