"""``--cluster ray``: the bytes of a local run, whoever is killed on the way."""

from __future__ import annotations

import os
import shlex
import signal

import pytest
from run_files import check_same, find_run
from small_runs import furnish, options
from watched import Watched, descendants, listening, wait_until_gone

from zoo.results.folder import find_results, load_result

MODEL, EPOCHS = "resnet20_ln", 3
SETTINGS = ("split.train=800", "split.holdout=64", f"epochs={EPOCHS}", "schedule.peak_epoch=1", "ema.decay=0.9",
            "selection.rule=best")  # fmt: skip
COMMAND = ("bench", MODEL, "--seeds", "2", "--recipe", "smoke", "--layout", "nchw",
           *(word for setting in SETTINGS for word in ("--set", setting)))  # fmt: skip


@pytest.fixture(scope="module")
def reference(module_cli):
    """The same two seeds, here and undisturbed, with one thread as workers have."""
    module_cli.ok(*COMMAND, OMP_NUM_THREADS="1")
    return module_cli.folder


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(sweeps, tmp_path_factory, figure):
    """A cluster that the command starts itself; a worker is killed after its first epoch, and goes on."""
    epochs, here = 60, tmp_path_factory.mktemp("here")
    for folder in (here, sweeps.folder):
        furnish(folder)
    command = ("bench", "dot_ln", "--seeds", "2", *options(epochs))
    with Watched(sweeps, *command, "--cluster", "ray") as sweep:
        saved = sweep.wait_for_file("runs/*/*/dot_ln/seed0/state.pt")
        os.kill(sweep.workers()[0], signal.SIGKILL)
        assert listening(descendants(sweep.process.pid)) == {"127.0.0.1"}
        assert not saved.with_name("result.json").exists(), "it was too quick to be killed"
        sweeps.ok(*command, cwd=here)
        code, table = sweep.end(240)
    assert code == 0, sweep.text
    assert table.splitlines()[0].startswith("images, recipe "), table  # Ray's own words are not in it
    assert table.count("dot_ln") == 1, table  # one row of two seeds, as without a cluster
    assert f"dot_ln seed 0: epoch {epochs}/{epochs}" in sweep.text
    assert "again, attempt 2" in sweep.text
    (summary,) = sweep.wait_for("^2 runs: 0 done before, 2 done now")
    assert "retries: 1, lost: 0, overhead per run:" in summary
    for seed, resumes in ((0, 1), (1, 0)):
        check_same(find_run(sweep.folder, "dot_ln", seed), find_run(here, "dot_ln", seed), resumes=resumes)
    assert {path.name for path in (sweep.folder / "runs").iterdir()} == {"images"}, "marks or logs are left"
    figure("sweep with a killed worker", summary)
    figure("runs identical", 2)


@pytest.mark.slow
def test_ctrl_c_cancels_and_the_same_command_goes_on(sweeps, reference, figure):
    with Watched(sweeps, *COMMAND, "--cluster", "ray") as sweep:
        sweep.wait_for(f"{MODEL} seed [01]: epoch 1/{EPOCHS}", count=2)
        processes = descendants(sweep.process.pid)
        assert set(sweep.workers().values()) <= set(processes)
        os.killpg(sweep.process.pid, signal.SIGINT)
        code, table = sweep.end(60)
    assert (code, table) == (130, ""), sweep.text
    assert "Traceback" not in sweep.text
    (told,) = sweep.wait_for("To resume: ")
    assert shlex.split(told.split("To resume: ")[1]) == ["zoo", *COMMAND, "--cluster", "ray"]
    for pid in processes:
        wait_until_gone(pid)
    assert {path.name for path in (sweep.folder / "runs").iterdir()} == {"shapes10"}
    again = sweeps.ok(*COMMAND, "--cluster", "ray")
    assert f"epoch 1/{EPOCHS}" not in again.stderr
    for seed in (0, 1):
        check_same(find_run(sweep.folder, MODEL, seed), find_run(reference, MODEL, seed))
    assert max(load_result(path).resumes for path in find_results([sweep.folder / "runs"])) == 1
    figure("interruptions survived")
    figure("runs identical", 2)


@pytest.mark.slow
def test_a_killed_node_of_a_cluster_that_is_there(sweeps, reference, nodes, figure):
    cluster = nodes(1, 1)
    with Watched(sweeps, *COMMAND, "--cluster", f"ray:{cluster.address}") as sweep:
        sweep.wait_for(f"{MODEL} seed [01]: epoch 1/{EPOCHS}", count=2)
        cluster.kill(sweep.workers()[0])
        code, _ = sweep.end(300)
    assert code == 0, sweep.text
    (summary,) = sweep.wait_for("^2 runs: 0 done before, 2 done now")
    assert "retries: 1, lost: 0" in summary
    resumed = sorted(load_result(path).resumes for path in find_results([sweep.folder / "runs"]))
    assert resumed == [0, 1]
    for seed in (0, 1):
        check_same(find_run(sweep.folder, MODEL, seed), find_run(reference, MODEL, seed))
    figure("sweep with a killed node", summary)
    figure("runs identical", 2)


@pytest.mark.slow
def test_what_cannot_be_is_one_line(sweeps):
    for more, told in (
        (("--resources", "cpu=1000"), "no node has cpu=1000 for one run (nodes: CPU "),
        (("--cluster", "ray:127.0.0.1:9"), "no cluster at 127.0.0.1:9"),
    ):
        output = sweeps(*COMMAND, "--cluster", "ray", *more)
        assert output.returncode == 2
        assert told in output.lines[-1]
        assert "Traceback" not in output.stderr
