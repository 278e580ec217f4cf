"""One made table in every output that shows comparisons: the same verdicts, p-values and marks, from one place.

README, docs and the tour are outputs of these commands; tests/test_readme.py and tests/docs compare them with it.
"""

from __future__ import annotations

import csv
import html.parser
import io
import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from printed_tables import table
from web_runs import make_run, metrics

import zoo
from zoo.export.card import _figures
from zoo.render import marks
from zoo.results.folder import find_results, load_result

BASELINE = "resnet20_bn"
IMAGES = 30_000
CORRECT = {
    "bn": (24_000, 24_010, 23_990), "gn": (24_900, 24_910, 24_895), "ln": (22_000, 22_020, 22_040),
    "in": (24_005, 24_010, 24_020), "frn": (24_180, 24_030, 24_270), "brn": (23_000, None, 23_010),
    "evos0": (23_600, 23_610),
}  # fmt: skip
WORDS = {
    "resnet20_bn": "baseline", "resnet20_gn": "better (n=3)", "resnet20_ln": "worse (n=3)",
    "resnet20_in": "equal within 1 points (n=3)", "resnet20_frn": "not significant (n=3)",
    "resnet20_brn": "a seed diverged", "resnet20_evos0": "needs 3 seeds",
}  # fmt: skip
# What else is true of the runs of a norm, and the mark that it has therefore.
CHANGES: dict[str, dict[str, Any]] = {
    "gn": {"model__batch_dependent": 256}, "ln": {"speed__window_rates": [10.0, 1111.5, 2000.0, 20.0]},
}  # fmt: skip
MARKED = {"resnet20_gn": {marks.BATCH_MARK}, "resnet20_ln": {marks.DISTURBED_MARK}}
MARKS = {mark for name, mark in vars(marks).items() if name.endswith("_MARK")}


class Rows(html.parser.HTMLParser):
    """The rows of all tables of a page as lists of cells: (``data-key`` or None, text)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[tuple[str | None, str]]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append((dict(attributes).get("data-key"), ""))
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, text: str) -> None:
        if self._inside:
            key, before = self.rows[-1][-1]
            self.rows[-1][-1] = (key, f"{before} {text}".strip())


def of_page(text: str) -> list[dict[str, str]]:
    """The rows of the web page's board; its cells are known by their keys."""
    names = {"p_value": "p", "accuracy": "test accuracy %"}
    rows = [{names.get(key or "", key or ""): cell for key, cell in cells} for cells in Rows(text).rows]
    return [row | {"model": row["model"].split()[0]} for row in rows if row.get("verdict") not in (None, "verdict")]


def of_notebook(text: str) -> list[dict[str, str]]:
    """The rows of the table in HTML that a notebook shows."""
    heads, *rows = ([cell for _, cell in cells] for cells in Rows(text).rows)
    return [dict(zip(heads, row, strict=True)) for row in rows]


def marks_in(cells: Iterable[str]) -> set[str]:
    return {mark for mark in MARKS if any(mark in cell for cell in cells)}


def seen(rows: list[dict[str, str]]) -> dict[str, tuple[str, str, set[str]]]:
    """Of each model: verdict, p-value, and the marks in its row."""
    return {
        row["model"].replace("\\_", "_"): (row["verdict"], row["p"].replace("–", "-"), marks_in(row.values()))
        for row in rows
    }


def without_marks(verdict: str) -> str:
    return verdict.translate(dict.fromkeys(map(ord, MARKS))).rstrip()


@pytest.mark.parametrize("selection", ["holdout", "test"])
def test_every_output_has_the_same_verdicts_p_values_and_marks(inline_cli: Any, selection: str) -> None:
    runs = inline_cli.folder / "runs"
    for norm, seeds in CORRECT.items():
        for seed, correct in enumerate(seeds):
            changes = {"selection__split": selection, "dataset__test_images": IMAGES} | CHANGES.get(norm, {})
            changes |= {} if correct is None else {"test": metrics(correct, IMAGES)}
            folder = make_run(runs, norm, seed, correct, **changes)
            folder.predictions.unlink(missing_ok=True)  # are of fewer images
    chosen = ("--baseline", BASELINE)
    printed = {style: inline_cli.ok("compare", *chosen, "--format", style).stdout for style in ("csv", "json")}
    read = {
        style: seen(table(inline_cli.ok("compare", *chosen, "--view", "all", "--format", style).stdout, style))
        for style in ("text", "markdown", "latex")
    }
    inline_cli.ok("report", *chosen)
    read["page"] = seen(of_page((inline_cli.folder / "report" / "index.html").read_text(encoding="utf-8")))
    read["notebook"] = seen(of_notebook(zoo.compare(runs, BASELINE).select("all")._repr_html_()))

    for name, rows in read.items():
        assert rows == read["text"], name
    of_all = {marks.TEST_MARK} if selection == "test" else set()
    expected = {model: MARKED.get(model, set()) | of_all for model in WORDS}
    assert set().union(*expected.values(), {marks.TEST_MARK}) == MARKS, "a mark is in no made run"
    assert {model: without_marks(words) for model, (words, _, _) in read["text"].items()} == WORDS
    assert {model: shown for model, (_, _, shown) in read["text"].items()} == expected

    (group,) = json.loads(printed["json"])
    records = {row["model"]: row["against"] or {"verdict": "baseline", "p_value": None} for row in group["rows"]}
    for row in csv.DictReader(io.StringIO(printed["csv"])):
        assert row["verdict"] == (row["baseline"] and records[row["model"]]["verdict"])
        assert row["p_value"] == ("" if (p := records[row["model"]]["p_value"]) is None else repr(p))
    told = {model: (record["verdict"], marks.p_value(record["p_value"])) for model, record in records.items()}
    assert told == {model: (without_marks(words), p) for model, (words, p, _) in read["text"].items()}
    assert group["selection"] == selection

    for path in find_results([runs]):  # a card is of one run, and has its marks
        result = load_result(path)
        if result.test is not None:
            card = dict(_figures(SimpleNamespace(result=result, tta=result.recipe.tta)))
            assert marks_in(card.values()) == expected[result.model.name]
