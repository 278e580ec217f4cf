"""The page about one's own images: its code runs, and what it writes is a dataset."""

from __future__ import annotations

import gzip
import io
import pickle
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zoo.data.choice import Choice
from zoo.data.datasets import load
from zoo.data.readers import foreign
from zoo.errors import DataError

TEXT = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"<!-- (\w+) -->\n```python\n(.*?)```", TEXT, re.DOTALL))
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
SPLITS = {"train": slice(0, 9), "test": slice(9, 12)}


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def split_names(names: tuple[str, str] = ("train", "test")):
    return ((name, IMAGES[part], LABELS[part]) for name, part in zip(names, SPLITS.values(), strict=True))


def npz() -> None:
    arrays = {f"{kind}_{name}": rows for name, *both in split_names() for kind, rows in zip("xy", both, strict=True)}
    np.savez("digits.npz", **arrays)


def mat() -> None:
    import scipy.io

    for name, images, labels in split_names():
        content = {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None].astype(np.uint8)}
        scipy.io.savemat(f"{name}_32x32.mat", content)


def idx() -> None:
    for name, images, labels in split_names(("train", "t10k")):
        small = images[:, :28, :28, 0]
        Path(f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + small.tobytes()))
        Path(f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels.astype(np.uint8).tobytes()))


def binary() -> None:
    for name, images, labels in split_names(("data_batch_1.bin", "test_batch.bin")):
        pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        Path(name).write_bytes(np.hstack([labels[:, None].astype(np.uint8), pixels]).tobytes())


def pickled() -> None:
    for name, images, labels in split_names(("data_batch_1", "test_batch")):
        pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        Path(name).write_bytes(pickle.dumps({b"data": pixels, b"labels": labels.tolist()}))


def hdf5() -> None:
    """A stand-in for the library, which is not among zoo's own."""
    npz()

    class File(dict):
        def __init__(self, name: str) -> None:
            super().__init__(np.load(name.replace(".h5", ".npz")))

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            pass

    stand_in("h5py", File=File)


def tfrecord() -> None:
    """The same."""
    rows = {
        f"{name}.tfrecord": [{"image": png(image), "label": label} for image, label in zip(images, labels, strict=True)]
        for name, images, labels in split_names()
    }

    def decode(content: bytes) -> SimpleNamespace:
        return SimpleNamespace(numpy=lambda: np.asarray(Image.open(io.BytesIO(content))))

    def parse(row: dict, features: dict) -> dict:
        return {name: row[name] for name in features}

    calls = {"FixedLenFeature": lambda *_: None, "parse_single_example": parse, "decode_image": decode}
    data = SimpleNamespace(TFRecordDataset=rows.__getitem__)
    stand_in("tensorflow", io=SimpleNamespace(**calls), data=data, string=None, int64=None)


def parquet() -> None:
    write_parquet("all.parquet", IMAGES, LABELS)


def write_parquet(name: str, images: np.ndarray, labels: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": png(image), "path": ""} for image in images]
    pq.write_table(pa.table({"image": cells, "label": labels}), name)


def arrow() -> None:
    """The same."""
    rows = {
        name: SimpleNamespace(to_parquet=lambda path, images=images, labels=labels: write_parquet(path, images, labels))
        for name, images, labels in split_names()
    }
    stand_in("datasets", load_from_disk=lambda _: rows)


def stand_in(name: str, **content: object) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(content)


def table() -> None:
    lines = ["path,label,split"]
    for name, images, labels in split_names():
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Path(f"{name}{number}.png").write_bytes(png(image))
            lines.append(f"{name}{number}.png,{label},{name}")
    Path("labels.csv").write_text("\n".join(lines))


def names() -> None:
    Path("all").mkdir()
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        Path("all", f"{'abc'[label]}.{number}.png").write_bytes(png(image))


MAKERS: dict[str, Callable[[], None]] = {
    "npz": npz, "mat": mat, "idx": idx, "binary": binary, "pickle": pickled, "hdf5": hdf5, "tfrecord": tfrecord,
    "arrow": arrow, "table": table, "names": names, "parquet": parquet,
}  # fmt: skip


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with `save.py`; modules that the code imports from there, and stand-ins, are forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    for name in ("save", "h5py", "tensorflow", "datasets"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # so that they are put back
        del sys.modules[name]
    Path("save.py").write_text(SNIPPETS["save"])
    return tmp_path


def run(name: str) -> None:
    Path("snippet.py").write_text(SNIPPETS[name])
    runpy.run_path("snippet.py")


def test_every_snippet_is_tried() -> None:
    assert set(SNIPPETS) == {*MAKERS, "save", "noise", "subset"}


@pytest.mark.parametrize("name", MAKERS)
def test_a_format_comes_in_as_the_page_shows(workplace: Path, name: str) -> None:
    MAKERS[name]()
    run(name)
    dataset = load("./digits", None, Choice(split=0.75) if name == "names" else Choice())
    assert dataset.num_classes == 3
    assert (len(dataset.train), len(dataset.test)) == (9, 3)
    if name == "parquet":
        return
    of_label = {label: {image[:28, :28].tobytes() for image in IMAGES[label == LABELS]} for label in range(3)}
    for split in ("train", "test"):
        part = dataset.split(split)
        for image, label in zip(part.images, part.labels, strict=True):
            if name == "idx":
                assert any(image[..., 0].tobytes() == other[:28, :28, 0].tobytes() for other in IMAGES[label == LABELS])
            else:
                assert image[:28, :28].tobytes() in of_label[int(label)]


def test_noise_and_subsets_come_in_as_the_page_shows(workplace: Path) -> None:
    run("noise")
    noisy, clean = load("./digits"), load("shapes10")
    assert noisy.classes == tuple(sorted(clean.classes))
    assert np.bincount(noisy.test.labels).tolist() == [100] * 10
    assert 400 <= np.bincount(noisy.train.labels).min() < 500 < np.bincount(noisy.train.labels).max() <= 600
    (workplace / "digits").rename(workplace / "before")
    run("subset")
    assert load("./digits").classes == tuple(sorted((clean.classes[3], clean.classes[5])))
    assert len(load("./digits").train) == 1000


@pytest.mark.parametrize(
    "name", [name for name in MAKERS if name not in ("parquet", "names", "arrow", "hdf5", "tfrecord")]
)
def test_a_foreign_format_is_named_with_the_page(workplace: Path, name: str) -> None:
    Path("save.py").unlink()
    MAKERS[name]()
    with pytest.raises(DataError) as caught:
        load(str(workplace))
    line = str(caught.value)
    assert line.startswith(f"{workplace}: holds ")
    assert line.endswith(f"in three lines of Python that {foreign.PAGE} shows")
    assert foreign.PAGE.strip('"').startswith("Your own images")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.zip", "an archive (a.zip); unpack it"), ("a.tar.gz", "an archive (a.tar.gz); unpack it"),
        ("a.tgz", "an archive"), ("a.7z", "an archive"), ("a.h5", "HDF5 files (a.h5); write its images as an image"),
        ("a.hdf5", "HDF5 files"), ("train.tfrecord-00000-of-00001", "TFRecord files"), ("a.tfrecords", "TFRecord"),
        ("a.arrow", "Arrow files"), ("a.mat", "MATLAB files"), ("a.npy", "NumPy arrays"), ("a.pt", "pickled objects"),
        ("train-images-idx3-ubyte", "MNIST's IDX files"), ("train-images.idx3-ubyte", "MNIST's IDX files"),
        ("data_batch_1", "pickled objects"), ("data_batch_1.bin", "CIFAR's binary files"), ("labels.csv", "a table"),
        ("cat.1.jpg", "images outside class folders"),
    ],
)  # fmt: skip
def test_a_zip_is_named_as_one_and_so_are_others(workplace: Path, name: str, told: str) -> None:
    """As the file that is given, alone in the folder that is given, and alone in the one folder of that."""
    Path("save.py").unlink()
    place = workplace / "set" / "raw"
    place.mkdir(parents=True)
    (place / name).write_bytes(b"x")
    for given in (place / name, place, place.parent):
        with pytest.raises(DataError) as caught:
            load(str(given))
        line = str(caught.value)
        if given.is_dir():
            assert line.startswith(f"{given}: holds {told}")
        else:
            assert (told.partition(" (")[0] if name != "cat.1.jpg" else "is a file, and a dataset is a folder") in line
        assert "\n" not in line
