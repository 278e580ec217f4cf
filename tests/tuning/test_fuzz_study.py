"""A ``study.db`` that is damaged, foreign or of another version: one line before any trial."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from damaged import Count, little_memory
from test_tune import go_on, study_of

VALUES = (
    None,
    "",
    "x\x1b[2J",
    -1,
    0,
    2**62,
    1e308,
    float("inf"),
    b"\xff\x00",
    "null",
    '{"x": [1]}',
    "9" * 5000,
    *("PRUNED", "COMPLETE", "WAITING", "RUNNING", "FAIL"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with four trials, the last of them interrupted."""
    folder = tmp_path_factory.mktemp("study")
    with study_of(folder) as study:
        for _ in range(3):
            go_on(study)
        go_on(study, 2)
    return folder / "study.db"


def columns(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as base:
        tables = [name for (name,) in base.execute("select name from sqlite_master where type = 'table'")]
        return [(table, row[1]) for table in tables for row in base.execute(f"pragma table_info({table})")]


def use(folder: Path) -> None:
    """What `zoo tune` does with a study."""
    with study_of(folder) as study:
        study.finished()
        study.identity({"recipe": "a", "dataset": "b", "definition": {}})
        go_on(study)


def attack(whole: Path, folder: Path, tries: list[tuple[str, str, object]], row: str = "max") -> Count:
    count = Count()
    for table, column, value in tries:
        shutil.copy(whole, folder / "study.db")
        with sqlite3.connect(folder / "study.db") as base:
            base.execute("pragma ignore_check_constraints = on")
            try:
                base.execute(
                    f"update {table} set {column} = ? where rowid = (select {row}(rowid) from {table})", (value,)
                )
            except (sqlite3.IntegrityError, OverflowError):
                continue
        count.attempt(f"{table}.{column} {value!r}", lambda: use(folder))
    return count


def test_row_9_a_damaged_study_is_one_line(whole: Path, tmp_path: Path, figure) -> None:
    every = [(*column, value) for column in columns(whole) for value in VALUES]
    with little_memory():
        count = attack(whole, tmp_path, random.Random(1).sample(every, 8))
    figure("damaged studies", count.words)
    assert count.bad == []


@pytest.mark.slow
def test_row_9_every_damage_of_a_study(whole: Path, tmp_path: Path, figure) -> None:
    every = [(*column, value) for column in columns(whole) for value in VALUES]
    for row in ("min", "max"):
        count = attack(whole, tmp_path, every, row)
        figure(f"all damages of the {row}imal row of each table of a study", count.words)
        assert count.bad == []


@pytest.mark.parametrize(
    "kind", ["pipe", "folder", "text", "cut", "foreign", "other version", "two goals", "a table less"]
)
def test_row_9_a_file_that_is_no_study(whole: Path, tmp_path: Path, kind: str) -> None:
    path, content, count = tmp_path / "study.db", whole.read_bytes(), Count()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("text", "cut"):
        path.write_bytes(b"no study" * 1000 if kind == "text" else content[: len(content) // 2])
    else:
        path.write_bytes(b"" if kind == "foreign" else content)
        with sqlite3.connect(path) as base:
            base.executescript({
                "foreign": "create table trials (a); insert into trials values (1);",
                "other version": "update alembic_version set version_num = 'v99';",
                "two goals": "insert into study_directions (direction, study_id, objective) values ('MINIMIZE', 1, 1);",
                "a table less": "drop table trial_params;",
            }[kind])  # fmt: skip
    assert not count.attempt(kind, lambda: use(tmp_path))
    assert count.bad == []
    assert count.last.startswith(f"{path}: ")
