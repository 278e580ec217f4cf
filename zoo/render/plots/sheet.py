"""What the plots for papers share: widths of one and two columns, headings, legends, looks, and what one plot may hold.

A legend stands below the axes, so that it covers no data, and the figure grows by what heading and legend need.
"""

from __future__ import annotations

import contextlib
import itertools
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.comparison.groups import Group
from zoo.comparison.origin import words_of
from zoo.comparison.row import Row
from zoo.errors import Option, ResultError, unknown
from zoo.render.figures import COLOURS, MARKERS, SUFFIXES, check_figure, figure, looks
from zoo.render.marks import BATCH_MARK, mark_notes, which_seeds
from zoo.utils.files import reachable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS = {1: 3.3, 2: 6.9}  # inches, of a figure over one and over two columns of a paper
PAPER: dict[Any, Any] = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "text.parse_math": False,  # a `$` in a user's label is a dollar
}
HEADING_SIZE = 7  # points
LINE = 0.14  # inches, of a line of heading or legend
BETWEEN = 0.055  # inches, of entries of a legend
HANDLE = 0.45  # inches, of a legend's line and the space after it
MODELS = 24  # of which one figure with a legend holds lines or points
# Once through the colours, lines change their dashes. Dotted are training batches alone.
STYLES = ("-", (0, (4, 1.5)), (0, (6, 1.5, 1, 1.5)))


def outputs(out: Path, formats: Sequence[str] = ()) -> list[Path]:
    """``<out>.<format>`` for each of `formats`, by default pdf; or `out` alone, where it ends in that format already.

    All can be written, as :func:`zoo.render.figures.check_figure` finds.
    Raises :class:`zoo.errors.ResultError` for an `out` that ends in another format, and what that function raises.
    """
    own = out.suffix.lower() if out.suffix.lower() in SUFFIXES else ""
    if own and [f".{kind}" for kind in formats] not in ([], [own]):
        where, format = Option("out", str(out)), Option("format", ",".join(formats))
        raise ResultError(where, f": give the name without {own}, which ", format, " adds")
    with reachable(out, ResultError):
        files = [out] if own else [out.with_name(f"{out.name}.{kind}") for kind in formats or ("pdf",)]
    for file in files:
        check_figure(file)
    return files


def style(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of look `number`: 168 that differ."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": STYLES[number // len(COLOURS) % len(STYLES)],
    }


def styles(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The look of each of `rows`: that of its norm, as everywhere. Of rows with one norm the first has it."""
    firsts = {row.norm: row.model for row in reversed(rows)}
    names = [row.norm if row.norm and firsts[row.norm] == row.model else row.model for row in rows]
    numbers = looks(names)
    return [style(numbers[name]) for name in names]


def only_group(groups: Sequence[Group]) -> Group:
    """The group that one figure shows. Raises :class:`ResultError` for runs of more than one data set or recipe."""
    if len(groups) > 1:
        names = list(dict.fromkeys(f"{group.dataset} {group.slug}" for group in groups))
        listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        problem = f"one figure holds one data set and recipe, and these runs have {len(groups)}: {listed}; "
        if len(names) > 1:
            raise ResultError(f"{problem}choose with ", Option("dataset"), " and ", Option("recipe"))
        raise ResultError(f"{problem}their images differ; name the folder of one")
    return groups[0]


def check_rows(group: Group) -> None:
    """Raises :class:`ResultError` for a model that stands in several rows of `group`: one would hide another."""
    for name, count in Counter(row.model for row in group.rows).items():
        if count > 1:
            raise ResultError(
                f"{name} stands in {count} rows of {group.slug} (one seed on several machines, or another "
                "definition); name the folder of one of them"
            )


def fitting(
    group: Group, near: str | None, most: int = MODELS, first: Sequence[Row] = (), what: str = "the best"
) -> tuple[Group, str]:
    """`group` with no more than `most` rows, and where it has more, what a heading says of the choice.

    The rows that are nearest in rank to the model `near`; without one those of `first` and the best, which `what` says.
    Raises :class:`zoo.errors.UnknownNameError` where no row is of the model `near`.
    """
    rows, names = group.rows, [row.model for row in group.rows]
    if near is not None and near not in names:
        raise unknown("baseline", near, names, "the compared results", "")
    if len(rows) <= most:
        return group, ""
    if near is not None:
        start = min(max(0, names.index(near) - most // 2), len(rows) - most)
        chosen, what = {*range(start, start + most)}, f"those nearest to {near}"
    else:
        places = {id(row): place for place, row in enumerate(rows)}
        ranked = dict.fromkeys([*(places[id(row)] for row in first), *range(len(rows))])
        chosen = {*itertools.islice(ranked, most)}
    shown = replace(group, rows=[row for place, row in enumerate(rows) if place in chosen])
    return shown, f"{most} of {len(rows):,} models: {what}"


def labels(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """What all `rows` have in common up to a comma of their labels (the architecture), and what is left of each.

    Labels are of users: what is no letter becomes a space, a letter that the font does not have a replacement mark.
    Equal ones are told apart by the model's name. A batch-dependent model has its mark before its label.
    """
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))  # matplotlib's own

    def drawn(letter: str) -> str:
        if not letter.isprintable():
            return " "
        return letter if font.get_char_index(ord(letter)) else "\N{REPLACEMENT CHARACTER}"

    names = ["".join(map(drawn, row.label)).strip() or row.model for row in rows]
    names = [name if names.count(name) == 1 else f"{name} [{row.model}]" for row, name in zip(rows, names, strict=True)]
    heads = {name.partition(", ")[0] for name in names}
    rests = [name.partition(", ")[2] for name in names]
    common = heads.pop() if len(rows) > 1 and len(heads) == 1 and all(rests) else ""
    return common, [
        f"{BATCH_MARK} " * (row.batch_dependent is not None) + name  # at the end it could be cut off
        for row, name in zip(rows, rests if common else names, strict=True)
    ]


def about(group: Group, common: str) -> str:
    """The first line of a heading: what `group` is of, and its models' `common` part."""
    return f"{group.dataset}, recipe {group.slug}, {group.precision}{', ' * bool(common)}{common}"


def interval_words(rows: Iterable[Row]) -> str:
    """What the intervals of `rows` are, as the tables say it."""
    kinds = {row.interval_kind for row in rows}
    words = {"student": "Student t, over seeds", "binomial": "Wilson, of the test set, 1 seed"}
    methods = [method for kind, method in words.items() if kind in kinds]
    return f"bars: 95 % confidence interval ({' or '.join(methods)})" if methods else "every run diverged"


def notes_of(rows: Sequence[Row]) -> list[str]:
    """What `rows` rest on: seeds that are not 0 to n-1, unlike code; and what the marks say."""
    seeds = dict.fromkeys(f"{row.model} {which}" for row in rows if (which := which_seeds(row.seeds)))
    notes = [f"seeds: {'; '.join(seeds)}"] if seeds else []
    codes = words_of(run.result for row in rows for run in row.runs)
    uncommitted = "uncommitted changes of zoo's code" * any(code.uncommitted for code in codes)
    if len(codes) > 1 or uncommitted:
        notes.append(", ".join(filter(None, [f"{len(codes)} versions of the code" * (len(codes) > 1), uncommitted])))
    return notes + mark_notes(*(row.caveats for row in rows))


def inches_of(text: str, size: float) -> float:
    """How wide `text` is in one line, at `size` points."""
    import matplotlib
    from matplotlib.textpath import TextPath

    with matplotlib.rc_context({"text.parse_math": False}):
        return TextPath((0, 0), text, size=size).get_extents().width / 72 if text.strip() else 0.0


def wrapped(text: str, inches: float, lines: int = 2, size: float = PAPER["font.size"]) -> str:
    """`text` in at most `lines` lines of about `inches` at `size` points; what does not fit ends in an ellipsis."""
    letter = inches_of(text, size) / max(1, len(text)) or 1.0
    return "\n".join(textwrap.wrap(text, max(4, int(inches / letter)), max_lines=lines, placeholder=" …"))


@contextlib.contextmanager
def sheet(
    path: Path, columns: int, body: float, heading: Sequence[str], entries: Sequence[str] = ()
) -> Iterator[tuple[Figure, Callable[[Sequence[Any]], None]]]:
    """A figure over `columns` columns, `body` inches high without heading and legend, written to `path` at the end.

    `heading` is lines of text, empty ones left out. `entries` are what the legend says: the second of the pair, called
    with one handle for each entry, draws it below the axes. Raises as :func:`zoo.render.figures.figure` does.
    """
    width = WIDTHS[columns]
    lines = [line for text in filter(None, heading) for line in wrapped(text, width - 0.1, 9, HEADING_SIZE).split("\n")]
    longest = max((inches_of(entry, PAPER["font.size"]) for entry in entries), default=1.0)
    across = max(1, min(4, len(entries), int(width / (HANDLE + longest))))
    shown = [wrapped(entry, width / across - HANDLE) for entry in entries]
    deep = -(-len(shown) // across)  # a legend is filled column by column
    heights = [
        sum(text.count("\n") + 1 for text in shown[start : start + deep]) for start in range(0, len(shown), deep or 1)
    ]
    height = body + LINE * (len(lines) + max(heights, default=0) + bool(shown)) + BETWEEN * deep
    with figure(path, width, height) as image:
        import matplotlib

        matplotlib.rcParams.update(PAPER)  # `figure` puts back what was, after it has written the file
        image.suptitle("\n".join(lines), fontsize=HEADING_SIZE, x=0.01, horizontalalignment="left")

        def legend(handles: Sequence[Any]) -> None:
            numbers = [str(number) for number in range(len(shown))]
            box = image.legend(list(handles), numbers, loc="outside lower center", ncols=across)
            for text, label in zip(box.get_texts(), shown, strict=True):
                text.set_text(label)  # given to the legend itself, a label that begins with "_" would be left out

        yield image, legend
