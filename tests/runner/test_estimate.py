"""The plan of a sweep: states and estimates from what is stored, and ``--dry-run``, which touches nothing."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import types
from pathlib import Path

import pytest
import torch

from zoo.data.datasets import load
from zoo.engine.environment import describe
from zoo.errors import ResultError
from zoo.recipes.load import load_recipe
from zoo.registry.merge import load_registry
from zoo.render.estimate import render
from zoo.results.folder import load_result, save_result
from zoo.results.history import load_history, save_history
from zoo.results.run import planned_runs
from zoo.results.schema import Diverged
from zoo.runner import estimate
from zoo.runner.estimate import Estimate, at_a_time
from zoo.runner.inputs import Inputs
from zoo.runner.settings import Settings
from zoo.utils.text import duration

CHANGES = ("split.train=64", "split.holdout=32", "epochs=2", "schedule.peak_epoch=1")
OPTIONS = ("--recipe", "smoke", *(word for change in CHANGES for word in ("--set", change)), "--layout", "nchw")


@pytest.fixture(scope="module")
def benched(module_inline):
    """One run of resnet20_ln, seed 0, done; its speed was not disturbed, whatever else the machine did."""
    module_inline.ok("bench", "resnet20_ln", *OPTIONS)
    (path,) = module_inline.folder.glob("runs/*/*/*/*/result.json")
    result = with_windows(load_result(path), 100.0, 101.0)
    save_result(path, result)
    return types.SimpleNamespace(folder=module_inline.folder, run=path.parent, result=result)


def with_windows(result, *rates):
    changes = {"window_rates": list(rates), "train_images_per_second": statistics.median(rates)}
    speed = result.speed.model_copy(update=changes)
    return result.model_copy(update={"speed": speed})


@pytest.fixture
def here(benched, tmp_path, monkeypatch):
    """A folder with a copy of it."""
    shutil.copytree(benched.folder / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def estimates_of(benched, *models, seeds=1, changes=CHANGES, **environment):
    """The estimates of some models in ./runs, for the machine of the stored run but for `environment`."""
    recipe = load_recipe("smoke", changes).with_precision(benched.result.recipe.content["precision"])
    data, found = load("shapes10"), load_registry().match(models)
    runs = planned_runs(found, range(seeds), recipe, data.name, Path("runs"))
    settings = Settings(torch.device("cpu"), "nchw", "auto", 0, compiled=False, deterministic=False)
    environment = benched.result.environment | environment
    inputs = Inputs(recipe, data, settings)
    paces = estimate.stored_paces(Path("runs"), recipe.precision, environment)
    return estimate.estimate(runs, estimate.look(runs, inputs), inputs, paces)


def test_what_is_done_needs_no_time_and_the_rest_what_the_done_took(benched, here):
    done, left = estimates_of(benched, "resnet20_ln", seeds=2)
    assert (done.state, done.epoch, done.seconds) == ("done", 2, 0.0)
    assert (left.state, left.epoch, left.epochs, left.scaled) == ("to do", 0, 2, False)
    assert left.folder == Path("runs") / benched.run.relative_to(benched.folder / "runs").with_name("seed1")
    assert left.seconds == pytest.approx(benched.result.wall_seconds, rel=0.25)


def test_epochs_that_were_done_elsewhere_tell_nothing(benched, here):
    file = here / benched.run.relative_to(benched.folder) / "result.json"
    moved = benched.result.model_copy(update={"environment": benched.result.environment | {"moved_after": 1}})
    save_result(file, moved)
    first, last = load_history(file.parent / "history.csv")
    save_history(file.parent / "history.csv", [dataclasses.replace(first, train_seconds=9000.0), last])
    _, left = estimates_of(benched, "resnet20_ln", seeds=2)
    assert left.seconds < 1000


def test_no_estimate_rests_on_a_disturbed_run(benched, here, inline_cli):
    file = here / benched.run.relative_to(benched.folder) / "result.json"
    save_result(file, with_windows(benched.result, 8.0, 25.0, 133.0))
    _, left = estimates_of(benched, "resnet20_ln", seeds=2)
    assert left.seconds is None
    text = inline_cli.ok("bench", "resnet20_ln", "--seeds", "2", *OPTIONS, "--dry-run", cwd=here).stdout
    assert "?: no estimate; there is no undisturbed earlier run on such a machine" in text


def test_ten_times_the_epochs_take_ten_times_the_epochs_time(benched, here):
    changes = (*(one for one in CHANGES if "epochs" not in one), "epochs=20")
    (longer,) = estimates_of(benched, "resnet20_ln", changes=changes)
    history = load_history(benched.run / "history.csv")
    epochs = sum(row.train_seconds + row.eval_seconds for row in history)
    assert longer.seconds == pytest.approx(benched.result.wall_seconds + 9 * epochs, rel=0.25)


def test_six_looks_at_an_image_take_six_times_as_long(benched, here):
    (plain,) = estimates_of(benched, "resnet20_ln", changes=(*CHANGES, "batch_size=8"))
    (shifted,) = estimates_of(
        benched, "resnet20_ln", changes=(*CHANGES, "batch_size=8", "mirror_evaluation=true", "shifted_evaluation=1")
    )
    seconds = statistics.median(row.eval_seconds for row in load_history(benched.run / "history.csv"))
    assert shifted.seconds - plain.seconds == pytest.approx(2 * 5 * seconds)


def test_another_model_is_scaled_by_macs_and_another_machine_unknown(benched, here):
    (known,) = estimates_of(benched, "resnet20_ln", seeds=1, changes=(*CHANGES, "batch_size=8"))
    (larger,) = estimates_of(benched, "resnet44_ln", changes=(*CHANGES, "batch_size=8"))
    assert larger.scaled
    assert not known.scaled
    assert larger.seconds > known.seconds
    (elsewhere,) = estimates_of(benched, "resnet44_ln", cpu="another")
    assert elsewhere.seconds is None
    (threads,) = estimates_of(benched, "resnet44_ln", threads=64)
    assert threads.seconds is None


def test_a_run_that_was_stopped_is_said_with_its_epoch(benched, here, inline_cli):
    """Stopped by a reporter that raises after the first epoch, as Ctrl-C would."""
    from zoo.render.progress import Lines

    class Stop(Lines):
        def epoch(self, *told):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.render.progress.make_reporter", lambda quiet, together: Stop(quiet))
        assert inline_cli("bench", "resnet20_ln", "--seed", "1", *OPTIONS, cwd=here).returncode == 130
    _, begun, new = estimates_of(benched, "resnet20_ln", seeds=3)
    assert (begun.state, begun.epoch) == ("begun", 1)
    assert begun.seconds < new.seconds


def test_another_definition_is_refused_as_the_run_would_be(benched, here):
    (here / "registry.yaml").write_text(
        'models:\n  resnet20_ln: {builder: "zoo.models.resnet9:resnet9", override: true}\n'
    )
    with pytest.raises(ResultError, match="was made with another definition of resnet20_ln"):
        estimates_of(benched, "resnet20_ln")


def test_dry_run_prints_the_plan_and_touches_nothing(benched, here, inline_cli):
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    output = inline_cli("bench", "resnet20_ln", "resnet20_bn", "--seeds", "2", *OPTIONS, "--dry-run", cwd=here)
    assert output.returncode == 0, output.stderr
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before
    rows = [line.split() for line in output.stdout.splitlines() if line.startswith("resnet20_")]
    assert [" ".join(row[:3]) for row in rows] == [
        "resnet20_ln 0 done", "resnet20_bn 0 to", "resnet20_ln 1 to", "resnet20_bn 1 to",
    ]  # fmt: skip
    assert [row[-2].startswith("~") for row in rows[1:]] == [True, False, True]
    assert "4 runs: 1 done, 3 to do." in output.stdout
    assert "with 4 at a time" in output.stdout
    assert output.stderr == "shapes10: 5,000 training and 1,000 test images of 32x32, 10 classes\n"


def test_dry_run_without_a_run_to_tell_says_what_would(tmp_path, inline_cli):
    output = inline_cli("bench", "resnet20_ln", *OPTIONS, "--dry-run")
    assert output.returncode == 0, output.stderr
    assert "?: no estimate; there is no undisturbed earlier run on such a machine" in output.stdout
    assert not (tmp_path / "runs").exists()
    study = inline_cli("study", "batch-size", "resnet20_ln", "--values", "8,16", *OPTIONS, "--dry-run")
    assert study.returncode == 0, study.stderr
    assert "2 runs: 0 done, 2 to do." in study.stdout
    assert list(tmp_path.iterdir()) == []


def test_runs_side_by_side():
    assert at_a_time([4, 4, 4, 4], 1) == 16
    assert at_a_time([4, 4, 4, 4], 4) == 4
    assert at_a_time([1, 1, 8], 2) == 9  # the long one comes last and waits for nobody
    assert at_a_time([], 3) == 0


def test_a_run_that_diverged_is_said_with_its_epoch(benched, here):
    """Also where it diverged in the evaluation at its end, after the last epoch."""
    (run,) = estimates_of(benched, "resnet20_ln")
    stored = load_result(run.folder / "result.json")
    changes = {"status": "diverged", "diverged_epoch": 2, "diverged_step": 2, "epochs_trained": 2}
    changes |= dict.fromkeys(("test", "holdout", "train", "epochs_to_90_percent_of_final"))
    save_result(run.folder / "result.json", Diverged(**dict(stored) | changes))
    (run,) = estimates_of(benched, "resnet20_ln")
    assert (run.state, run.epoch) == ("diverged", 2)
    assert "diverged at epoch 2 " in render({"head": [run]}, describe(estimate.torch.device("cpu")))


def test_totals_of_a_plan_that_is_partly_unknown():
    made = Estimate("a", 0, Path("a"), "to do", 0, 10, 600.0)
    planned = [made, dataclasses.replace(made, model="b", seconds=None), dataclasses.replace(made, state="diverged")]
    text = render({"head": planned}, describe(estimate.torch.device("cpu")))
    assert "3 runs: 1 done, 2 to do." in text
    assert "Left: at least 0:10:00 with 1 at a time" in text
    assert "?: no estimate" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (45.4, "45 s"), (59.6, "0:01:00"), (12_000, "3:20:00"), (200_000, "55:33:20")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
