"""The columns of a comparison, in tables and on the web page: names, titles, cells, and the views that have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from zoo.comparison.groups import Group
from zoo.comparison.row import Row
from zoo.errors import unknown
from zoo.render import differences, marks
from zoo.render.code import code_of
from zoo.render.marks import accuracy, half_width, marks_of, number, p_value, percent, seed_words
from zoo.render.shown import Shown

ELSEWHERE_MARK = "+"  # behind a machine's letter
RELATIVE = "x baseline"  # the column of relative training speeds


@dataclass(frozen=True)
class Column:
    """`key`: its name in CSV and options, mostly an attribute of :class:`~zoo.comparison.row.Row`.

    A metric is shown times `factor` in `shape`, unless `write` makes the cell. `smaller`: the smaller, the better; None
    where neither is better. `about`: what it is, in a few words.
    """

    key: str
    title: str
    shape: str = "{}"
    factor: float = 1.0
    smaller: bool | None = False
    about: str = ""
    write: Callable[[Row], str] | None = None

    @property
    def hint(self) -> str:
        """What the metric is, and in which direction it is better."""
        direction = [] if self.smaller is None else [marks.better(self.smaller)]
        return "; ".join([*filter(None, [self.about]), *direction])

    def text(self, row: Row) -> str:
        """The cell: a metric with its mark and its quartiles, or its interval over seeds; a dash where it has none."""
        if self.write or self.key in row.differs:
            return self.write(row) if self.write else row.differs[self.key]
        if self.key in row.quartiles or self.key in row.disturbed:
            quartiles, disturbed = row.quartiles.get(self.key), self.key in row.disturbed
            return marks.speed(getattr(row, self.key), quartiles, disturbed, self.shape, self.factor)
        interval = row.intervals.get(self.key)
        spread = f" {half_width(interval, self.shape, self.factor)}" if interval else ""
        return number(self.value(row), self.shape, self.factor) + spread

    def value(self, row: Row) -> Any:
        """The metric, the number of what are several, or a word; None where the row has none."""
        content = row.differs.get(self.key, getattr(row, self.key, None))
        if row.against and not hasattr(row, self.key):
            shift = row.against.quality.get(self.key.removesuffix("_difference"))
            content = shift.difference if shift else getattr(row.against, self.key, None)
        return len(content) if isinstance(content, list) else content


def parted(group: Group) -> bool:
    """Whether the speeds of `group` are of several machines."""
    return len(group.machines) > 1 or any(row.elsewhere for row in group.rows)


def accuracy_of(row: Row) -> str:
    """Test accuracy in percent with its interval, and which seeds diverged."""
    diverged = ", ".join(f"seed {seed} diverged at epoch {epoch}" for seed, epoch in row.diverged.items())
    if row.accuracy is None or row.interval is None:
        return diverged
    text = accuracy(row.accuracy, row.interval, row.interval_kind)
    return f"{text} ({diverged})" if diverged else text


def _worst_seed(row: Row) -> str:
    """The lowest accuracy of a row's seeds in percent, and whose it is; a seed that diverged is the worst."""
    lowest = "diverged" if row.worst_accuracy is None else percent(row.worst_accuracy)
    return f"{lowest} (seed {row.worst_seed})"


def _relative_speed(row: Row) -> str:
    """The training speed as a multiple of the baseline's; a dash where the two cannot be compared."""
    if row.relative_speed is None or row.relative_speed_error is None:
        return "-"
    return f"{row.relative_speed:.2f} ± {row.relative_speed_error:.2f}"


def _shift(metric: Column) -> Column:
    """What a metric differs by from the baseline's, with its p-value."""

    def cell(row: Row) -> str:
        shift = row.against.quality.get(metric.key) if row.against else None
        if shift is None:
            return "-"
        signed = metric.shape if "+" in metric.shape else metric.shape.replace(":", ":+")
        spread = half_width(shift.interval, metric.shape, metric.factor)
        return f"{signed.format(metric.factor * shift.difference)} {spread} (p {p_value(shift.p_value)})"

    return Column(f"{metric.key}_difference", f"{metric.title} difference", smaller=metric.smaller, write=cell)


MODEL = Column("model", "model", write=lambda row: row.model)
BALANCE = (
    Column("balanced_accuracy", "balanced accuracy %", "{:.2f}", 100, False, "mean over classes of the test accuracy"),
    Column("largest_class_share", "largest class %", "{:.2f}", 100, None, "share of test images in the largest class"),
)
SIZE = (
    Column("parameters", "parameters", "{:,.0f}", 1, True, "trained parameters"),
    Column("macs", "MACs (M)", "{:.1f}", 1e-6, True, "multiply-accumulates of a forward pass of one image"),
)
TRAIN_SPEED = Column(
    "train_images_per_second", "train img/s", "{:,.0f}",
    about="training throughput, data loading and optimizer included",
)  # fmt: skip
RELATIVE_SPEED = Column(
    "relative_speed", RELATIVE, about="training throughput over the baseline's", write=_relative_speed
)  # fmt: skip
OTHER_SPEEDS = (
    Column(
        "inference_images_per_second", "inference img/s", "{:,.0f}", about="inference throughput at the best batch size"
    ),
    Column("latency_p50", "p50 ms", "{:.2f}", 1e3, True, "latency of one image, median"),
    Column("latency_p99", "p99 ms", "{:.2f}", 1e3, True, "latency of one image, 99th percentile"),
    Column("peak_memory_bytes", "peak MiB", "{:,.0f}", 1 / 2**20, True, "peak memory while training"),
)
WORST_SEED = Column("worst_accuracy", "worst seed %", about="lowest test accuracy of a seed", write=_worst_seed)
METRICS = (
    Column("loss", "loss", "{:.4f}", 1, True, "test cross-entropy in nats"),
    Column("top5_accuracy", "top-5 %", "{:.2f}", 100, False, "true class among the five most probable"),
    Column("ece", "ECE %", "{:.2f}", 100, True, "expected calibration error, 15 bins"),
    Column("brier", "Brier", "{:.4f}", 1, True, "squared error of the probabilities, 0 to 2"),
    Column(
        "train_accuracy", "train accuracy %", "{:.2f}", 100, None,
        "on unaugmented training images, with the selected weights",
    ),
    Column("gap", "gap", "{:+.2f}", 100, True, "training minus test accuracy in points"),
    Column(
        "epochs_to_90_percent_of_final", "epochs to 90 % of final", "{:.1f}", 1, True,
        "first with 90 % of the final accuracy on the selection split",
    ),
)  # fmt: skip
ACTIVATIONS = Column(
    "activation_bytes", "activations KiB", "{:,.0f}", 1 / 2**10, True,
    "memory kept from forward to backward pass, one image",
)  # fmt: skip
SHIFTS = tuple(map(_shift, METRICS))
COLUMNS = (
    MODEL,
    Column("norm", "norm", write=lambda row: row.norm or "-"),
    Column("accuracy", "test accuracy %", write=lambda row: accuracy_of(row) + marks_of(row.caveats)),
    *BALANCE,
    Column("seeds", "seeds", write=lambda row: seed_words(row.seeds)),
    Column("difference", "difference", write=lambda row: differences.difference(row.against)),
    Column("p_value", "p", smaller=True, write=lambda row: p_value(row.against.p_value if row.against else None)),
    Column("verdict", "verdict", write=lambda row: differences.verdict(row.against, row.selection)),
    Column("detectable", "found from", "{:.2f}", 100, True),
    *SIZE, TRAIN_SPEED, RELATIVE_SPEED, *OTHER_SPEEDS, WORST_SEED, *METRICS, ACTIVATIONS, *SHIFTS,
)  # fmt: skip
# What the rows of a table are about: shown even where it is equal in all of them.
RESULTS = ("model", "accuracy", "difference", "p_value", "verdict")
ALWAYS = ("model", "accuracy", "balanced_accuracy", "largest_class_share", "seeds", "seconds_to", "machine", "code")
VIEWS = {
    None: ("difference", "verdict", "parameters", "train_images_per_second"),
    "cost": tuple(column.key for column in (*SIZE, TRAIN_SPEED, RELATIVE_SPEED, *OTHER_SPEEDS, ACTIVATIONS)),
    "quality": tuple(column.key for column in (WORST_SEED, *METRICS)),
    "differences": ("difference", "p_value", "verdict", "detectable", *(column.key for column in SHIFTS)),
    "all": tuple(column.key for column in COLUMNS),
}


def all_columns(group: Group) -> list[Column]:
    """Every column that a table of `group` can have, in order."""
    seconds_to = "seconds_to" if group.seconds_to is None else f"s to {100 * group.seconds_to:g} %"
    differs = dict.fromkeys(name for row in group.rows for name in row.differs)
    return [
        *COLUMNS,
        Column("seconds_to", seconds_to, "{:,.0f}", 1, True),
        Column("machine", "machine", write=lambda row: row.machine + ELSEWHERE_MARK * (row.elsewhere > 0)),
        Column("code", "code", write=code_of),
        *(Column(name, name) for name in differs),
    ]


def chosen(group: Group, shown: Shown, record: Callable[[Row], Mapping[str, object]]) -> list[Column]:
    """The columns of `group` that are asked for, the model first. `record`: what CSV has of a row, by name.

    A view leaves out what no row has, and where there is but one machine or code, that. Raises
    :class:`~zoo.errors.UnknownNameError`.
    """
    columns = all_columns(group)
    if not shown.columns:
        names = {*ALWAYS, *VIEWS[shown.view], *group.rows[0].differs}
        names -= {"machine"} if not parted(group) else set()
        names -= {"code"} if len(group.code) < 2 else set()
        kept = {"accuracy"} | ({"seconds_to"} if group.seconds_to is not None else set())
        return [
            column
            for column in columns
            if column.key in kept or (column.key in names and any(column.value(row) is not None for row in group.rows))
        ]
    named = [_column(name, columns, record(group.rows[0]), record) for name in dict.fromkeys(shown.columns)]
    if not any(row.against for row in group.rows):  # no row is the baseline
        named = [replace(column, write=lambda row: "-") if column.key == "verdict" else column for column in named]
    return [MODEL, *(column for column in named if column.key != MODEL.key)]


def in_order(group: Group, shown: Shown) -> list[Row]:
    """The rows of `group` as they are sorted; those with nothing to be sorted by come last. Raises as `chosen`."""
    if shown.sort is None:
        return group.rows
    column = _column(shown.sort.removeprefix("-"), all_columns(group))
    last = [row for row in group.rows if column.value(row) is None or column.key in row.disturbed]
    others = [row for row in group.rows if not (column.value(row) is None or column.key in row.disturbed)]
    ascending = bool(column.smaller) or any(isinstance(column.value(row), str) for row in others)
    return sorted(others, key=column.value, reverse=ascending == shown.sort.startswith("-")) + last


def _column(
    name: str,
    columns: Iterable[Column],
    fields: Iterable[str] = (),
    record: Callable[[Row], Mapping[str, object]] = vars,
) -> Column:
    """The one of `columns` with this name or title, or one for a field that only the `record` of a row has."""
    names = {column.title: column for column in columns} | {column.key: column for column in columns}
    fields = set(fields)
    if name in fields - names.keys():
        return Column(name, name, write=lambda row: _plain(record(row)[name]))
    if name not in names:
        there = ", ".join(column.key for column in columns)
        raise unknown("column", name, [*names, *fields], "the comparison", f"there are: {there}")
    return names[name]


def _plain(content: object) -> str:
    return f"{content:.6g}" if isinstance(content, float) else "-" if content is None else str(content)
