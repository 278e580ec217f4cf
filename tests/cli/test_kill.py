"""A bench that is killed or interrupted: nothing is damaged, and the same command goes on to the same bits.

What is killed, and goes on after ``kill -9``, are processes; the undisturbed run and other commands are of this one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from run_files import check_same, find_run, snapshot

EPOCHS = 3
# An epoch takes half a second. With averaged weights and the best epoch chosen there is the most to be restored.
SETTINGS = ("split.train=800", "split.holdout=64", f"epochs={EPOCHS}", "schedule.peak_epoch=1", "ema.decay=0.9",
            "selection.rule=best")  # fmt: skip
COMMAND = ("bench", "resnet20_ln", "--seeds", "2", "--recipe", "smoke", "--layout", "channels_last",
           *(word for setting in SETTINGS for word in ("--set", setting)))  # fmt: skip


@pytest.fixture(scope="module")
def reference(module_inline) -> SimpleNamespace:
    """Two seeds, never killed."""
    output = module_inline.ok(*COMMAND)
    return SimpleNamespace(output=output, folder=module_inline.folder)


@pytest.fixture
def half_done(zoo_cli, reference):
    """The command line in a folder where seed 0 was finished long ago; seed 1 is the one that gets killed."""
    old = run_folder(reference.folder, 0)
    shutil.copytree(old, zoo_cli.folder / old.relative_to(reference.folder))
    return zoo_cli


def run_folder(folder: Path, seed: int) -> Path:
    """The run's folder under `folder`/runs."""
    return find_run(folder, "resnet20_ln", seed)


def stop(
    cli, epoch: int, number: int, *, command: tuple[str, ...] = COMMAND, group: bool = False
) -> tuple[int, list[str]]:
    """Start the command, send the signal `number` a moment after `epoch` of seed 1 is saved; its exit code and stderr.

    `group`: the whole process group gets it, as by Ctrl-C at a terminal.
    """
    process = cli.start(*command)
    lines = []
    try:
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if line.strip().startswith(f"{epoch}/{EPOCHS} ") and any("seed 1" in earlier for earlier in lines):
                break
        else:
            pytest.fail("the bench ended by itself:\n" + "\n".join(lines))
        time.sleep(0.1)  # into the next epoch
        assert process.poll() is None
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        lines += process.stderr.read().splitlines()
        assert process.stdout.read() == ""
        return process.wait(60), lines
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()


def saved_epoch(folder: Path) -> int:
    """The epoch of a state.pt, which is whole and can carry no code."""
    state = torch.load(folder / "state.pt", weights_only=True)
    assert state["progress"]["epoch"] == len(state["progress"]["history"])
    return state["progress"]["epoch"]


@pytest.mark.parametrize(
    "epoch", [pytest.param(1, id="in-an-epoch"), pytest.param(EPOCHS, id="in-the-test", marks=pytest.mark.slow)]
)
def test_killed(half_done, reference, figure, epoch):
    """``kill -9``, in the middle of an epoch and after the last one, while the test images are read."""
    earlier = snapshot(run_folder(half_done.folder, 0))
    code, _ = stop(half_done, epoch, signal.SIGKILL)
    assert code == -signal.SIGKILL
    folder = run_folder(half_done.folder, 1)
    assert not (folder / "result.json").exists()
    saved = saved_epoch(folder)
    assert saved == epoch or epoch < saved < EPOCHS  # on a very fast machine another epoch may be done
    assert snapshot(run_folder(half_done.folder, 0)) == earlier
    (folder / ".result.json.1.tmp").write_text("a half")  # as a process killed while writing leaves it

    output = half_done.ok(*COMMAND)
    assert f"resumes after epoch {saved} of {EPOCHS}" in output.stderr
    assert f" {saved}/{EPOCHS} " not in output.stderr
    check_same(run_folder(half_done.folder, 1), run_folder(reference.folder, 1), resumes=1)
    assert snapshot(run_folder(half_done.folder, 0)) == earlier
    # The same table but for the clock: model, norm, accuracy and seeds.
    accuracy = [line.split()[:5] for line in output.stdout.splitlines() if line.startswith("resnet20_ln")]
    assert accuracy == [
        line.split()[:5] for line in reference.output.stdout.splitlines() if line.startswith("resnet20_ln")
    ]
    figure("kills survived")
    figure("runs identical")


def check_interrupted(code: int, lines: list[str]) -> list[str]:
    """Exit code 130, no traceback, one line with the command to go on; that command's arguments."""
    text = "\n".join(lines)
    assert "Traceback" not in text
    assert code == 130, text
    (told,) = [line for line in lines if "To resume: " in line]
    assert lines[-1].startswith("zoo: "), text
    program, *arguments = shlex.split(told.split("To resume: ")[1])
    assert program == "zoo"
    return arguments


def test_ctrl_c(half_done, inline_cli, reference, figure):
    """The line that is printed is the one to go on with."""
    arguments = check_interrupted(*stop(half_done, 1, signal.SIGINT, group=True))
    assert arguments == list(COMMAND)
    assert 1 <= saved_epoch(run_folder(half_done.folder, 1)) < EPOCHS
    output = inline_cli.ok(*arguments)
    assert f"resumes after epoch 1 of {EPOCHS}" in output.stderr
    check_same(run_folder(half_done.folder, 1), run_folder(reference.folder, 1), resumes=1)
    figure("interruptions survived")
    figure("runs identical")


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_interrupted_with_workers(half_done, number):
    """Worker processes get the signal too, and end without a word."""
    at = COMMAND.index("--seeds")
    command = (*COMMAND[:at], *COMMAND[at + 2 :], "--seed", "1", "--executor", "albumentations", "--workers", "2")
    stopped = stop(half_done, 1, number, command=(*command, "--restart"), group=number == signal.SIGINT)
    arguments = check_interrupted(*stopped)
    assert arguments == list(command)  # not --restart: that would throw away what is saved
    assert 1 <= saved_epoch(run_folder(half_done.folder, 1)) < EPOCHS


def test_one_process_at_a_run_and_no_other_settings_on_resume(half_done, inline_cli):
    """A second process is told who is there; a killed one's lock is gone; a resume in another way is refused."""
    process = half_done.start(*COMMAND)
    try:
        for line in process.stderr:
            if line.strip().startswith(f"1/{EPOCHS} "):
                break
        process.send_signal(signal.SIGSTOP)  # it holds the run for as long as this test looks
        second = inline_cli(*COMMAND)
        assert second.returncode == 2
        assert f"another zoo (process {process.pid}) is at this run" in second.lines[-1]
        folder = run_folder(half_done.folder, 1)
        options = [word for word in COMMAND if word not in ("--seeds", "2")]
        assert inline_cli(*options, "--seed", "1", "--restart").returncode == 2
        assert (folder / "state.pt").is_file(), "a restart took away what another process was writing"
    finally:
        process.kill()
        process.communicate()
    assert saved_epoch(run_folder(half_done.folder, 1)) >= 1
    for option, value, was in (("--executor", "albumentations", "batched"), ("--layout", "nchw", "channels_last")):
        changed = inline_cli(*COMMAND, option, value)
        assert changed.returncode == 2
        assert f"was started with {option[2:]} {was}" in changed.lines[-1]
        assert f"resume with {option} {was}, or start again with --restart" in changed.lines[-1]


def test_damaged_state(half_done, inline_cli):
    """A state that something else has damaged is said to be so, in one line, and stays as it is."""
    folder = run_folder(half_done.folder, 0).with_name("seed1")
    folder.mkdir()
    (folder / "state.pt").write_bytes(b"PK\x03\x04 no state")
    output = inline_cli(*COMMAND)
    assert (output.returncode, output.stdout) == (2, "")
    assert "Traceback" not in output.stderr
    assert [line for line in output.lines if line.startswith("zoo: ")] == [output.lines[-1]]
    for part in ("seed1/state.pt", "cannot be read", "--restart"):
        assert part in output.lines[-1]
    assert {name: data for name, (_, data) in snapshot(folder).items()} == {"state.pt": b"PK\x03\x04 no state"}
