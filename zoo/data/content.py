"""What is taken from the images of a dataset as they are decoded: its fingerprint, duplicates, what was resized."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from zoo.data.listing import SPLITS, Listing, Part, Size
from zoo.data.statistics import Sums


@dataclass(frozen=True)
class Duplicates:
    """Images that equal another one, byte for byte: earlier ones of their split, and test images that train has."""

    train: int = 0
    test: int = 0
    shared: int = 0


@dataclass(frozen=True)
class Resized:
    """What images that were resized as they were decoded had been: `count` sizes (height, width), by their pixels."""

    count: int
    smallest: Size
    largest: Size

    @classmethod
    def of(cls, listing: Listing) -> Resized | None:
        """That of a listing whose images have been decoded; None where they had the size that was wanted."""
        sizes = sorted(set().union(*(part.sizes for part in listing.splits.values())), key=math.prod)
        if not sizes or sizes == [listing.splits["train"].size]:
            return None
        return cls(len(sizes), sizes[0], sizes[-1])


class Content:
    """What is taken from the images of a dataset as they pass: fingerprint, hashes of images, statistics of train.

    The splits pass in the order of :data:`SPLITS`.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.digest = hashlib.sha256(json.dumps(["zoo-data", 1, list(classes)]).encode())
        self.hashes: dict[str, bytearray] = {}
        self.sums = Sums()

    def blocks(self, split: str, part: Part) -> Iterator[np.ndarray]:
        """The blocks of `part`, contiguous."""
        self.digest.update(f"{split}{part.shape}".encode())
        self.digest.update(np.ascontiguousarray(part.labels, dtype="<i8").data)
        hashes = self.hashes[split] = bytearray()
        for block in map(np.ascontiguousarray, part.blocks()):
            self.digest.update(block.data)
            hashes += hash_images(block)
            if split == "train":
                self.sums.add(block)
            yield block


def hash_images(images: Iterable[np.ndarray]) -> bytes:
    """16 bytes of each image's hash, one after the other."""
    return b"".join(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images)


def count_duplicates(hashes: Mapping[str, bytes | bytearray]) -> Duplicates:
    """Exact duplicates within and across splits, by the hashes of :func:`hash_images`."""
    train, test = (np.frombuffer(hashes[split], dtype="V16") for split in SPLITS)
    distinct = np.unique(train)
    return Duplicates(len(train) - len(distinct), len(test) - len(np.unique(test)), int(np.isin(test, distinct).sum()))
