"""What the page of one run shows beyond its row: classes, confusions, recipe, provenance, images."""

from __future__ import annotations

import contextlib
import functools
import heapq
import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import yaml
from markupsafe import Markup

from zoo.render.columns import Column
from zoo.render.marks import SPLITS, disturbed_mark
from zoo.results.folder import EXPLAIN, load_result
from zoo.results.metrics import MATRIX_CLASSES, Metrics
from zoo.results.schema import SettingsPart
from zoo.utils.disk import open_own
from zoo.utils.text import duration
from zoo.web.cells import QUALITY, SPEED, SUMMARY, balance, number, percent, spread, text
from zoo.web.data import Line, Page

_escaped = functools.lru_cache(maxsize=2**12)(html.escape)  # names and figures that many pages have
Given = ParamSpec("Given")
Made = TypeVar("Made")

COMMONEST = 20
LISTED = 100  # classes whose accuracies are all shown
NEIGHBOURS = 10  # seeds before and after a run that its page leads to
_DUMPER: type[yaml.SafeDumper | yaml.CSafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # six times as fast


@dataclass(frozen=True)
class Confusions:
    """`matrix`: head and body of a table, a row for each label, each count shaded by its share of the row.

    For more than 20 classes None, and instead `pairs`: the commonest mistakes as (label, predicted, count, share of the
    label's images).
    """

    names: list[str]
    matrix: Markup | None
    pairs: list[tuple[str, str, int, float]]


def tested(page: Page) -> Metrics | None:
    """The metrics of the test set with the confusions, read again where they were forgotten. Raises ResultError."""
    test = page.result.test
    return test if test and test.confusion else load_result(page.stored.folder.result).test


def confusions(metrics: Metrics, classes: list[str]) -> Confusions:
    """The matrix of `metrics` with the names of `classes`."""
    images = metrics.images_by_class
    if len(classes) <= MATRIX_CLASSES:
        return Confusions(classes, _matrix(metrics, classes, images), [])
    pairs = [
        (classes[label], classes[predicted], count, count / images[label])
        for label, predicted, count in metrics.counts
        if label != predicted
    ]
    return Confusions(classes, None, heapq.nsmallest(COMMONEST, pairs, key=lambda pair: (-pair[2], pair[0], pair[1])))


def _matrix(metrics: Metrics, classes: list[str], images: Sequence[int]) -> Markup:
    """It is written here: a template takes five times as long, and it is most of a page."""
    rows = [['<td class="miss" style="--share:0">0</td>'] * len(classes) for _ in classes]
    for label, predicted, count in metrics.counts:
        rows[label][predicted] = _cell(label == predicted, count, images[label])
    names = list(map(_escaped, classes))
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>' for name, cells in zip(names, rows, strict=True)
    )
    corner = '<th scope="col" class="corner">label ↓ predicted →</th>'
    return Markup(f"<thead><tr>{corner}{head}</tr></thead>\n<tbody>{body}</tbody>")


@functools.lru_cache(maxsize=2**14)  # of many runs on a few images a class most cells are the same
def _cell(hit: bool, count: int, images: int) -> str:
    share = count / images
    return f'<td class="{"hit" if hit else "miss"}" style="--share:{share:.4f}">{count:d}</td>'


def per_class(metrics: Metrics, classes: list[str]) -> Markup:
    """A bar for each class and its accuracy, in the dataset's order; of more than :data:`LISTED` classes the lowest."""
    accuracies: Sequence[tuple[str, float | None]] = list(zip(classes, metrics.per_class_accuracy, strict=True))
    if len(classes) > LISTED:
        known = [pair for pair in accuracies if pair[1] is not None]
        accuracies = heapq.nsmallest(COMMONEST, known, key=lambda pair: pair[1] or 0)
    bars = []
    for name, share in accuracies:
        track = f'<span class="track"><span class="bar" style="--share:{share or 0:.4f}"></span></span>'
        label, figure = (
            f'<span class="name">{_escaped(name)}</span>',
            f'<span class="figure">{percent(share)}</span>',
        )
        bars.append(f"<li>{label}{track if share is not None else ''}{figure}</li>")
    return Markup("".join(bars))


def listed(facts: Sequence[tuple[str, str]]) -> Markup:
    """The entries of a list of names and figures. Written here: a template takes five times as long for each."""
    entries = [f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(text)}</dd></div>" for name, text in facts]
    return Markup("".join(entries))


def figures(page: Page) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headed lists of (name, metric) of one run; accuracy and speed as its own row has them."""
    row, result = page.alone, page.result

    def cells(columns: Sequence[Column]) -> list[tuple[str, str]]:
        return [(column.title, text(column, row)) for column in columns]

    interval = spread(row.interval, row.interval_kind)
    accuracy = [("test %", percent(row.accuracy) + (f" ({interval})" if interval else ""))]
    accuracy += cells(balance([row]))
    if result.holdout:
        accuracy.append(("validation set %", percent(result.holdout.accuracy)))
    speed = cells(SPEED)
    mark = disturbed_mark("latency_p90" in result.speed.disturbed)
    speed.insert(3, ("p90 ms", number(result.speed.latency_p90, "{:.2f}", 1e3) + mark))
    trained = [
        ("epochs", f"{result.epochs_trained}"),
        ("selected epoch", "–" if result.selection.epoch is None else str(result.selection.epoch)),
        ("wall time", duration(result.wall_seconds)),
        ("resumes", str(result.resumes)),
    ]
    *quality, activations = cells(QUALITY)
    size = [*cells(SUMMARY[:2]), activations]
    return [("Accuracy", accuracy + quality), ("Speed", speed), ("Model", size), ("Training", trained)]


def provenance(page: Page) -> Markup:
    """Where the run comes from: commit, versions, machine, dates, fingerprints."""
    result = page.result
    commit = (result.commit or "–") + " with uncommitted changes" * result.uncommitted
    facts = [
        ("started", result.started),
        ("folder", page.where),
        ("git commit", commit),
        ("dataset", f"{result.dataset.name}, fingerprint {result.dataset.fingerprint}"),
        ("images", f"{result.dataset.train_images:,} training, {result.dataset.holdout_images:,} validation, "
                   f"{result.dataset.test_images:,} test"),
        ("recipe", f"{result.recipe.name}, fingerprint {result.recipe.fingerprint}"),
        ("selection", f"{result.selection.rule} {result.selection.metric} on the {SPLITS[result.selection.split]}"),
        ("machine", page.machine),
    ]  # fmt: skip
    return listed(facts) + _where_it_ran(result.environment, result.settings)


def _once(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """`make`, called once for all runs that share the objects that it takes; they are known by their identity."""
    made: dict[tuple[int, ...], tuple[tuple[object, ...], Made]] = {}  # with the objects, so that no other has their id

    @functools.wraps(make)
    def once(*parts: Given.args, **names: Given.kwargs) -> Made:
        place = tuple(map(id, parts))
        if place not in made:
            made[place] = parts, make(*parts, **names)
        return made[place][1]

    return once


@_once
def _where_it_ran(environment: Mapping[str, object], settings: SettingsPart) -> Markup:
    facts = [(key, str(value)) for key, value in environment.items() if value is not None]
    return listed(facts + [(key, str(value)) for key, value in settings.model_dump().items()])


@_once
def as_yaml(content: Mapping[str, object]) -> str:
    """A recipe or a definition as it would be written by hand. It takes longer than the rest of a run's page."""
    text: str = yaml.dump(
        dict(content), Dumper=_DUMPER, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )
    return text


def others(line: Line, run: Page) -> list[Page]:
    """The other seeds in the run's row, the nearest of many."""
    place = line.runs.index(run)
    return [other for other in line.runs[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1] if other is not run]


def pictures(page: Page) -> Iterator[tuple[Path, bytes]]:
    """The PNGs of ``zoo explain``, by name; none where it was not run.

    A page may be published: what a link leads to, and what is no PNG, is left out.
    """
    folder = page.stored.folder.path / EXPLAIN
    for path in sorted(folder.glob("*.png")) if not folder.is_symlink() else ():
        with contextlib.suppress(OSError), os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
            if (content := file.read()).startswith(b"\x89PNG"):
                yield path, content


def caption(picture: Path) -> str:
    """The file's name in words."""
    return picture.stem.replace("_", " ").replace("-", " ")
