"""Images of several sizes, resized as they are decoded to the size that a recipe names."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from damaged import little_memory
from PIL import Image

from zoo.data.choice import Choice
from zoo.data.content import Resized
from zoo.data.datasets import load
from zoo.data.listing import in_memory, to_size
from zoo.data.open import open_images
from zoo.data.readers.decode import decode_blocks, first_size
from zoo.errors import DataError, RecipeError
from zoo.recipes.load import load_recipe


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def test_pictures_are_resized_as_they_are_decoded(files) -> None:
    images = [files.pictures(1, size)[0] for size in ((8, 8), (16, 12), (5, 30), (8, 8))]
    rows, sizes = [files.encode(image) for image in images], set()
    assert first_size(rows[0], "here", None, (10, 7)) == (10, 7)
    blocks = np.concatenate(list(decode_blocks(iter(rows), (10, 7), str, sizes)))
    assert np.array_equal(blocks, [resized(image, (10, 7)) for image in images])
    assert sizes == {(8, 8), (16, 12), (5, 30)}
    same = np.concatenate(list(decode_blocks(iter([rows[0]] * 3), (8, 8), str, set())))
    assert np.array_equal(same, [images[0]] * 3)  # of that size already: their own bytes


def test_the_name_still_promises_the_size_of_the_files(files) -> None:
    with pytest.raises(DataError, match="image of 8x8 pixels, but the name of the dataset promises 32x32"):
        first_size(files.encode(files.pictures(1)[0]), "here", 32, (16, 16))


@pytest.mark.parametrize("size", [(9, 8), (63, 65), (200, 300), (2000, 1000)])
def test_an_image_of_any_other_size_names_the_recipe_key(files, size: tuple[int, int]) -> None:
    """However much larger it is than the first one: it is looked at before it is decoded."""
    rows = [files.encode(image) for image in (files.pictures(1)[0], files.pictures(1, size)[0])]
    with pytest.raises(DataError) as caught:
        list(decode_blocks(iter(rows), (8, 8), lambda i: f"row {i}"))
    assert str(caught.value) == (
        f"row 1: image of {size[1]}x{size[0]} pixels, but the first image has 8x8; all must have one size; "
        "the recipe key image_size resizes them as they are decoded, as in image_size: 64"
    )


def test_large_pictures_are_resized_in_threads_in_their_order(files) -> None:
    images = files.pictures(40, (200, 300))
    rows = [files.encode(image, "BMP") for image in images]
    blocks = np.concatenate(list(decode_blocks(iter(rows), (9, 9), str, set())))
    assert np.array_equal(blocks, [resized(image, (9, 9)) for image in images])


def test_images_in_memory_are_resized_alike(files) -> None:
    images = files.pictures(3, (8, 6))
    part = to_size(in_memory(images, np.arange(3)), (4, 4))
    assert part.shape == (3, 4, 4, 3)
    assert np.array_equal(np.concatenate(list(part.blocks())), [resized(image, (4, 4)) for image in images])
    assert part.sizes == {(8, 6)}
    assert to_size(part, (4, 4)) is part


@pytest.fixture
def mixed(tmp_path: Path, files) -> Path:
    """A folder of images of three sizes, large and small, in two classes."""
    sizes = [(8, 8), (20, 10), (300, 200), (8, 8)]
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "mixed" / split / label).mkdir(parents=True)
            for number, size in enumerate(sizes):
                image = files.pictures(1, size, ord(label) + number + 9 * (split == "test"))[0]
                (tmp_path / "mixed" / split / label / f"{number}.png").write_bytes(files.encode(image))
    return tmp_path / "mixed"


@pytest.mark.usefixtures("empty_cache")
def test_an_image_folder_of_several_sizes(mixed: Path) -> None:
    with pytest.raises(
        DataError, match=r"all must have one size; the recipe key image_size resizes them as they are de"
    ):
        load(str(mixed))
    data = load(str(mixed), choice=Choice(image_size=(12, 16)))
    assert data.train.images.shape == (8, 12, 16, 3)
    wanted = {resized(np.asarray(Image.open(path)), (12, 16)).tobytes() for path in (mixed / "train").rglob("*.png")}
    assert {image.tobytes() for image in data.train.images} == wanted
    assert data.resized == Resized(3, (8, 8), (300, 200))
    other = load(str(mixed), choice=Choice(image_size=(16, 12)))
    assert other.folder != data.folder
    assert other.fingerprint != data.fingerprint
    assert load(str(mixed), choice=Choice(image_size=(12, 16))) == data


@pytest.mark.usefixtures("empty_cache")
def test_parquet_of_several_sizes_and_shards(tmp_path: Path, files) -> None:
    images = [files.pictures(1, size)[0] for size in ((9, 9), (20, 4), (7, 30), (40, 40))]
    for shard in range(2):
        part = slice(2 * shard, 2 * shard + 2)
        files.write_parquet(tmp_path / "d" / f"train-0000{shard}-of-00002.parquet", images[part], [0, 1])
    files.write_parquet(tmp_path / "d" / "test.parquet", images[3:], [0])
    data = load(str(tmp_path / "d"), choice=Choice(image_size=(6, 5)))
    assert np.array_equal(data.train.images, [resized(image, (6, 5)) for image in images])
    assert data.test.images.shape == (1, 6, 5, 3)
    assert data.resized == Resized(4, (20, 4), (40, 40))


@pytest.mark.usefixtures("empty_cache")
def test_a_dataset_of_one_size_is_resized_too(parquet_set: Path) -> None:
    plain = load(str(parquet_set))
    same = load(str(parquet_set), choice=Choice(image_size=(8, 8)))
    assert (same.fingerprint, same.resized, plain.resized) == (plain.fingerprint, None, None)
    larger = load(str(parquet_set), choice=Choice(image_size=(16, 16)))
    assert np.array_equal(larger.test.images, [resized(image, (16, 16)) for image in plain.test.images])
    assert larger.resized == Resized(1, (8, 8), (8, 8))


def test_a_generated_dataset_is_resized_too() -> None:
    plain, larger = load("shapes10"), load("shapes10", choice=Choice(image_size=(40, 36)))
    assert larger.train.images.shape == (5000, 40, 36, 3)
    assert np.array_equal(larger.test.images[7], resized(plain.test.images[7], (40, 36)))


@pytest.mark.usefixtures("empty_cache")
def test_hostile_pictures_stay_bounded_where_sizes_are_free(mixed: Path, files) -> None:
    """Each is looked at before it is decoded, whatever the size that is wanted."""
    header = bytearray(files.encode(files.pictures(1)[0]))
    header[16:24] = (13_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    (mixed / "train" / "a" / "9.png").write_bytes(header)
    with (
        little_memory(),
        pytest.raises(DataError, match=r"9\.png: image of 13000x13000 pixels, more than the "),
    ):
        load(str(mixed), choice=Choice(image_size=(8, 8)))


@pytest.mark.parametrize(
    ("text", "size"),
    [("64", (64, 64)), ("[48, 64]", (48, 64)), ("null", None)],
)
def test_the_recipe_key(text: str, size: tuple[int, int] | None) -> None:
    recipe, plain = load_recipe("smoke", [f"image_size={text}"]), load_recipe("smoke")
    assert recipe.image_size == size
    assert (recipe.fingerprint == plain.fingerprint) == (size is None)
    assert "image_size" not in plain.canonical()
    assert (
        load_recipe("smoke", ["image_size=[64, 64]"]).fingerprint == load_recipe("smoke", ["image_size=64"]).fingerprint
    )


@pytest.mark.parametrize("text", ["0", "-1", "true", "[64]", "[64, 64, 3]", "64.5", "64x64", "5000", "{a: 1}"])
def test_wrong_values_of_the_key_are_one_line(text: str) -> None:
    with pytest.raises(RecipeError, match=r"image_size") as caught:
        load_recipe("smoke", [f"image_size={text}"])
    assert "\n" not in str(caught.value)


def test_a_test_only_set_is_resized_as_the_runs_own(tmp_path: Path, files) -> None:
    images = files.pictures(3, (32, 32))
    np.save(tmp_path / "cifar10.1_v6_data.npy", images)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.arange(3))
    larger = open_images(str(tmp_path), None, Choice(image_size=(40, 48))).part()
    assert np.array_equal(larger, [resized(image, (40, 48)) for image in images])
    assert np.array_equal(open_images(str(tmp_path), None).part(), images)
