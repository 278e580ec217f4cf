"""Files of images that nobody who means well writes: one line each, at little cost, and no other program runs."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged import little_memory
from PIL import Image

from zoo.data.datasets import load
from zoo.data.readers.decode import FORMATS, picture
from zoo.errors import DataError

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    with little_memory():
        yield


def refused(call, *words: str) -> str:
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def saved_as(kind: str) -> bytes | None:
    """A small picture in a format of Pillow's; None where it cannot write that."""
    for mode in ("RGB", "P", "L", "1"):
        stream = io.BytesIO()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of formats that Pillow will drop
                Image.new(mode, (8, 8)).save(stream, kind)
        except Exception:  # whatever a format makes of a mode
            continue
        return stream.getvalue()
    return None


def others() -> dict[str, bytes]:
    """A picture in each format that Pillow can write and zoo does not read, and what merely begins like one."""
    Image.init()
    written = {kind: saved_as(kind) for kind in sorted(Image.SAVE) if kind not in (*FORMATS, "DIB", "MPO", "PDF")}
    starts = {
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        "DDS": b"DDS ",
        "BLP": b"BLP2",
        "PSD": b"8BPS",
    }
    begun = {f"{kind} (begun)": start + bytes(120) for kind, start in starts.items()}
    return {kind: content for kind, content in written.items() if content} | begun


def test_pillow_opens_only_what_zoo_reads(tmp_path, files, monkeypatch, figure) -> None:
    """EPS started Ghostscript, from a ``.png`` and from a cell of parquet; AVIF, BLP and DDS were tracebacks."""
    mark = tmp_path / "ran"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gs"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    kinds = others()
    assert {"EPS", "ICO", "JPEG2000", "DDS", "BLP"} <= set(kinds)
    for content in kinds.values():
        path = tmp_path / "a.png"
        path.write_bytes(content)
        refused(lambda path=path: picture(path, str(path)), f"{path}: is no image that can be read (PNG, JPEG, BMP, ")
        cell = [files.encode(files.pictures(1)[0]), content]
        files.write_parquet(tmp_path / "d" / "train.parquet", cell, [0, 1])
        files.write_parquet(tmp_path / "d" / "test.parquet", cell[:1], [0])
        refused(lambda: load("d", tmp_path), "train.parquet row 1: is no image that can be read")
        figure("formats of Pillow refused")
    assert not mark.exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_what_zoo_reads_is_read(kind: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 9), "red").save(stream, kind)
    assert picture(stream.getvalue(), "here").size == (8, 9)


def png(width: int, height: int, content: bytes = b"") -> bytes:
    """A PNG that declares a size and has little in it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(content)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("width", "height"), [(13_000, 13_000), (99_999, 99_999), (2**31 - 1, 1), (11_000, 11_000)])
def test_pixels_are_counted_before_they_are_decoded(tmp_path, files, width: int, height: int) -> None:
    first = png(width, height)
    started = time.process_time()
    refused(lambda: picture(first, "here"), "here: image of ", "that fit; resize it")
    for name in ("d", "cifar10-x"):
        files.write_parquet(tmp_path / name / "train.parquet", [first, *files.pictures(50)], [0] * 51)
        files.write_parquet(tmp_path / name / "test.parquet", list(files.pictures(1)), [0])
        refused(lambda name=name: load(name, tmp_path), "train.parquet row 0: image of ", "that fit; resize it")
    assert time.process_time() - started < 5


def test_pixels_times_rows_that_the_disk_has_no_room_for(tmp_path, files, monkeypatch) -> None:
    """A first image of 1,000 x 1,000 pixels fits, and 2,000 of them are 6 GB, as are 2,000 copies of a header."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000_000))
    first = files.encode(np.zeros((1000, 1000, 3), np.uint8))
    files.write_parquet(tmp_path / "d" / "train.parquet", [first] * 2000, [0, 1] * 1000)
    files.write_parquet(tmp_path / "d" / "test.parquet", [first], [0])
    started = time.process_time()
    refused(lambda: load("d", tmp_path), "the decoded images need 6 GB (5 GB are free); free some, or set ZOO_CACHE")
    assert time.process_time() - started < 5


@pytest.mark.slow
def test_rows_that_a_few_bytes_stand_for_are_not_all_in_memory(tmp_path, files) -> None:
    """Parquet repeats a value at no cost: 1,600 pictures of 500 kB are 800 MB."""
    with little_memory(600 << 20):
        cell = files.encode(np.zeros((8, 8, 3), np.uint8)) + bytes(500_000)
        image = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1600, np.int8)), pa.array([cell], pa.binary()))
        table = pa.table({"image": image, "label": np.arange(1600) % 2})
        write_table(tmp_path / "d", table, store_schema=False)
        assert (tmp_path / "d" / "train.parquet").stat().st_size < 1_000_000
        assert len(load("d", tmp_path).train) == 1600


def write_table(folder: Path, table: pa.Table, **options: bool) -> None:
    folder.mkdir()
    for split in ("train", "test"):
        pq.write_table(table, folder / f"{split}.parquet", **options)


def of_bytes(kind: pa.DataType, *cells: object) -> pa.Array:
    """A column of structs as the hub writes it, with the given type of bytes; None is a struct that is null."""
    return pa.array([cell and {"bytes": cell} for cell in cells], pa.struct([("bytes", kind)]))


def with_names(table: pa.Table, names: object) -> pa.Table:
    features = {"info": {"features": {"label": {"names": names}}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(features)})


def wrong_tables(cell: bytes) -> dict[str, tuple[pa.Table, str]]:
    """Well-formed parquet that is no dataset, and what the line says."""
    images, numbers = pa.array([cell, cell], pa.binary()), pa.array([0, 1])
    table, gap = pa.table({"image": images, "label": numbers}), pa.table({"image": images, "label": [0, 2]})
    deep = b'{"info": {"features": {"label": ' + b"[" * 100_000

    def image(column: object) -> pa.Table:
        return pa.table({"image": column, "label": numbers})

    def label(column: object) -> pa.Table:
        return pa.table({"image": images, "label": column})

    return {
        "numbers as bytes": (image(of_bytes(pa.int64(), 5, 6)), "holds struct<bytes: int64>"),
        "text as bytes": (image(of_bytes(pa.string(), "a", "b")), "holds struct<bytes: string>"),
        "lists as images": (image([[1], [2]]), "holds list<"),
        "no struct": (image(of_bytes(pa.binary(), cell, None)), "row 1: no image bytes"),
        "no image": (image(pa.array([cell, None], pa.binary())), "row 1: no image bytes"),
        "no label": (label([0, None]), "row 1: no label"),
        "labels of text": (label(["a", "b"]), "holds string, expected integers"),
        "labels in lists": (label([[0], [1]]), "expected integers"),
        "labels in a struct": (label([{"a": 0}, {"a": 1}]), "expected integers"),
        "labels that do not fit": (label(pa.array([0, 2**64 - 1], pa.uint64())), "train labels are -1"),
        "labels below zero": (label([-1, 0]), "train labels are -1, 0"),
        "two columns of a name": (
            pa.table([images, images, numbers], ["image", "image", "label"]), "two columns are called 'image'",
        ),
        "no rows": (table.slice(0, 0), "no rows in it"),
        "deep metadata": (gap.replace_schema_metadata({"huggingface": deep}), "train labels are 0, 2"),
        "names that are text": (with_names(gap, "abc"), "train labels are 0, 2"),
        "100,000 class names": (with_names(table, [str(i) for i in range(100_000)]), "100,000 classes, more than"),
        "a name with an escape": (with_names(table, ["a", "\x1b[31m"]), r"the class name '\x1b[31m' is not plain"),
        "a name that is not UTF-8": (with_names(table, ["a", "\ud800"]), r"the class name '\ud800' is not plain"),
        "a name of nothing": (with_names(table, ["a", ""]), "the class name '' is not plain"),
    }  # fmt: skip


def test_parquet_of_other_shapes_is_one_line(tmp_path, files, figure) -> None:
    tables = wrong_tables(files.encode(files.pictures(1)[0]))
    for number, (table, told) in enumerate(tables.values()):
        write_table(tmp_path / str(number), table)
        refused(lambda number=number: load(str(tmp_path / str(number))), told)
    figure("parquet tables of other shapes tried", len(tables))


def test_pipes_are_not_waited_for(tmp_path, parquet_set, image_set) -> None:
    for path, told in (
        (parquet_set / "train-00000-of-00001.parquet", "it is no regular file"),
        (image_set / "train" / "ant" / "0.png", "is no regular file"),
    ):
        path.unlink()
        os.mkfifo(path)
        refused(lambda path=path: load(str(parquet_set if path.suffix == ".parquet" else image_set)), str(path), told)
    refused(lambda: picture(path, str(path)), "it is no regular file")


def test_class_folders_that_are_not_utf8(image_set) -> None:
    for split in ("train", "test"):
        (image_set / split / "bee").rename(image_set / split / os.fsdecode(b"caf\xe9"))
    refused(lambda: load(str(image_set)), r"the class name 'caf\udce9' is not plain UTF-8 text; rename it")


def seeds_of_pictures() -> list[bytes]:
    """Small pictures of every format that is read, in its modes, animated, turned by EXIF, compressed, of 16 bits."""
    contents, noise = [], np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in FORMATS:
        for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"):
            stream, image = io.BytesIO(), Image.fromarray(noise)
            try:
                image = (
                    Image.fromarray(noise[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
                )
                image.save(stream, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}))
            except (OSError, ValueError):
                continue
            contents.append(stream.getvalue())
    frames = [Image.fromarray(noise), Image.fromarray(255 - noise)]
    for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        stream = io.BytesIO()
        Image.fromarray(noise).convert("1" if kind == "group4" else "RGB").save(stream, "TIFF", compression=kind)
        contents.append(stream.getvalue())
    for kind in ("PNG", "WEBP", "TIFF", "GIF"):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        contents.append(stream.getvalue())
    return contents


def damaged(content: bytes, random_of: random.Random) -> bytes:
    """`content` with bits turned, pieces cut out, doubled or put in, numbers made large, or another's end."""
    damage = bytearray(content)
    for _ in range(random_of.choice((1, 1, 2, 4, 16))):
        at, length = random_of.randrange(len(damage) + 1), random_of.randint(1, 8)
        middle = random_of.choice((
            b"", random_of.randbytes(length), b"\xff" * length, bytes(length), bytes(damage[at : at + 40]) * 2,
            struct.pack(">I", random_of.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1))),
        ))  # fmt: skip
        damage[at : at + random_of.choice((0, len(middle), length))] = middle
    return bytes(damage[: random_of.randrange(len(damage) + 1)] if random_of.random() < 0.1 else damage)


@pytest.mark.parametrize("tries", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_fuzz_of_pictures(tries: int, figure) -> None:
    random_of, contents = random.Random(25), seeds_of_pictures()
    assert len(contents) > 20
    read = refusals = 0
    for number in range(tries):
        content = damaged(random_of.choice(contents), random_of)
        started = time.process_time()
        try:
            image = picture(content, f"picture {number}")
            assert image.mode == "RGB"
            read += 1
        except DataError as problem:
            refusals += str(problem).startswith(f"picture {number}: ") and "\n" not in str(problem)
        assert time.process_time() - started < 20
    assert read
    assert refusals > tries / 4
    assert read + refusals == tries
    figure("damaged pictures tried", tries)
    figure("damaged pictures held", read + refusals)


@pytest.mark.parametrize("tries", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_fuzz_of_parquet(tmp_path, files, figure, tries: int) -> None:
    """A shard with damaged bytes anywhere, or with damaged pictures in its cells."""
    random_of, cells = random.Random(25), [files.encode(image) for image in files.pictures(4)]
    held = 0
    for number in range(tries):
        folder = tmp_path / str(number)
        some = [damaged(cell, random_of) if number % 2 and random_of.random() < 0.3 else cell for cell in cells]
        files.write_parquet(folder / "train.parquet", some, [0, 1, 0, 1], ["a", "b"])
        files.write_parquet(folder / "test.parquet", cells, [0, 1, 0, 1], ["a", "b"])
        if number % 2 == 0:
            (folder / "train.parquet").write_bytes(damaged((folder / "train.parquet").read_bytes(), random_of))
        started = time.process_time()
        try:
            load(str(folder))
        except DataError as problem:
            assert str(folder) in str(problem)  # noqa: PT017
        assert time.process_time() - started < 20
        held += 1
    figure("damaged parquet files tried", tries)
    figure("damaged parquet files held", held)
