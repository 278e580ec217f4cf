"""Images augmented per second: the batched executor, albumentations per image, torchvision v2 per image."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from zoo.data.loader import Batching, TrainLoader
from zoo.utils.distributed import SINGLE_PROCESS

MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
PAD = {"PadIfNeeded": {"min_height": 40, "min_width": 40, "border_mode": "reflect_101"}}
CROP = {"RandomCrop": {"height": 32, "width": 32}}
FLIP = {"HorizontalFlip": {"p": 0.5}}
CUTOUT = {"Cutout": {"num_holes": 1, "max_h_size": 8, "max_w_size": 8, "fill_value": [125, 123, 114], "p": 1.0}}
ROTATE = {"Rotate": {"limit": [-5, 5], "border_mode": "reflect_101", "p": 1.0}}
NORMALIZE = {"Normalize": {"mean": MEAN, "std": STD}}
LISTS = {"standard": [PAD, CROP, FLIP, CUTOUT, NORMALIZE], "with rotate": [PAD, CROP, FLIP, CUTOUT, ROTATE, NORMALIZE]}
BATCH, ROUNDS = 500, 5


def batched(images: np.ndarray, labels: np.ndarray, transforms: list, executor: str, count: int) -> Callable[[], int]:
    """One epoch over the first `count` images, on all cores."""
    loader = TrainLoader(
        images[:count],
        labels[:count],
        transforms,
        Batching(BATCH, 0, SINGLE_PROCESS),
        executor=executor,
    )

    def epoch() -> int:
        return sum(len(y) for _, y in loader.epoch(0))

    return epoch


def per_image(images: np.ndarray, rotate: bool, count: int) -> Callable[[], int]:
    """torchvision v2 on one image after another, as its classification reference and every tutorial do."""
    steps = [
        v2.RandomCrop(32, padding=4, padding_mode="reflect"),
        v2.RandomHorizontalFlip(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
        v2.RandomErasing(p=1.0, scale=(1 / 16, 1 / 16), ratio=(1, 1)),
    ]
    if rotate:
        steps.insert(2, v2.RandomRotation(5, interpolation=InterpolationMode.BILINEAR))
    compose = v2.Compose([v2.ToPILImage(), *steps])

    def epoch() -> int:
        return len(torch.stack([compose(image) for image in images[:count]]))

    return epoch


@pytest.mark.parametrize("name", LISTS)
def test_augmentation(benchmark, figure, name: str) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20_000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(20_000, dtype=np.int64) % 10
    threads = torch.get_num_threads()
    ours = batched(images, labels, LISTS[name], "batched", 20_000)
    peers = {
        "torchvision v2 per image": per_image(images, "rotate" in name, 1000),
        "albumentations per image": batched(images, labels, LISTS[name], "albumentations", 1000),
    }
    ours()
    rates: dict[str, list[float]] = {"ours": [], **{peer: [] for peer in peers}}
    for _ in range(ROUNDS):  # in turn, so that a slow moment meets all
        for peer, epoch in {"ours": ours, **peers}.items():
            start = time.perf_counter()
            count = epoch()
            rates[peer].append(count / (time.perf_counter() - start))
    benchmark.pedantic(ours, rounds=3)
    best = {peer: sorted(found)[ROUNDS // 2] for peer, found in rates.items()}
    figure(f"batched augmentation, {name}, {threads} threads", best["ours"],
           least=40_000 if name == "standard" else None, unit="img/s")  # fmt: skip
    for peer in peers:
        # A peer runs on one core; two worker processes on two cores give it at most twice that.
        ratio = best["ours"] / (best[peer] * threads)
        least = 8 if peer.startswith("torchvision") else None
        figure(f"  times {peer} ({best[peer]:,.0f} img/s a core, all cores), {name}", ratio, least=least)
