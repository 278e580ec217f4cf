"""The sweep's own machine with a backend that does as it is told: what is counted, shown and kept."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_runs import furnish

from zoo.cli.options import worded
from zoo.cluster import request as requests
from zoo.cluster.request import Sweep, TaskEnd, make_request, work
from zoo.cluster.sweep import Ticket, marks_in, sweep
from zoo.data.choice import NOTHING
from zoo.data.datasets import load
from zoo.engine.machine import choose_device
from zoo.errors import ResultError, sentence
from zoo.recipes.load import load_recipe
from zoo.registry.merge import load_registry
from zoo.results.folder import load_result
from zoo.results.run import planned_runs
from zoo.runner.inputs import Inputs
from zoo.runner.settings import Settings
from zoo.utils.lock import lock

MODEL = "dot_ln"
CHANGES = ("split.train=32", "split.holdout=8", "batch_size=16", "epochs=2", "schedule.peak_epoch=1", "precision=fp32")


class Here:
    """A backend with one slot: does one task at each look, in this process; by `turn` where it is not `work`."""

    where = "this process"

    def __init__(self, turn=work) -> None:
        self.turn, self.queue, self.said = turn, [], []

    def submit(self, asked):
        self.queue = list(asked)

    def wait(self, seconds):
        request = self.queue.pop(0)
        yield request.number, self.turn(request)

    def slots(self):
        return 1

    def cancel(self):
        self.said.append("cancel")

    def close(self):
        self.said.append("close")


class Heard:
    """A reporter as a list of calls."""

    def __init__(self) -> None:
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the small model and its images; its module is forgotten afterwards."""
    folder, path = tmp_path_factory.mktemp("place"), list(sys.path)
    furnish(folder)
    yield folder
    sys.path[:] = path
    sys.modules.pop("dots", None)


@pytest.fixture
def three(place, tmp_path, zoo_cache, monkeypatch):
    """Tickets of three seeds, and the folder of the marks."""
    monkeypatch.chdir(place)
    recipe, data = load_recipe("smoke", CHANGES), load("./images")
    model = load_registry().resolve(MODEL)
    settings = Settings(choose_device("cpu"), "nchw", "auto", 2, False, False)
    inputs = Inputs(recipe, data, settings)
    runs = planned_runs([model], range(3), recipe, data.name, tmp_path / "runs")
    heard = Heard()
    with marks_in(tmp_path / "runs") as marks:
        shared = Sweep(None, "./images", None, NOTHING, 1, str(marks))
        yield (
            [
                Ticket(run, recipe.epochs, make_request(number, run, inputs, shared), heard)
                for number, run in enumerate(runs)
            ],
            marks,
            heard,
        )


def test_a_full_gpu_is_one_line(monkeypatch):
    def full(request, node):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(requests, "_run", full)
    outcome = work(SimpleNamespace(number=3))
    assert (outcome.number, outcome.bug) == (3, None)
    assert sentence(outcome.error, worded).startswith("the device's memory is full; lower the batch size, as in --set")


def test_every_run_is_done_and_told(three):
    tickets, marks, heard = three
    backend = Here()
    summary = sweep(tickets, 4, lambda: backend, marks, heard)
    assert (summary.failed, summary.lost) == ({}, {})
    assert (summary.runs, summary.done_before, summary.done, summary.retries) == (7, 4, 3, 0)
    assert summary.overhead > 0
    assert str(summary).startswith("7 runs: 4 done before, 3 done now in ")
    assert backend.said == ["close"]
    assert [load_result(ticket.run.folder.result).seed for ticket in tickets] == [0, 1, 2]
    shown = [(name, row.epoch) for name, _, row, _ in (call for call in heard.calls if call[0] == "advanced")]
    assert shown == [("advanced", 1), ("advanced", 2)] * 3
    assert [call[2:] for call in heard.calls if call[0] == "run"] == [(5, 7), (6, 7), (7, 7)]


def test_one_error_stops_no_other(three):
    tickets, marks, heard = three

    def turn(request):
        if request.seed == 0:
            return TaskEnd(request.number, "node", 1.0, error=("one line",))
        return "WorkerCrashedError: gone" if request.seed == 1 else work(request)

    summary = sweep(tickets, 0, lambda: Here(turn), marks, heard)
    folders = [str(ticket.run.folder.path) for ticket in tickets]
    assert summary.failed == {folders[0]: ("one line",)}
    assert summary.lost == {folders[1]: ("WorkerCrashedError: gone",)}
    assert summary.done == 1
    assert "failed: 1, lost: 1" in str(summary)


def test_a_result_that_never_appears_is_lost(three, monkeypatch):
    """As on a folder that the machines do not share after all."""
    tickets, marks, heard = three
    monkeypatch.setattr("zoo.cluster.sweep.SHARED", 0.1)
    monkeypatch.setattr("zoo.runner.sweep.run_one", lambda *_, **__: None)
    summary = sweep(tickets, 0, lambda: Here(), marks, heard)
    assert len(summary.lost) == 3
    assert all("result.json: cannot be read" in sentence(message) for message in summary.lost.values())


def test_an_interrupt_cancels_and_closes(three):
    tickets, marks, heard = three

    def turn(request):
        raise KeyboardInterrupt

    backend = Here(turn)
    with pytest.raises(KeyboardInterrupt):
        sweep(tickets, 0, lambda: backend, marks, heard)
    assert backend.said == ["cancel", "close"]


def test_a_task_says_what_is_wrong_in_one_line(three, tmp_path, monkeypatch):
    tickets, *_ = three
    good = tickets[0].request
    monkeypatch.setattr(requests, "SHARED", 0.1)
    monkeypatch.setattr(requests, "PATIENCE", 0.1)
    identity = good.identity | {"definition": {}}
    elsewhere = dataclasses.replace(good.sweep, marks=str(tmp_path / "elsewhere" / "marks"))
    for change, told in (
        ({"sweep": elsewhere}, "on a file system that all machines of the cluster share"),
        ({"version": "0.0.0"}, "the sweep's machine 0.0.0; install the same"),
        ({"folder": str(tmp_path / "nowhere")}, "start the sweep in a folder that all machines share"),
        ({"identity": identity}, f"has another {MODEL} than the machine of the sweep"),
        ({"model": "dot_lm"}, f"did you mean '{MODEL}'"),
    ):
        outcome = work(dataclasses.replace(good, **change))
        assert told in sentence(outcome.error)
        assert outcome.bug is None
    with lock(Path(good.path)):
        assert "another zoo (process " in sentence(work(good).error)
    assert not Path(good.path).exists()


def test_a_bug_keeps_its_traceback(three, monkeypatch):
    tickets, *_ = three
    monkeypatch.setattr("zoo.runner.sweep.run_one", lambda *_, **__: 1 / 0)
    outcome = work(tickets[0].request)
    assert outcome.error is None
    assert "ZeroDivisionError" in outcome.bug


def test_a_run_waits_for_a_worker_that_is_going(three, monkeypatch):
    """A killed worker's lock may be held for a while, by its children or by a file server."""
    tickets, *_ = three
    held = lock(Path(tickets[0].request.path))
    held.__enter__()
    monkeypatch.setattr(requests.time, "sleep", lambda seconds: held.__exit__(None, None, None))
    outcome = work(tickets[0].request)
    assert (outcome.error, outcome.bug) == (None, None)
    assert tickets[0].run.folder.result.is_file()


def test_the_marks_go_and_a_folder_that_cannot_be_written_is_said(tmp_path):
    with marks_in(tmp_path / "runs") as marks:
        assert marks.is_dir()
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ResultError, match=r"choose another with runs FOLDER"), marks_in(tmp_path / "file"):
        pass
