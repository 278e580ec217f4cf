"""Balanced accuracy and the share of the largest class, beside the accuracy on unbalanced test sets alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from made_results import result
from printed_tables import table

import zoo
from zoo.comparison.groups import compare
from zoo.render.comparison import render
from zoo.render.progress import _outcome
from zoo.results.folder import RunFolder, Stored, load_result, save_result
from zoo.results.schema import Result


def stored(found: Result) -> Stored:
    return Stored(found, RunFolder(Path("/nowhere")))


def rare(seed: int = 0, hits: tuple[int, int] = (9_950, 0), images: tuple[int, int] = (9_950, 50)) -> Result:
    """A run tested on so many images of each of two classes, so many of which it classified correctly."""
    counts = list(zip(hits, images, strict=True))
    rows = [[hit, count - hit] for hit, count in counts]
    changes = {
        "test__confusion": [rows[0], rows[1][::-1]],
        "test__per_class_accuracy": [hit / count if count else None for hit, count in counts],
    }
    return result(seed=seed, correct=sum(hits), **changes)


def test_accuracy_of_99_5_percent_where_the_rare_class_is_always_wrong() -> None:
    (group,) = compare([stored(rare())])
    assert (group.rows[0].accuracy, group.rows[0].balanced_accuracy) == (0.995, 0.5)
    assert group.rows[0].largest_class_share == 0.995
    text = render([group], "text")
    assert list(table(text, "text")[0])[1:4] == ["test accuracy %", "balanced accuracy %", "largest class %"]
    (cells,) = csv.DictReader(io.StringIO(render([group], "csv")))
    assert (cells["balanced_accuracy"], cells["largest_class_share"]) == ("0.5", "0.995")
    (record,) = json.loads(render([group], "json"))
    assert record["rows"][0]["balanced_accuracy"] == 0.5
    for style in ("text", "markdown", "latex"):
        assert all(words in render([group], style) for words in (" 50.00", " 99.50")), style
    assert _outcome(rare()) == "test accuracy 99.50 %, balanced 50.00 %, largest class 99.50 %"


def test_of_several_seeds_it_is_a_mean_with_an_interval() -> None:
    (group,) = compare([stored(rare(seed, (9_900, hits))) for seed, hits in enumerate((10, 20, 30))])
    recalls = [(9_900 / 9_950 + hits / 50) / 2 for hits in (10, 20, 30)]
    (row,) = group.rows
    assert row.balanced_accuracy == pytest.approx(sum(recalls) / 3)
    low, high = row.intervals["balanced_accuracy"]
    assert (low + high) / 2 == pytest.approx(row.balanced_accuracy)
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-4)  # Student's t of two degrees
    assert f"{100 * row.balanced_accuracy:.2f} ± {50 * (high - low):.2f}" in render([group], "text")


def test_a_class_without_a_test_image_is_left_out() -> None:
    (group,) = compare([stored(rare(hits=(9_000, 0), images=(10_000, 0)))])
    assert (group.rows[0].balanced_accuracy, group.rows[0].largest_class_share) == (0.9, 1.0)


@pytest.mark.parametrize("images", [(5_000, 5_000), (6_000, 4_000)])
def test_tables_of_balanced_test_sets_stay_as_they_are(images: tuple[int, int]) -> None:
    (group,) = compare([stored(rare(hits=(3_000, 3_000), images=images))])
    for style in ("text", "markdown", "latex", "csv", "json"):
        assert not any(word in render([group], style) for word in ("balance", "largest")), style
    assert _outcome(rare(hits=(3_000, 3_000), images=images)) == "test accuracy 60.00 %"


def test_the_definition_is_that_of_scikit_learn() -> None:
    """Its example of balanced_accuracy_score: y_true 0 1 0 0 1 0, y_pred 0 1 0 0 0 1 give 0.625."""
    changes: dict[str, Any] = {
        "images": 6, "correct": 4, "accuracy": 4 / 6, "confusion": [[3, 1], [1, 1]], "per_class_accuracy": [0.75, 0.5]
    }  # fmt: skip
    (group,) = compare([stored(result(**{f"test__{name}": value for name, value in changes.items()}))])
    assert group.rows[0].balanced_accuracy == 0.625


def test_a_data_frame_has_both(tmp_path: Path) -> None:
    for folder, found in (("a", rare()), ("b", result(model="m_ln"))):
        (tmp_path / folder).mkdir()
        save_result(tmp_path / folder / "result.json", found)
    frame = zoo.load_results(tmp_path).set_index("model")
    assert tuple(frame.loc["m_bn", ["balanced_accuracy", "largest_class_share"]]) == (0.5, 0.995)
    assert frame.loc["m_ln", ["balanced_accuracy", "largest_class_share"]].isna().all()
    assert load_result(tmp_path / "a" / "result.json").test.balance == (0.5, 0.995)
