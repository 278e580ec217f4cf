"""Runs that are begun and not finished: `compare` and `report` name them, and the command that resumes each."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_results import result

import zoo
from zoo.engine import train
from zoo.errors import RegistryError, ResultError
from zoo.results.begun import COMMANDS, find_begun, keep, lines
from zoo.results.folder import RunFolder, save_result
from zoo.results.history import EpochRow, save_history
from zoo.runner import run_one
from zoo.utils.lock import lock


def begin(
    runs: Path,
    model: str = "resnet20_bn",
    seed: int = 0,
    *,
    saved: int = 12,
    command: tuple[str, ...] | None = ("zoo", "bench"),
) -> RunFolder:
    """A run of 30 epochs that was killed; without a `command` by a zoo that kept none."""
    folder = RunFolder.of(runs, "cifar10", "laptop-0123abcd", model, seed)
    folder.path.mkdir(parents=True)
    if command is not None:
        keep(folder, model, 30, command)
    if saved:
        save_history(
            folder.history,
            [EpochRow(epoch, 0.1, 1.0, 0.5, "holdout", 1.0, 0.5, 100.0, 1.0, 0.1) for epoch in range(1, saved + 1)],
        )
        folder.state.write_bytes(b"")
    return folder


def finish(runs: Path) -> None:
    """A finished run beside them."""
    folder = RunFolder.of(runs, "cifar10", "laptop-0123abcd", "m_bn", 0)
    folder.path.mkdir(parents=True)
    save_result(folder.result, result())


@pytest.fixture
def interrupted(inline_cli, tiny, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, tuple[str, ...]]:
    """A bench with options of all kinds, stopped in its second epoch, and the command that was given."""
    command = (
        "bench",
        "resnet20_ln",
        *tiny,
        "--dataset",
        "shapes10",
        "--seeds",
        "2",
        "--threads",
        "1",
        "--runs",
        "my runs",
    )
    save = train.save_history

    def until_the_second(path: Path, rows: Any) -> None:
        if len(rows) == 2:
            raise KeyboardInterrupt
        save(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_history", until_the_second)
        assert inline_cli(*command).returncode == 130
    return inline_cli, command


def test_what_an_interrupted_bench_left_is_resumed_by_the_command_that_compare_prints(interrupted) -> None:
    cli, command = interrupted
    output = cli("compare", "my runs")
    assert (output.returncode, output.stdout, len(output.lines)) == (2, "", 1)
    words = "zoo: no run under my runs is finished yet; not finished: resnet20_ln seed 0 (1 of 2 epochs); to resume: "
    assert output.stderr.startswith(words)
    printed = output.stderr.removeprefix(words).strip()
    assert printed == shlex.join(["zoo", *command])
    resumed = cli.ok(*shlex.split(printed)[1:])
    assert "after epoch 1 of 2" in resumed.stderr
    assert "not finished" not in cli.ok("compare", "my runs").stderr
    assert not list(cli.folder.rglob("begun.json"))


def test_from_another_folder_the_command_leads_to_the_runs_also_where_they_were_moved(
    interrupted, tmp_path: Path
) -> None:
    cli, command = interrupted
    other = tmp_path / "other place"
    other.mkdir()
    there = cli("compare", str(cli.folder / "my runs"), cwd=other).stderr.strip()
    assert there.endswith(f"to resume: cd {cli.folder} && {shlex.join(['zoo', *command])}")
    moved = other / "moved runs"
    shutil.move(cli.folder / "my runs", moved)
    printed = cli("compare", "moved runs", cwd=other).stderr.strip().rpartition(" && ")[2]
    resumed = cli.ok(*shlex.split(printed)[1:])
    assert "after epoch 1 of 2" in resumed.stderr
    assert len(list(moved.rglob("result.json"))) == 2


def test_a_run_is_named_as_running_while_a_process_is_at_it(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    with lock(folder.path):
        assert lines(find_begun([tmp_path])) == ["running: resnet20_bn seed 0 (12 of 30 epochs)"]
    assert lines(find_begun([tmp_path])) == ["not finished: resnet20_bn seed 0 (12 of 30 epochs); to resume: zoo bench"]


def test_a_run_of_an_older_zoo_is_named_with_what_can_be_said(tmp_path: Path) -> None:
    folder = begin(tmp_path, command=None)
    (line,) = lines(find_begun([tmp_path]))
    assert line.startswith("not finished: resnet20_bn seed 0 (12 epochs); to resume, repeat the command")
    for damage in (b"{", b'{"model": 1}', b"\xff", b'{"command": ["zoo\x1b[2J"]}'):
        folder.begun.write_bytes(damage)
        assert lines(find_begun([tmp_path])) == [line]


def test_of_hundreds_no_more_is_printed_than_can_be_read(tmp_path: Path) -> None:
    for number in range(240):
        begin(tmp_path, f"m{number // 30}", number % 30, saved=0, command=("zoo", "bench", f"m{number // 30}"))
    text = lines(find_begun([tmp_path]))
    assert len(text) == COMMANDS + 1
    assert all(len(line) < 250 for line in text)
    assert text[0].endswith("and 25 more; to resume: zoo bench m0")
    assert text[-1] == "not finished: 90 runs more, of 3 other commands"


def test_tables_notebooks_and_pages_name_what_is_not_in_them(inline_cli, tmp_path: Path) -> None:
    finish(tmp_path / "runs")
    begin(tmp_path / "runs", "resnet20_<b>", command=("zoo", "bench", "resnet20_bn", "--runs", "a b"))
    name, command = "resnet20_<b> seed 0 (12 of 30 epochs)", "to resume: cd "
    for style in ("text", "markdown", "csv", "latex", "json"):
        output = inline_cli.ok("compare", "--format", style)
        assert name in output.stderr
        assert name not in output.stdout
    for choice in (("--dataset", "cifar10"), ("--model", "m_*")):
        assert (name in inline_cli.ok("compare", *choice).stderr) == (choice[0] == "--dataset")
    comparison = zoo.compare(tmp_path / "runs")
    assert [str(run) for run in comparison.begun] == [name]
    assert name in repr(comparison)
    assert "resnet20_&lt;b&gt; seed 0" in comparison._repr_html_()
    output = inline_cli.ok("report")
    assert command in output.stderr
    page = (tmp_path / "report" / "index.html").read_text()
    assert "resnet20_&lt;b&gt; seed 0 (12 of 30 epochs)" in page
    assert str(tmp_path) not in page


def test_every_command_that_reads_runs_names_what_is_begun_where_none_is_finished(inline_cli, tmp_path: Path) -> None:
    begin(tmp_path / "runs")
    (tmp_path / "runs.png").write_bytes(b"")
    for words in (
        ("compare",),
        ("report",),
        ("plot", "bars"),
        ("evaluate", "runs"),
        ("predict", "runs", "runs.png"),
        ("recipe", "show", "runs"),
    ):
        output = inline_cli(*words)
        assert output.returncode == 2
        assert "resnet20_bn seed 0 (12 of 30 epochs); to resume: " in output.stderr, words
    with pytest.raises(ResultError, match=re.escape("12 of 30 epochs")):
        zoo.load_results(tmp_path / "runs")


def test_a_model_that_fails_before_its_first_epoch_is_no_run_to_resume(inline_cli, tiny, monkeypatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RegistryError("no more")

    monkeypatch.setattr(run_one, "train_on", fail)
    assert inline_cli("bench", "resnet20_bn", *tiny).returncode == 2
    assert find_begun([inline_cli.folder / "runs"]) == []
