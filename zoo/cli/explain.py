"""`zoo explain`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from zoo.cli import options
from zoo.data.choice import Choice
from zoo.utils.extras import require
from zoo.utils.text import duration

NEEDS = ("matplotlib", "captum", "jinja2")


@click.command()
@options.run_argument
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Output folder.  [default: explain/ in the run's folder]",
)  # fmt: skip
@click.option(
    "--layers", metavar="NAME,...",
    help="Layers for Grad-CAM.  [default: the stages of 16x16 and 8x8, layer2 and layer3 of a ResNet]",
)  # fmt: skip
@click.option(
    "--images", type=click.IntRange(1, 20), default=8, show_default=True, metavar="N", help="Number of images in a row."
)
@click.option(
    "--dataset", metavar="NAME|DIR",
    help="Other test images with the same classes, as for `zoo evaluate`.  [default: the run's own]",
)  # fmt: skip
@options.data_dir
@options.choice_options
@options.device
@options.registry
def explain(
    run: Path,
    out: Path | None,
    layers: str | None,
    images: int,
    dataset: str | None,
    data_dir: str | None,
    choice: Choice,
    device: str,
    registry: str | None,
) -> None:
    """Visualise what a trained model gets right and wrong, as images and a page that shows them.

    RUN is the folder of a run. The page shows augmented samples, misclassified images, Grad-CAM, the confusion matrix,
    accuracy by class, calibration, learning curves, first filters, and the effect of the norms on activations and
    gradients. Stored files do not change.
    """
    started = time.monotonic()
    require("`zoo explain` needs", NEEDS)
    names = options.names_in(layers or "")
    if layers is not None and not names:
        raise click.BadParameter("expected names with commas between them", param_hint="--layers")

    from zoo.engine.guard import guarded
    from zoo.engine.machine import choose_device, configure_threads
    from zoo.explain.make import choose_layers
    from zoo.explain.make import explain as write
    from zoo.explain.subject import open_subject
    from zoo.registry.merge import load_registry
    from zoo.results.folder import EXPLAIN, make_output
    from zoo.trained.load import open_run, open_test

    configure_threads()
    target = choose_device(device)
    trained = open_run(run, load_registry(registry))
    data = open_test([trained], dataset, data_dir, choice)
    with guarded(str(trained.folder.path), "evaluation"):
        subject = open_subject(trained, data, target)
        chosen = choose_layers(subject, names)
    folder = make_output(out, trained.folder.path / EXPLAIN)
    click.echo(subject.line)
    for warning in subject.warnings:
        click.echo(f"warning: {warning}", err=True)
    with guarded(str(trained.folder.path), "being explained"):
        files = write(subject, folder, chosen, images, click.echo)
    click.echo(f"{len(files)} files in {folder}, {duration(time.monotonic() - started)}; open {files[-1]}")
