"""Advice in a message is a command that does what the user meant: it is run as it is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest


def advised(line: str) -> list[list[str]]:
    """The commands between backticks that begin with ``zoo``, word by word; parts of one with ``&&`` are several."""
    return [shlex.split(part) for command in re.findall(r"`(zoo [^`]+)`", line) for part in command.split(" && ")]


def follow(cli: Any, line: str) -> None:
    """Run what the `line` advises as a shell would, with its ``>``."""
    commands = advised(line)
    assert commands, line
    for _, *words in commands:
        target = None
        if ">" in words:
            *words, _, target = words
        output = cli.ok(*words)
        if target:
            (cli.folder / target).write_text(output.stdout)


slow = pytest.mark.slow  # each trains several runs


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ("runs", True), *(pytest.param(kept, named, marks=slow)
        for kept, named in (("runs", False), ("elsewhere", True), ("elsewhere", False)))
    ],
)  # fmt: skip
def test_a_run_without_weights_is_trained_again_by_the_command_that_is_printed(
    inline_cli: Any, tiny: tuple[str, ...], kept: str, named: bool
) -> None:
    """Recipe, changes, dataset and seed are those of the run, also of a recipe file that is gone."""
    options = tiny
    if not named:
        (inline_cli.folder / "mine.yaml").write_text("extends: smoke\noptimizer: {lr: 0.03}\n")
        options = ("--recipe", "mine.yaml", *tiny[2:])
    inline_cli.ok("bench", "resnet20_ln", *options, "--seed", "3", "--runs", kept)
    if not named:
        (inline_cli.folder / "mine.yaml").unlink()
    (path,) = (inline_cli.folder / kept).rglob("result.json")
    path.with_name("model.safetensors").unlink()
    output = inline_cli("evaluate", kept)
    assert output.returncode == 2
    assert "--dataset shapes10 --seed 3" in output.lines[-1]
    assert ("--recipe smoke --set " in output.lines[-1]) == named
    follow(inline_cli, output.lines[-1])
    (new,) = re.findall(r"then name (\S+)$", output.lines[-1])
    assert Path(new).parts[0] == "runs"
    assert "reproduced" in inline_cli.ok("evaluate", new).stdout or inline_cli.ok("evaluate", new).returncode == 0


@slow
def test_predictions_of_another_run_name_the_command_that_makes_them_again(inline_cli: Any, tiny: Any) -> None:
    inline_cli.ok("bench", "resnet20_ln", "resnet20_bn", *tiny)
    first, second = sorted(inline_cli.folder.rglob("predictions.npz"))
    first.write_bytes(second.read_bytes())
    output = inline_cli("compare", "--baseline", "resnet20_ln")
    if output.returncode == 0:
        pytest.skip("both networks classify as many images right")
    follow(inline_cli, output.lines[-1])
    inline_cli.ok("compare", "--baseline", "resnet20_ln")


@slow
def test_power_names_the_bench_that_gives_enough_seeds(inline_cli: Any, tiny: Any) -> None:
    inline_cli.ok("bench", "resnet20_ln", "resnet20_bn", *tiny)
    output = inline_cli("compare", "--baseline", "resnet20_ln", "--power")
    assert output.returncode == 2
    (words,) = advised(output.lines[-1])
    assert words[-2:] == ["--seeds", "3"]
    plan = inline_cli.ok(*words[1:], "--dry-run").stdout
    assert "6 runs: 2 done, 4 to do." in plan  # of the same recipe, in the same folder


@slow
def test_a_study_of_one_batch_size_names_one_of_several(inline_cli: Any, tiny: Any) -> None:
    inline_cli.ok("bench", "resnet20_ln", *tiny)
    output = inline_cli("plot", "batch-size", "runs")
    assert output.returncode == 2
    (words,) = advised(output.lines[-1])
    plan = inline_cli.ok(*words[1:], "--dry-run").stdout
    assert "3 runs: 1 done, 2 to do." in plan


def test_an_architecture_alone_names_models_that_exist(inline_cli: Any) -> None:
    output = inline_cli("bench", "resnet18")
    models = re.findall(r"\bresnet18_\w+", output.lines[-1])
    assert len(models) >= 3
    for model in models:
        inline_cli.ok("show", model)
    follow(inline_cli, output.lines[-1])


@slow
def test_another_definition_names_what_changed_and_both_ways_on(inline_cli: Any, tiny: Any) -> None:
    folder = inline_cli.folder
    (folder / "registry.yaml").write_text('norms: {mine: "my_norm:mine"}\n')
    (folder / "my_norm.py").write_text("from torch import nn\n\n\ndef mine(n):\n    return nn.GroupNorm(2, n)\n")
    command = ("bench", "resnet20_mine", *tiny)
    inline_cli.ok(*command)
    (folder / "my_norm.py").write_text("from torch import nn\n\n\ndef mine(n):\n    return nn.GroupNorm(4, n)\n")
    line = inline_cli(*command).lines[-1]
    assert "my_norm.py has changed; give --restart to replace it, or --runs runs-2 to keep both" in line
    inline_cli.ok(*command, "--runs", "runs-2")
    inline_cli.ok(*command, "--restart")
