"""All images of one run, and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from zoo.data.split import SUBSET_SEED, stratified_subset
from zoo.errors import ResultError
from zoo.explain import charts, images, series
from zoo.explain.gradcam import grad_cam
from zoo.explain.layers import check_layers, norm_layers, places, stages, statistics
from zoo.explain.page import PAGE, write_page
from zoo.explain.sheets import Picture
from zoo.explain.subject import Subject
from zoo.utils.disk import unlink

STATISTICS_IMAGES, STATISTICS_BATCH = 256, 32  # the batch bounds the memory; it changes no figure


def choose_layers(subject: Subject, asked: Sequence[str]) -> list[str]:
    """The layers for Grad-CAM: `asked`, or the model's stages where none was. Raises as :func:`check_layers`."""
    image, model = subject.batch([0]), subject.model
    size, target = (image.shape[2], image.shape[3]), torch.zeros(1, dtype=torch.int64, device=subject.device)
    candidates = places(model, image)

    def usable(name: str) -> bool:
        return grad_cam(model, name, image, target, size) is not None

    if not asked:
        return stages(candidates, image.shape[2], usable)
    where = subject.run.model.name
    for name in check_layers(asked, candidates, model, where):
        if not usable(name):
            raise ResultError(f"layer {name!r} of {where} gets no gradient of the logits, so there is no map of it")
    return list(asked)


def explain(subject: Subject, out: Path, layers: Sequence[str], count: int, say: Callable[[str], None]) -> list[Path]:
    """Write every image of this run into the folder `out`, then ``index.html``; returns the paths, page last.

    `layers` are for Grad-CAM, from :func:`choose_layers`; `count` is how many images stand in a row or column. `say`
    gets each file's name when it is written, and why an image is left out. Equal runs give equal bytes. Files of an
    earlier call are replaced; those that this run does not have are removed. Raises
    :class:`~zoo.errors.MachineError` when the folder cannot be written.
    """
    norms = norm_layers(subject.run.model, subject.model)

    def norm_chart(path: Path) -> Picture | None:
        rows = stratified_subset(subject.labels, min(STATISTICS_IMAGES, len(subject.labels)), SUBSET_SEED)
        included = bool(subject.run.model.norm and subject.run.model.norm.activation == "included")
        layers = statistics(subject.model, norms, subject.loader(rows, STATISTICS_BATCH), included)
        return series.norms(subject, path, layers, len(rows)) if layers else None

    wrong, right = len(subject.mistakes) > 0, len(subject.mistakes) < len(subject.labels)
    blind = f"no layer of {subject.run.model.name} with a gradient has a spatial output"
    flawless = "no image is misclassified"
    work: list[tuple[str, Callable[[Path], Picture | None], bool, str]] = [
        ("curves", lambda path: series.curves(subject, path), bool(subject.history), "the history is empty"),
        ("confusion", lambda path: charts.confusion(subject, path), True, ""),
        ("per-class", lambda path: charts.per_class(subject, path), True, ""),
        ("reliability", lambda path: charts.reliability(subject, path), True, ""),
        ("mistakes", lambda path: images.mistakes(subject, path, count), wrong, flawless),
        ("mistakes-by-class", lambda path: images.mistakes_by_class(subject, path, count), wrong, flawless),
        ("gradcam-mistakes", lambda path: images.cam_mistakes(subject, path, layers, count), wrong and bool(layers),
         blind if wrong else flawless),
        ("gradcam-correct", lambda path: images.cam_correct(subject, path, layers, count), right and bool(layers),
         blind if right else "no image is classified correctly"),
        ("augmented", lambda path: images.augmented(subject, path, count), True, ""),
        ("filters", lambda path: images.first_filters(subject, path), True, "the first convolution does not take RGB"),
        ("norms", norm_chart, bool(norms), "no norm layer was found"),
    ]  # fmt: skip
    pictures, missing = {}, []
    for name, make, possible, why in work:
        path = out / f"{name}.png"
        picture = make(path) if possible else None
        if picture is None:
            unlink(path)
            missing.append(f"{path.name} is left out: {why}.")
            say(f"  {missing[-1]}")
        else:
            pictures[path.name] = picture
            say(f"  {path.name}")
    write_page(subject, out, pictures, missing)
    say(f"  {PAGE}")
    return [*(out / name for name in pictures), out / PAGE]
