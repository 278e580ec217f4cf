"""`zoo predict`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from zoo.cli import options

MAX_SIDE = 4096


def size_of(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """(height, width)."""
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", value)
    if not match:
        raise click.BadParameter(f"{value!r} is no size in pixels; write WIDTHxHEIGHT, for example 32x32")
    if max(int(match[1]), int(match[2])) > MAX_SIDE:
        raise click.BadParameter(f"{value!r} is more than {MAX_SIDE} pixels a side, which no run was trained on")
    return int(match[2]), int(match[1])


@click.command()
@options.run_argument
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="K",
    help="Number of classes to list for each image.",
)
@options.formats("text", "json", "csv")
@click.option(
    "--size", callback=size_of, metavar="WxH",
    help="Size of the training images, if zoo cannot determine it.",
)  # fmt: skip
@options.device
@options.registry
def predict(
    run: Path,
    images: tuple[Path, ...],
    top: int,
    style: str,
    size: tuple[int, int] | None,
    device: str,
    registry: str | None,
) -> None:
    """Classify image files with a trained model.

    RUN is the folder of a run. IMAGE is an image file or a folder of images, of any size. Images are converted to RGB,
    cropped at the centre to the aspect ratio of the training images, and resized to their size (bicubic); the output
    marks resized images. If the recipe has image_size, the whole image is resized, as the dataset was. Transforms,
    precision and test-time augmentation are those of the run's test.
    """
    from zoo.engine.guard import guarded
    from zoo.engine.machine import choose_device, configure_threads
    from zoo.registry.merge import load_registry
    from zoo.render.predictions import render
    from zoo.trained.load import open_run
    from zoo.trained.predict import expand, image_size
    from zoo.trained.predict import predict as ask

    configure_threads()
    target = choose_device(device)
    files = expand(images)
    trained = open_run(run, load_registry(registry))
    with guarded(str(trained.folder.path), "predicting"):
        answers = list(ask(trained, files, size or image_size(trained), target))
    click.echo(render(trained, answers, top, style), nl=False)
