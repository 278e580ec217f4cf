"""Before a long bench one line states how long it takes here, by what, and what is quicker; training stays the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.cli import forecast
from zoo.data.datasets import load
from zoo.recipes import load as recipes
from zoo.runner.inputs import Inputs
from zoo.runner.settings import Settings

TIME = r"(\d+\.\d s|\d+ s|\d+:\d\d:\d\d)"


def numbers(folder: Path) -> list[Any]:
    """What the runs in a folder learnt."""
    results = [json.loads(path.read_text()) for path in sorted(folder.rglob("result.json"))]
    return [(result["seed"], result["test"]["loss"], result["running_train_loss"]) for result in results]


@pytest.mark.slow
def test_the_time_is_measured_and_then_known_from_runs(
    inline_cli: Any, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the measurement changes no bit of what is trained after it."""
    plain = inline_cli.ok("bench", "resnet20_ln", "resnet20_bn", *tiny, "--runs", "plain").stderr
    assert "on this machine" not in plain  # so few images are not worth it
    monkeypatch.setattr(forecast, "FEW", 0)
    first = inline_cli.ok("bench", "resnet20_ln", "resnet20_bn", *tiny).stderr
    assert re.search(
        rf"^about {TIME} for 2 runs on this machine \(resnet20_ln: [\d,]+ img/s, just measured\)$", first, re.M
    )
    assert numbers(inline_cli.folder / "plain") == numbers(inline_cli.folder / "runs")
    rates = [json.loads(path.read_text()) for path in (inline_cli.folder / "runs").rglob("result.json")]
    for result in rates:  # of windows that a busy machine has disturbed no estimate is made
        result["speed"] |= {"window_rates": [100.0, 101.0], "train_images_per_second": 100.5}
    for path, result in zip((inline_cli.folder / "runs").rglob("result.json"), rates, strict=True):
        path.write_text(json.dumps(result))
    more = inline_cli.ok("bench", "resnet20_ln", "resnet20_bn", *tiny, "--seeds", "2").stderr
    assert re.search(rf"^about {TIME} for 2 runs on this machine \(by the speed of earlier runs\)$", more, re.M)
    done = inline_cli.ok("bench", "resnet20_ln", "resnet20_bn", *tiny, "--seeds", "2").stderr
    assert "on this machine" not in done  # nothing is left


def test_nothing_is_measured_where_no_progress_is_wanted(
    inline_cli: Any, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "FEW", 0)
    output = inline_cli.ok("bench", "resnet20_ln", *tiny, "--progress", "none")
    assert "on this machine" not in output.stderr
    assert "resnet20_ln seed 0" not in output.stderr
    assert "resnet20_ln" in output.stdout  # the table


def test_a_recipe_that_takes_less_than_half_the_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By images, epochs and pixels; one that the dataset is too small for is not."""
    settings = Settings(torch.device("cpu"), "nchw", "auto", 0, compiled=False, deterministic=False)
    standard = recipes.load_recipe("standard", ["split.holdout=500"]).with_precision("fp32")
    inputs = Inputs(standard, load("shapes10"), settings)
    assert list(forecast._quicker(inputs, 1000.0)) == []  # `laptop` holds out as many images as there are
    real = recipes.load_recipe
    monkeypatch.setattr(recipes, "load_recipe", lambda name: real(name, ["split.holdout=500"]))
    named = list(forecast._quicker(inputs, 1000.0))
    assert "--recipe laptop, about 0:05:00" in named
    laptop = Inputs(real("laptop", ["split.holdout=500"]).with_precision("fp32"), load("shapes10"), settings)
    assert not any("laptop" in words for words in forecast._quicker(laptop, 1000.0))
