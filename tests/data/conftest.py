"""Fixtures of the data tests: a cache of their own, the real images where they are, and small real files."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def session_cache(zoo_cache: Path) -> Path:
    """One cache folder for all tests of the run, so that the real images are decoded once."""
    return zoo_cache


@pytest.fixture(autouse=True)
def _own_cache(session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this folder touches the user's cache or finds the user's data by accident."""
    monkeypatch.setenv("ZOO_CACHE", str(session_cache))
    monkeypatch.delenv("ZOO_DATA", raising=False)


_REAL = os.environ.get("ZOO_DATA", "")


@pytest.fixture
def zoo_data() -> Path:
    """The folder that holds cifar10-jpeg/, for tests on the real images."""
    if not _REAL:
        pytest.skip("ZOO_DATA is not set: no real images to test on")
    root = Path(_REAL).absolute()
    if not (root / "cifar10-jpeg").is_dir():
        pytest.skip(f"no cifar10-jpeg in ZOO_DATA ({root}): no real images to test on")
    return root


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for this test alone."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "own-cache"))
    return tmp_path / "own-cache"


def pictures(count: int, size: tuple[int, int] = (8, 8), seed: int = 0) -> np.ndarray:
    """(count, H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def write_parquet(
    path: Path,
    images: Sequence[bytes | np.ndarray],
    labels: Sequence[int | None],
    names: Sequence[str] | None = None,
    columns: tuple[str, str] = ("img", "label"),
    plain: bool = False,
) -> None:
    """A shard as the hub writes it: encoded images in a struct (or as plain bytes), labels, class names as metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = [image if isinstance(image, bytes) else encode(image) for image in images]
    if plain:
        column = pa.array(data, pa.binary())
    else:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array([{"bytes": item, "path": f"{i}.png"} for i, item in enumerate(data)], kind)
    table = pa.table({columns[0]: column, columns[1]: pa.array(labels)})
    if names is not None:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, write_page_checksum=True)


@pytest.fixture
def parquet_set(tmp_path: Path) -> Path:
    """`tiny`: 6 + 4 images of 8x8 in 2 classes, without class names."""
    root = tmp_path / "tiny"
    write_parquet(root / "train-00000-of-00001.parquet", list(pictures(6)), [0, 1, 0, 1, 0, 1])
    write_parquet(root / "test-00000-of-00001.parquet", list(pictures(4, seed=1)), [0, 1, 1, 0])
    return root


@pytest.fixture
def image_set(tmp_path: Path) -> Path:
    """`photos`: 3 + 2 images of 6x9 (height x width) in each of the classes ant and bee."""
    root = tmp_path / "photos"
    for split, count in (("train", 3), ("test", 2)):
        for seed, label in enumerate(("bee", "ant")):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i, image in enumerate(pictures(count, (6, 9), seed)):
                (folder / f"{i}.png").write_bytes(encode(image))
    return root


@pytest.fixture(scope="session")
def files() -> SimpleNamespace:
    """The writers above, for tests that need files of their own kind."""
    return SimpleNamespace(pictures=pictures, encode=encode, write_parquet=write_parquet)
