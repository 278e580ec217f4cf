"""``--jobs``: how many runs go on at a time, with how many threads each, and what results and tables say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from printed_tables import of_text

from zoo.cluster.request import work
from zoo.results.folder import find_results, load_result

REGISTRY = 'architectures:\n  mini: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'


class Here:
    """A backend that does its runs in this process."""

    where = "this process"

    def __init__(self, jobs: int) -> None:
        self.jobs, self.queue = jobs, []

    def submit(self, requests):
        self.queue = list(requests)

    def wait(self, seconds):
        request = self.queue.pop(0)
        threads = torch.get_num_threads()
        yield request.number, work(request)
        torch.set_num_threads(threads)

    def slots(self):
        return self.jobs

    def cancel(self):
        pass

    close = cancel


@pytest.fixture
def cli(inline_cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """On two cores, with two threads as a user has."""
    (inline_cli.folder / "registry.yaml").write_text(REGISTRY)
    for place in ("utils.cpu", "engine.machine", "cluster.options"):
        monkeypatch.setattr(f"zoo.{place}.usable_cores", lambda: 2)
    monkeypatch.setattr("zoo.cluster.backend.open_backend", lambda cluster, *_: Here(cluster.jobs))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    inline_cli.environment.pop("OMP_NUM_THREADS", None)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield inline_cli
    torch.set_num_threads(before)


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What is measured: the speed of one run alone, and of each of two; and how often."""
    measured = {"speeds": (1.0, 0.6), "times": 0}

    def measure(request, jobs, threads):
        measured["times"] += 1
        assert (jobs, threads) == (2, 2)
        return measured["speeds"]

    monkeypatch.setattr("zoo.cluster.pace.measure", measure)
    return measured


def stored(folder: Path) -> list[tuple[object, ...]]:
    """Of each run: threads, whether a clock chose them, and how many runs shared the machine."""
    results = [load_result(path) for path in find_results([folder / "runs"])]
    return [
        (result.environment["threads"], result.settings.auto_threads, result.speed.runs_at_a_time) for result in results
    ]


def test_runs_side_by_side_are_marked_and_what_auto_chose_is_kept(cli, tiny, paces) -> None:
    bench = ("bench", "mini_bn", *tiny, "--jobs", "auto")
    output = cli.ok(*bench, "--seeds", "2")
    words = "2 at a time, as 2 runs, 2 at a time with 1 thread each, take 0.83 of the time of one by one"
    assert f"--jobs auto: {words}" in output.lines
    assert "2 runs on this process, 2 at a time" in output.lines
    assert stored(cli.folder) == [(1, True, 2)] * 2
    (row,) = of_text(cli.ok("compare", "--view", "cost").stdout)
    assert sum("‡" in cell for cell in row.values()) == 4  # training, inference, p50 and p99
    said = " ".join(output.stdout.split())
    assert "‡ disturbed: the quartiles are more than a fifth of the median apart, or other runs shared" in said
    assert "Threads: 1, chosen by measurement as the runs began. Another number changes last bits." in said
    again = cli.ok(*bench, "--seeds", "2")
    assert "1 thread a run, as in the stored part of these runs" in again.lines
    assert paces["times"] == 1


@pytest.mark.parametrize(
    ("options", "chosen", "times"),
    [
        (("--jobs", "2"), (2, 1), 0),  # the cores are shared
        (("--jobs", "2", "--threads", "2"), (2, 2), 0),
        (("--jobs", "auto", "--threads", "1"), (2, 1), 0),  # as many as fit
        (("--jobs", "auto", "--threads", "2"), (1, 2), 0),
        (("--jobs", "auto"), (1, 2), 1),  # three runs, two at a time, take two rounds
        (("--jobs", "auto", "--seed", "0"), (1, 2), 0),
    ],
)
def test_what_is_chosen(cli, tiny, paces, monkeypatch: pytest.MonkeyPatch, options, chosen, times) -> None:
    def begin(*_: object, jobs: int = 1) -> None:
        assert (jobs, torch.get_num_threads()) == chosen
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.runner.checks.try_on", lambda *_: [])
    monkeypatch.setattr("zoo.runner.sweep.bench", begin)
    monkeypatch.setattr("zoo.cluster.backend.open_backend", lambda cluster, *_: begin(jobs=cluster.jobs))
    seeds = () if "--seed" in options else ("--seeds", "3")
    output = cli("bench", "mini_bn", *tiny, *seeds, *options)
    assert output.returncode == 130, output.stderr
    assert paces["times"] == times


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--jobs", "0"), "Invalid value for '--jobs': '0' is neither a number from 1 to 1024 nor auto"),
        (("--jobs", "2", "--cluster", "ray"), "--cluster spreads runs over machines and --jobs over this one"),
        (("--threads", "2", "--cluster", "ray"), "give --resources cpu=N, not --threads"),
        (("--cluster", "slurm:local"), "unknown cluster 'slurm:local'"),
    ],
)
def test_what_cannot_be_is_one_line(cli, options: tuple[str, ...], words: str) -> None:
    output = cli("bench", "mini_bn", *options)
    assert output.returncode == 2
    assert words in output.lines[-1]
