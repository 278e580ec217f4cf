"""The documentation's commands work as they are written: each page is followed from a clean folder.

CONTRIBUTING.md explains the markers. Small datasets stand in for CIFAR-10 and for the folders of images that a page
names. ``pytest tests/docs/test_documented_commands.py -m slow`` follows all pages, the quick suite only some.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from documented import PAGES, ROOT, Reader, blocks, commands, in_checkout, make_images, matches, write_parquet

from zoo.cli.main import cli
from zoo.data import datasets
from zoo.data.choice import Choice

QUICK = {"verdicts.md", "reproducibility.md", "install.md"}
RUNNING = [page for page in PAGES if any(block.marked("not run") is None for _, block in commands(page))]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a small ``cifar10-jpeg``: noise, enough of it for the validation sets of the recipes."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "cifar10-jpeg").mkdir()
    draw = np.random.default_rng(0)
    for split, count in (("train", 15_200), ("test", 100)):
        pixels = draw.integers(0, 256, (count, 32, 32, 3), np.uint8)
        write_parquet(folder / "cifar10-jpeg" / f"{split}.parquet", pixels, {"label": np.arange(count) % 10})
    return folder


@pytest.fixture
def reader(tmp_path: Path, inline_cli: Any, images: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """In an empty folder, with ``zoo`` on the path and the small datasets."""
    tools, folder = tmp_path / "bin", tmp_path / "here"
    tools.mkdir()
    folder.mkdir()
    (tools / "zoo").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zoo "$@"\n')
    (tools / "zoo").chmod(0o755)
    place = images / "cifar10-jpeg"
    monkeypatch.setattr(datasets, "_archive", lambda name, *_, **__: datasets._folder(name, place, Choice()))
    environment = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "ZOO_DATA": str(images), "COLUMNS": "80"}
    return Reader(folder, inline_cli, environment | {"PYTHONPATH": str(ROOT)})


def follow(reader: Reader, page: Path) -> None:
    """From a clean folder, which has the committed runs where the page is about those."""
    if in_checkout(page):
        for name in ("benchmarks", "tests", "setup.cfg"):
            (reader.folder / name).symlink_to(ROOT / name)
    if "images in holiday/" in page.read_text(encoding="utf-8"):
        make_images(reader.folder / "holiday")
    reader.follow(page)
    assert len(reader.ran) == sum(block.marked("not run") is None for _, block in commands(page))


@pytest.mark.parametrize("page", [page for page in RUNNING if page.name in QUICK], ids=lambda page: page.name)
def test_commands_that_train_nothing_work_as_written(reader: Reader, page: Path) -> None:
    follow(reader, page)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_work_as_written_in_the_order_of_the_page(reader: Reader, page: Path) -> None:
    follow(reader, page)


def test_at_least_nine_of_ten_commands_are_run_and_the_others_say_why(figure: Any) -> None:
    every = [(command, block) for page in PAGES for command, block in commands(page)]
    left_out = [command for command, block in every if block.marked("not run") is not None]
    assert all(len(block.marked("not run") or "a reason") > 5 for _, block in every)
    assert len(every) > 120
    figure("documented commands", f"{len(every) - len(left_out)} of {len(every)} run")
    assert len(left_out) <= 0.1 * len(every), left_out


def test_commands_stand_in_blocks_of_bash() -> None:
    """Each block has a language, and no command hides in an indented block, which is not run."""
    for page in PAGES:
        assert all(block.language for block in blocks(page)), page
        indented = re.findall(r"^    (?:zoo|pip|pytest|python) .*", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert indented == [], page


def test_options_in_sentences_exist() -> None:
    """Of commands that stand in a sentence or a table."""
    for page in PAGES:
        for words in re.findall(r"`zoo ([a-z][a-z-]*[^`\n]*)`", page.read_text(encoding="utf-8")):
            parts = shlex.split(words.replace("\\|", "|"))
            command = cli.commands.get(parts.pop(0).partition("|")[0])
            while isinstance(command, click.Group) and parts and parts[0].split("|")[0] in command.commands:
                command = command.commands[parts.pop(0).split("|")[0]]
            assert command, f"{page.name}: zoo {words}"
            known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h", "--version"}
            unknown = [word.partition("=")[0] for word in parts if re.match(r"--\w", word)]
            assert set(unknown) <= known, f"{page.name}: zoo {words}"


@pytest.mark.parametrize(
    ("shown", "printed", "vary", "same"),
    [
        ("a 1\nb", "a 1  \nb\n", False, True),
        ("a 1\nb", "a 2\nb", False, False),
        ("a 1\nb", "a  23.5\nb", True, True),
        ("a ± 1\nb", "a\nb", True, False),
        ("worse (n=3)", "better (n=3)", True, True),
        ("worse (n=3)", "worse", True, False),
        ("a\n...\nd", "a\nb\nc\nd", False, True),
        ("...\nd", "a\nd", False, True),
        ("a\n...", "a\nd", False, True),
        ("a\n...", "b\nd", False, False),
    ],
)
def test_output_is_compared(shown: str, printed: str, vary: bool, same: bool) -> None:
    assert matches(shown, printed, vary=vary) is same
