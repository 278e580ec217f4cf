"""The decoded copies: listed with their size, and removed, none that is in use and nothing else."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from zoo.cli import main
from zoo.data import cache, copies
from zoo.data.datasets import load
from zoo.errors import UnknownNameError

pytestmark = pytest.mark.usefixtures("empty_cache")


def cli(*arguments: str, answer: str | None = None) -> Result:
    wide = {"COLUMNS": "1000"}  # however long the paths of the test's folder are
    return CliRunner(env=wide).invoke(main.cli, ["data", *arguments], input=answer, catch_exceptions=False)


@pytest.fixture
def two(parquet_set: Path, image_set: Path) -> dict[str, Path]:
    """Copies of `tiny` and of `photos`, by name, that nobody uses."""
    folders = {Path(path).name: load(str(path)).folder for path in (parquet_set, image_set)}
    gc.collect()
    return folders


def there() -> set[str]:
    return {copy.folder.name.rpartition("-")[0] for copy in copies.copies()}


def test_list_shows_copies_and_their_size(two: dict[str, Path], image_set: Path) -> None:
    output = cli("list").output
    total = sum(file.stat().st_size for folder in two.values() for file in folder.iterdir())
    assert output.endswith(
        f"\n2 decoded copies ({total / 1000:.3g} kB) in {cache.decoded_folder()}; `zoo data clear` removes them\n"
    )
    line = next(line for line in output.splitlines() if line.startswith("photos-"))
    assert line.split()[1:] == [*_size(two["photos"]), "image", "folder", str(image_set)]


def _size(folder: Path) -> list[str]:
    return [f"{sum(file.stat().st_size for file in folder.iterdir()) / 1000:.3g}", "kB"]


def test_clear_asks_and_removes_what_is_named(two: dict[str, Path], image_set: Path, monkeypatch) -> None:
    monkeypatch.setattr("zoo.cli.data.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    assert cli("clear", "photos", answer="n\n").exit_code == 1
    assert there() == {"tiny", "photos"}
    done = cli("clear", "photos", answer="y\n")
    assert "remove 1 decoded copy (" in done.output
    assert done.exit_code == 0
    assert there() == {"tiny"}
    assert len(load(str(image_set)).train) == 6


def test_clear_without_a_terminal_needs_yes(two: dict[str, Path]) -> None:
    refused = cli("clear")
    assert refused.exit_code == 2
    assert "add --yes" in refused.output
    assert there() == {"tiny", "photos"}
    assert cli("clear", "--yes").output.splitlines()[-1].startswith("removed 2 decoded copies (")
    assert not there()
    assert list(cache.decoded_folder().iterdir()) == []
    assert cli("clear", "--yes").output == f"nothing to remove from {cache.decoded_folder()}\n"


def test_a_copy_is_named_by_its_folder_too(two: dict[str, Path]) -> None:
    assert [copy.folder for copy in copies.copies([two["tiny"].name])] == [two["tiny"]]
    with pytest.raises(UnknownNameError, match=r"unknown decoded copy 'tinny' .*did you mean 'tiny'"):
        copies.copies(["tinny"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_a_copy_in_use_stays(two: dict[str, Path], parquet_set: Path) -> None:
    used = load(str(parquet_set))
    output = cli("clear", "--yes").output
    assert next(line for line in output.splitlines() if line.startswith("tiny-")).endswith(", in use")
    assert there() == {"tiny"}
    assert used.train.images[0].any()


def test_clear_removes_nothing_but_copies(two: dict[str, Path], tmp_path: Path) -> None:
    """Where ZOO_CACHE is a folder of the user's, with folders, links and files of theirs that look like copies."""
    place = cache.decoded_folder()
    mine, full = place / "mine-0123456789abcdef", place / f"full-{'0' * 16}"
    (mine / "train").mkdir(parents=True)
    shutil.copytree(two["tiny"], full)
    (full / "notes.txt").write_text("mine")
    shutil.copytree(two["tiny"], tmp_path / "elsewhere")
    (place / f"link-{'0' * 16}").symlink_to(tmp_path / "elsewhere")
    (place / f"file-{'0' * 16}").write_text("mine")
    (place / f"empty-{'0' * 16}").mkdir()
    before = sorted(path.name for path in place.iterdir() if path not in two.values())
    assert cli("clear", "--yes").exit_code == 0
    assert sorted(path.name for path in place.iterdir()) == before
    assert (full / "notes.txt").read_text() == "mine"
    assert (tmp_path / "elsewhere" / "meta.json").is_file()


def test_a_damaged_copy_is_shown_and_removed(two: dict[str, Path]) -> None:
    (two["tiny"] / "meta.json").write_text("[" * 100_000)
    assert next(line for line in cli("list").output.splitlines() if line.startswith("tiny-")).endswith("damaged")
    os.truncate(two["photos"] / "train_images.npy", 10)
    assert cli("clear", "--yes").exit_code == 0
    assert not there()


def test_no_cache_yet(tmp_path: Path) -> None:
    assert "decoded cop" not in cli("list").output
    assert cli("clear").output == f"nothing to remove from {cache.decoded_folder()}\n"
    assert not cache.decoded_folder().exists()
