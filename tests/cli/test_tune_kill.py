"""`zoo tune` under ``kill -9``: no finished trial is lost, the running one goes on, the study ends as if left alone."""

from __future__ import annotations

import json
import random
import shlex
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

REGISTRY = 'architectures:\n  mini: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
TRIALS, EPOCHS = 3, 3
# An epoch takes a good part of a second; averaged weights and the best epoch leave the most to be restored.
CHANGES = ("split.train=640", "split.holdout=64", f"epochs={EPOCHS}", "ema.decay=0.9", "selection.rule=best")
COMMAND = ("tune", "mini_ln", "--recipe", "smoke", "--layout", "channels_last", "--trials", str(TRIALS),
           "--format", "json", *(word for change in CHANGES for word in ("--set", change)))  # fmt: skip


@pytest.fixture(scope="module")
def reference(module_inline) -> SimpleNamespace:
    """The study, never killed."""
    (module_inline.folder / "registry.yaml").write_text(REGISTRY)
    output = module_inline.ok(*COMMAND)
    (said,) = json.loads(output.stdout)
    return SimpleNamespace(said=said, folder=module_inline.folder)


def states(folder: Path) -> Counter[str]:
    """How many trials the study's database has in each state."""
    (path,) = (folder / "runs").rglob("study.db")
    with sqlite3.connect(path) as database:
        return Counter(state for (state,) in database.execute("select state from trials"))


def check_whole(folder: Path, said: dict[str, Any], reference: SimpleNamespace) -> None:
    """The study in `folder` is the undisturbed one: trials, values, every epoch, and the recipe to the byte."""
    assert said == reference.said
    counts = states(folder)
    assert counts.total() == TRIALS
    assert set(counts) <= {"COMPLETE", "PRUNED"}
    assert (folder / said["path"]).read_bytes() == (reference.folder / said["path"]).read_bytes()
    left = [path.name for path in (folder / "runs").rglob("*") if not path.is_dir()]
    assert sorted(left) == ["smoke-tuned.yaml", "study.db"]


def test_killed_in_a_trial(zoo_cli, inline_cli, reference, figure) -> None:
    (zoo_cli.folder / "registry.yaml").write_text(REGISTRY)
    process = zoo_cli.start(*COMMAND)
    try:
        seen = ""
        for line in process.stderr:
            seen += line
            if f"[2/{TRIALS}]" in seen and line.strip().startswith(f"2/{EPOCHS} "):
                break
        else:
            pytest.fail(f"it ended by itself:\n{seen}")
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    assert states(zoo_cli.folder) == {"COMPLETE": 1, "RUNNING": 1}
    output = inline_cli.ok(*COMMAND)
    assert f"1 of {TRIALS} trials done" in output.stderr
    assert f"[1/{TRIALS}]" not in output.stderr
    assert f"resumes after epoch 2 of {EPOCHS}" in output.stderr
    (said,) = json.loads(output.stdout)
    check_whole(zoo_cli.folder, said, reference)
    figure("tuning: kills survived")


@pytest.mark.slow
def test_killed_at_random(zoo_cli, reference, figure) -> None:
    """As often as it takes, at moments that nobody chose: while a database is made, a trial drawn, a state written."""
    (zoo_cli.folder / "registry.yaml").write_text(REGISTRY)
    chance, kills = random.Random(0), 0
    while True:
        process = zoo_cli.start(*COMMAND)
        try:
            process.stderr.readline()  # the imports are over
            time.sleep(chance.uniform(0, 2 + 2 * kills))  # later and later, so that it ends on a slow machine too
            process.kill()
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
        assert "Traceback" not in stderr
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, stderr
        kills += 1
        figure("tuning: kills survived")
    (said,) = json.loads(stdout)
    check_whole(zoo_cli.folder, said, reference)
    assert kills > 3


@pytest.mark.slow
def test_ctrl_c_prints_the_command_that_goes_on(zoo_cli) -> None:
    (zoo_cli.folder / "registry.yaml").write_text(REGISTRY)
    process = zoo_cli.start(*COMMAND, "--restart")
    try:
        for line in process.stderr:
            if line.strip().startswith(f"1/{EPOCHS} "):
                break
        process.send_signal(signal.SIGINT)
        last = process.stderr.read().splitlines()[-1]
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.communicate()
    told = last.removeprefix("zoo: interrupted; every finished trial and epoch is saved. To resume: ")
    assert shlex.split(told) == ["zoo", *COMMAND]
    assert f"resumes after epoch 1 of {EPOCHS}" in zoo_cli.ok(*COMMAND).stderr
