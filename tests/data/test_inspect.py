"""`zoo data verify` and `show`: counts, statistics, duplicates, contact sheets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zoo.data.datasets import load
from zoo.data.inspect import contact_sheet, describe, verify
from zoo.data.statistics import channels
from zoo.errors import DataError


def test_statistics_of_the_real_images(zoo_data: Path) -> None:
    report = verify(load("cifar10-jpeg", zoo_data))
    train, test = report["splits"]["train"], report["splits"]["test"]
    assert train["mean"] == pytest.approx([0.49125, 0.48209, 0.44652], abs=1e-4)
    assert train["std"] == pytest.approx([0.24523, 0.24278, 0.26063], abs=1e-4)
    assert set(train["per_class"].values()) == {5000}
    assert set(test["per_class"].values()) == {1000}
    assert report["cache_ok"] is True


def test_statistics_equal_the_definition(files: SimpleNamespace) -> None:
    images = files.pictures(50) // np.arange(1, 51, dtype=np.uint8)[:, None, None, None]
    measured, shares = channels(images), images / 255
    mean, std, squares = shares.mean((0, 1, 2)), shares.std((0, 1, 2)), (shares**2).mean((1, 2))
    assert measured.mean == pytest.approx(mean, abs=1e-12)
    assert measured.std == pytest.approx(std, abs=1e-12)
    assert measured.mean_error == pytest.approx(shares.mean((1, 2)).std(0), abs=1e-12)
    # One image more moves the variance by its mean square less twice its mean times that of all.
    assert measured.std_error == pytest.approx((squares - 2 * mean * shares.mean((1, 2))).std(0) / 2 / std, abs=1e-12)
    rows = np.array([3, 1, 40])
    assert channels(images, rows) == channels(images[rows])


def test_verify_finds_duplicates_and_damage(tmp_path: Path, files: SimpleNamespace) -> None:
    images = files.pictures(5)
    files.write_parquet(tmp_path / "d" / "train.parquet", [*images, images[0], images[0]], [0, 1, 0, 1, 0, 0, 1])
    files.write_parquet(tmp_path / "d" / "test.parquet", [images[2], *files.pictures(2, seed=9)], [0, 1, 1])
    data = load("d", tmp_path)
    report = verify(data)
    assert report["splits"]["train"]["duplicates"] == 2
    assert report["splits"]["test"]["duplicates"] == 0
    assert report["shared"] == 1
    assert report["splits"]["train"]["per_class"] == {"0": 4, "1": 3}
    assert report["cache_problem"] is None
    with (data.folder / "test_labels.npy").open("ab") as stream:
        stream.write(b"x")
    report = verify(data)
    assert not report["cache_ok"]
    assert "test_labels.npy" in report["cache_problem"]


def test_describe(parquet_set: Path) -> None:
    data = load(str(parquet_set))
    report = describe(data)
    assert report["fingerprint"] == data.fingerprint
    assert report["splits"]["test"] == {"images": 4, "height": 8, "width": 8}


def test_contact_sheet(parquet_set: Path, tmp_path: Path) -> None:
    data = load(str(parquet_set))
    path = contact_sheet(data, "train", 2, tmp_path / "new" / "sheet.png")
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 18, 15 + 2 * 18, 3)
    assert np.array_equal(sheet[18 : 18 + 16 : 2, 15 : 15 + 16 : 2], data.train.images[1])  # first image of class 1
    assert (sheet[:, :15] != 255).any()  # the names


def test_contact_sheet_mistakes(parquet_set: Path, tmp_path: Path) -> None:
    data = load(str(parquet_set))
    with pytest.raises(DataError, match="0 images per class is empty"):
        contact_sheet(data, "train", 0, tmp_path / "sheet.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^cannot write .*; name another file$"):
        contact_sheet(data, "train", 1, tmp_path / "file" / "sheet.png")


def test_a_sheet_of_large_images_names_what_makes_it_smaller(
    parquet_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.data.inspect._LARGEST", 100)
    data = load(str(parquet_set))
    with pytest.raises(DataError, match="ask for fewer images per class"):
        contact_sheet(data, "train", 2, tmp_path / "sheet.png")
    with pytest.raises(DataError, match="is too large; give image_size 32x32"):
        contact_sheet(data, "train", 1, tmp_path / "sheet.png")
