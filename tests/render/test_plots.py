"""The figures for papers: the numbers that go in, what one figure refuses, and that labels of users stay text."""

from __future__ import annotations

import csv
import statistics
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.text
import pytest
import yaml
from made_results import OTHER, OTHER_SLUG, STANDARD_SLUG, compare, result

from zoo.comparison.groups import Group
from zoo.comparison.groups import compare as group_runs
from zoo.errors import ResultError, UnknownNameError
from zoo.render import figures
from zoo.render.plots import bars, batch_size, curves, pareto
from zoo.render.plots.sheet import fitting, inches_of, labels, only_group, outputs, sheet, style, styles, wrapped
from zoo.results.folder import RunFolder, Stored, save_result
from zoo.results.history import EpochRow, save_history
from zoo.results.reading import read_runs
from zoo.studies.batch_size import by_size

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECIPE = "laptop-5ebfdb2c"  # three models, three seeds each
LABELS = [r"$\foo$ $x^2$", "costs $5", "_hidden", '<script>alert("1")</script> &amp;', "W" * 80, "a word " * 40]


def store(folder: Path, model: str, seed: int, correct: int | None, epochs: int = 3, **changes: Any) -> Stored:
    """A run on the disk, with a history that rises; without `correct` it diverged."""
    run = result(model, seed, correct, epochs_trained=epochs, **changes)
    place = RunFolder.of(folder, "cifar10", STANDARD_SLUG, model, seed)
    place.path.mkdir(parents=True)
    save_result(place.result, run)
    split = run.selection.split
    rows = [EpochRow(k, 0.1 / k, 2.0, 0.2 * k, split, 1.0, 0.25 * k + 0.01 * seed, 9.0, 1.0, 1.0) for k in range(1, 4)]
    if epochs:
        save_history(place.history, rows[:epochs])
    return Stored(run, place)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a figure draws, as it is drawn: plain, not as a formula."""
    seen: list[str] = []
    real = matplotlib.text.Text.draw

    def draw(self: Any, renderer: Any) -> None:
        if self.get_visible() and self.get_text():
            assert not self.get_parse_math() or "$" not in self.get_text()
            seen.append(self.get_text())
        real(self, renderer)

    monkeypatch.setattr(matplotlib.text.Text, "draw", draw)
    return seen


# Numbers


def test_curve_is_mean_and_range_of_the_stored_histories() -> None:
    runs = read_runs(BENCHMARKS / "results", recipe=RECIPE)
    (group,) = group_runs(runs)
    for row in group.rows:
        curve = curves.curve_of(row)
        files = sorted((BENCHMARKS / "results" / "cifar10-jpeg" / RECIPE / row.model).glob("seed*/history.csv"))
        columns = [list(csv.DictReader(file.read_text().splitlines())) for file in files]
        assert curve.seeds == len(files) == 3
        assert curve.epochs == [1, 2, 3, 4, 5, 6]
        for epoch in range(6):
            values = [100 * float(rows[epoch]["eval_accuracy"]) for rows in columns]
            assert curve.mean[epoch] == pytest.approx(statistics.fmean(values))
            assert (curve.low[epoch], curve.high[epoch]) == (min(values), max(values))
            train = statistics.fmean(100 * float(rows[epoch]["train_accuracy"]) for rows in columns)
            assert curve.train[epoch] == pytest.approx(train)
            assert curve.rates[epoch] == pytest.approx(float(columns[0][epoch]["lr"]))


def test_diverged_seeds_are_not_in_the_mean_and_are_marked(tmp_path: Path, texts: list[str]) -> None:
    runs = [store(tmp_path, "a_bn", 0, 9000), store(tmp_path, "a_bn", 1, None, epochs=2)]
    runs += [store(tmp_path, "b_bn", 0, None, epochs=0)]
    group = only_group(group_runs(runs))
    curve = curves.curve_of(group.rows[0])
    assert (curve.seeds, curve.mean, curve.stopped) == (1, [25.0, 50.0, 75.0], [(2, 51.0)])
    curves.draw(group, True, 1, tmp_path / "a.svg")
    assert any("a_bn (1 of 2 diverged, marked ×)" in text for text in texts)
    assert any("b_bn (1 of 1 diverged)" in text for text in texts)


@pytest.mark.parametrize(("damage", "words"), [("cut", "has 2 epochs, its result says 3"), ("gone", "cannot be read")])
def test_damaged_history_is_said(tmp_path: Path, damage: str, words: str) -> None:
    run = store(tmp_path, "a_bn", 0, 9000)
    lines = run.folder.history.read_text().splitlines(keepends=True)
    run.folder.history.unlink() if damage == "gone" else run.folder.history.write_text("".join(lines[:-1]))
    with pytest.raises(ResultError, match=words):
        curves.curve_of(group_runs([run])[0].rows[0])


@pytest.mark.parametrize(
    ("correct", "start"),
    [((9000, 8900), 86.0), ((9000, 8000), 60.0), ((9000, 3000), 0.0), ((9000, None), 88.0), ((None,), 0.0)],
)
def test_bars_start_at_zero_or_at_a_round_number(correct: tuple[int | None, ...], start: float) -> None:
    (group,) = compare([result(f"m{n}_bn", 0, value) for n, value in enumerate(correct)])
    found, end = bars.limits(group.rows)
    assert found == start
    lows = [100 * row.interval[0] for row in group.rows if row.interval]
    assert all(found < low for low in lows)
    assert all(end >= 100 * row.interval[1] for row in group.rows if row.interval)


@pytest.mark.parametrize("correct", [(9000, 8900), (9000, 3000)])
def test_an_axis_that_is_cut_says_so(tmp_path: Path, texts: list[str], correct: tuple[int, ...]) -> None:
    (group,) = compare([result(f"m{n}_bn", 0, value) for n, value in enumerate(correct)])
    bars.draw(group, 1, tmp_path / "a.svg")
    cut = [text for text in texts if "the axis starts at 86, not at 0" in text]
    assert bool(cut) == (correct[1] == 8900)
    assert any("90.00 (89.40 to 90.57)" in text for text in texts)


def batches(rates: dict[int, float], **changes: Any) -> list[Stored]:
    """Runs of one model at several batch sizes."""
    return [
        Stored(
            result(
                recipe__content={"precision": "fp32", "epochs": 4, "batch_size": size, "optimizer": {"lr": rate}},
                **changes,
            ),
            RunFolder(Path("nowhere")),
        )
        for size, rate in rates.items()
    ]


@pytest.mark.parametrize(
    ("rates", "rule"),
    [
        ({2: 0.003125, 8: 0.0125, 128: 0.2}, "lr rule linear"),
        ({8: 0.0353553, 16: 0.05, 64: 0.1}, "lr rule sqrt"),
        ({2: 0.1, 8: 0.1}, "lr rule none"),
        ({8: 0.3, 2: 0.1}, "lr 0.1, 0.3"),
    ],
)
def test_batch_sizes_and_their_rule(rates: dict[int, float], rule: str) -> None:
    told, groups = by_size(batches(rates))
    assert list(groups) == sorted(rates)
    assert told == f"cifar10, recipe standard, 4 epochs, {rule}"


# What one figure refuses


def test_one_figure_is_of_one_data_set_and_recipe() -> None:
    with pytest.raises(ResultError, match=f"these runs have 2: cifar10 {STANDARD_SLUG}, cifar10 {OTHER_SLUG}; choose"):
        only_group(compare([result(), result(recipe__content=OTHER)]))
    with pytest.raises(ResultError, match=f"have 2: cifar10 {STANDARD_SLUG}; their images differ"):
        only_group(compare([result(), result(dataset__fingerprint="e" * 64)]))


def two_machines(other: str) -> Group:
    """One model here and `other` elsewhere."""
    return only_group(compare([result("a_bn"), result(other, environment__cpu="CPU two")]))


def test_speeds_of_two_machines_are_in_no_figure(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"only on one machine.* 2 \(a: CPU one.*b: CPU two.*cost parameters"):
        pareto.draw(two_machines("b_bn"), ("speed", "parameters"), 1, tmp_path / "a.svg")
    assert list(tmp_path.iterdir()) == []
    pareto.draw(two_machines("b_bn"), ("parameters",), 1, tmp_path / "a.svg")
    missing = only_group(compare([result(), result("b_bn", speed__train_images_per_second=None)]))
    with pytest.raises(ResultError, match="b_bn has no training speed"):
        pareto.draw(missing, ("speed",), 1, tmp_path / "b.svg")
    with pytest.raises(ResultError, match="diverged: there is no accuracy"):
        pareto.draw(only_group(compare([result(correct=None)])), ("speed",), 1, tmp_path / "b.svg")


def test_a_model_in_two_rows_is_in_no_figure(tmp_path: Path) -> None:
    group = two_machines("a_bn")
    for draw in (
        lambda path: bars.draw(group, 1, path),
        lambda path: curves.draw(group, False, 1, path),
        lambda path: pareto.draw(group, ("parameters",), 1, path),
    ):
        with pytest.raises(ResultError, match=f"a_bn stands in 2 rows of {STANDARD_SLUG}"):
            draw(tmp_path / "a.svg")


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (batches({2: 0.1}), "all these runs have batch size 2"),
        (batches({2: 0.1, 8: 0.1}) + batches({32: 0.1, 2: 0.2, 64: 0.3})[2:], None),
        (batches({2: 0.1, 8: 0.1}) + batches({2: 0.1}, dataset__fingerprint="e" * 64), "more than batch size"),
    ],
)
def test_batch_sizes_of_one_study_only(runs: list[Stored], words: str | None) -> None:
    if words is None:
        assert list(by_size(runs)[1]) == [2, 8, 64]
        return
    with pytest.raises(ResultError, match=words):
        by_size(runs)


def test_two_rates_at_one_batch_size_are_refused() -> None:
    same = batches({2: 0.1, 8: 0.1})
    other = result(
        recipe__content={"precision": "fp32", "epochs": 4, "batch_size": 8, "optimizer": {"lr": 0.7}},
    )
    with pytest.raises(ResultError, match="batch size 8 was run with 2 learning rates"):
        by_size([*same, Stored(other, RunFolder(Path("nowhere")))])


def test_a_partly_diverged_model_is_on_no_front(
    tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fills: dict[str, str] = {}
    real = matplotlib.axes.Axes.plot

    def plot(self: Any, *given: Any, **look: Any) -> Any:
        if look.get("markerfacecolor", "none") != "none":  # but for the rings
            fills[look["marker"]] = look["markerfacecolor"]
        return real(self, *given, **look)

    monkeypatch.setattr(matplotlib.axes.Axes, "plot", plot)
    whole = [result("a_bn", seed, 9000) for seed in range(2)]
    partly = [result("b_ln", 0, 9500), result("b_ln", 1, None)]
    pareto.draw(only_group(compare([*whole, *partly])), ("parameters",), 1, tmp_path / "a.svg")
    assert fills == {"o": style(0)["color"], style(1)["marker"]: "white"}
    assert "label of b_ln (1 of 2 diverged)" in texts
    assert any("hollow: on no front, since a seed diverged" in words for words in said(texts))
    texts.clear()
    pareto.draw(only_group(compare(whole)), ("parameters",), 1, tmp_path / "a.svg")
    assert not any("diverged" in text for text in texts)


@pytest.mark.parametrize(("sizes", "panel"), [((1_000_000, 1_009_000), False), ((1_000_000, 1_011_000), True)])
def test_sizes_less_than_one_percent_apart_have_no_panel(
    tmp_path: Path, texts: list[str], sizes: tuple[int, int], panel: bool
) -> None:
    """All norms of a network are about equally large: the plot was a vertical line."""
    runs = [
        result(f"m_{norm}", 0, 9000, model__parameters=size) for norm, size in zip(("bn", "ln"), sizes, strict=True)
    ]
    pareto.draw(only_group(compare(runs)), pareto.COSTS, 1, tmp_path / "a.svg")
    words = "no plot of parameters, which differ by less than 1 % (1,000,000 to 1,009,000)"
    assert any(words in text for text in said(texts)) != panel
    assert ("parameters (millions), lower is better" in texts) == panel
    assert "train img/s, higher is better" in texts
    assert "test accuracy (%)\nhigher is better" in texts


def test_a_norm_has_one_look_in_every_plot_and_on_the_page() -> None:
    """It was that of the row's rank, so that the same blue dot was another norm in the next plot."""
    (first,) = compare([result("m_bn", 0, 9000), result("m_ln", 0, 8000), result("m_mine", 0, 7000)])
    others = [result("x_mine", 0, 9500), result("x_ln", 0, 9000), result("x_bn", 0, 100), result("y_bn", 0, 99)]
    (other,) = compare(others)
    looks = {row.norm: look for row, look in zip(first.rows, styles(first.rows), strict=True)}
    again = styles(other.rows)
    assert {row.norm: look for row, look in zip(other.rows[:3], again, strict=False)} == looks
    assert len({str(look) for look in again}) == 4  # two models of one norm differ all the same
    assert looks["bn"] == style(figures.looks(["bn", "mine"])["bn"])
    assert looks["mine"]["color"] == "#000000"


def test_every_built_in_norm_has_a_look_of_its_own() -> None:
    assert {*figures.NORMS} == {*yaml.safe_load((BENCHMARKS.parent / "registry.yaml").read_text())["norms"]}
    numbers = [*range(len(figures.NORMS)), *range(figures.OWN, figures.OWN + 10)]
    assert len({(style(number)["color"], style(number)["marker"]) for number in numbers}) == len(numbers)


def test_every_colour_has_a_contrast_of_three_on_white() -> None:
    """Orange and light blue had 2.3:1."""

    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    assert all(1.05 / (light(colour) + 0.05) >= 3 for colour in (*figures.COLOURS, bars.GREY))


def said(texts: list[str]) -> list[str]:
    """`texts` without the breaks of their lines."""
    return [" ".join(text.split()) for text in texts]


def test_names_of_files(tmp_path: Path) -> None:
    assert outputs(tmp_path / "fig.v2", ("pdf", "png")) == [tmp_path / "fig.v2.pdf", tmp_path / "fig.v2.png"]
    with pytest.raises(ResultError, match=r"without \.png, which format pdf adds"):
        outputs(tmp_path / "fig.png", ("pdf",))
    with pytest.raises(ResultError, match="no folder"):
        outputs(tmp_path / "no" / "fig", ("pdf",))


# Labels of users, sizes, marks


def test_labels_are_text_in_every_figure(tmp_path: Path, texts: list[str]) -> None:
    runs = [store(tmp_path, f"m{n}_bn", 0, 9000 - n, model__label=label) for n, label in enumerate(LABELS)]
    group = only_group(group_runs(runs))
    draws = {
        "curves": lambda path: curves.draw(group, False, 1, path),
        "pareto": lambda path: pareto.draw(group, ("speed", "parameters"), 1, path),
        "bars": lambda path: bars.draw(group, 1, path),
    }
    for name, draw in draws.items():
        texts.clear()
        draw(tmp_path / f"{name}.svg")
        ET.parse(tmp_path / f"{name}.svg")
        assert set(LABELS[:4]) <= set(texts), name
        assert any(text.endswith(" …") and text.count("\n") == 1 for text in texts)
        for text in texts:
            assert all(inches_of(line, 7) < 3.3 for line in text.splitlines()), text


def test_what_labels_share_is_said_once() -> None:
    def told(*given: str) -> tuple[str, list[str]]:
        (group,) = compare([result(f"m{n}_bn", 0, 9000 - n, model__label=label) for n, label in enumerate(given)])
        return labels(group.rows)

    assert told("ResNet-20, BatchNorm", "ResNet-20, LayerNorm, 1 group") == (
        "ResNet-20",
        ["BatchNorm", "LayerNorm, 1 group"],
    )
    assert told("ResNet-20, BatchNorm", "VGG, BatchNorm")[0] == ""
    assert told("ResNet-20, BatchNorm") == ("", ["ResNet-20, BatchNorm"])
    assert told("mine", "mine") == ("", ["mine [m0_bn]", "mine [m1_bn]"])
    assert told("a\tb", "\u5c42", " ") == ("", ["a b", "\N{REPLACEMENT CHARACTER}", "m2_bn"])


def test_wrapping_keeps_to_the_width() -> None:
    for text in ("W" * 99, "i" * 99, "some words " * 9):
        assert all(inches_of(line, 8) < 1.15 for line in wrapped(text, 1).splitlines())
    assert wrapped("short", 1) == "short"


@pytest.mark.parametrize(("columns", "inches"), [(1, 3.3), (2, 6.9)])
def test_width_is_that_of_the_paper(tmp_path: Path, columns: int, inches: float) -> None:
    (group,) = compare([result("a_bn"), result("b_bn", 0, 8800)])
    bars.draw(group, columns, tmp_path / "a.png")
    bars.draw(group, columns, tmp_path / "a.svg")
    content = (tmp_path / "a.png").read_bytes()
    assert struct.unpack(">I", content[16:20])[0] == pytest.approx(160 * inches, abs=1)
    assert float(ET.parse(tmp_path / "a.svg").getroot().get("width").removesuffix("pt")) == pytest.approx(72 * inches)


def test_selection_on_the_test_set_is_marked_everywhere(tmp_path: Path, texts: list[str]) -> None:
    runs = [store(tmp_path, f"m{n}_bn", 0, 9000 - n, selection__split="test") for n in range(2)]
    group = only_group(group_runs(runs))
    marked = batches({2: 0.1, 8: 0.1}, selection__split="test")
    for draw in (
        lambda path: curves.draw(group, False, 1, path),
        lambda path: pareto.draw(group, ("parameters",), 1, path),
        lambda path: bars.draw(group, 1, path),
        lambda path: batch_size.draw(*by_size(marked), 1, path),
    ):
        texts.clear()
        draw(tmp_path / "a.svg")
        assert any("† selection: test." in text for text in texts)
        assert any("(%) †" in text for text in texts)


def test_a_batch_dependent_model_is_marked_and_seeds_are_named_everywhere(tmp_path: Path, texts: list[str]) -> None:
    runs = [store(tmp_path, "m0_bn", seed, 9000) for seed in range(2)]
    dirty = {"git": {"commit": "c" * 40, "dirty": True}}
    runs += [store(tmp_path, "m1_bn", seed, 8900, model__batch_dependent=256, **dirty) for seed in (4, 7)]
    group = only_group(group_runs(runs))
    sizes = [run for seed in (4, 7) for run in batches({2: 0.1, 8: 0.1}, seed=seed, model__batch_dependent=256)]
    for draw, model, other in (
        (lambda path: curves.draw(group, False, 1, path), "m1_bn", "m0_bn"),
        (lambda path: pareto.draw(group, ("parameters",), 1, path), "m1_bn", "m0_bn"),
        (lambda path: bars.draw(group, 1, path), "m1_bn", "m0_bn"),
        (lambda path: batch_size.draw(*by_size(sizes), 1, path), "m_bn", None),
    ):
        texts.clear()
        draw(tmp_path / "a.svg")
        drawn = " ".join(texts).replace("\n", " ")
        assert f"§ label of {model}" in drawn
        assert f"seeds: {model} 4, 7" in drawn
        assert "§ batch-dependent: predictions depend" in drawn
        assert other is None or f"§ label of {other}" not in drawn
        words = "2 versions of the code, uncommitted changes of zoo's code"
        assert (words in drawn) == (other is not None)
    labelled = [replace(row, label=f"ResNet, {row.norm} {row.model}") for row in group.rows]
    assert labels(labelled) == ("ResNet", ["bn m0_bn", "§ bn m1_bn"])  # the mark hides nothing that labels share


def test_many_lines_differ_and_a_legend_covers_no_axes(tmp_path: Path) -> None:
    entries = [f"model number {number}" for number in range(24)]
    with sheet(tmp_path / "a.svg", 1, 2.0, ["heading"], entries) as (made, legend):
        axes = made.subplots()
        legend([axes.plot([0, 1], [number, number])[0] for number in range(24)])
        made.canvas.draw()
        below, inside = made.legends[0].get_window_extent(), axes.get_tightbbox()
        whole = made.bbox
    assert below.y1 <= inside.y0
    assert below.y0 >= 0
    assert below.x1 <= whole.x1
    assert axes.bbox.height > 0.8 * 160  # not squeezed: the figure grew


# Many models

LONG = (
    "ResNet-20 with a norm whose label is a sentence and goes on for longer than a column of a paper is wide, variant"
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every figure that is written, held against :func:`boxes_apart` as it is."""
    figures: list[Any] = []
    real = matplotlib.figure.Figure.draw

    def draw(self: Any, renderer: Any) -> None:
        real(self, renderer)
        if self not in figures:  # the first time, the layout is still to come
            figures.append(self)
        else:
            boxes_apart(self)

    monkeypatch.setattr(matplotlib.figure.Figure, "draw", draw)
    return figures


def boxes_apart(figure: Any) -> None:
    """No legend and no heading lies over axes or their titles, and none leaves the figure."""
    heading = figure._suptitle.get_window_extent()
    for box in [legend.get_window_extent() for legend in figure.legends]:
        assert figure.bbox.y0 <= box.y0
        assert box.x1 <= figure.bbox.x1 + 1
        assert not box.overlaps(heading)
        for axes in figure.axes:
            assert not box.overlaps(axes.get_tightbbox())
    for axes in figure.axes:
        assert axes.bbox.height > 0.4 * figure.dpi
        assert not axes.get_tightbbox().overlaps(heading)


@pytest.mark.parametrize(("models", "columns"), [(1, 1), (12, 2), (60, 1)])
def test_curves_and_pareto_of_60_models_have_no_legend_over_their_axes(
    tmp_path: Path, drawn: list[Any], models: int, columns: int
) -> None:
    """The legend of 60 models lay over the axes; now a figure holds 24, and says which."""
    labels_of = {f"m{number}_bn": f"{LONG} {number}" for number in range(models)}
    runs = [
        store(tmp_path, name, 0, 9000 - number, model__label=label, model__parameters=10**6 - 10**4 * number)
        for number, (name, label) in enumerate(labels_of.items())
    ]
    group = only_group(group_runs(runs))
    sizes = [run for name in labels_of for run in batches({2: 0.1, 8: 0.1}, model__name=name, model__label=LONG)]
    choices = [
        curves.draw(group, False, columns, tmp_path / "a.png"),
        pareto.draw(group, ("speed", "parameters"), columns, tmp_path / "b.png"),
        bars.draw(group, columns, tmp_path / "c.png"),
        batch_size.draw(*by_size(sizes), columns, tmp_path / "d.png"),
    ]
    words = "those on the Pareto front, and the best"
    best = "24 of 60 models: the best"
    assert choices == ([best, f"24 of 60 models: {words}", "", best] if models == 60 else [""] * 4)
    for figure, choice in zip(drawn, choices, strict=True):
        assert choice in " ".join(figure._suptitle.get_text().split())
    assert [len(figure.legends[0].get_texts()) for figure in drawn[:2]] == [min(models, 24) + 1, min(models, 24)]


def test_a_figure_takes_the_best_the_front_or_the_neighbours_of_a_baseline() -> None:
    group = only_group(
        compare([result(f"m{n}_bn", 0, 9000 - n, model__parameters=10**6 - (n == 50) * 10**5) for n in range(60)])
    )
    shown, words = fitting(group, None)
    assert [row.model for row in shown.rows] == [f"m{n}_bn" for n in range(24)]
    assert words == "24 of 60 models: the best"
    front = [group.rows[place] for place in pareto.front_of(group.rows, "parameters")]
    assert [row.model for row in front] == ["m50_bn", "m0_bn"]
    shown, _ = fitting(group, None, first=front)
    assert [row.model for row in shown.rows] == [*(f"m{n}_bn" for n in range(23)), "m50_bn"]
    for near, start in (("m0_bn", 0), ("m30_bn", 18), ("m59_bn", 36)):
        shown, words = fitting(group, near)
        assert [row.model for row in shown.rows] == [f"m{n}_bn" for n in range(start, start + 24)]
        assert words == f"24 of 60 models: those nearest to {near}"
    with pytest.raises(UnknownNameError, match="did you mean 'm5_bn'"):
        fitting(group, "m5_bm")


def test_what_a_figure_leaves_out_is_said_on_stderr(inline_cli) -> None:
    for number in range(25):
        store(inline_cli.folder / "runs", f"m{number}_bn", 0, 9000 - number)
    assert inline_cli.ok("plot", "curves", "--format", "svg,pdf").lines == [
        "24 of 25 models: the best; choose others with --model or --baseline",
        "wrote curves.svg, curves.pdf",
    ]
    assert inline_cli.ok("plot", "curves", "--model", "m1_bn").lines == ["wrote curves.pdf"]
    (line, _) = inline_cli.ok("plot", "curves", "--baseline", "m24_bn").lines
    assert line.startswith("24 of 25 models: those nearest to m24_bn;")


def test_letters_that_the_font_lacks_are_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Each was a line with a path of zoo's code, for every figure that shows a class of such a name."""
    with figures.figure(tmp_path / "names.png") as image:
        image.text(0.5, 0.5, "\u65e5\u672c\u8a9e")
    assert (tmp_path / "names.png").stat().st_size > 1000
    assert recwarn.list == []
