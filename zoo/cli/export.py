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
    help="The weights' licence in the model card, as the hub names it: mit, apache-2.0, cc-by-4.0 ...",
)  # fmt: skip
dataset = click.option(
    "--dataset", metavar="NAME|DIR",
    help="Other test images with the same classes to check it on.  [default: the run's own]",
)  # fmt: skip


@click.command()
@options.run_argument
@click.option("--to", type=click.Choice(TO), required=True, help="The model's format.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Where to write.  [default: export/FORMAT/ in the run's folder]",
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
    """Write the model of one finished run for other programs, with a model card.

    RUN is a run's folder. The exported graph holds the recipe's normalisation: it takes float32 images (N, 3, H, W)
    from 0 to 1, any number of them, and answers logits. It is loaded again and compared with the run on the run's own
    test images, and the model card's Python is run, before anything is written. Nothing that is stored changes.
    """
    require(f"`zoo export --to {to}` needs", NEEDS.get(to, ()), "export")

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
    from zoo.export.graph import normalisation
    from zoo.export.make import export as make
    from zoo.registry.merge import load_registry
    from zoo.trained.load import open_run, open_test

    configure_threads()
    trained = open_run(run, load_registry(registry))
    normalisation(trained)  # a recipe that cannot be exported is told before data is looked for
    data = open_test([trained], dataset, data_dir, choice)
    if not isinstance(data, Dataset):  # none that a run is trained on
        raise DataError(
            f"{data.name} is no data set with a training and a test split; an export is checked on such a one"
        )
    with guarded(str(trained.folder.path), "export"):
        return trained, make(trained, data, to, licence)
