"""The cache: what is mapped, what happens to damage, to two builders at once, to a full or read-only disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo.data import cache
from zoo.data.datasets import Dataset, load
from zoo.data.readers import parquet
from zoo.errors import DataError

pytestmark = pytest.mark.usefixtures("empty_cache")


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "decoded").iterdir())


def test_user_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.user_cache() == tmp_path / "own-cache"
    monkeypatch.delenv("ZOO_CACHE")
    assert cache.user_cache().name == "zoo"


def test_second_load_decodes_nothing(parquet_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(str(parquet_set))
    monkeypatch.setattr(parquet, "read_parquet", lambda *_: pytest.fail("decoded again"))
    second = load(str(parquet_set))
    assert second == first
    assert isinstance(second.train.images, np.memmap)
    assert isinstance(second.test.images, np.memmap)
    for array in (second.train.images, second.train.labels, second.test.images):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_folder_holds_what_the_docs_say(parquet_set: Path, empty_cache: Path) -> None:
    data = load(str(parquet_set))
    assert entries(empty_cache) == [data.folder.name]
    assert data.folder.name.startswith("tiny-")
    meta = json.loads((data.folder / "meta.json").read_text())
    assert meta["format"] == cache.FORMAT
    assert meta["fingerprint"] == data.fingerprint
    assert meta["classes"] == ["0", "1"]
    assert set(meta["files"]) == {f"{s}_{p}.npy" for s in ("train", "test") for p in ("images", "labels")}
    assert np.array_equal(np.load(data.folder / "train_images.npy"), data.train.images)


def test_fingerprint_is_of_the_content(parquet_set: Path) -> None:
    """The same images elsewhere, under another name, have the same fingerprint; a changed pixel or name has not."""
    first = load(str(parquet_set))
    moved = parquet_set.rename(parquet_set.parent / "other")
    assert load(str(moved)).fingerprint == first.fingerprint
    splits = {name: (first.split(name).images, first.split(name).labels) for name in ("train", "test")}
    assert cache.fingerprint(cache.Decoded(("0", "1"), splits, "")) == first.fingerprint
    assert cache.fingerprint(cache.Decoded(("a", "b"), splits, "")) != first.fingerprint
    images = first.test.images.copy()
    images[0, 0, 0, 0] ^= 1
    assert cache.fingerprint(cache.Decoded(("0", "1"), splits | {"test": (images, first.test.labels)}, "")) != (
        first.fingerprint
    )


def test_changed_source_is_decoded_anew(image_set: Path) -> None:
    first = load(str(image_set))
    path = image_set / "train" / "ant" / "0.png"
    path.write_bytes((image_set / "train" / "bee" / "0.png").read_bytes())
    os.utime(path, ns=(1, 1))
    second = load(str(image_set))
    assert second.fingerprint != first.fingerprint
    assert np.array_equal(second.train.images[0], second.train.images[3])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damage", [_flip, _truncate, Path.unlink])
@pytest.mark.parametrize("file", ["train_images.npy", "test_images.npy", "train_labels.npy", "meta.json"])
def test_damage_is_noticed_and_rebuilt(parquet_set: Path, caplog: pytest.LogCaptureFixture, file: str, damage) -> None:
    good = load(str(parquet_set))
    content = {path.name: path.read_bytes() for path in good.folder.iterdir()}
    damage(good.folder / file)
    assert cache.damage(good.folder)
    with caplog.at_level(logging.INFO, logger="zoo"):
        again = load(str(parquet_set))
    assert len(caplog.records) == 1
    assert f"cache {good.folder} damaged ({file}" in caplog.messages[0]
    assert caplog.messages[0].endswith(", rebuilding")
    assert again == good
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == content
    assert entries(again.folder.parents[1]) == [again.folder.name]  # neither the old nor a temporary one is left
    assert cache.damage(again.folder) is None


def test_changed_word_in_meta_is_damage(parquet_set: Path) -> None:
    data = load(str(parquet_set))
    meta = data.folder / "meta.json"
    meta.write_text(meta.read_text().replace('"1"', '"2"', 1))
    assert load(str(parquet_set)).classes == ("0", "1")


def test_an_open_map_survives_the_rebuild(parquet_set: Path) -> None:
    data = load(str(parquet_set))
    before = data.train.images.copy()
    (data.folder / "meta.json").unlink()
    load(str(parquet_set))
    assert np.array_equal(data.train.images, before)


_LOAD = "import sys; from zoo.data.datasets import load; print(load(sys.argv[1]).fingerprint)"


@pytest.mark.parametrize("damaged", [pytest.param(False, marks=pytest.mark.slow), True])
def test_processes_that_build_at_once_all_end_well(parquet_set: Path, empty_cache: Path, damaged: bool) -> None:
    if damaged:
        _flip(load(str(parquet_set)).folder / "train_images.npy")
    command = [sys.executable, "-c", _LOAD, str(parquet_set)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    results = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert [code for *_, code in results] == [0] * 4, results
    assert {out for out, *_ in results} == {load(str(parquet_set)).fingerprint + "\n"}
    assert len(entries(empty_cache)) == 1


def test_publishing_where_another_was_first(parquet_set: Path, empty_cache: Path) -> None:
    """The race above, forced: the folder appears between the look and the rename."""
    data: list[Dataset] = []

    def decode() -> cache.Decoded:
        if not data:
            data.append(None)  # type: ignore[arg-type]
            cache.open_or_build("x", "k" * 64, decode)
        return parquet.read_parquet(parquet_set, "tiny")

    entry = cache.open_or_build("x", "k" * 64, decode)
    assert entries(empty_cache) == [entry.folder.name]


def test_killed_builder_leaves_nothing_that_is_used_and_is_swept_later(parquet_set: Path, empty_cache: Path) -> None:
    left = empty_cache / "decoded" / ".building-dead"
    left.mkdir(parents=True)
    (left / "train_images.npy").write_bytes(b"half")
    load(str(parquet_set))
    assert left.exists()  # it could be another process at work
    os.utime(left, (0, 0))
    (load(str(parquet_set)).folder / "meta.json").unlink()
    load(str(parquet_set))
    assert not left.exists()


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from zoo.data.datasets import load
from zoo.errors import DataError
try:
    load(sys.argv[1])
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="no RLIMIT_FSIZE here")
def test_no_room_for_the_file(tmp_path: Path, files, empty_cache: Path) -> None:
    """The operating system refuses to write more than 2,000 bytes of a file."""
    for split in ("train", "test"):
        files.write_parquet(tmp_path / "d" / f"{split}.parquet", list(files.pictures(2, (64, 64))), [0, 1])
    command = [sys.executable, "-c", _LIMITED, str(tmp_path / "d")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.count("\n") == 1
    assert out.startswith(f"no disk space for the data cache {empty_cache}")
    assert ": 1 MB are needed" in out
    assert "ZOO_CACHE" in out
    assert entries(empty_cache) == []


def test_no_disk_space(parquet_set: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(
        DataError, match=r"^no disk space for the data cache .*MB are needed; free some, or set ZOO_CACHE"
    ):
        load(str(parquet_set))
    assert entries(empty_cache) == []


def test_cache_that_is_a_file(parquet_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"^cannot write the data cache .*; set ZOO_CACHE to a writable folder$"):
        load(str(parquet_set))


def test_cache_that_cannot_be_looked_into(
    parquet_set: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user's private folder answers (root, who may run this, is let in everywhere)."""

    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_dir", lambda path: refuse(path) if path.parent.name == "decoded" else True)
    with pytest.raises(DataError, match=r"^cannot read the data cache .*Permission denied.*ZOO_CACHE"):
        cache.open_or_build("name", "0" * 64, lambda: pytest.fail("decoded"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not stop this user")
def test_read_only_cache(parquet_set: Path, empty_cache: Path) -> None:
    empty_cache.mkdir()
    empty_cache.chmod(0o500)
    with pytest.raises(DataError, match=r"^cannot write the data cache .*Permission denied.*ZOO_CACHE"):
        load(str(parquet_set))
