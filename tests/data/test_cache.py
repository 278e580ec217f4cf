"""The cache: what is mapped, what happens to damage, to two builders at once, to a full or read-only disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zoo.data import cache
from zoo.data.choice import NOTHING
from zoo.data.content import Content, Duplicates
from zoo.data.datasets import Dataset, load
from zoo.data.listing import Listing, in_memory
from zoo.data.readers import decode, image_folder, parquet
from zoo.data.readers.parquet_files import find_parquet
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


def fingerprint(listing: Listing) -> str:
    content = Content(listing.classes)
    for split in ("train", "test"):
        assert list(content.blocks(split, listing.splits[split]))
    return content.digest.hexdigest()


def test_fingerprint_is_of_the_content(parquet_set: Path) -> None:
    """The same images elsewhere, under another name, have the same fingerprint; a changed pixel or name has not."""
    first = load(str(parquet_set))
    moved = parquet_set.rename(parquet_set.parent / "other")
    assert load(str(moved)).fingerprint == first.fingerprint
    splits = {name: in_memory(first.split(name).images, first.split(name).labels) for name in ("train", "test")}
    assert fingerprint(Listing(("0", "1"), splits)) == first.fingerprint
    assert fingerprint(Listing(("a", "b"), splits)) != first.fingerprint
    images = first.test.images.copy()
    images[0, 0, 0, 0] ^= 1
    changed = splits | {"test": in_memory(images, first.test.labels)}
    assert fingerprint(Listing(("0", "1"), changed)) != first.fingerprint


def test_changed_source_is_decoded_anew(image_set: Path) -> None:
    first = load(str(image_set))
    path = image_set / "train" / "ant" / "0.png"
    path.write_bytes((image_set / "train" / "bee" / "0.png").read_bytes())
    os.utime(path, ns=(1, 1))
    second = load(str(image_set))
    assert second.fingerprint != first.fingerprint
    assert len(np.unique(first.train.images, axis=0)) == len(np.unique(second.train.images, axis=0)) + 1


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

    def decode() -> Listing:
        if not data:
            data.append(None)  # type: ignore[arg-type]
            cache.open_or_build("x", "", "k" * 64, decode)
        return parquet.read_parquet(find_parquet(parquet_set), "tiny", NOTHING)

    entry = cache.open_or_build("x", "", "k" * 64, decode)
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
    assert ": the decoded images need 49.2 kB (File too large)" in out
    assert "ZOO_CACHE" in out
    assert entries(empty_cache) == []


def test_no_disk_space(parquet_set: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(
        DataError,
        match=r"^no disk space for the data cache .* need .* \(No space left on device\); free some, or set ZOO_CACHE",
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
        cache.open_or_build("name", "", "0" * 64, lambda: pytest.fail("decoded"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not stop this user")
def test_read_only_cache(parquet_set: Path, empty_cache: Path) -> None:
    empty_cache.mkdir()
    empty_cache.chmod(0o500)
    with pytest.raises(DataError, match=r"^cannot write the data cache .*Permission denied.*ZOO_CACHE"):
        load(str(parquet_set))


def _solid(root: Path, colour: int) -> Path:
    """Two classes of one uncompressed image each, with every time at zero, as archives with fixed times give them."""
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            Image.new("RGB", (8, 8), (colour, 0, 0)).save(root / split / label / "0.bmp")
    for path in root.rglob("*"):
        os.utime(path, ns=(0, 0))
    return root


def test_case_22_one_cache_two_folders(tmp_path: Path) -> None:
    """Folders of one name whose files have equal names, sizes and times: the second had the first one's pixels."""
    first, second = (load(str(_solid(tmp_path / version / "pets", colour))) for version, colour in (("a", 7), ("b", 9)))
    assert first.name == second.name == "pets"
    assert (first.train.images[0, 0, 0, 0], second.train.images[0, 0, 0, 0]) == (7, 9)
    assert first.fingerprint != second.fingerprint
    assert first.folder != second.folder


def test_another_folder_in_the_same_place_is_decoded_anew(tmp_path: Path) -> None:
    """A mount or a container layer puts other files of equal names, sizes and times where the first were."""
    place = tmp_path / "pets"
    first = load(str(_solid(place, 7)))
    place.rename(tmp_path / "aside")
    assert load(str(_solid(place, 9))).train.images[0, 0, 0, 0] == 9
    assert first.train.images[0, 0, 0, 0] == 7


def test_content_changed_in_place_with_its_time_put_back_is_decoded_anew(tmp_path: Path) -> None:
    path = _solid(tmp_path / "pets", 7) / "train" / "cat" / "0.bmp"
    load(str(tmp_path / "pets"))
    path.write_bytes((_solid(tmp_path / "other", 9) / "train" / "cat" / "0.bmp").read_bytes())
    os.utime(path, ns=(0, 0))
    assert load(str(tmp_path / "pets")).train.images[0, 0, 0, 0] == 9


def test_a_link_to_a_folder_shares_its_entry(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "pets").symlink_to(_solid(tmp_path / "pets", 7))
    assert load(str(tmp_path / "link" / "pets")).folder == load(str(tmp_path / "pets")).folder


def test_large_parquet_is_known_by_its_place(parquet_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_HASH_LIMIT", 100)
    first = load(str(parquet_set))
    shutil.copytree(parquet_set, parquet_set.parent / "copy" / "tiny")
    second = load(str(parquet_set.parent / "copy" / "tiny"))
    assert second.folder != first.folder
    assert second.fingerprint == first.fingerprint


def test_duplicates_are_counted_as_the_cache_is_made(tmp_path: Path, files, monkeypatch: pytest.MonkeyPatch) -> None:
    images = files.pictures(5)
    files.write_parquet(tmp_path / "d" / "train.parquet", [*images, images[0], images[0]], [0, 1, 0, 1, 0, 0, 1])
    files.write_parquet(
        tmp_path / "d" / "test.parquet", [images[2], images[2], files.pictures(1, seed=9)[0]], [0, 1, 1]
    )
    assert load(str(tmp_path / "d")).duplicates == Duplicates(train=2, test=1, shared=2)
    monkeypatch.setattr(cache, "count_duplicates", lambda *_: pytest.fail("counted again"))
    assert load(str(tmp_path / "d")).duplicates == Duplicates(train=2, test=1, shared=2)


def test_the_real_images_have_no_duplicate(zoo_data: Path, session_cache: Path, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(session_cache))
    assert load("cifar10-jpeg", zoo_data).duplicates == Duplicates(0, 0, 0)


def test_an_entry_of_an_earlier_format_is_rebuilt(parquet_set: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(str(parquet_set))
    meta = json.loads((data.folder / "meta.json").read_text())
    meta |= {"format": cache.FORMAT - 1}
    for key in ("left_out", "duplicates", "check"):
        del meta[key]
    meta["check"] = cache._meta_check(meta)
    (data.folder / "meta.json").write_text(json.dumps(meta))
    assert load(str(parquet_set)) == data
    assert f"(format {cache.FORMAT - 1}, this version writes {cache.FORMAT}), rebuilding" in caplog.text


def test_a_disk_too_small_is_refused_before_anything_is_decoded(
    image_set: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_600))
    monkeypatch.setattr(image_folder, "decode_blocks", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError) as caught:
        load(str(image_set))
    folder = str(empty_cache / "decoded" / "photos-")
    assert str(caught.value).startswith(f"no disk space for the data cache {folder}")
    assert "the decoded images need 1.7 kB (1.6 kB are free); free some, or set ZOO_CACHE" in str(caught.value)
    assert entries(empty_cache) == []


def test_what_a_large_dataset_takes_is_a_line_before_it_is_decoded(
    image_set: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_LARGE", 1_000)
    with caplog.at_level(logging.INFO, logger="zoo"):
        load(str(image_set))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]  # which Python shows by itself
    assert caplog.messages[0].startswith("decoding 10 images of 9x6 pixels: 1.7 kB of the ")
    assert "the 2.16 kB that they take in memory" in caplog.messages[0]


def test_decoding_that_takes_long_says_how_far_it_is(
    image_set: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_SILENT", -1)
    with caplog.at_level(logging.INFO, logger="zoo"):
        load(str(image_set))
    assert caplog.messages == ["decoded 6 of 6 train images", "decoded 4 of 4 test images"]
