"""The columns of the web page's tables: which metric of a row, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.comparison.groups import Group
from zoo.comparison.row import Row
from zoo.render import comparison, marks
from zoo.render.code import code_notes
from zoo.render.comparison import METRICS, RELATIVE, SPEEDS, plus_minus, relative_speed, speed, test_notes, worst_seed


@dataclass(frozen=True)
class Column:
    """`key`: an attribute of :class:`zoo.comparison.row.Row` and a key of ``zoo compare --format json``.

    `title`: as in its tables. A metric is shown times `factor` in `shape`. `smaller`: the smaller, the better, so that
    a sort begins there; None where neither is better. `about`: what it is, in a few words.
    """

    key: str
    title: str
    shape: str
    factor: float = 1.0
    smaller: bool | None = False
    about: str = ""

    @property
    def hint(self) -> str:
        """What the metric is, and in which direction it is better."""
        direction = [] if self.smaller is None else [marks.better(self.smaller)]
        return "; ".join([*filter(None, [self.about]), *direction])

    def value(self, row: Row) -> float | None:
        """The metric itself, in the row's unit."""
        metric: float | None = getattr(row, self.key)
        return metric

    def text(self, row: Row) -> str:
        """The metric with its mark and its quartiles, or its interval over seeds; a dash where there is none."""
        if self.key in row.quartiles or self.key in row.disturbed:
            return speed(row, self.key, self.shape, self.factor)
        text = number(self.value(row), self.shape, self.factor)
        return text + plus_minus(row, self.key, self.shape, self.factor)


class WorstSeed(Column):
    """The lowest accuracy of a row's seeds."""

    def text(self, row: Row) -> str:
        """The accuracy, and whose it is."""
        return worst_seed(row)


@dataclass(frozen=True)
class Relative(Column):
    """The training speed over the baseline's."""

    def text(self, row: Row) -> str:
        """The ratio with half its interquartile range."""
        return relative_speed(row) if self.value(row) is not None else number(None, "")


_OF_SPEED = {  # whether smaller is better, and what it is
    "train_images_per_second": (False, "training throughput, data loading and optimizer included"),
    "inference_images_per_second": (False, "inference throughput at the best batch size"),
    "latency_p50": (True, "latency of one image, median"),
    "latency_p99": (True, "latency of one image, 99th percentile"),
}
SPEED = (
    *(Column(key, title, shape, factor, *_OF_SPEED[key]) for title, (key, shape, factor) in SPEEDS.items()),
    Column("peak_memory_bytes", "peak MiB", "{:,.0f}", 1 / 2**20, True, "peak memory while training"),
)
RELATIVE_SPEED = Relative("relative_speed", RELATIVE, "{:.2f}", about="training throughput over the baseline's")
SUMMARY = (
    Column("parameters", "parameters", "{:,.0f}", smaller=True, about="trained parameters"),
    Column("macs", "MACs (M)", "{:.1f}", 1e-6, True, "multiply-accumulates of a forward pass of one image"),
    *SPEED,
)


_OF_BALANCE: dict[str, tuple[bool | None, str]] = {  # whether smaller is better, and what it is
    "balanced_accuracy": (False, "mean over classes of the test accuracy"),
    "largest_class_share": (None, "share of the test images in the largest class"),
}


def balance(rows: Sequence[Row]) -> list[Column]:
    """What stands beside the accuracies of `rows` where their test set is unbalanced; nothing elsewhere."""
    columns = [
        Column(key, title, shape, factor, *_OF_BALANCE[key])
        for title, (key, shape, factor) in comparison.BALANCE.items()
    ]
    return columns if any(row.largest_class_share for row in rows) else []


def with_relative(columns: Sequence[Column], compared: bool) -> list[Column]:
    """`columns`, with the relative speed after the training speed where rows are `compared` with a baseline."""
    place = columns.index(SPEED[0]) + 1
    return [*columns[:place], *[RELATIVE_SPEED] * compared, *columns[place:]]


_OF_QUALITY: dict[str, tuple[bool | None, str]] = {  # of :data:`zoo.render.comparison.METRICS`, likewise
    "loss": (True, "test cross-entropy in nats"),
    "top5_accuracy": (False, "true class among the five most probable"),
    "ece": (True, "expected calibration error, 15 bins"),
    "brier": (True, "squared error of the probabilities, 0 to 2"),
    "train_accuracy": (None, "on unaugmented training images, with the selected weights"),
    "gap": (True, "training minus test accuracy in points"),
    "epochs_to_90_percent_of_final": (True, "first with 90 % of the final accuracy on the selection split"),
}
QUALITY = (
    *(Column(key, title, shape, factor, *_OF_QUALITY[key]) for title, (key, shape, factor) in METRICS.items()),
    Column(
        "activation_bytes",
        "activations KiB",
        "{:,.0f}",
        1 / 2**10,
        True,
        "memory kept from forward to backward pass, one image",
    ),
)
QUALITY_OF_ROWS = (
    WorstSeed("worst_accuracy", "worst seed %", "{:.2f}", 100, about="lowest test accuracy of a seed"),
    *QUALITY,
)  # QUALITY_OF_ROWS: of one run there is no worst seed


def largest(rows: Sequence[Row], columns: Sequence[Column]) -> dict[str, float]:
    """The largest metric of each column that ranks its row, by its key; 0 where no row has one."""
    return {column.key: max((row.ranked(column.key) or 0 for row in rows), default=0) for column in columns}


def notes(group: Group) -> list[str]:
    """What the marks, verdicts and code of the table of `group` say."""
    marked = marks.mark_notes(*(row.caveats for row in group.rows))
    return test_notes(group, "summary") + marked + code_notes(group)


def number(value: float | None, shape: str, factor: float = 1.0) -> str:
    """`value` times `factor` in `shape`, with a true minus sign; an en dash for None."""
    return "–" if value is None else marks.number(value, shape, factor).replace("-", "−")


def percent(value: float | None) -> str:
    """A fraction as per cent, two decimals."""
    return number(value, "{:.2f}", 100)


def spread(interval: tuple[float, float] | None, kind: str | None) -> str:
    """A 95 % interval in points as :func:`zoo.render.marks.spread` writes it; empty for None."""
    return "" if interval is None else marks.spread(interval, kind)


def p_value(value: float | None) -> str:
    """Three decimals, and no p of zero; an en dash for None."""
    return "–" if value is None else marks.p_value(value)
