"""The classes that a trained run predicts for images of any size, file by file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from zoo.data import shapes10
from zoo.data.augment.spec import parse
from zoo.data.listing import Size, resized
from zoo.data.loader import PIXELS_AT_ONCE
from zoo.data.readers import decode
from zoo.data.readers.image_folder import IMAGE_SUFFIXES, is_image, walk
from zoo.engine.counts import count_macs
from zoo.engine.evaluate import evaluate, evaluation_batch
from zoo.engine.machine import exact_float32
from zoo.errors import DataError, Option, ResultError
from zoo.trained.load import TrainedRun

SIDES = (
    8, 16, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96, 112, 128, 144, 160, 192, 224, 240, 256, 288, 299, 320, 384, 512,
)  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """For one image: `probabilities` (classes,) float32; `resized_from` (height, width) where the file has another size
    than the run's images."""

    file: Path
    probabilities: np.ndarray
    resized_from: Size | None

    def best(self, count: int) -> list[int]:
        """The `count` most likely classes (all, where there are fewer), the first of equals first."""
        ranked: list[int] = np.argsort(-self.probabilities, kind="stable")[:count].tolist()
        return ranked


def expand(paths: Iterable[Path]) -> list[Path]:
    """`paths` with every folder replaced by the images below it, recognised by their suffix, in order of name.

    Raises :class:`DataError` for what is not there and for a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise DataError(f"{path}: no such file or folder")
            files.append(path)
            continue
        with decode.readable(path):
            below = sorted(path / name for name in walk(path) if is_image(name))
        if not below:
            raise DataError(f"{path}: no images below it ({', '.join(sorted(IMAGE_SUFFIXES))})")
        files += below
    return files


def read(file: Path, size: Size | None, whole: bool = False) -> tuple[np.ndarray, Size | None]:
    """The image as (H, W, 3) uint8, and its own size where that is another than `size`; None takes it as it is.

    It is read as those of datasets (:func:`zoo.data.readers.decode.picture`). Where it has another size, the largest
    central part of the wanted shape is resized with Pillow's bicubic filter, or the `whole` of it as datasets are.
    Raises :class:`DataError`, naming the file, for what is no image.
    """
    return fitted(decode.picture(file, str(file)), size, whole)


def fitted(image: Image.Image, size: Size | None, whole: bool) -> tuple[np.ndarray, Size | None]:
    """What :func:`read` gives for an RGB `image`."""
    own = (image.height, image.width)
    if size is None or own == size:
        return np.asarray(image), None
    if whole:
        return resized(np.asarray(image), size), own
    return np.asarray(ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC)), own


def image_size(run: TrainedRun) -> Size | None:
    """The size of the images that `run` was trained on; None where its recipe resizes whatever it gets.

    The recipe may name it, or a dataset's name imply it; else it is the square size whose multiply-accumulates
    are those of the result. Raises :class:`ResultError` where no size or more than one fits.
    """
    name = run.result.dataset.name
    if run.result.recipe.image_size:
        return run.result.recipe.image_size
    if side := shapes10.SIZE if name == "shapes10" else decode.expected(name)[1]:
        return side, side
    specs = parse(run.result.transforms("eval"), str(run.folder.path))
    if specs and specs[0].name == "Resize":
        return None
    device = torch.device("cpu")
    model, fitting = run.load(device), []
    for side in SIDES:
        try:
            images, _ = next(iter(_loader(run, np.zeros((1, side, side, 3), np.uint8), device)))
            macs = count_macs(model, (images.shape[1], images.shape[2], images.shape[3]), device)
        except Exception:  # too small for a crop or for the model's strides
            continue
        if macs > run.result.model.macs:
            break
        if macs == run.result.model.macs:
            fitting.append(side)
    if len(fitting) != 1:
        raise ResultError(
            f"{run.folder.path}: the size of the images that it was trained on ({name}) is not stored and cannot be "
            "derived from its multiply-accumulates; give it with ",
            Option("size", "WIDTHxHEIGHT"),
        )
    return fitting[0], fitting[0]


def predict(run: TrainedRun, files: Sequence[Path], size: Size | None, device: torch.device) -> Iterator[Prediction]:
    """The predictions for `files` in order, computed as the run's test was: transforms, precision, layout, tta.

    `size` is :func:`image_size`'s or the user's. Raises :class:`DataError` for a file that is no image and
    :class:`ResultError` where the size is not the run's or a logit is not a number.
    """
    exact_float32()  # as when the run was tested
    model, checked = run.load(device), False
    images = ((file, *read(file, size, whole=run.result.recipe.image_size is not None)) for file in files)
    for (height, width, _), same in itertools.groupby(images, key=lambda image: image[1].shape):
        count = max(1, min(evaluation_batch(device), PIXELS_AT_ONCE // (height * width)))
        while batch := list(itertools.islice(same, count)):
            loader = _loader(run, np.stack([pixels for _, pixels, _ in batch]), device)
            if not checked:
                run.check_size(model, next(iter(loader))[0][:1], "these images")
                checked = True
            evaluation = evaluate(model, loader, device, run.precision, run.tta)
            if not evaluation.finite:
                raise ResultError(f"{run.folder.path}: an output of the model is not a number, so it predicts nothing")
            for (file, _, own), probabilities in zip(batch, evaluation.logits.softmax(1).numpy(), strict=True):
                yield Prediction(file, probabilities, own)


def _loader(run: TrainedRun, images: np.ndarray, device: torch.device) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    return run.loader(images, np.zeros(len(images), np.int64), evaluation_batch(device), device)
