"""`zoo export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli import options
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


@click.command()
@options.run_argument
@click.option("--to", type=click.Choice(TO), required=True, help="The model's format.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Where to write.  [default: export/FORMAT/ in the run's folder]",
)  # fmt: skip
@licence
@options.data_dir
@options.registry
def export(run: Path, to: str, out: Path | None, licence: str, data_dir: str | None, registry: str | None) -> None:
    """Write the model of one finished run for other programs, with a model card.

    RUN is a run's folder. The exported graph holds the recipe's normalisation: it takes float32 images (N, 3, H, W)
    from 0 to 1, any number of them, and answers logits. It is loaded again and compared with the run on the run's own
    test images before anything is written. Nothing that is stored changes.
    """
    require(f"`zoo export --to {to}` needs", NEEDS.get(to, ()), "export")

    from zoo.export.make import write
    from zoo.results.folder import EXPORT

    trained, exported = prepare(run, to, licence, data_dir, registry)
    folder = out or trained.folder.path / EXPORT / to
    write(exported.files, folder)
    click.echo(f"{trained.model.name} seed {trained.result.seed} as {to}: {exported.check.line}")
    click.echo(f"wrote {', '.join(exported.files)} to {folder}")


def prepare(run: Path, to: str, licence: str, data_dir: str | None, registry: str | None) -> tuple[TrainedRun, Export]:
    """The run, and its export in memory, checked."""
    from zoo.data.datasets import Dataset
    from zoo.data.open import open_images
    from zoo.engine.guard import guarded
    from zoo.engine.machine import configure_threads
    from zoo.export.graph import normalisation
    from zoo.export.make import export as make
    from zoo.registry.merge import load_registry
    from zoo.trained.load import check_classes, check_own, open_run

    configure_threads()
    trained = open_run(run, load_registry(registry))
    normalisation(trained)  # a recipe that cannot be exported is told before data is looked for
    data = open_images(trained.result.dataset.name, data_dir)
    assert isinstance(data, Dataset)  # a run is trained on nothing else
    check_classes(trained, data.name, data.classes)
    check_own(trained, data)
    with guarded(str(trained.folder.path), "export"):
        return trained, make(trained, data, to, licence)
