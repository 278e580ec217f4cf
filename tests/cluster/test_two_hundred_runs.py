"""200 runs on a cluster of three nodes, one of which is killed in the middle: nothing is lost."""

from __future__ import annotations

import time

import pytest
from small_runs import furnish, options
from watched import Watched

from zoo.results.folder import find_results, load_all

SEEDS, EPOCHS = 100, 2


@pytest.mark.slow
def test_two_hundred_runs_and_a_killed_node(sweeps, nodes, figure):
    furnish(sweeps.folder)
    command = ("bench", "dot_ln", "dot_in", "--seeds", str(SEEDS), *options(EPOCHS))
    cluster = nodes(1, 1, 1)
    start = time.monotonic()
    with Watched(sweeps, *command, "--cluster", f"ray:{cluster.address}") as sweep:
        sweep.wait_for(r"^\[80/200\]", seconds=1800)
        cluster.kill(sweep.next_worker())
        code, table = sweep.end(1800)
    seconds = time.monotonic() - start
    assert code == 0, sweep.text[-5000:]
    (summary,) = sweep.wait_for("^200 runs: 0 done before, 200 done now")
    assert "3 at a time" in summary
    assert ", lost: 0, overhead per run: " in summary
    assert int(summary.split("retries: ")[1].split(",")[0]) >= 1, sweep.text
    stored = load_all(find_results([sweep.folder / "runs"]))
    assert len(stored) == 2 * SEEDS
    assert {(run.result.model.name, run.result.seed) for run in stored} == {
        (f"dot_{norm}", seed) for norm in ("ln", "in") for seed in range(SEEDS)
    }
    assert all(run.result.status == "finished" and run.result.epochs_trained == EPOCHS for run in stored)
    assert table.splitlines()[0].startswith("images, recipe "), table  # Ray's own words are not in it
    assert "100" in table
    own = sum(run.result.wall_seconds for run in stored) / len(stored)
    figure("sweep of 200 runs with a killed node", f"{summary}; {own:.2f} s a run itself; {seconds:.0f} s in all")

    again = sweeps.ok(*command, "--cluster", f"ray:{cluster.address}")
    assert again.lines[-1].startswith("200 runs: 200 done before, 0 done now")
