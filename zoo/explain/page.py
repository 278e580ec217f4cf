"""``index.html``: the images of one run with their captions. It needs no network and no other file but the PNGs."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.explain.sheets import Picture
from zoo.explain.subject import Subject
from zoo.render.marks import ends, mark_notes, percent
from zoo.utils.files import write_atomic
from zoo.utils.stats import wilson_interval

PAGE = "index.html"
TEMPLATES = Path(__file__).with_name("templates")


def write_page(subject: Subject, folder: Path, pictures: Mapping[str, Picture], missing: Sequence[str]) -> None:
    """Write :data:`PAGE` beside the `pictures`, by file name, in `folder`; `missing` are lines on those not there.

    All text is escaped. The page has no date, so that equal runs give equal bytes. Raises as :func:`write_atomic`.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("explain.html").render(
        title=f"{subject.run.model.name}, seed {subject.run.result.seed}",
        line=subject.line,
        facts=_facts(subject),
        warnings=subject.warnings,
        notes=mark_notes(subject.run.result.caveats),
        pictures=[(name, picture, *_size(folder / name)) for name, picture in pictures.items()],
        missing=missing,
    )
    write_atomic(folder / PAGE, text.encode())


def _facts(subject: Subject) -> list[tuple[str, str]]:
    result, evaluation = subject.run.result, subject.evaluation
    hits = len(subject.labels) - len(subject.mistakes)
    between = f"95 % confidence interval {ends(wilson_interval(hits, len(subject.labels)))}"
    facts = [
        ("model", f"{subject.run.model.name}: {subject.run.model.label}"),
        ("norm", subject.norm_label),
        ("recipe", f"{result.recipe.slug}, {result.epochs_trained} epochs, {subject.run.precision}"),
        ("seed", str(result.seed)),
        ("trained on", f"{result.dataset.name}, {result.dataset.train_images:,} images"),
        ("weights", f"of {subject.chosen}"),
        ("test images", f"{len(subject.labels):,} of {subject.data.name}, {len(subject.mistakes):,} misclassified"),
        ("accuracy", f"{percent(evaluation.accuracy)} %, {between}"),
        ("loss, ECE", f"{evaluation.loss:.4f} nats, {evaluation.expected_calibration_error():.4f}"),
        ("parameters", f"{result.model.parameters:,}"),
    ]
    if augmented := subject.run.tta.words:
        facts.append(("logits", f"the {augmented}; Grad-CAM is of the image alone"))
    if not subject.own:
        facts.append((f"on {result.dataset.name}", f"{percent(result.test.accuracy)} % when it was trained"))
    return facts


def _size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG in pixels, from its header, so that the page need not move as pictures arrive."""
    with path.open("rb") as file:
        return struct.unpack(">II", file.read(24)[16:])
