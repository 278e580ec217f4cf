"""``--track``: what a real bench has told TensorBoard, MLflow and W&B, read back from their own stores."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zoo.errors import MachineError, ResultError
from zoo.registry.merge import load_registry
from zoo.results.folder import RunFolder, find_results, load_result
from zoo.results.history import load_history
from zoo.results.run import Run
from zoo.track.reporter import Tracked, run_id
from zoo.web.watch import Watch

COMMITTED = Path(__file__).parents[2] / "benchmarks/results/cifar10-jpeg/laptop-9c06139e/resnet20_bn/seed0"
ALL = "tensorboard,mlflow,wandb"
PER_EPOCH = {
    "lr": "lr", "train/running_loss": "running_train_loss", "train/running_accuracy": "running_train_accuracy",
    "holdout/loss": "eval_loss", "holdout/accuracy": "eval_accuracy",
    "train/images_per_second": "train_images_per_second",
}  # fmt: skip


def run_folder(folder: Path) -> Path:
    """The folder of the only run under `folder`/runs."""
    (found,) = (folder / "runs").glob("shapes10/*/resnet20_ln/seed0")
    return found


def history(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What history.csv says: (epoch, value) by the name that trackers have for it."""
    rows = list(csv.DictReader((run_folder(folder) / "history.csv").read_text().splitlines()))
    return {name: [(int(row["epoch"]), float(row[column])) for row in rows] for name, column in PER_EPOCH.items()}


def mlflow_runs(folder: Path) -> tuple[Any, list[Any]]:
    """MLflow's client on `folder`'s store, and all runs in it that were not deleted."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    return client, client.search_runs([found.experiment_id for found in client.search_experiments()])


def mlflow_epochs(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of the only run in `folder`'s store."""
    client, (run,) = mlflow_runs(folder)
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in PER_EPOCH
    }


def tensorboard_events(folder: Path) -> Any:
    """TensorBoard's own reading of the run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = folder / "runs" / "tensorboard" / run_folder(folder).relative_to(folder / "runs")
    return EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()


def tensorboard_epochs(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of the run."""
    events = tensorboard_events(folder)
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in PER_EPOCH}


def wandb_records(folder: Path) -> Iterator[Any]:
    """The records of all .wandb files under `folder`, whose packing is that of LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted((folder / "runs" / "wandb").glob("offline-run-*/*.wandb")):
        content, place, record = path.read_bytes(), 7, b""
        assert content.startswith(b":W&B")
        while place < len(content):
            if 32768 - place % 32768 < 7:  # no header fits into what is left of the block
                place += 32768 - place % 32768
                continue
            size, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
            record += content[place + 7 : place + 7 + size]
            place += 7 + size
            if kind in (1, 4):  # whole, or the last part
                yield Record.FromString(record)
                record = b""


def wandb_epochs(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) in all W&B folders together."""
    rows = [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in wandb_records(folder)
        if record.WhichOneof("record_type") == "history"
    ]
    return {name: [(row["_step"], row[name]) for row in rows] for name in PER_EPOCH}


def check_epochs(folder: Path) -> None:
    """Each tracker has each epoch of history.csv once, with its figures."""
    told = history(folder)
    assert mlflow_epochs(folder) == told
    assert wandb_epochs(folder) == told
    for name, values in tensorboard_epochs(folder).items():  # in single precision
        assert [step for step, _ in values] == [step for step, _ in told[name]], name
        assert [value for _, value in values] == pytest.approx([value for _, value in told[name]], rel=1e-6)


@pytest.fixture(scope="module")
def benched(module_inline, tiny) -> SimpleNamespace:
    """A run of two epochs, told to all three."""
    output = module_inline.ok("bench", "resnet20_ln", *tiny, "--track", ALL)
    result = load_result(run_folder(module_inline.folder) / "result.json")
    return SimpleNamespace(output=output, folder=module_inline.folder, result=result, cli=module_inline)


def test_every_epoch_once(benched):
    """In all three, with the figures of history.csv."""
    assert benched.result.epochs_trained == 2
    check_epochs(benched.folder)


def test_mlflow_read_back(benched):
    """Parameters, final figures, tags and artifacts through MLflow's client."""
    client, (run,) = mlflow_runs(benched.folder)
    result, params, metrics = benched.result, run.data.params, run.data.metrics
    recipe = result.recipe
    assert (params["model"], params["norm"], params["seed"]) == ("resnet20_ln", "ln", "0")
    assert (params["recipe"], params["recipe_fingerprint"]) == ("smoke", recipe.fingerprint)
    assert (params["dataset"], params["dataset_fingerprint"]) == ("shapes10", result.dataset.fingerprint)
    assert (params["device"], params["layout"], params["executor"]) == ("cpu", "nchw", "batched")
    assert float(params["optimizer.lr"]) == recipe.content["optimizer"]["lr"]
    assert json.loads(params["augment.train"]) == recipe.content["augment"]["train"]
    assert params.get("git_commit") == (result.git or {}).get("commit")
    assert metrics["final/test_accuracy"] == result.test.accuracy
    assert metrics["final/test_loss"] == result.test.loss
    assert metrics["final/test_ece"] == result.test.ece
    assert metrics["final/parameters"] == result.model.parameters
    assert metrics["final/macs"] == result.model.macs
    assert metrics["final/train_images_per_second"] == result.speed.train_images_per_second
    assert metrics["final/latency_p50"] == result.speed.latency_p50
    quartiles = tuple(metrics[f"final/latency_p50_{end}"] for end in ("low", "high"))
    assert quartiles == result.speed.latency_quartiles
    assert metrics["final/latency_p50_disturbed"] == ("latency_p50" in result.speed.disturbed)
    assert (run.info.status, run.data.tags["zoo.status"]) == ("FINISHED", "finished")
    stored = Path(client.download_artifacts(run.info.run_id, "zoo-result.json"))
    assert load_result(stored) == result
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"zoo-result.json", "zoo-history.csv"}


def test_tensorboard_read_back(benched):
    """Final figures, and what the HPARAMS tab shows."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = tensorboard_events(benched.folder)
    assert events.Scalars("final/test_accuracy")[0].value == pytest.approx(benched.result.test.accuracy)
    content = {
        tag.rpartition("/")[2]: HParamsPluginData.FromString(data)
        for tag, data in events.PluginTagToContent("hparams").items()
    }
    shown = content["session_start_info"].session_start_info.hparams
    assert shown["recipe_fingerprint"].string_value == benched.result.recipe.fingerprint
    assert shown["optimizer.lr"].number_value == benched.result.recipe.content["optimizer"]["lr"]
    assert content["session_end_info"].session_end_info.status == 1  # STATUS_SUCCESS


def test_wandb_read_back(benched):
    """Parameters, final figures, status and files of the offline run."""
    records = list(wandb_records(benched.folder))
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["recipe_fingerprint"] == benched.result.recipe.fingerprint
    assert config["optimizer.lr"] == benched.result.recipe.content["optimizer"]["lr"]
    assert run.run_id == json.loads((run_folder(benched.folder) / "track.json").read_text())["id"]
    summary = {
        ".".join(item.nested_key) or item.key: json.loads(item.value_json)
        for record in records
        for item in record.summary.update
    }
    assert summary["final/test_accuracy"] == benched.result.test.accuracy
    assert summary["status"] == "finished"
    (folder,) = (benched.folder / "runs" / "wandb").glob("offline-run-*")
    assert load_result(folder / "files" / "zoo-result.json") == benched.result


def test_nothing_of_theirs_is_a_run(benched):
    """Neither results nor unfinished runs are found in what trackers keep beside the runs."""
    runs = benched.folder / "runs"
    assert find_results([runs]) == [run_folder(benched.folder) / "result.json"]
    watch = Watch([runs])
    watch.look()
    assert [path for path, seen in watch.seen.items() if seen.result is None] == []
    assert "resnet20_ln" in benched.output.stdout  # and stdout is the table, from its first line on
    assert benched.output.stdout.startswith("shapes10, recipe smoke: ")
    assert [line for line in benched.output.lines if line.startswith("logging to")] == [
        f"logging to tensorboard in {Path('runs/tensorboard')}",
        f"logging to mlflow in sqlite:///{runs / 'mlflow.db'}",
        f"logging to wandb in {Path('runs/wandb')} (offline)",
    ]


def test_done_before(benched, tiny):
    """The same command again tells nobody anything; a place that lacks the run gets it whole."""
    command = ("bench", "resnet20_ln", *tiny, "--track", ALL)
    files = sorted(path for path in (benched.folder / "runs").rglob("*tfevents*"))
    assert "was done before" in benched.cli.ok(*command).stderr
    check_epochs(benched.folder)
    assert sorted(path for path in (benched.folder / "runs").rglob("*tfevents*")) == files
    benched.cli.ok(*command[:-1], "mlflow", MLFLOW_EXPERIMENT_NAME="another")
    client, runs = mlflow_runs(benched.folder)
    (run,) = (run for run in runs if client.get_experiment(run.info.experiment_id).name == "another")
    metrics = client.get_metric_history(run.info.run_id, "train/running_loss")
    assert [(metric.step, metric.value) for metric in metrics] == history(benched.folder)["train/running_loss"]
    assert run.data.metrics["final/test_accuracy"] == benched.result.test.accuracy
    client.delete_run(run.info.run_id)  # for the other tests


def test_a_run_done_on_a_cluster_is_new_to_trackers_after_restart(tmp_path):
    """They hear of such a run when it has ended, so that its first epoch says nothing."""
    folder = RunFolder(tmp_path / "cifar10-jpeg" / "recipe" / "resnet20_bn" / "seed0")
    shutil.copytree(COMMITTED, folder.path)
    result, begun = load_result(folder.result), []

    class Tracker:
        name, where = "told", "here"

        def holds(self, entry):
            return True  # as TensorBoard, which knows runs by their folder

        def begin(self, entry, fresh):
            begun.append((entry.id, fresh))
            return ()

        def log(self, epoch, metrics): ...
        def end(self, status, epoch, metrics, files): ...

    recipe = SimpleNamespace(name="laptop", fingerprint="0" * 64, canonical=dict)
    dataset = SimpleNamespace(name="cifar10-jpeg", fingerprint="1" * 64)
    run = Run(load_registry(folder=Path("/")).resolve("resnet20_bn"), 0, folder)

    def ends(was_done=False):
        told = Tracked(pytest.fail, [Tracker()], recipe, dataset, None)
        told.run(run, 1, 1)
        told.resolved(run, result.settings)
        told.finished(run, result, was_done)

    ends()
    ends()
    ends(was_done=True)  # holds it
    folder.clear()  # as --restart does, before another machine trains it anew
    shutil.copytree(COMMITTED, folder.path, dirs_exist_ok=True)
    ends()
    folder.track.unlink()  # as a --restart without --track leaves it, whose end is told of later
    ends(was_done=True)
    (first, new), (same, again), (other, anew), (third, late) = begun
    assert (new, again, anew, late) == (True, False, True, True)
    assert first == same
    assert len({first, other, third}) == 3


def test_an_epoch_that_a_kill_may_lose_is_not_logged_before_it_is_saved(tmp_path):
    """A GPU trains on while states are unsaved; after a kill such epochs are trained again, and are there once."""
    folder = RunFolder(tmp_path / "cifar10-jpeg" / "recipe" / "resnet20_bn" / "seed0")
    shutil.copytree(COMMITTED, folder.path)
    result, rows, logged = load_result(folder.result), load_history(folder.history), []

    class Tracker:
        name, where = "told", "here"

        def begin(self, entry, fresh):
            return set(logged)

        def log(self, epoch, metrics):
            logged.append(epoch)

        def end(self, status, epoch, metrics, files): ...

    recipe = SimpleNamespace(name="laptop", fingerprint="0" * 64, canonical=dict)
    dataset = SimpleNamespace(name="cifar10-jpeg", fingerprint="1" * 64)
    run = Run(load_registry(folder=Path("/")).resolve("resnet20_bn"), 0, folder)

    def session(resumes_after=0):
        tracked = Tracked(pytest.fail, [Tracker()], recipe, dataset, None)
        tracked.run(run, 1, 1)
        tracked.resolved(run, result.settings)
        if resumes_after:
            tracked.resumed(resumes_after, len(rows))
        return tracked

    killed = session()
    for row in rows[:4]:
        if row.epoch in (1, 3):
            killed.written(row.epoch)
        killed.epoch(row, len(rows), None, False)
    assert logged == [1, 2, 3]
    again = session(resumes_after=3)
    for row in rows[3:]:
        again.epoch(row, len(rows), None, False)
    assert logged == [1, 2, 3]
    again.written(len(rows))  # by an interruption, or the end
    again.finished(run, result, False)
    assert logged == [row.epoch for row in rows]


def test_a_tracker_that_fails_costs_no_run(benched, tiny, inline_cli):
    """One line for each, though they would fail again with every epoch; the run is stored."""
    runs = inline_cli.folder / "runs"
    runs.mkdir()
    (runs / "tensorboard").write_text("in the way")
    with sqlite3.connect(benched.folder / "runs" / "mlflow.db") as old, sqlite3.connect(runs / "mlflow.db") as store:
        old.backup(store)  # made already; the other test's run in it is thrown away
        store.execute("UPDATE runs SET lifecycle_stage = 'deleted'")
        store.execute("CREATE TRIGGER full BEFORE INSERT ON metrics BEGIN SELECT RAISE(FAIL, 'the disk is full'); END")
    output = inline_cli.ok("bench", "resnet20_ln", *tiny, "--track", "tensorboard,mlflow")
    told = [line for line in output.lines if "is off from here on" in line]
    assert [line.split()[1] for line in told] == ["tensorboard", "mlflow"]
    assert "the disk is full" in told[1]
    assert output.lines.index(told[1]) < next(index for index, line in enumerate(output.lines) if " 2/2 " in line)
    assert load_result(run_folder(inline_cli.folder) / "result.json").status == "finished"
    assert "Traceback" not in output.stderr

    with sqlite3.connect(runs / "mlflow.db") as store:
        store.execute("DROP TRIGGER full")
    inline_cli.ok("bench", "resnet20_ln", *tiny, "--track", "mlflow")  # tells what was missed
    assert mlflow_epochs(inline_cli.folder) == history(inline_cli.folder)


@pytest.mark.parametrize(
    ("asked", "environment", "told"),
    [
        ("mlfow", {}, "unknown tracker 'mlfow' (looked in --track); did you mean 'mlflow'?"),
        ("tensorboard,comet", {}, "unknown tracker 'comet' (looked in --track); there are tensorboard, mlflow, wandb"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, "--track mlflow: cannot be opened: "),
    ],
)
def test_mistakes_come_before_any_training(inline_cli, tiny, asked, environment, told):
    """One line, exit code 2, no run."""
    environment = environment | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    output = inline_cli("bench", "resnet20_ln", *tiny, "--track", asked, **environment)
    assert output.returncode == 2
    assert output.lines[-1].startswith(f"zoo: {told}")
    assert "epoch 1" not in output.stderr


def test_a_missing_extra_is_named(inline_cli, tiny, monkeypatch):
    """With the command that installs it."""
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    output = inline_cli("bench", "resnet20_ln", *tiny, "--track", ALL)
    assert (output.returncode, output.stderr) == (
        2,
        f"zoo: --track {ALL}: mlflow and wandb are not installed; pip install mlflow wandb\n",
    )


def test_nothing_is_loaded_unasked():
    """Neither by zoo.track nor by the command line."""
    names = "{'tensorboard', 'mlflow', 'wandb', 'torch'}"
    code = f"import sys, zoo.track, zoo.cli.main; print(sorted({names} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# An epoch takes about a second.
SETTINGS = ("split.train=1600", "split.holdout=64", "epochs=3", "schedule.peak_epoch=1")
LONGER = ("bench", "resnet20_ln", "--recipe", "smoke", "--layout", "nchw",
          *(word for setting in SETTINGS for word in ("--set", setting)))  # fmt: skip


def stop(cli: Any, number: int, until: str, *more: str) -> int:
    """Start :data:`LONGER`, send the signal to the whole group a moment after the line `until`; the exit code."""
    process = cli.start(*LONGER, *more)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.strip().startswith(until):
                break
        else:
            pytest.fail("".join(lines))
        time.sleep(0.3)
        os.killpg(process.pid, number)
        assert process.stdout.read() == ""
        rest = process.stderr.read()
        assert "Traceback" not in rest, rest
        return process.wait(60)
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_run_that_goes_on_is_one_run(zoo_cli, number):
    """Stopped in its second epoch, its trackers' processes too; then each epoch is in each tracker once."""
    assert stop(zoo_cli, number, "1/3 ", "--track", ALL) == (-number if number == signal.SIGKILL else 130)
    _, (run,) = mlflow_runs(zoo_cli.folder)
    assert run.info.status == ("RUNNING" if number == signal.SIGKILL else "KILLED")
    output = zoo_cli.ok(*LONGER, "--track", ALL)
    assert "resumes after epoch 1 of 3" in output.stderr
    assert output.stdout.startswith("shapes10, recipe smoke: ")
    check_epochs(zoo_cli.folder)
    _, (again,) = mlflow_runs(zoo_cli.folder)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert len(list((zoo_cli.folder / "runs" / "wandb").glob("offline-run-*"))) == 1


# A device whose states are written after the first epoch, the last one, and where a signal ends the run.
PRETENDED = """
from zoo.engine import saving
saving.every_epoch, saving.SHARE = lambda device: False, 0.0
from zoo.cli.main import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "saved"), [(signal.SIGKILL, 1), (signal.SIGINT, 2), (signal.SIGTERM, 2)], ids=["kill", "int", "term"]
)
def test_epochs_that_were_lost_are_replaced_not_doubled(zoo_cli, module_cli, number, saved):
    """Stopped in its third epoch, where not every state is written, and resumed: as if it had not been stopped."""
    cli = replace(zoo_cli, command=(sys.executable, "-c", PRETENDED))
    assert stop(cli, number, "2/3 ", "--track", ALL) == (-number if number == signal.SIGKILL else 130)
    assert len(history(cli.folder)["lr"]) == 2
    output = cli.ok(*LONGER, "--track", ALL)
    assert f"resumes after epoch {saved} of 3" in output.stderr
    check_epochs(cli.folder)
    assert [epoch for epoch, _ in history(cli.folder)["lr"]] == [1, 2, 3]
    module_cli.ok(*LONGER)
    weights = [(run_folder(each.folder) / "model.safetensors").read_bytes() for each in (cli, module_cli)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_killed_before_its_first_epoch(zoo_cli):
    """It leaves nothing in the trackers, and the run that is begun again is the only one."""
    stop(zoo_cli, signal.SIGKILL, "cpu, nchw", "--track", ALL)
    assert mlflow_runs(zoo_cli.folder)[1] == []
    zoo_cli.ok(*LONGER, "--track", ALL)
    check_epochs(zoo_cli.folder)


@pytest.mark.slow
def test_begun_untracked_and_gone_on_tracked(zoo_cli):
    """The epochs before are told as well. Then --restart: TensorBoard shows the new run, MLflow has both."""
    stop(zoo_cli, signal.SIGKILL, "1/3 ")
    zoo_cli.ok(*LONGER, "--track", ALL)
    check_epochs(zoo_cli.folder)
    zoo_cli.ok(*LONGER, "--track", ALL, "--restart")
    _, runs = mlflow_runs(zoo_cli.folder)
    assert Counter(run.info.status for run in runs) == {"FINISHED": 2}
    assert len({run.data.tags["zoo.id"] for run in runs}) == 2
    assert [step for step, _ in tensorboard_epochs(zoo_cli.folder)["train/running_loss"]] == [1, 2, 3]
    assert tensorboard_epochs(zoo_cli.folder)["train/running_loss"] == [
        (step, pytest.approx(value)) for step, value in history(zoo_cli.folder)["train/running_loss"]
    ]


@pytest.mark.slow
def test_trackers_change_no_bit(zoo_cli, module_cli):
    """Weights, predictions and the table are those of a run without trackers, and stdout is the table alone."""
    plain, tracked = module_cli.ok(*LONGER), zoo_cli.ok(*LONGER, "--track", ALL)
    for name in ("model.safetensors", "predictions.npz"):
        files = [run_folder(cli.folder) / name for cli in (module_cli, zoo_cli)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    tables = [[line.split()[:5] for line in output.stdout.splitlines()[:5]] for output in (plain, tracked)]
    assert tables[0] == tables[1]
    # Below a table whose speeds were disturbed, which other work may do, a line says so.
    lengths = [sum(not line.startswith("‡") for line in output.stdout.splitlines()) for output in (plain, tracked)]
    assert lengths[0] == lengths[1]
    said = [[line for line in output.lines if not line.startswith("warning: ")] for output in (plain, tracked)]
    assert len(said[1]) == len(said[0]) + 3  # "logging to"


@pytest.mark.slow
def test_wandb_whose_process_dies_costs_no_run(zoo_cli):
    """Its helper process is killed in the second epoch: one line, the run is stored, MLflow has it all."""
    process = zoo_cli.start(*LONGER, "--track", "wandb,mlflow")
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.strip().startswith("1/3 "):
            break
    time.sleep(0.3)
    children = subprocess.check_output(["ps", "-o", "pid=,comm=", "--ppid", str(process.pid)], text=True).splitlines()
    (core,) = (int(child.split()[0]) for child in children if "wandb" in child)
    os.kill(core, signal.SIGKILL)
    out, rest = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    (told,) = (line for line in rest.splitlines() if "is off from here on" in line)
    assert told.startswith("zoo: wandb ")
    assert "Traceback" not in rest
    assert out.startswith("shapes10, recipe smoke-")
    assert mlflow_epochs(zoo_cli.folder) == history(zoo_cli.folder)


@pytest.mark.parametrize("stored", ["*", "?" * 32, "[a-z]*", "", "x' or '1' = '1", "A" * 32, 3, None, ["*"]])
def test_row_5_an_id_from_a_file_is_no_pattern(tmp_path: Path, stored: Any) -> None:
    """``{"id": "*"}`` once removed every run that W&B had written offline."""
    file = tmp_path / "track.json"
    file.write_text(json.dumps({"id": stored}))
    with pytest.raises(ResultError, match=r"track\.json: damaged or edited; remove it"):
        run_id(file, fresh=False)


def test_an_id_is_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "track.json"
    new = run_id(file, fresh=False)
    assert run_id(file, fresh=False) == new
    assert run_id(file, fresh=True) != new


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%41"])
def test_mlflow_keeps_no_store_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from zoo.track.mlflow import open_tracker

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(MachineError, match="MLflow reads"):
        open_tracker(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
