"""Results of many classes: they grow with the mistakes that were made, and tables keep none of these in memory."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_results import result
from pydantic import ValidationError

from zoo.comparison.groups import compare
from zoo.engine.evaluate import Evaluation
from zoo.errors import ResultError
from zoo.results.folder import RunFolder, Stored, load_all, load_result, save_result
from zoo.results.metrics import Metrics
from zoo.results.schema import Result
from zoo.runner.record import metrics_of
from zoo.web.writer import write_report

CLASSES = 1_000


@functools.cache
def evaluated(images: int, classes: int = CLASSES, seed: int = 0) -> Metrics:
    """Of predictions that are right for half of the images and else any class."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    predicted = np.where(random.random(images) < 0.5, labels, random.integers(0, classes, images))
    return metrics_of(
        Evaluation(torch.nn.functional.one_hot(torch.tensor(predicted), classes).float(), torch.tensor(labels))
    )


def many(seed: int = 0, form: Any = lambda metrics: metrics) -> Result:
    """A run of 1,000 classes and 2,000 test images; `form` makes the metrics as the file has them."""
    whole = result(seed=seed)
    dataset = whole.dataset.model_copy(
        update={"classes": [f"n{10**7 + index}" for index in range(CLASSES)], "test_images": 2_000}
    )
    splits = {
        name: form(evaluated(images, seed=seed))
        for name, images in (("test", 2_000), ("holdout", 5_000), ("train", 2_000))
    }
    return whole.model_copy(update={"dataset": dataset, **splits})


def dense(metrics: Metrics) -> Metrics:
    """As results of before have them."""
    matrix = np.zeros((CLASSES, CLASSES), int)
    for label, predicted, count in metrics.counts:
        matrix[label, predicted] = count
    return metrics.model_copy(update={"confusion": matrix.tolist()})


def saved(folder: Path, whole: Result) -> Path:
    place = RunFolder.of(folder, "many", whole.recipe.slug, whole.model.name, whole.seed)
    place.path.mkdir(parents=True)
    save_result(place.result, whole)
    return place.result


def test_results_grow_with_the_square_of_the_classes(tmp_path: Path) -> None:
    """1,000 classes gave a file of 21 MB and 3 million lines."""
    path = saved(tmp_path, many())
    assert path.stat().st_size < 200_000
    assert path.read_text().count("\n") < 1_000
    assert load_result(path) == many()


def test_case_27_pages_of_many_classes_are_bounded(tmp_path: Path) -> None:
    """The page shows the commonest mistakes and the classes of the lowest accuracy, of an old file too."""
    paths = [saved(tmp_path / "runs", many()), saved(tmp_path / "runs", many(1, dense))]
    write_report(load_all(paths), tmp_path / "report")
    pages = list((tmp_path / "report/runs").iterdir())
    assert len(pages) == 2
    for page in pages:
        assert page.stat().st_size < 40_000
        assert "The 20 lowest of 1000 classes" in page.read_text()


def test_a_dense_result_of_before_reads_as_the_same_counts(tmp_path: Path) -> None:
    new, old = load_result(saved(tmp_path / "new", many())), load_result(saved(tmp_path / "old", many(form=dense)))
    assert len(old.test.confusion) == CLASSES
    assert len(new.test.confusion) < 2_000
    for name in ("test", "holdout", "train"):
        assert getattr(old, name).counts == getattr(new, name).counts
        assert getattr(old, name).images_by_class == getattr(new, name).images_by_class
    assert sum(new.test.images_by_class) == 2_000


def test_few_classes_keep_their_matrix() -> None:
    """Whatever the accuracy: scripts read it."""
    assert evaluated(30, 20).confusion == np.array(evaluated(30, 20).confusion).reshape(20, 20).tolist()
    assert np.array(evaluated(30, 21).confusion).shape[1] == 3
    full = Evaluation(torch.eye(30).repeat(30, 1), torch.arange(30).repeat_interleave(30))  # each class as each other
    assert np.array(metrics_of(full).confusion).shape == (30, 30)


def test_tables_keep_no_confusions_in_memory(tmp_path: Path) -> None:
    paths = [saved(tmp_path, many(seed)) for seed in range(3)]
    runs = load_all(paths)
    for run in runs:
        for metrics in (run.result.test, run.result.holdout, run.result.train):
            assert metrics.confusion == metrics.per_class_accuracy == []
        assert run.result.speed.window_rates == []
    assert len({id(run.result.recipe) for run in runs}) == len({id(run.result.dataset) for run in runs}) == 1
    whole = [Stored(load_result(path), RunFolder(path.parent)) for path in paths]
    assert [group.record() for group in compare(runs)] == [group.record() for group in compare(whole)]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[0, 0, 6], [0, 0, 2], [1, 0, 2]], "pairs of classes twice"),
        ([[1, 0, 2], [0, 0, 8]], "pairs of classes twice, or in another order"),
        ([[0, 0, 8], [1, 30, 2]], "other classes than the accuracies by class"),
        ([[0, 0, 8], [30, 1, 2]], "other classes than the accuracies by class"),
        ([[0, 0, 8], [1, 2]], "other classes than its own columns"),
        ([[0, 0, 8], [1, 2, 3, 4]], "other classes than its own columns"),
        ([[0, 0, 8], [1, 0, 1]], "8 correct of 10 images, but the confusion matrix says 8 of 9"),
        ([[0, 1, 8], [1, 0, 2]], "8 correct of 10 images, but the confusion matrix says 0 of 10"),
        ([[0, 0, 8], [1, -1, 2]], "has a number below 0"),
        ([], "other classes"),
    ],
)
def test_pairs_that_contradict_are_refused(pairs: list[list[int]], message: str) -> None:
    content = {
        "images": 10, "correct": 8, "accuracy": 0.8, "top5_accuracy": None, "loss": 0.5, "ece": 0.1, "brier": 0.2,
        "per_class_accuracy": [0.5] * 30,
    }  # fmt: skip
    Metrics(**content, confusion=[[0, 0, 8], [1, 0, 2]])
    with pytest.raises(ValidationError, match=message):
        Metrics(**content, confusion=pairs)


def test_a_thin_file_is_refused(tmp_path: Path) -> None:
    """What is kept in memory is no result: its lists are not left out of a file without a word."""
    path = saved(tmp_path, many())
    content = json.loads(path.read_text())
    content["test"] |= {"confusion": [], "per_class_accuracy": []}
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match="test: the confusion matrix has other classes"):
        load_result(path)
