"""What ``zoo data verify`` and ``zoo data show`` tell about a dataset."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data import cache
from zoo.data.datasets import Dataset
from zoo.data.listing import SPLITS
from zoo.data.statistics import channels
from zoo.errors import DataError, Option
from zoo.utils.files import write_named

_LARGEST = 100_000_000  # pixels of a contact sheet
_SCALE = 2  # how much larger than life a contact sheet shows an image


def describe(dataset: Dataset) -> dict[str, Any]:
    """Name, source, fingerprint, class names, number and size of images by split, files left out. Reads no pixels."""
    splits = [(name, dataset.split(name)) for name in SPLITS]
    return {
        "name": dataset.name,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "cache": str(dataset.folder),
        "classes": list(dataset.classes),
        "splits": {
            name: {"images": len(split), "height": split.images.shape[1], "width": split.images.shape[2]}
            for name, split in splits
        },
        **({"left out": dict(dataset.left_out)} if dataset.left_out else {}),
    }


def verify(dataset: Dataset) -> dict[str, Any]:
    """Everything of :func:`describe`, and what reading every byte tells.

    Per split: `per_class` (images by class name), `mean` and `std` (per channel, over all pixels as 0..1), and
    `duplicates` (images that are equal, byte for byte, to an earlier one of the split). For the whole: `shared` (test
    images that are also in train), `cache_ok`, `cache_problem` (None, or what is wrong).
    """
    report = describe(dataset)
    for name in SPLITS:
        measured = channels(dataset.split(name).images)
        report["splits"][name] |= {
            "per_class": dict(zip(dataset.classes, dataset.images_by_class(name), strict=True)),
            "mean": list(measured.mean),
            "std": list(measured.std),
            "duplicates": getattr(dataset.duplicates, name),
        }
    report["shared"] = dataset.duplicates.shared
    report["cache_problem"] = cache.damage(dataset.folder)
    report["cache_ok"] = report["cache_problem"] is None
    return report


def contact_sheet(dataset: Dataset, split: str, per_class: int, path: str | Path) -> Path:
    """Write a PNG with the first `per_class` images of each class, one row per class with its name; returns `path`.

    Raises DataError when `per_class` is below 1 or no folder for `path` can be made, and as
    :func:`zoo.utils.files.write_named` does.
    """
    from PIL import Image, ImageDraw

    if per_class < 1:
        raise DataError(f"a contact sheet of {per_class} images per class is empty; ask for 1 or more")
    part = dataset.split(split)
    height, width = (side * _SCALE + 2 for side in part.images.shape[1:3])
    margin = 8 + 7 * max(map(len, dataset.classes))  # the default font is at most 7 pixels per letter
    size = margin + per_class * width, dataset.num_classes * height
    if size[0] * size[1] > _LARGEST:
        advice = ("ask for fewer images per class",) if per_class > 1 else ("give ", Option("image_size", "32x32"))
        raise DataError(f"a contact sheet of {size[0]}x{size[1]} pixels is too large; ", *advice)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(dataset.classes):
        draw.text((4, row * height + height // 2 - 6), label, fill="black")
        for column, index in enumerate(np.flatnonzero(part.labels == row)[:per_class]):
            image = Image.fromarray(np.asarray(part.images[index]))
            image = image.resize((width - 2, height - 2), Image.Resampling.NEAREST)
            sheet.paste(image, (margin + column * width, row * height))
    path = Path(path)
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}); name another file") from error
    write_named(path, content.getbuffer())
    return path
