"""Sheets of small images: augmented samples, mistakes, Grad-CAM, filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.augment.spec import TransformSpec, build, parse
from zoo.data.datasets import Dataset
from zoo.data.loader import Batching, TrainLoader
from zoo.explain.gradcam import grad_cam
from zoo.explain.sheets import Cell, Picture, sheet, shorten
from zoo.explain.subject import Subject, one_of_each
from zoo.utils.distributed import SINGLE_PROCESS

DRAWS = 6  # of the random transforms, beside each original
MISTAKE_ROWS = 3
CLASS_ROWS = 20  # more classes than these: the worst ones
FILTER_COLUMNS = 8
FILTERS = 128  # a first layer that is wider is shown in part


def augmented(subject: Subject, path: Path, count: int) -> Picture:
    """`count` training images, each beside :data:`DRAWS` draws of the run's own training transforms.

    They are made by the executor that trained the run, with its seed; a dataset of test images only gives those.
    """
    if isinstance(subject.data, Dataset):
        images, labels, split = subject.data.train.images, subject.data.train.labels, "training"
    else:
        images, labels, split = subject.images, subject.labels, "test"
    rows = one_of_each(labels, np.arange(len(labels)), count)
    specs = parse(subject.run.result.transforms("train"), "the run's training transforms")
    draws, how = _draws(subject, images, labels, rows, specs)
    cells = [
        [Cell(np.asarray(images[row]), shorten(subject.classes[labels[row]])), *(Cell(draw[i]) for draw in draws)]
        for i, row in enumerate(rows)
    ]
    _same_shape(cells)
    title = "Training images as the network sees them"
    sheet(path, title, subject.line, cells, heads=["original", *(f"draw {i + 1}" for i in range(DRAWS))])
    calls = (f"{spec.name}({', '.join(f'{key}={value}' for key, value in spec.kwargs.items())})" for spec in specs)
    names = ", then ".join(calls) or "none"
    return Picture(
        title,
        f"On the left the original, beside it {DRAWS} random draws of the run's training transforms: {names}. {how} "
        f"These are the first {split} images of the classes of {subject.data.name}. An epoch shows each image once, in "
        "one such draw.",
        f"{len(rows)} rows of {split} images, each with {DRAWS} augmented versions.",
    )


def mistakes(subject: Subject, path: Path, count: int) -> Picture:
    """The most confident mistakes, :data:`MISTAKE_ROWS` rows of `count`."""
    rows = subject.mistakes[: MISTAKE_ROWS * count]
    cells = [_predicted(subject, row, truth=True) for row in rows]
    title = "The most confident mistakes"
    sheet(path, title, subject.line, [cells[i : i + count] for i in range(0, len(cells), count)])
    total = len(subject.mistakes)
    return Picture(
        title,
        f"{len(rows)} of the {total:,} misclassified images among {len(subject.labels):,} test images of "
        f"{subject.data.name}, the most confident first. Below each image: its true class, the predicted class, and "
        "the confidence. These are the worst cases, not typical ones, and some labels may be wrong.",
        f"{len(rows)} misclassified test images with true class, answer and confidence.",
    )


def mistakes_by_class(subject: Subject, path: Path, count: int) -> Picture:
    """One row per true class, `count` of its mistakes, the most confident first."""
    images, wrong = (
        np.bincount(labels, minlength=len(subject.classes))
        for labels in (subject.labels, subject.labels[subject.mistakes])
    )
    mistaken = np.flatnonzero(wrong)
    shown = sorted(sorted(mistaken, key=lambda label: -wrong[label] / images[label])[:CLASS_ROWS])
    cells, labels = [], []
    for label in shown:
        mine = subject.mistakes[subject.labels[subject.mistakes] == label]
        cells.append([_predicted(subject, row) for row in mine[:count]])
        labels.append(f"{shorten(subject.classes[label])}\n{wrong[label]:,} wrong of {images[label]:,}")
    title = "Mistakes by true class"
    sheet(path, title, subject.line, cells, labels)
    part = (
        f" These are the {len(shown)} classes with the largest share of mistakes." if len(shown) < len(mistaken) else ""
    )
    return Picture(
        title,
        f"One row per true class of {subject.data.name}: its most confident mistakes among the test images. "
        f"Below each image: the predicted class with its confidence.{part}",
        f"{len(shown)} rows, one per true class, of misclassified test images with predicted class and confidence.",
    )


def cam_mistakes(subject: Subject, path: Path, layers: Sequence[str], count: int) -> Picture:
    """Grad-CAM of the most confident mistakes, for the predicted and for the true class."""
    rows = subject.mistakes[:count]
    columns = {"predicted class": subject.evaluation.predicted, "true class": subject.labels}
    maps = [_maps(subject, layer, rows, classes) for layer in layers for classes in columns.values()]
    title = "Grad-CAM of mistakes: predicted class and true class"
    images = [_predicted(subject, row, truth=True) for row in rows]
    heads = [f"{_end(layer)}\n{column}" for layer in layers for column in columns]
    _cam_sheet(subject, path, title, rows, images, maps, heads)
    return Picture(
        title,
        f"The {len(rows)} most confident mistakes on {subject.data.name}. {_cam_words(layers)} "
        "Each layer has two maps: for the predicted class and for the true class.",
        f"{len(rows)} misclassified images beside heat maps at {' and '.join(layers)}.",
    )


def cam_correct(subject: Subject, path: Path, layers: Sequence[str], count: int) -> Picture:
    """Grad-CAM of correctly classified images, the first of each class."""
    right = np.flatnonzero(subject.evaluation.predicted == subject.labels)
    rows = one_of_each(subject.labels, right, count)
    maps = [_maps(subject, layer, rows, subject.labels) for layer in layers]
    title = "Grad-CAM of correct predictions"
    _cam_sheet(subject, path, title, rows, [_predicted(subject, row) for row in rows], maps, [*map(_end, layers)])
    return Picture(
        title,
        f"The first correctly classified test images of the classes of {subject.data.name}. {_cam_words(layers)}",
        f"{len(rows)} correctly classified images beside heat maps at {' and '.join(layers)}.",
    )


def first_filters(subject: Subject, path: Path) -> Picture | None:
    """The filters of the first convolution; None where that does not take three channels."""
    layers = ((name, part) for name, part in subject.model.named_modules() if isinstance(part, nn.Conv2d))
    name, layer = next(layers, ("", None))
    if layer is None or layer.weight.shape[1] != 3:
        return None
    weight = layer.weight.detach().cpu()
    strength = weight.flatten(1).norm(dim=1)
    scaled = weight / weight.flatten(1).abs().amax(1).clamp_min(1e-12)[:, None, None, None]
    pixels = ((scaled + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    cells = [Cell(pixels[i], f"{strength[i]:.2f}") for i in range(min(len(pixels), FILTERS))]
    title = f"Filters of the first convolution, {name}"
    sheet(path, title, subject.line, [cells[i : i + FILTER_COLUMNS] for i in range(0, len(cells), FILTER_COLUMNS)])
    part = f"The first {FILTERS} of {len(pixels)} filters" if len(pixels) > FILTERS else f"All {len(pixels)} filters"
    height, width = weight.shape[2:]
    return Picture(
        title,
        f"{part} of {height}x{width} pixels; red, green and blue are the weights of the three input channels. Grey is "
        "0. Each filter is scaled by its own largest weight; the number below is its Euclidean norm.",
        f"{len(cells)} small coloured squares, the filters of {name}.",
    )


def _draws(
    subject: Subject, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, specs: tuple[TransformSpec, ...]
) -> tuple[list[np.ndarray], str]:
    """:data:`DRAWS` arrays (len(rows), H, W, 3) uint8, and how Normalize was undone."""
    settings = subject.run.result.settings
    loader = TrainLoader(
        images, labels, specs, Batching(len(rows), subject.run.result.seed, SINGLE_PROCESS, drop_last=False),
        device=subject.device, executor=settings.executor, indices=rows,
    )  # fmt: skip
    back, how = _undo(specs)
    draws = []
    for epoch in range(1, DRAWS + 1):
        ((x, _),) = loader.epoch(epoch)
        ordered = torch.empty_like(x)
        ordered[torch.from_numpy(loader.order(epoch)).to(x.device)] = x
        draws.append(back(ordered.cpu().permute(0, 2, 3, 1)).round().clamp(0, 255).to(torch.uint8).numpy())
    loader.close()
    return draws, how


def _undo(specs: Sequence[TransformSpec]) -> tuple[Callable[[Tensor], Tensor], str]:
    """A function from normalised images (N, H, W, 3) back to 0..255, and a sentence about it."""
    normalize = next((build(spec) for spec in reversed(specs) if spec.name == "Normalize"), None)
    if normalize is None:
        return lambda x: x, ""
    if normalize.normalization == "standard":
        constants = (normalize.mean_np, normalize.denominator)
        mean, scale = (torch.as_tensor(np.asarray(constant, np.float32)) for constant in constants)
        return lambda x: x / scale + mean, "The effect of Normalize is undone for display."

    def stretch(x: Tensor) -> Tensor:
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        return 255 * (x - low) / (high - low).clamp_min(1e-6)

    return stretch, "Normalize cannot be undone here, so each image is stretched to the full range."


def _same_shape(cells: list[list[Cell]]) -> None:
    """Originals in the size of the draws, where a recipe resizes them."""
    from PIL import Image

    for row in cells:
        height, width = row[1].image.shape[:2]
        if row[0].image.shape[:2] != (height, width):
            resized = Image.fromarray(row[0].image).resize((width, height), Image.Resampling.BOX)
            row[0] = Cell(np.asarray(resized), row[0].text)


def _predicted(subject: Subject, row: int, truth: bool = False) -> Cell:
    """A test image with its predicted class and the confidence, and with the `truth` above them."""
    predicted = shorten(subject.classes[subject.evaluation.predicted[row]])
    confidence = f"{100 * subject.evaluation.confidence[row]:.0f} %"
    if not truth:
        return Cell(np.asarray(subject.images[row]), f"{predicted} ({confidence})")
    true = shorten(subject.classes[subject.labels[row]])
    return Cell(np.asarray(subject.images[row]), f"true: {true}\npredicted: {predicted}\nconfidence: {confidence}")


def _maps(subject: Subject, layer: str, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    classes = torch.as_tensor(np.asarray(targets)[rows], device=subject.device)
    height, width = subject.images.shape[1:3]
    maps = grad_cam(subject.model, layer, subject.batch(rows), classes, (height, width))
    return np.zeros((len(rows), height, width), np.float32) if maps is None else maps


def _cam_sheet(
    subject: Subject, path: Path, title: str, rows: np.ndarray,
    images: Sequence[Cell], maps: Sequence[np.ndarray], heads: Sequence[str],
) -> None:  # fmt: skip
    """One row per test image of `rows`: the image, then each of the `maps` over it."""
    cells = [[image, *(_overlaid(subject, row, heat[i]) for heat in maps)]
             for i, (row, image) in enumerate(zip(rows, images, strict=True))]  # fmt: skip
    sheet(path, title, subject.line, cells, heads=["image", *heads])


def _overlaid(subject: Subject, row: int, heat: np.ndarray) -> Cell:
    """The image in grey with the map over it, as a share of its own maximum; an empty map leaves the grey image."""
    from matplotlib import colormaps

    grey = np.asarray(subject.images[row]).mean(2, keepdims=True) / 255
    share = heat[..., None] / max(float(heat.max()), 1e-12)
    colour = colormaps["inferno"](0.25 + 0.75 * share[..., 0])[..., :3]
    mixed = (1 - 0.75 * share) * (0.15 + 0.75 * grey) + 0.75 * share * colour
    return Cell((255 * mixed).round().astype(np.uint8), "" if heat.max() > 0 else "no positive value")


def _end(layer: str, letters: int = 18) -> str:
    """The end of a layer's dotted name, its most specific part."""
    return layer if len(layer) <= letters else "…" + layer[1 - letters :]


def _cam_words(layers: Sequence[str]) -> str:
    return (
        f"Image regions that increase the class's logit at {' and '.join(layers)} are yellow, all others grey "
        "(Selvaraju et al., 2017). Each map is scaled by its own maximum, so two maps do not compare in strength. They "
        "are computed in fp32 on a copy of the weights, at the resolution of the layer."
    )
