"""Every kind of source from real files, and every mistake in them: one line that names the file and what to do."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import socket
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zoo.cli.options import worded
from zoo.data.datasets import available, load, search_path
from zoo.data.fetch import SOURCES
from zoo.data.readers import parquet
from zoo.errors import DataError, UnknownNameError, ZooError, sentence

pytestmark = pytest.mark.usefixtures("empty_cache")


def fails(call: object, *words: str, kind: type[ZooError] = DataError) -> str:
    """The message of the error that `call` must raise: one line, with each of `words` in it."""
    with pytest.raises(kind) as caught:
        call()  # type: ignore[operator]
    message = sentence(caught.value.parts, worded)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# --- the real images ---


@pytest.fixture
def real(zoo_data: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZOO_CACHE", str(session_cache))  # decoded once for all of these tests
    return load("cifar10-jpeg", zoo_data)


def test_real_images_are_all_there(real) -> None:
    assert real.name == "cifar10-jpeg"
    assert real.classes == parquet.CIFAR10_CLASSES
    for split, count in ((real.train, 50_000), (real.test, 10_000)):
        assert split.images.shape == (count, 32, 32, 3)
        assert np.bincount(split.labels).tolist() == [count // 10] * 10


def test_real_images_decode_as_pillow_does(real, zoo_data: Path) -> None:
    import io

    import pyarrow.parquet as pq

    row = pq.read_table(zoo_data / "cifar10-jpeg" / "test-00000-of-00001.parquet").slice(4321, 1).to_pylist()[0]
    assert np.array_equal(real.test.images[4321], np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))))
    assert real.test.labels[4321] == row["label"]
    assert row["img"]["path"].startswith(real.classes[row["label"]])


# --- parquet ---


def test_parquet(parquet_set: Path, files: SimpleNamespace) -> None:
    data = load(str(parquet_set))
    assert (data.name, data.classes, data.num_classes) == ("tiny", ("0", "1"), 2)
    assert np.array_equal(data.train.images, files.pictures(6))
    assert data.test.labels.tolist() == [0, 1, 1, 0]
    assert data.train.labels.dtype == np.int64


@pytest.mark.parametrize("columns", [("img", "label"), ("image", "fine_label"), ("image", "labels")])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("below", ["", "data", "plain_text"])
def test_parquet_layouts(
    tmp_path: Path, files: SimpleNamespace, columns: tuple[str, str], plain: bool, below: str
) -> None:
    images = files.pictures(6)
    for shard in range(2):
        part = slice(3 * shard, 3 * shard + 3)
        path = tmp_path / "hub" / below / f"train-0000{shard}-of-00002.parquet"
        files.write_parquet(path, list(images[part]), [0, 1, 1], ["no", "yes"], columns, plain)
    test = tmp_path / "hub" / below / "test-00000-of-00001.parquet"
    files.write_parquet(test, list(images[:2]), [1, 0], ["no", "yes"], columns, plain)
    data = load("hub", tmp_path)
    assert data.classes == ("no", "yes")
    assert np.array_equal(data.train.images, images)
    assert data.train.labels.tolist() == [0, 1, 1, 0, 1, 1]


def test_parquet_in_one_folder_per_split(tmp_path: Path, files: SimpleNamespace) -> None:
    for split in ("train", "test"):
        files.write_parquet(tmp_path / "hub" / "plain" / split / "0000.parquet", list(files.pictures(2)), [0, 1])
    assert len(load("hub", tmp_path).test) == 2


def test_grey_and_palette_images_become_rgb(tmp_path: Path, files: SimpleNamespace) -> None:
    grey = files.pictures(2)[..., 0]
    files.write_parquet(tmp_path / "g" / "train.parquet", list(grey), [0, 1])
    files.write_parquet(tmp_path / "g" / "test.parquet", list(grey), [0, 1])
    assert np.array_equal(load("g", tmp_path).train.images, np.repeat(grey[..., None], 3, axis=3))


def test_sixteen_bits_become_eight_and_pictures_are_turned(image_set: Path) -> None:
    """Pillow alone would clip 16 bits at 255, which is white, and leave a photograph lying on its side."""
    file = image_set / "train" / "ant" / "0.png"
    assert file.is_file()
    picture = np.asarray(Image.open(file))
    deep = picture[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(file)
    turned = Image.fromarray(picture).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(file.with_name("1.png"), exif=exif)
    images = load(str(image_set)).train.images
    assert any(np.array_equal(image, np.repeat(picture[..., :1], 3, axis=2)) for image in images)
    assert any(np.array_equal(image, picture) for image in images)


def test_exif_data_that_cannot_be_read_turns_nothing(image_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: Image.Image) -> None:
        raise AttributeError("as Pillow answers to some damaged tags")

    whole = load(str(image_set)).train.images
    monkeypatch.setattr(Image.Image, "getexif", broken)
    file = image_set / "train" / "ant" / "0.png"
    file.write_bytes(file.read_bytes() + b"\0")  # other content for the cache, the same picture
    assert np.array_equal(load(str(image_set)).train.images, whole)


def test_pixels_without_a_range_are_refused(image_set: Path) -> None:
    file = image_set / "train" / "ant" / "0.png"
    file.write_bytes(b"Pf\n9 6\n-1.0\n" + np.zeros((6, 9), np.float32).tobytes())
    fails(lambda: load(str(image_set)), str(file), "no fixed range; save it with 8 bits a channel")


def test_large_images_decode_in_threads_alike(tmp_path: Path, files: SimpleNamespace) -> None:
    images = files.pictures(600, (64, 64))
    for split in ("train", "test"):
        encoded = [files.encode(image, "BMP") for image in images]
        files.write_parquet(tmp_path / "big" / f"{split}.parquet", encoded, [0, 1] * 300)
    assert np.array_equal(load("big", tmp_path).test.images, images)


def test_truncated_parquet_names_the_file(parquet_set: Path) -> None:
    path = parquet_set / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    fails(lambda: load(str(parquet_set)), str(path), "truncated or corrupted parquet file", "fetch it again")


def test_corrupted_parquet_page_is_noticed(parquet_set: Path) -> None:
    path = parquet_set / "train-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    fails(lambda: load(str(parquet_set)), str(path))


def test_not_parquet_at_all(parquet_set: Path) -> None:
    (parquet_set / "test-00000-of-00001.parquet").write_text("<html>404</html>")
    fails(lambda: load(str(parquet_set)), "test-00000-of-00001.parquet", "truncated or corrupted")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda b: b[: len(b) // 2], "damaged image"),
        (
            lambda b: b"no picture",
            "is no image that can be read (PNG, JPEG, BMP, WEBP, PPM, TIFF, GIF); save it as PNG",
        ),
        (lambda b: b"", "is no image that can be read"),
    ],
)
def test_damaged_image_names_file_and_row(tmp_path: Path, files: SimpleNamespace, damage, told: str) -> None:
    encoded = [files.encode(image) for image in files.pictures(5)]
    encoded[3] = damage(encoded[3])
    files.write_parquet(tmp_path / "d" / "train.parquet", encoded, [0, 1, 0, 1, 0])
    files.write_parquet(tmp_path / "d" / "test.parquet", encoded[:2], [0, 1])
    message = fails(lambda: load("d", tmp_path), str(tmp_path / "d" / "train.parquet"), f"row 3: {told}")
    assert "0x" not in message


def test_image_bytes_missing(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"img": pa.array([{"bytes": None, "path": "a.png"}], kind), "label": [0]})
    (tmp_path / "d").mkdir()
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / "d" / f"{split}.parquet")
    fails(lambda: load("d", tmp_path), "train.parquet row 0: no image bytes")


def test_wrong_image_size_names_row_and_size(tmp_path: Path, files: SimpleNamespace) -> None:
    images = [*files.pictures(2), *files.pictures(1, (8, 16))]
    files.write_parquet(tmp_path / "d" / "train.parquet", images, [0, 1, 0])
    files.write_parquet(tmp_path / "d" / "test.parquet", images, [0, 1, 0])
    fails(
        lambda: load("d", tmp_path),
        "row 2: image of 16x8 pixels, but the first image has 8x8; all must have one size; the recipe key image_size",
    )


def test_splits_and_shards_of_different_size(tmp_path: Path, files: SimpleNamespace) -> None:
    files.write_parquet(tmp_path / "d" / "train.parquet", list(files.pictures(2)), [0, 1])
    files.write_parquet(tmp_path / "d" / "test.parquet", list(files.pictures(2, (9, 9))), [0, 1])
    fails(lambda: load("d", tmp_path), "train and test images differ in size (8x8 and 9x9 pixels)")
    (tmp_path / "d" / "train.parquet").rename(tmp_path / "d" / "train-1.parquet")
    files.write_parquet(tmp_path / "d" / "train-0.parquet", list(files.pictures(2, (9, 9))), [0, 1])
    fails(lambda: load("d", tmp_path), "train-1.parquet row 0: image of 8x8 pixels, but the first image has 9x9")


def test_cifar_names_promise_size_and_classes(tmp_path: Path, files: SimpleNamespace) -> None:
    def write(name: str, size: tuple[int, int], classes: int) -> None:
        for split in ("train", "test"):
            images = list(files.pictures(classes, size))
            files.write_parquet(tmp_path / name / f"{split}.parquet", images, list(range(classes)))

    write("cifar10-small", (28, 28), 10)
    fails(lambda: load("cifar10-small", tmp_path), "row 0: image of 28x28", "promises 32x32")
    write("cifar10-half", (32, 32), 5)
    fails(lambda: load("cifar10-half", tmp_path), "5 classes, but 'cifar10-half' has 10")
    write("cifar100-tenth", (32, 32), 10)
    fails(lambda: load("cifar100-tenth", tmp_path), "10 classes, but 'cifar100-tenth' has 100")
    write("cifar10-good", (32, 32), 10)
    assert load("cifar10-good", tmp_path).classes == parquet.CIFAR10_CLASSES


def test_label_outside_of_the_classes(tmp_path: Path, files: SimpleNamespace) -> None:
    files.write_parquet(tmp_path / "d" / "train.parquet", list(files.pictures(3)), [0, 1, 2], ["a", "b"])
    files.write_parquet(tmp_path / "d" / "test.parquet", list(files.pictures(1)), [0], ["a", "b"])
    fails(lambda: load("d", tmp_path), "train.parquet row 2: label 2 is outside 0..1 (2 classes)")


def test_labels_that_start_at_one(tmp_path: Path, files: SimpleNamespace) -> None:
    for split in ("train", "test"):
        files.write_parquet(tmp_path / "d" / f"{split}.parquet", list(files.pictures(3)), [1, 2, 3])
    fails(lambda: load("d", tmp_path), "train labels are 1, 2, 3", "renumber")


def test_test_label_that_train_does_not_have(tmp_path: Path, files: SimpleNamespace) -> None:
    files.write_parquet(tmp_path / "d" / "train.parquet", list(files.pictures(2)), [0, 1])
    files.write_parquet(tmp_path / "d" / "test.parquet", list(files.pictures(2)), [0, 7])
    fails(lambda: load("d", tmp_path), "test row 1: label 7 is outside 0..1")


def test_missing_label(tmp_path: Path, files: SimpleNamespace) -> None:
    files.write_parquet(tmp_path / "d" / "train.parquet", list(files.pictures(2)), [0, None])
    files.write_parquet(tmp_path / "d" / "test.parquet", list(files.pictures(1)), [0])
    fails(lambda: load("d", tmp_path), "train.parquet row 1: no label")


def test_missing_columns_split_and_shard(tmp_path: Path, files: SimpleNamespace) -> None:
    images = list(files.pictures(2))
    files.write_parquet(tmp_path / "d" / "train.parquet", images, [0, 1], columns=("picture", "label"))
    fails(lambda: load("d", tmp_path), "no test split in it, only train; add the test files")
    files.write_parquet(tmp_path / "d" / "test.parquet", images, [0, 1])
    fails(lambda: load("d", tmp_path), "no image column (img or image) among picture, label")
    files.write_parquet(tmp_path / "d" / "train.parquet", images, [0, 1], columns=("img", "y"))
    fails(lambda: load("d", tmp_path), "no label column")
    (tmp_path / "d" / "train.parquet").rename(tmp_path / "d" / "train-00000-of-00003.parquet")
    fails(lambda: load("d", tmp_path), "train shards 1, 2 of 3 are missing; fetch what is missing")


def test_two_configurations_in_one_folder(tmp_path: Path, files: SimpleNamespace) -> None:
    for below in ("full", "small"):
        for split in ("train", "test"):
            files.write_parquet(tmp_path / "d" / below / f"{split}.parquet", list(files.pictures(2)), [0, 1])
    fails(lambda: load("d", tmp_path), "name the one folder that is meant")
    assert load(str(tmp_path / "d" / "small")).name == "small"


# --- image folders ---


def test_image_folder(image_set: Path) -> None:
    data = load(str(image_set))
    assert data.classes == ("ant", "bee")
    assert data.train.images.shape == (6, 6, 9, 3)
    paths = sorted(f"{label}/{number}.png" for label in ("ant", "bee") for number in range(3))
    random.Random(0).shuffle(paths)
    assert data.train.labels.tolist() == [data.classes.index(path[:3]) for path in paths]
    for image, path in zip(data.train.images, paths, strict=True):
        assert np.array_equal(image, np.asarray(Image.open(image_set / "train" / path)))


def test_image_folder_mistakes(image_set: Path, files: SimpleNamespace) -> None:
    extra = image_set / "test" / "wasp"
    extra.mkdir()
    fails(lambda: load(str(image_set)), str(extra), "does not have")
    extra.rename(image_set / "train" / "wasp")
    fails(lambda: load(str(image_set)), str(image_set / "train" / "wasp"), "no images in it")
    odd = image_set / "train" / "wasp" / "0.png"
    odd.write_bytes(files.encode(files.pictures(1)[0]))
    fails(lambda: load(str(image_set)), str(odd), "8x8 pixels", "9x6")
    odd.write_bytes(files.encode(files.pictures(1, (6, 9))[0])[:50])
    fails(lambda: load(str(image_set)), str(odd), "damaged image")


def test_folder_without_data(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    fails(lambda: load(str(tmp_path / "nothing")), str(tmp_path / "nothing"), "no dataset in it", "train-*.parquet")


# --- CIFAR archives ---


@pytest.fixture
def small_cifar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A real archive in CIFAR-10's format with 10 images per file; torchvision is told its checksums."""
    from torchvision.datasets import CIFAR10

    base = tmp_path / "make" / CIFAR10.base_folder
    base.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def write(name: str, content: dict) -> list[str]:
        (base / name).write_bytes(pickle.dumps(content, protocol=2))
        return [name, hashlib.md5((base / name).read_bytes()).hexdigest()]

    def batch(name: str) -> list[str]:
        pixels = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        return write(name, {"data": pixels, "labels": list(range(10))})

    train = [batch(f"data_batch_{i}") for i in range(1, 6)]
    test = [batch("test_batch")]
    file, md5 = write("batches.meta", {"label_names": list(parquet.CIFAR10_CLASSES)})
    home = tmp_path / "home"
    home.mkdir()
    with tarfile.open(home / CIFAR10.filename, "w:gz") as tar:
        tar.add(base, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(CIFAR10, "meta", {"filename": file, "key": "label_names", "md5": md5})
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5((home / CIFAR10.filename).read_bytes()).hexdigest())
    return home


def test_archive_and_unpacked_folder_are_the_same_set(small_cifar: Path, tmp_path: Path) -> None:
    packed = load("cifar10", small_cifar)
    assert packed.name == "cifar10"
    assert packed.classes == parquet.CIFAR10_CLASSES
    assert packed.train.images.shape == (50, 32, 32, 3)
    raw = pickle.loads((tmp_path / "make" / "cifar-10-batches-py" / "data_batch_2").read_bytes())["data"][3]
    assert np.array_equal(packed.train.images[13], raw.reshape(3, 32, 32).transpose(1, 2, 0))
    assert load("cifar10", tmp_path / "make").fingerprint == packed.fingerprint
    assert sorted(path.name for path in small_cifar.iterdir()) == ["cifar-10-python.tar.gz"]  # nothing unpacked into it


def test_download_goes_into_the_cache_and_is_checked(
    small_cifar: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """From a real server on this machine."""
    from torchvision.datasets import CIFAR10

    archive = small_cifar / CIFAR10.filename
    length = archive.stat().st_size
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(small_cifar)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    request.addfinalizer(server.shutdown)
    address = f"http://127.0.0.1:{server.server_port}/{archive.name}"
    monkeypatch.setitem(SOURCES, "cifar10", replace(SOURCES["cifar10"], addresses=(address,), bytes=length))
    assert len(load("cifar10").train) == 50
    assert (empty_cache / "data" / archive.name).read_bytes() == archive.read_bytes()
    (empty_cache / "data" / archive.name).unlink()
    archive.write_bytes(b"short")
    fails(lambda: load("cifar10"), "could not be fetched", "put cifar-10-python.tar.gz into", "--from")
    assert not any((empty_cache / "data").iterdir())  # neither a damaged archive nor a temporary folder stays


def test_truncated_archive(small_cifar: Path) -> None:
    path = small_cifar / "cifar-10-python.tar.gz"
    path.write_bytes(path.read_bytes()[:1000])
    line = fails(lambda: load("cifar10", small_cifar), str(path), "is not the published archive, or truncated")
    assert "delete" not in line
    assert line.endswith('a version of your own comes in as "Your own images" in the docs shows')


def test_corrupted_file_of_the_unpacked_folder(small_cifar: Path, tmp_path: Path) -> None:
    path = tmp_path / "make" / "cifar-10-batches-py" / "data_batch_4"
    path.write_bytes(path.read_bytes()[:-1])
    fails(lambda: load("cifar10", tmp_path / "make"), str(path), "MD5")
    path.unlink()
    fails(lambda: load("cifar10", tmp_path / "make"), str(path), "missing")


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_cache: Path) -> None:
    def no_name(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    put = f"cifar-10-python.tar.gz into {empty_cache / 'data'}"
    fails(lambda: load("cifar10"), "Name or service not known", put)
    fails(lambda: load("cifar100"), "cifar-100-python.tar.gz")
    fails(lambda: load("cifar10-jpeg"), "`zoo data fetch cifar10-jpeg` downloads 60 MB")


def test_data_dir_is_the_only_place_and_starts_no_download(tmp_path: Path) -> None:
    message = fails(lambda: load("cifar10", tmp_path), f"looked in {tmp_path};")
    assert "could not" not in message


# --- names and places ---


def test_search_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_cache: Path) -> None:
    assert search_path() == [empty_cache / "data"]
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    assert search_path() == [tmp_path, empty_cache / "data"]
    assert search_path(tmp_path / "..") == [tmp_path / ".."]
    fails(lambda: search_path(tmp_path / "else"), "is not there; name a folder")


def test_unknown_name(parquet_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA", str(parquet_set.parent))
    message = fails(lambda: load("shapes01"), "unknown dataset 'shapes01'", kind=UnknownNameError)
    assert message.endswith("did you mean 'shapes10'?")
    assert "'tiny'" in fails(lambda: load("tinny"), kind=UnknownNameError)
    assert "there are cifar10, cifar100" in fails(lambda: load("zzz"), kind=UnknownNameError)
    assert "'train'" in fails(lambda: load("tiny").split("trian"), "trian", kind=UnknownNameError)


def test_nothing_found_lists_where_it_looked(tmp_path: Path) -> None:
    message = fails(
        lambda: load("cifar10-jpeg", tmp_path), f"looked in {tmp_path}", "put its parquet files or a clone of"
    )
    assert "--data-dir" in message
    fails(lambda: load("./none"), "does not exist")
    fails(lambda: load("tiny", tmp_path / "none"), "not there")


def test_a_file_is_no_folder(parquet_set: Path) -> None:
    file = parquet_set / "train-00000-of-00001.parquet"
    fails(lambda: load(str(file)), "is a file")
    fails(lambda: load("tiny", file), "no folder")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not stop this user")
def test_unreadable(parquet_set: Path, image_set: Path) -> None:
    file = parquet_set / "train-00000-of-00001.parquet"
    file.chmod(0)
    fails(lambda: load(str(parquet_set)), str(file), "Permission denied", "permissions")
    (image_set / "train" / "ant").chmod(0)
    fails(lambda: load(str(image_set)), "Permission denied")
    (image_set / "train" / "ant").chmod(0o755)


def test_unreadable_for_any_user(parquet_set: Path) -> None:
    """A link that leads to itself cannot be read by root either."""
    file = parquet_set / "train-00000-of-00001.parquet"
    file.unlink()
    file.symlink_to(file.name)
    fails(lambda: load(str(parquet_set)), "cannot read", str(file), "permissions")


def test_only_the_archive_is_called_cifar10(tmp_path: Path, files: SimpleNamespace) -> None:
    for split in ("train", "test"):
        images = list(files.pictures(10, (32, 32)))
        files.write_parquet(tmp_path / "cifar10" / f"{split}.parquet", images, list(range(10)))
    fails(lambda: load("cifar10", tmp_path), "not found")
    assert load(str(tmp_path / "cifar10")).name == "cifar10-folder"


def test_data_dir_may_be_the_set_itself(parquet_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("tiny", parquet_set).name == "tiny"
    monkeypatch.chdir(parquet_set.parent)
    assert load("tiny").fingerprint == load("./tiny").fingerprint


def test_available(parquet_set: Path, image_set: Path, empty_cache: Path) -> None:
    rows = {row.name: row for row in available(parquet_set.parent)}
    assert list(rows)[:4] == ["cifar10", "cifar100", "cifar10-jpeg", "shapes10"]
    assert rows["tiny"].location == str(parquet_set)
    assert rows["photos"].description == "image folder"
    assert rows["shapes10"].location == "built in"
    assert rows["cifar10"].location is None
    hint = "`zoo data fetch cifar10` downloads 170 MB; or put cifar-10-python.tar.gz into"
    assert sentence(rows["cifar10"].hint).startswith(hint)
    assert not empty_cache.exists()  # a list writes nothing


def test_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, zoo.data.datasets as d, zoo.data.inspect; d.available(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
