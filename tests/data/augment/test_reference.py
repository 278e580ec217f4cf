"""The reference executor: its output is albumentations', its randomness comes from (seed, epoch, position) alone."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch

from zoo.data.augment.custom import albumentations
from zoo.data.augment.reference import ReferenceAugment
from zoo.data.augment.spec import build, parse

LIST = [
    {"RandomCrop": {"height": 28, "width": 28}},
    {"PadIfNeeded": {"min_height": 32, "min_width": 32, "border_mode": "reflect_101"}},
    {"Cutout": {"num_holes": 1, "max_h_size": 16, "max_w_size": 16, "fill_value": [0.491, 0.482, 0.447], "p": 1.0}},
    {"Rotate": {"limit": 5, "p": 1.0, "border_mode": "reflect_101"}},
    {"CoarseDropout": {"p": 0.5}},
    {"GaussNoise": {"p": 0.5}},
    {"RandomBrightnessContrast": {"p": 0.5}},
    {"HorizontalFlip": {"p": 0.5}},
    {"Normalize": {"mean": [0.491, 0.482, 0.447], "std": [0.247, 0.243, 0.262]}},
]


@pytest.fixture
def images():
    return np.random.default_rng(3).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def augment():
    return ReferenceAugment(parse(LIST, "test"))


def test_output_is_float32_chw_and_the_input_is_untouched(augment, images):
    images.setflags(write=False)
    before = images.copy()
    out = augment(images[0], 0, 0, 0)
    assert out.shape == (3, 32, 32)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    assert np.array_equal(images, before)


def test_without_random_transforms_it_is_compose(images):
    specs = parse([{"PadIfNeeded": {"min_height": 40, "min_width": 40, "border_mode": "reflect"}}, LIST[-1]], "test")
    compose = albumentations.Compose([build(spec) for spec in specs])
    expected = compose(image=images[0])["image"].transpose(2, 0, 1)
    assert np.array_equal(ReferenceAugment(specs)(images[0], 0, 0, 0), expected)


def test_without_normalize_the_scale_stays(images):
    out = ReferenceAugment(())(images[0], 0, 0, 0)
    assert np.array_equal(out, images[0].transpose(2, 0, 1).astype(np.float32))


def test_the_key_alone_decides(augment, images):
    def run(which, seed=1, epoch=2):
        return {position: augment(images[position], seed, epoch, position) for position in which}

    forward, backward = run(range(24)), run(reversed(range(24)))
    alone = ReferenceAugment(parse(LIST, "test"))(images[17], 1, 2, 17)
    assert all(np.array_equal(forward[position], backward[position]) for position in range(24))
    assert np.array_equal(forward[17], alone)
    for other in (run(range(24), seed=2), run(range(24), epoch=3)):
        assert not any(np.array_equal(forward[position], other[position]) for position in range(24))
    assert not np.array_equal(augment(images[0], 1, 2, 0), augment(images[0], 1, 2, 1))


def test_a_pickled_copy_gives_the_same_bytes(augment, images):
    copy = pickle.loads(pickle.dumps(augment))
    assert np.array_equal(copy(images[3], 1, 2, 3), augment(images[3], 1, 2, 3))


def test_global_random_state_is_neither_read_nor_changed(images):
    def run(seed):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global state is the point
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()  # noqa: NPY002
        augment = ReferenceAugment(parse(LIST, "test"))
        out = np.stack([augment(image, 5, 6, position) for position, image in enumerate(images)])
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tobytes() == before[1]  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[2])
        return out

    assert np.array_equal(run(0), run(1))
