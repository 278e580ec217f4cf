"""Which files are which split: exact names, whole sets of shards, and a choice where a folder leaves one."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from zoo.cli.options import worded
from zoo.data.choice import Choice
from zoo.data.datasets import Dataset, load
from zoo.errors import DataError, sentence

pytestmark = pytest.mark.usefixtures("empty_cache")


def refused(folder: Path, choice: Choice | None = None) -> str:
    """The line that the folder ends in, without its path."""
    with pytest.raises(DataError) as caught:
        load(str(folder), None, choice or Choice())
    line = sentence(caught.value.parts, worded)
    assert "\n" not in line
    return line.replace(f"{folder}", "DIR")


def greys(dataset: Dataset, split: str) -> list[int]:
    """The grey levels of a split's images, sorted."""
    return sorted(int(image[0, 0, 0]) for image in dataset.split(split).images)


@pytest.fixture
def shard(tmp_path: Path, files: SimpleNamespace):
    """Writes a parquet file of two images of one grey level into the folder `set`."""

    def write(name: str, grey: int = 0, **options) -> Path:
        images = np.full((2, 8, 8, 3), grey, np.uint8)
        files.write_parquet(tmp_path / "set" / name, list(images), [0, 1], **options)
        return tmp_path / "set"

    return write


# --- parquet ---


def test_a_parquet_shard_twice_and_one_missing_is_refused(shard) -> None:
    shard("train-00000-of-00002.parquet")
    shard("train-00000-of-00002 (1).parquet")
    line = refused(shard("test-00000-of-00001.parquet"))
    assert line == (
        "DIR: train shard 1 of 2 is missing, shard 0 is there twice (train-00000-of-00002 (1).parquet, "
        "train-00000-of-00002.parquet); fetch what is missing"
    )


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["train-00000-of-00002"], "train shard 1 of 2 is missing; fetch what is missing"),
        (["train-0", "train-2", "train-3", "train-9"], "train shards 1, 4, 5, ... of 10 are missing"),
        (["train-1", "train-2"], "train shard 0 of 3 is missing"),
        (["train/0000", "train/0002"], "train shard 1 of 3 is missing"),
        (["train-00000-of-00001", "train-00000-of-00001 - Copy"], "train shard 0 is there twice"),
        (["train-00000-of-00002-0123456789abcdef", "train-00000-of-00002-fedcba9876543210"], "shard 0 is there twice"),
        (["train", "train (1)", "train (2)"], "train is there 3 times (train (1).parquet, train (2).parquet, train."),
        (["train", "train-00000-of-00001"], "train files are of more than one set"),
        (["train-00000-of-00002", "train-00001-of-00003"], "train files are of more than one set"),
        (["train-00000-of-00001", "train-00001-of-00001"], "train shard 1 is beyond the 1"),
        (["train-00000-of-999999999"], "train shards 1, 2, 3, ... of 999999999 are missing"),
        (
            ["a/train-00000-of-00002", "b/train-00001-of-00002"],
            "test files in DIR and train files in DIR/a; name the one",
        ),
        (["a/train", "b/train/0000"], "test files in DIR and train files in DIR/a; name the one"),
    ],
)
def test_every_shard_is_there_once(shard, names: list[str], told: str) -> None:
    for name in names:
        shard(f"{name}.parquet")
    assert told in refused(shard("test.parquet"))


@pytest.mark.parametrize(
    "names",
    [
        ["train", "test"],
        ["data/train-00000-of-00002", "data/train-00001-of-00002", "data/test-00000-of-00001"],
        ["data/train-00000-of-00002-0123456789abcdef", "data/train-00001-of-00002-fedcba9876543210", "data/test"],
        ["default/train/0000", "default/train/0001", "default/test/0000"],
        ["train/part-00000", "train/part-00001", "test/part-0"],
        ["train_0", "train_1", "test_0"],
        [*(f"train-{number}" for number in range(11)), "test-0"],
    ],
)
def test_what_the_hub_writes_is_read_in_the_order_of_its_numbers(shard, names: list[str]) -> None:
    for grey, name in enumerate(names):
        folder = shard(f"{name}.parquet", grey)
    dataset = load(str(folder))
    assert dataset.train.images[::2, 0, 0, 0].tolist() == list(range(len(names) - 1))
    assert greys(dataset, "test") == [len(names) - 1] * 2
    assert dataset.left_out == {}


def test_train_noisy_is_not_trained_on_as_train(shard) -> None:
    names = ["train", "train_noisy", "train-small", "train.old", "train_extra-00000-of-00001", "Train", "notrain"]
    for grey, name in enumerate(names):
        shard(f"{name}.parquet", grey)
    shard("test.parquet", 50)
    dataset = load(str(shard("test_hard.parquet", 60)))
    assert greys(dataset, "train") == [0, 0]
    assert greys(dataset, "test") == [50, 50]
    assert dataset.left_out == {f"{name}.parquet": 1 for name in [*names[1:], "test_hard"]}


def test_a_file_that_joins_later_is_counted(shard) -> None:
    """The copy in the cache is of the same images, but not of the same folder."""
    shard("train.parquet")
    first = load(str(shard("test.parquet", 1)))
    second = load(str(shard("unsupervised.parquet", 2)))
    assert first.fingerprint == second.fingerprint
    assert (first.left_out, second.left_out) == ({}, {"unsupervised.parquet": 1})


@pytest.mark.parametrize("name", ["validation", "val", "dev", "valid"])
def test_train_and_validation_without_test_name_the_choice(shard, image_set: Path, name: str) -> None:
    shard("train-00000-of-00001.parquet")
    folder = shard(f"{name}-00000-of-00001.parquet", 7)
    line = refused(folder)
    assert line == (f"DIR: no test split in it, only train and {name}; to test on that one give --test-split {name}")
    chosen = load(str(folder), None, Choice(test_split=name))
    assert greys(chosen, "test") == [7, 7]
    assert chosen.choice.test_split == name

    (image_set / "test").rename(image_set / name)
    assert refused(image_set) == line
    assert len(load(str(image_set), None, Choice(test_split=name)).test) == 4


def test_the_choice_of_a_split_holds_beside_a_test_split(shard, image_set: Path) -> None:
    shard("train.parquet")
    shard("validation.parquet", 7)
    folder = shard("test.parquet", 9)
    by_default, chosen = load(str(folder)), load(str(folder), None, Choice(test_split="validation"))
    assert (greys(by_default, "test"), by_default.left_out) == ([9, 9], {"validation.parquet": 1})
    assert (greys(chosen, "test"), chosen.left_out) == ([7, 7], {"test.parquet": 1})
    assert by_default.fingerprint != chosen.fingerprint

    shutil.copytree(image_set / "train", image_set / "val")
    assert load(str(image_set)).left_out == {"val/": 6}
    assert load(str(image_set), None, Choice(test_split="val")).left_out == {"test/": 4}


def test_a_choice_that_nothing_asks_for_is_refused(shard, image_set: Path) -> None:
    shard("train.parquet")
    folder = shard("test.parquet")
    assert refused(folder, Choice(test_split="val")) == (
        "DIR: no val split in it, only train and test; take out --test-split val to test on test"
    )
    assert refused(folder, Choice(split=0.8)) == "DIR: parquet files have splits of their own; take out --split 0.8"
    assert refused(image_set, Choice(split=0.8)) == "DIR: has the splits train and test; take out --split 0.8"
    assert "an image folder has no columns; take out --label-column x" in refused(image_set, Choice(label_column="x"))
    for choice in (Choice(split=0.5), Choice(test_split="dev"), Choice(image_column="image")):
        with pytest.raises(DataError, match="shapes10 has splits and labels of its own; take out "):
            load("shapes10", None, choice)
    with pytest.raises(DataError, match="no share between 0 and 1"):
        Choice(split=1.0)


def test_parquet_files_of_no_split_are_named(shard) -> None:
    shard("cifar10-train.parquet")
    assert refused(shard("data.parquet")) == (
        "DIR: no train and no test split in it (cifar10-train.parquet, data.parquet: no split's name); "
        "name files or folders train and test"
    )


@pytest.mark.parametrize("pair", [("fine_label", "coarse_label"), ("label", "labels"), ("label", "fine_label")])
def test_of_two_label_columns_the_choice_is_asked_for(tmp_path: Path, files: SimpleNamespace, pair) -> None:
    two_columns(tmp_path / "set", files, "img", *pair)
    line = refused(tmp_path / "set")
    assert line == f"DIR/train.parquet: 2 label columns ({', '.join(pair)}); choose one with --label-column {pair[0]}"
    one, other = (load(str(tmp_path / "set"), None, Choice(label_column=name)) for name in pair)
    assert one.train.labels.tolist() == [0, 1, 2, 3]
    assert other.train.labels.tolist() == [0, 0, 1, 1]
    assert one.classes == ("0", "1", "2", "3")
    assert "no label column (x) among img, " in refused(tmp_path / "set", Choice(label_column="x"))


def two_columns(folder: Path, files: SimpleNamespace, image: str, first: str, second: str, features=None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    images = [{"bytes": files.encode(image), "path": ""} for image in files.pictures(4, (32, 32))]
    columns = {image: images} if isinstance(image, str) else dict.fromkeys(image, images)
    table = pa.table(columns | {first: [0, 1, 2, 3], second: [0, 0, 1, 1]})
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for split in ("train", "test"):
        pq.write_table(table, folder / f"{split}.parquet")


def test_of_two_image_columns_the_choice_is_asked_for(tmp_path: Path, files: SimpleNamespace) -> None:
    features = {name: {"_type": "Image"} for name in ("image", "mask")}
    for folder, columns, kinds in (("a", ("image", "img"), None), ("b", ("image", "mask"), features)):
        two_columns(tmp_path / folder, files, columns, "label", "other", kinds)
        assert refused(tmp_path / folder).endswith(
            f"train.parquet: 2 image columns ({', '.join(columns)}); choose one with --image-column image"
        )
        assert len(load(str(tmp_path / folder), None, Choice(image_column=columns[1])).train) == 4


def test_the_hub_says_which_column_is_a_label(tmp_path: Path, files: SimpleNamespace) -> None:
    features = {"character": {"_type": "ClassLabel", "names": ["a", "b", "c", "d"]}, "writer": {"_type": "Value"}}
    two_columns(tmp_path / "one", files, "image", "character", "writer", features)
    assert load(str(tmp_path / "one")).classes == ("a", "b", "c", "d")
    features["writer"] = {"_type": "ClassLabel", "names": ["x", "y"]}
    two_columns(tmp_path / "two", files, "image", "character", "writer", features)
    assert "2 label columns (character, writer); choose one with" in refused(tmp_path / "two")
    assert load(str(tmp_path / "two"), None, Choice(label_column="writer")).classes == ("x", "y")


def test_cifar100_means_its_fine_labels(tmp_path: Path, files: SimpleNamespace) -> None:
    """The name promises 100 classes, and one of its two columns has as many."""
    two_columns(tmp_path / "cifar100-small", files, "img", "coarse_label", "fine_label")
    assert "2 classes, but 'cifar100-small' has 100" in refused(tmp_path / "cifar100-small")
    two_columns(tmp_path / "cifar100-other", files, "img", "fine_label", "coarse_label")
    assert "4 classes, but 'cifar100-other' has 100" in refused(tmp_path / "cifar100-other")


def test_splits_of_two_sets_are_not_mixed(shard) -> None:
    shard("a/train.parquet")
    folder = shard("b/test.parquet")
    assert refused(folder) == "DIR: train files in DIR/a and test files in DIR/b; name the one folder that is meant"
    (folder / "b" / "test.parquet").rename(folder / "a" / "test.parquet")
    assert len(load(str(folder)).train) == 2
    shard("b/train-0.parquet")
    assert refused(folder) == "DIR: test files in DIR/a and train files in DIR/b; name the one folder that is meant"


def test_many_files_of_no_split_are_counted_in_one_line(shard) -> None:
    for name in ["train", *(f"validation-{number}" for number in range(3)), *(f"extra-{n:02}" for n in range(20))]:
        shard(f"{name}.parquet")
    (shard("test.parquet") / "folder.parquet").mkdir()
    left_out = load(str(shard("test.parquet"))).left_out
    names = {f"extra-{number:02}.parquet": 1 for number in range(8)}
    assert left_out == names | {"validation-*.parquet": 3, "more parquet files": 12}


@pytest.mark.parametrize("name", ["train.parquet", "train/a/train.parquet", "data/test-00000-of-00001.parquet"])
def test_parquet_files_beside_class_folders_are_not_guessed_between(shard, image_set: Path, name: str) -> None:
    image_set.rename(image_set.parent / "set")
    root = shard(name)
    assert refused(root) == ("DIR: has parquet files of splits and class folders of images; move one of them elsewhere")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "a"), "two classes are called 'a'; rename one"),
        (("a", " "), "the class name ' ' is not plain UTF-8 text; rename it"),
        (("a",), "one class (a); a classifier needs two or more"),
    ],
)
def test_class_names_of_parquet_files_tell_classes_apart(shard, names: tuple[str, ...], told: str, files) -> None:
    labels = [0] * 2 if len(names) == 1 else [0, 1]
    for split in ("train", "test"):
        root = shard(f"{split}.parquet")
        files.write_parquet(root / f"{split}.parquet", list(files.pictures(2)), labels, names)
    assert refused(root) == f"parquet files in DIR: {told}"


# --- image folders ---


@pytest.fixture
def classes(tmp_path: Path, files: SimpleNamespace):
    """Makes class folders of images, each of a grey level of its own: {class: number of images}."""

    def make(folder: Path, counts: dict[str, int]) -> dict[str, int]:
        levels = {}
        for name, count in counts.items():
            (folder / name).mkdir(parents=True)
            for number in range(count):
                levels[f"{name}/{number}.png"] = grey = len(levels)
                pixels = np.full((6, 6, 3), grey, np.uint8)
                (folder / name / f"{number}.png").write_bytes(files.encode(pixels))
        return levels

    return make


def test_rows_come_in_an_order_of_names_alone(tmp_path: Path, classes) -> None:
    """Sorted as text ("a b/" stands before "a/"), then shuffled, whatever order the disk has."""
    root = tmp_path / "set"
    counts = {"b": 3, "a": 4, "a b": 2}
    levels = classes(root / "train", counts)
    classes(root / "test", dict(reversed(counts.items())))
    dataset = load(str(root))
    paths = sorted(levels)
    assert paths[0].startswith("a b/")
    random.Random(0).shuffle(paths)
    assert dataset.train.images[:, 0, 0, 0].tolist() == [levels[path] for path in paths]
    assert dataset.classes == ("a", "a b", "b")
    assert [dataset.classes[label] for label in dataset.train.labels] == [path.split("/")[0] for path in paths]
    assert dataset.train.labels.tolist() == dataset.test.labels.tolist()


def test_class_folders_are_divided_by_the_names_of_their_files(tmp_path: Path, classes) -> None:
    counts = {"cat": 10, "dog": 5, "eel": 2, "fox": 1}
    levels = classes(tmp_path / "pets", counts)
    assert refused(tmp_path / "pets") == (
        "DIR: 4 class folders (cat, dog, eel, ...) without train and test; to train on 80 % of each class and test on "
        "the rest give --split 0.8"
    )
    dataset = load(str(tmp_path / "pets"), None, Choice(split=0.8))
    assert np.bincount(dataset.train.labels).tolist() == [8, 4, 1, 1]
    assert np.bincount(dataset.test.labels, minlength=4).tolist() == [2, 1, 1, 0]
    by_level = {grey: path for path, grey in levels.items()}
    for label in counts:
        ordered = sorted(
            (path for path in levels if path.startswith(label)), key=lambda path: hashlib.sha256(path.encode()).digest()
        )
        of_class = {by_level[grey] for grey in greys(dataset, "train")} & set(ordered)
        assert of_class == set(ordered[: len(of_class)])

    moved = tmp_path / "elsewhere" / "animals"
    shutil.copytree(tmp_path / "pets", moved)
    assert load(str(moved), None, Choice(split=0.8)).fingerprint == dataset.fingerprint
    assert load(str(moved), None, Choice(split=0.6)).fingerprint != dataset.fingerprint
    (tmp_path / "with" / "x").mkdir(parents=True)
    (tmp_path / "pets").rename(tmp_path / "with" / "train")
    shutil.rmtree(tmp_path / "with" / "x")
    assert refused(tmp_path / "with") == (
        "DIR: no test split in it, only train; to keep a part of each class for the test give --split 0.8"
    )
    assert load(str(tmp_path / "with"), None, Choice(split=0.8)).fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (
            ["Training/a", "Training/b", "Testing/a", "Testing/b"],
            "the folders Testing, Training are no splits by their",
        ),
        (
            ["pets/train/a", "pets/train/b", "pets/test/a"],
            "no dataset itself, but its folder pets is; name --dataset DIR",
        ),
        (["one/a", "one/b"], "one folder of images (one), and a classifier needs two classes or more"),
        (["train/images/a", "train/images/b", "test/images/a"], "DIR/train: one class folder (images); a classifier"),
        (["train/a", "train/b", "test/c"], "DIR/test/c: a class that DIR/train does not have; 2 are there"),
        (
            ["train", "test"],
            "DIR/train: holds images outside class folders (0.png); sort the images into train/<class>/",
        ),
        (["train/a", "test/a"], "DIR/train: one class folder (a); a classifier needs two or more"),
        (
            ["train/a", "train/b", "Val/a", "Val/b"],
            "DIR: no test split in it, only train (Val: no split's name); rename one to test, or to keep a part of "
            "each class for the test give --split 0.8",
        ),
        (
            ["Train/a", "Train/b", "test/a"],
            "DIR: no train split in it, only test (Train: no split's name); name files or folders train and test",
        ),
        (["train/train/a", "train/train/b", "train/test/a"], "DIR: no dataset itself, but its folder train is; name"),
        (
            ["train/Cat", "train/Dog", "test/cat"],
            "DIR/test/cat: a class that DIR/train does not have; its 'Cat' differs only in case or in the bytes of its "
            "letters: rename one",
        ),
        (["train/K\xe4se", "train/b", "test/Ka\u0308se"], "does not have; its 'K\\xe4se' differs only in case or in"),
    ],
)
def test_folders_that_are_nearly_a_dataset(tmp_path: Path, classes, folders: list[str], told: str) -> None:
    for folder in folders:
        classes(tmp_path / "set" / Path(folder).parent, {Path(folder).name: 2})
    assert told in refused(tmp_path / "set")


def test_splits_inside_classes_are_not_divided_anew(tmp_path: Path, classes) -> None:
    """Their test images would be trained on."""
    for label in ("cat", "dog"):
        classes(tmp_path / "set" / label, {"train": 4, "test": 2})
    assert refused(tmp_path / "set") == refused(tmp_path / "set", Choice(split=0.8))
    assert refused(tmp_path / "set") == (
        "DIR: has splits inside its classes (cat/train, cat/test); sort the images into train/<class>/ and "
        "test/<class>/"
    )


def test_a_folder_like_a_split_beside_a_divided_one_is_counted(tmp_path: Path, classes) -> None:
    for split, count in (("train", 5), ("Test", 2)):
        classes(tmp_path / "set" / split, {"a": count, "b": count})
    dataset = load(str(tmp_path / "set"), None, Choice(split=0.8))
    assert dataset.left_out == {"Test/": 4}
    assert (len(dataset.train), len(dataset.test)) == (8, 2)


@pytest.mark.parametrize("name", ["tab\there", "not-utf8-\udcff"])
def test_a_folder_name_that_no_result_can_hold_is_refused_first(tmp_path: Path, classes, name: str) -> None:
    (tmp_path / name).mkdir()
    assert refused(tmp_path / name) == f"DIR: results cannot hold this folder's name ({name!r}); rename the folder"


def test_a_folder_may_have_the_longest_name_that_a_disk_holds(tmp_path: Path, classes) -> None:
    for split in ("train", "test"):
        classes(tmp_path / ("a" * 255) / split, {"a": 1, "b": 1})
    assert load(str(tmp_path / ("a" * 255))).name == "a" * 255


def test_a_class_called_train_is_a_class(tmp_path: Path, classes) -> None:
    classes(tmp_path / "set", {"bus": 5, "car": 5, "train": 5})
    assert load(str(tmp_path / "set"), None, Choice(split=0.6)).classes == ("bus", "car", "train")


def test_files_left_out_are_counted(image_set: Path, files: SimpleNamespace) -> None:
    """TIFF and images in sub-folders of a class are read, as torchvision reads them; the rest is counted."""
    from PIL import Image

    before = load(str(image_set))
    (image_set / "train" / "ant" / "more").mkdir()
    (image_set / "train" / "ant" / "1.png").rename(image_set / "train" / "ant" / "more" / "1.png")
    tiff = image_set / "train" / "ant" / "0.png"
    Image.open(tiff).save(tiff.with_suffix(".TIF"))
    tiff.unlink()
    for name in (
        "train/ant/a.heic",
        "train/ant/b.HEIC",
        "train/bee/more.txt",
        "test/ant/labels.csv",
        "train/bee/odd. name",
    ):
        (image_set / name).write_bytes(b"x")
    for name in ("README.md", "train/classes.txt"):
        (image_set / name).write_text("not a file of a class")
    shutil.copy(image_set / "train" / "bee" / "0.png", image_set / "train" / "loose.png")
    after = load(str(image_set))
    assert after.left_out == {".heic": 2, ".txt": 1, ".csv": 1, "other files": 1, ".png": 1}
    assert len(after.train) == 6
    assert np.array_equal(np.sort(after.train.images, axis=None), np.sort(before.train.images, axis=None))


def test_leftovers_of_macos_archives_are_ignored(image_set: Path) -> None:
    whole = load(str(image_set))
    for folder in (image_set / "train" / "ant", image_set / "test" / "bee", image_set / "train", image_set):
        for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"\0\5\x16\7")
        (folder / "__MACOSX" / "ant").mkdir(parents=True)
        (folder / "__MACOSX" / "ant" / "0.png").write_bytes(b"\0\5\x16\7")
        (folder / ".ipynb_checkpoints").mkdir()
        (folder / ".ipynb_checkpoints" / "0-checkpoint.png").write_bytes(b"x")
    with_leftovers = load(str(image_set))
    assert with_leftovers.fingerprint == whole.fingerprint
    assert with_leftovers.left_out == {}


@pytest.mark.skipif(os.name != "posix", reason="links need a right elsewhere")
def test_links_are_followed_once(image_set: Path) -> None:
    whole = load(str(image_set))
    store = image_set.parent / "store"
    (image_set / "train" / "ant").rename(store)
    (image_set / "train" / "ant").symlink_to(store)
    (image_set / "train" / "bee" / "0.png").rename(image_set.parent / "0.png")
    (image_set / "train" / "bee" / "0.png").symlink_to(image_set.parent / "0.png")
    (store / "back").symlink_to(image_set / "train")
    (store / "self").symlink_to(store)
    assert load(str(image_set)).fingerprint == whole.fingerprint


def test_a_class_without_a_test_image_is_no_mistake(image_set: Path) -> None:
    for path in (image_set / "test" / "bee").iterdir():
        path.unlink()
    assert np.bincount(load(str(image_set)).test.labels, minlength=2).tolist() == [2, 0]
    for path in (image_set / "test" / "ant").iterdir():
        path.unlink()
    assert "DIR/test: no images in its class folders" in refused(image_set)


@pytest.mark.parametrize("count", [10, pytest.param(1000, marks=pytest.mark.slow)])
def test_ten_to_a_thousand_classes(tmp_path: Path, classes, count: int) -> None:
    classes(tmp_path / "set", {f"class {number:04}": 2 for number in range(count)})
    dataset = load(str(tmp_path / "set"), None, Choice(split=0.5))
    assert dataset.num_classes == count
    assert np.bincount(dataset.train.labels).tolist() == np.bincount(dataset.test.labels).tolist() == [1] * count
