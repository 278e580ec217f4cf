"""CIFAR-10.1 and CIFAR-10-C from a user's files, in miniature: what is right is opened, what is not is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zoo.cli.options import worded
from zoo.data import datasets, test_sets
from zoo.errors import DataError, sentence

COUNT = 20


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def make_new(root: Path, version: str = "v6", folder: str = "CIFAR-10.1") -> Path:
    """CIFAR-10.1 with 20 images."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / f"cifar10.1_{version}_data.npy", pictures(COUNT))
    np.save(place / f"cifar10.1_{version}_labels.npy", np.arange(COUNT, dtype=np.int32) % 10)
    return place


def make_corrupted(root: Path, folder: str = "CIFAR-10-C") -> Path:
    """CIFAR-10-C with 20 images and two corruptions."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("fog", "gaussian_noise")):
        np.save(place / f"{name}.npy", pictures(5 * COUNT, seed))
    np.save(place / "labels.npy", np.tile(np.arange(COUNT, dtype=np.uint8) % 10, 5))
    return place


@pytest.mark.parametrize("folder", ["cifar10.1", "CIFAR-10.1", "CIFAR-10.1/datasets"])
def test_new_images(tmp_path: Path, folder: str) -> None:
    make_new(tmp_path, folder=folder)
    found = test_sets.open_set("cifar10.1", [tmp_path])
    assert (found.name, found.corruptions, len(found.classes)) == ("cifar10.1", (), 10)
    assert np.array_equal(found.part(), pictures(COUNT))
    assert found.labels.tolist() == [number % 10 for number in range(COUNT)]
    assert not found.labels.flags.writeable
    assert not found.part().flags.writeable


def test_version_6_is_taken_before_4(tmp_path: Path) -> None:
    make_new(tmp_path, "v4")
    assert "v4" in test_sets.open_set("cifar10.1", [tmp_path]).source
    make_new(tmp_path, "v6")
    assert "v6" in test_sets.open_set("cifar10.1", [tmp_path]).source


def test_severities_follow_one_another(tmp_path: Path) -> None:
    make_corrupted(tmp_path)
    found = test_sets.open_set("cifar10-c", [tmp_path])
    assert found.corruptions == ("fog", "gaussian_noise")
    for severity in (1, 3, 5):
        rows = slice((severity - 1) * COUNT, severity * COUNT)
        assert np.array_equal(found.part("gaussian_noise", severity), pictures(5 * COUNT, 1)[rows])


def test_they_are_listed_and_cannot_be_trained_on(tmp_path: Path) -> None:
    make_new(tmp_path)
    rows = {row.name: row for row in datasets.available(tmp_path)}
    assert rows["cifar10.1"].location == str(tmp_path / "CIFAR-10.1")
    assert rows["cifar10-c"].location is None
    assert "labels.npy" in sentence(rows["cifar10-c"].hint)
    for name in ("cifar10.1", "CIFAR-10-C"):
        with pytest.raises(DataError, match="test images only, nothing to train on; `zoo evaluate RUN") as caught:
            datasets.load(name, tmp_path)
        assert "`zoo evaluate RUN --dataset cifar10" in sentence(caught.value.parts, worded)


def spoil(name: str, content: object) -> Callable[[Path], None]:
    def act(place: Path) -> None:
        (place / name).write_bytes(content) if isinstance(content, bytes) else np.save(place / name, content)

    return act


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (spoil("labels.npy", np.arange(7)), "7 labels, expected those of the test images 5 times over"),
        (spoil("labels.npy", np.tile(np.arange(COUNT), 5)), "label 10 is outside 0..9"),
        (spoil("labels.npy", np.zeros((5, 5))), "expected whole numbers"),
        (spoil("labels.npy", np.zeros(0, np.int64)), "int64 (0,), expected whole numbers"),
        (spoil("labels.npy", np.arange(50) // 5), "50 labels, expected those of the test images 5 times over"),
        (spoil("labels.npy", b"no array"), "truncated, or not an array"),
        (lambda place: (place / "labels.npy").unlink(), "labels.npy"),
        (spoil("fog.npy", pictures(COUNT)), "as there are labels"),
        (spoil("fog.npy", pictures(5 * COUNT).astype(np.float32)), "float32"),
        (spoil("fog.npy", pictures(5 * COUNT).transpose(0, 3, 1, 2)), "(100, 3, 32, 32)"),
        (spoil("fog.npy", b"\x93NUMPY\x01\x00"), "truncated, or not an array"),
        (spoil("fog.npy", b""), "truncated, or not an array"),
        (spoil("fog.npy", b"PK\x03\x04 begins as an archive"), "truncated, or not an array"),
        (lambda place: np.savez((place / "fog.npy").open("wb"), images=pictures(2)), "an archive of arrays (.npz)"),
        (lambda place: np.save(place / "fog.npy", np.array([{}]), allow_pickle=True), "not an array of numbers"),
    ],
)  # fmt: skip
def test_damage_is_one_line(tmp_path: Path, damage: Callable[[Path], None], told: str) -> None:
    place = make_corrupted(tmp_path)
    damage(place)
    with pytest.raises(DataError) as caught:
        test_sets.open_set("cifar10-c", [tmp_path]).part("fog", 5)
    line = str(caught.value)
    assert told in line
    assert str(place) in line
    assert "\n" not in line


def test_half_of_the_files(tmp_path: Path) -> None:
    place = make_new(tmp_path)
    (place / "cifar10.1_v6_labels.npy").unlink()
    with pytest.raises(DataError, match=r"cifar10.1_v6_labels.npy: missing, though its other half is there"):
        test_sets.open_set("cifar10.1", [tmp_path])
    with pytest.raises(DataError, match=r"'cifar100-c' not found: looked in .*; put labels.npy and"):
        test_sets.open_set("cifar100-c", [tmp_path])


def test_a_damaged_corruption_does_not_stop_the_others(tmp_path: Path) -> None:
    np.save(make_corrupted(tmp_path) / "fog.npy", pictures(3))
    found = test_sets.open_set("cifar10-c", [tmp_path])
    assert len(found.part("gaussian_noise", 5)) == COUNT


def test_no_images_and_no_version(tmp_path: Path) -> None:
    place = make_corrupted(tmp_path)
    for name in ("fog", "gaussian_noise"):
        (place / f"{name}.npy").unlink()
    with pytest.raises(DataError, match=r"no <corruption>.npy beside labels.npy"):
        test_sets.open_set("cifar10-c", [tmp_path])
    place = make_new(tmp_path, "v9")
    with pytest.raises(DataError, match=r"neither cifar10.1_v6_data.npy nor cifar10.1_v4_data.npy"):
        test_sets.open_set("cifar10.1", [tmp_path])


def test_folders_by_themselves(tmp_path: Path) -> None:
    place = make_corrupted(tmp_path)
    assert test_sets.find("cifar10-c", [place]) == place
    assert test_sets.find("cifar100-c", [place]) is None
    assert test_sets.kind(make_corrupted(tmp_path, "mine")) == "cifar10-c"
    assert test_sets.kind(make_new(tmp_path, folder="new")) == "cifar10.1"
    assert test_sets.kind(tmp_path) is None
    assert test_sets.open_folder(tmp_path / "mine", "cifar10-c").corruptions == ("fog", "gaussian_noise")


def test_names() -> None:
    names = ("CIFAR-10-C", "cifar10.1", "CIFAR-100-C", "cifar10", "shapes10")
    assert [test_sets.canonical(name) for name in names] == ["cifar10-c", "cifar10.1", "cifar100-c", None, None]
    assert len(set(test_sets.CIFAR100_CLASSES)) == 100
    assert list(test_sets.CIFAR100_CLASSES) == sorted(test_sets.CIFAR100_CLASSES)
