"""Marks and notes beside accuracies, and how numbers are written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

from zoo.registry.model import replaced

if TYPE_CHECKING:
    from zoo.results.schema import Caveats  # pydantic, which `zoo list` does without

# Beside every figure and every recipe that it is true of.
TEST_MARK = "†"
TEST_NOTE = f"{TEST_MARK} selection: test. The test set chose these weights, so the accuracy is too high to compare."
# Beside every speed that something disturbed, see zoo/results/disturbed.py.
DISTURBED_MARK = "‡"
DISTURBED_NOTE = (
    f"{DISTURBED_MARK} disturbed: the quartiles are more than a fifth of the median apart, or other runs shared the "
    "machine, so the speed ranks nothing."
)
QUARTILES_NOTE = (
    "Speeds: median (quartiles) of the windows of training, or of the repetitions of inference and latency."
)
BATCH_MARK = "§"  # beside every accuracy of a model whose predictions depend on the evaluation batch
# What each mark of an accuracy means, in short.
HINTS = {
    TEST_MARK: "the test set chose these weights",
    BATCH_MARK: "predictions depend on the other images of the evaluation batch",
}
SPLITS = {"holdout": "validation set", "test": "test set"}  # what training was evaluated on, in words
SEEDS_NOTE = "Several seeds: mean ± 95 % interval over seeds (Student t)."


def better(smaller: bool) -> str:
    """In which direction a metric is better, for axes, titles and hints."""
    return "lower is better" if smaller else "higher is better"


def test_mark(selection: str) -> str:
    """The mark of an accuracy whose weights the split `selection` chose; empty for held-out images."""
    return TEST_MARK if selection == "test" else ""


def marked(text: str, selection: str) -> str:
    """`text` about accuracies whose weights the split `selection` chose, with the mark of those of the test set."""
    return f"{text} {test_mark(selection)}".rstrip()


def selection_notes(*selections: str) -> list[str]:
    """:data:`TEST_NOTE` where the test set is among the `selections`."""
    return [TEST_NOTE] if "test" in selections else []


def disturbed_mark(disturbed: bool) -> str:
    """The mark of a speed that something disturbed; empty for others."""
    return DISTURBED_MARK if disturbed else ""


def disturbed_notes(*disturbed: Sized) -> list[str]:
    """:data:`DISTURBED_NOTE` where any of these collections of disturbed speeds has one."""
    return [DISTURBED_NOTE] if any(disturbed) else []


def speed(
    median: float | None, quartiles: tuple[float, float] | None, disturbed: bool, shape: str, factor: float = 1.0
) -> str:
    """A speed with its quartiles in brackets, where it has any, and its mark; a dash for None."""
    spread = f" ({'-'.join(shape.format(end * factor) for end in quartiles)})" if quartiles else ""
    return number(median, shape, factor) + spread + disturbed_mark(disturbed)


def recorded_speed(record: Mapping[str, Any], name: str, shape: str, factor: float = 1.0) -> str:
    """As :func:`speed`, of a model in the JSON of ``zoo speed``; older files have no quartiles and no marks."""
    quartiles, disturbed = record.get("quartiles", {}), record.get("disturbed", ())
    return speed(record[name], quartiles.get(name), name in disturbed, shape, factor)


def flat_speeds(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """`record` for CSV: two columns for the quartiles of each of `names`, and one for what was disturbed."""
    columns = dict(record)
    spans = columns.pop("quartiles")
    for name in names:
        columns[f"{name}_low"], columns[f"{name}_high"] = spans.get(name, (None, None))
    return columns | {"disturbed": " ".join(record["disturbed"])}


def marks_of(caveats: Caveats) -> str:
    """The marks of an accuracy with these `caveats`; empty where there are none."""
    return test_mark(caveats.selection) + BATCH_MARK * (caveats.batch_dependent is not None)


def mark_notes(*caveats: Caveats) -> list[str]:
    """What the marks of accuracies with these `caveats` say, which parts are not the built-in ones, that what was free
    chose the threads, and what is unusual about the data.
    """
    sizes = sorted({caveat.batch_dependent for caveat in caveats if caveat.batch_dependent is not None})
    packages = [replaced(*pair) for pair in sorted({pair for caveat in caveats for pair in caveat.replaces})]
    unusual = dict.fromkeys(note for caveat in caveats for note in caveat.unusual)
    batches = f"({' or '.join(map(str, sizes))} images), so the accuracy holds for such batches alone"
    marked = [f"{BATCH_MARK} batch-dependent: {HINTS[BATCH_MARK]} {batches}."] * bool(sizes)
    notes = selection_notes(*(caveat.selection for caveat in caveats)) + marked + packages
    if threads := sorted({number for caveat in caveats for number in caveat.auto_threads}):
        chosen = " or ".join(map(str, threads))
        notes.append(f"Threads: {chosen}, chosen by measurement as the runs began. Another number changes last bits.")
    return notes + list(unusual)


def interval_notes(kinds: Collection[str | None], warning: str) -> list[str]:
    """What intervals of these `kinds` are, with a `warning` of those over one seed."""
    one_seed = f"1 seed: in brackets the 95 % binomial interval of the test set; {warning}."
    return [one_seed] * ("binomial" in kinds) + [SEEDS_NOTE] * ("student" in kinds)


def seed_words(numbers: Sequence[int]) -> str:
    """How many seeds there are, and which, where they are not 0 to n-1: ``3 (2, 4, 7)``."""
    which = which_seeds(numbers)
    return f"{len(numbers)} ({which})" if which else str(len(numbers))


def which_seeds(numbers: Sequence[int]) -> str:
    """The seeds themselves; empty where they are 0 to n-1."""
    return "" if sorted(numbers) == list(range(len(numbers))) else ", ".join(map(str, sorted(numbers)))


def number(value: float | None, shape: str, factor: float = 1.0) -> str:
    """`value` times `factor` in `shape`; a dash for None."""
    return "-" if value is None else shape.format(value * factor)


def percent(share: float | None) -> str:
    """A share from 0 to 1 in percent, two decimals; a dash for None."""
    return number(share, "{:.2f}", 100)


def ends(interval: tuple[float, float]) -> str:
    """The two ends of an interval of shares, in percent."""
    return f"{percent(interval[0])} to {percent(interval[1])}"


def half_width(interval: tuple[float, float], shape: str = "{:.2f}", factor: float = 100) -> str:
    """An interval that lies evenly about what it is of, as plus-minus its half."""
    low, high = interval
    return "± " + shape.replace("+", "").format(factor * (high - low) / 2)


def spread(interval: tuple[float, float], kind: str | None) -> str:
    """A 95 % interval of shares: plus-minus over seeds; its ends where it is binomial, which is not symmetric."""
    return ends(interval) if kind == "binomial" else half_width(interval)


def accuracy(share: float, interval: tuple[float, float], kind: str | None) -> str:
    """An accuracy in percent with its 95 % interval, in brackets where that is binomial."""
    words = spread(interval, kind)
    return f"{percent(share)} ({words})" if kind == "binomial" else f"{percent(share)} {words}"


def p_value(value: float | None) -> str:
    """Three decimals, and no p of zero; a dash for None."""
    return "< 0.001" if value is not None and value < 0.001 else number(value, "{:.3f}")
