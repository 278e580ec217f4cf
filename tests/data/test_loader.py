"""Loaders: what a batch holds, and that order and augmentation depend on (seed, epoch) alone."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from zoo.data.augment.batched import Pixels
from zoo.data.loader import Batching, EvalLoader, TrainLoader
from zoo.errors import RecipeError, UnknownNameError
from zoo.utils.distributed import SINGLE_PROCESS, Distributed

NORMALIZE = {"Normalize": {"mean": [0.491, 0.482, 0.447], "std": [0.247, 0.243, 0.262]}}
EVA6S8 = [
    {"RandomCrop": {"height": 28, "width": 28}},
    {"PadIfNeeded": {"min_height": 32, "min_width": 32, "border_mode": "reflect_101"}},
    {"Cutout": {"num_holes": 1, "max_h_size": 16, "max_w_size": 16, "fill_value": [0.491, 0.482, 0.447], "p": 1.0}},
    {"Rotate": {"limit": 5, "p": 1.0, "border_mode": "reflect_101"}},
    NORMALIZE,
]
COUNT = 50
EXECUTORS = ["batched", "albumentations"]


@pytest.fixture(scope="module")
def images():
    """Image i is noise whose first pixel is the colour (i, i, i), so that it can be told from the others."""
    made = np.random.default_rng(5).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    made[:, 0, 0] = np.arange(COUNT)[:, None]
    made.setflags(write=False)
    return made


@pytest.fixture(scope="module")
def labels():
    made = np.arange(COUNT) % 10
    made.setflags(write=False)
    return made


def make(
    images, labels, transforms=EVA6S8, *, batch_size=16, seed=1, distributed=SINGLE_PROCESS, drop_last=True, **more
):
    return TrainLoader(images, labels, transforms, Batching(batch_size, seed, distributed, drop_last), **more)


def collect(loader, epoch=0):
    """One epoch as (x, y), concatenated."""
    pairs = list(loader.epoch(epoch))
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("drop_last", [True, False])
def test_shapes_types_and_length(executor, drop_last, images, labels):
    loader = make(images, labels, executor=executor, drop_last=drop_last)
    batches = list(loader.epoch(0))
    assert loader.executor_name == executor
    assert len(batches) == len(loader) == (3 if drop_last else 4)
    assert [len(y) for _, y in batches] == [16, 16, 16] + ([] if drop_last else [2])
    for x, y in batches:
        assert x.shape[1:] == (3, 32, 32)
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.is_contiguous()


@pytest.mark.parametrize("several", [24, 8192])
@pytest.mark.parametrize("distributed", [SINGLE_PROCESS, Distributed(1, 2)])
def test_batches_made_several_at_once_are_those_made_one_by_one(distributed, several, images, labels, monkeypatch):
    """50 images in batches of 8, three batches or all at once, as on a GPU; the last batch has two."""

    def batches(at_once):
        monkeypatch.setattr("zoo.data.loader.AT_ONCE", at_once)
        return list(
            make(images, labels, batch_size=8, drop_last=False, channels_last=True, distributed=distributed).epoch(0)
        )

    together, alone = batches(several), batches(1)
    assert [len(y) for _, y in together] == ([8] * 6 + [2] if distributed.world_size == 1 else [4] * 6 + [1])
    for (x, y), (other_x, other_y) in zip(together, alone, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
        assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_dtype_and_layout(executor, dtype, channels_last, images, labels):
    plain, _ = next(iter(make(images, labels, executor=executor).epoch(0)))
    loader = make(images, labels, executor=executor, dtype=dtype, channels_last=channels_last)
    x, _ = next(iter(loader.epoch(0)))
    assert x.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert x.dtype == dtype
    assert torch.equal(x, plain.to(dtype))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_image_once_per_epoch_with_its_label(executor, images, labels):
    loader = make(images, labels, [], executor=executor, drop_last=False)
    orders = []
    for epoch in range(2):
        x, y = collect(loader, epoch)
        seen = x[:, 0, 0, 0].long()
        assert sorted(seen.tolist()) == list(range(COUNT))
        assert torch.equal(y, seen % 10)
        assert np.array_equal(seen.numpy(), loader.order(epoch))
        orders.append(seen)
    assert not torch.equal(*orders)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_subset(executor, images, labels):
    indices = np.array([40, 3, 17, 9, 22])
    loader = make(images, labels, [], executor=executor, indices=indices, batch_size=2, drop_last=False)
    x, y = collect(loader)
    assert sorted(x[:, 0, 0, 0].int().tolist()) == sorted(indices)
    assert torch.equal(y, x[:, 0, 0, 0].long() % 10)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_seed_and_epoch_alone_decide(executor, images, labels):
    loader = make(images, labels, executor=executor)
    first = collect(loader, 3)[0]
    collect(loader, 4)
    assert torch.equal(collect(loader, 3)[0], first)
    assert torch.equal(collect(make(images, labels, executor=executor), 3)[0], first)
    assert not torch.equal(collect(loader, 4)[0], first)
    assert not torch.equal(collect(make(images, labels, executor=executor, seed=2), 3)[0], first)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_batch_size_changes_no_image(executor, images, labels):
    small = collect(make(images, labels, executor=executor, batch_size=7, drop_last=False), 1)
    large = collect(make(images, labels, executor=executor, batch_size=50, drop_last=False), 1)
    assert torch.equal(small[0], large[0])
    assert torch.equal(small[1], large[1])


def test_both_executors_take_the_same_order(images, labels):
    assert torch.equal(
        collect(make(images, labels, executor="batched"))[1],
        collect(make(images, labels, executor="albumentations"))[1],
    )


def test_number_of_threads_changes_no_byte(images, labels):
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(collect(make(images, labels, executor="batched"))[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # four processes on two cores are meant
def test_workers_change_no_byte_and_end_with_close(images, labels):
    expected = [collect(make(images, labels, executor="albumentations"), epoch) for epoch in range(2)]
    for workers in (1, 4):
        loader = make(images, labels, executor="albumentations", workers=workers)
        try:
            next(iter(loader.epoch(1)))  # an abandoned epoch leaves nothing behind for the next
            for epoch in range(2):
                x, y = collect(loader, epoch)
                assert torch.equal(x, expected[epoch][0])
                assert torch.equal(y, expected[epoch][1])
            processes = list(loader._executor.loader._iterator._workers)
            assert len(processes) == workers
            assert all(process.is_alive() for process in processes)
        finally:
            loader.close()
        assert not any(process.is_alive() for process in processes)
        loader.close()  # twice is harmless


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("workers", [0, 1])
def test_global_random_state_is_neither_read_nor_changed(executor, workers, images, labels):
    results = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global state is the point
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()  # noqa: NPY002
        loader = make(images, labels, executor=executor, workers=workers)
        results.append(collect(loader)[0])
        loader.close()
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tobytes() == before[1]  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(*results)


def test_the_same_bytes_in_another_process(tmp_path, images, labels):
    """The random numbers are a contract: hash seeds, import order and process change nothing."""
    code = (
        "import hashlib, sys, numpy as np, torch; from zoo.data.loader import Batching, TrainLoader; "
        "from zoo.utils.distributed import SINGLE_PROCESS;"
        "images, labels = (np.load(path) for path in sys.argv[1:]);"
        f"loader = TrainLoader(images, labels, {EVA6S8!r}, Batching(16, 1, SINGLE_PROCESS));"
        "print(hashlib.sha256(b''.join(x.numpy().tobytes() for x, _ in loader.epoch(2))).hexdigest())"
    )
    paths = [tmp_path / "images.npy", tmp_path / "labels.npy"]
    for path, array in zip(paths, (images, labels), strict=True):
        np.save(path, array)
    told = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    here = b"".join(x.numpy().tobytes() for x, _ in make(images, labels).epoch(2))
    assert told.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_auto_prefers_batched_and_falls_back(images, labels):
    assert make(images, labels).executor_name == "batched"
    assert make(images, labels, [{"GaussianBlur": {}}, NORMALIZE]).executor_name == "albumentations"


def test_a_memory_map_will_do(tmp_path, images, labels):
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    for executor in EXECUTORS:
        expected = collect(make(images, labels, executor=executor))[0]
        assert torch.equal(collect(make(mapped, labels, executor=executor))[0], expected)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch_size", [8, 20])
@pytest.mark.parametrize(
    "transforms", [EVA6S8, [{"Resize": {"height": 20, "width": 24}}, {"Rotate": {"limit": 9}}, NORMALIZE]]
)
def test_images_read_from_the_map_give_the_same_batches(
    transforms, batch_size, channels_last, tmp_path, images, labels, monkeypatch
):
    """Training and evaluation on a map larger than memory: no split is copied, and a large batch is made in parts."""

    def batches():
        options = {"channels_last": channels_last, "indices": np.arange(3, 48)}
        train = make(mapped, labels, transforms, batch_size=batch_size, drop_last=False, **options)
        test = EvalLoader(mapped, labels, transforms, batch_size=batch_size, **options)
        return list(train.epoch(2)) + list(test), (train, test)

    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected, _ = batches()
    monkeypatch.setattr("zoo.data.augment.batched._room", lambda _: 1000)
    monkeypatch.setattr("zoo.data.loader.PIXELS_AT_ONCE", 9 * 32 * 32)
    got, loaders = batches()
    assert all(loader._executor.pixels.resident is None for loader in loaders)
    for (x, y), (wanted_x, wanted_y) in zip(got, expected, strict=True):
        assert torch.equal(x, wanted_x)
        assert torch.equal(y, wanted_y)
        assert x.stride() == wanted_x.stride()


def test_a_process_that_is_not_forked_maps_the_file_itself(tmp_path, images, labels):
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    dataset = make(mapped, labels, executor="albumentations")._executor.dataset
    sent = pickle.dumps(dataset)
    assert len(sent) < 20_000 < images.nbytes
    key = (0, 0, np.arange(5))
    assert torch.equal(pickle.loads(sent)[key][0], dataset[key][0])
    part = make(mapped[10:30], labels[10:30], executor="albumentations")._executor.dataset
    assert torch.equal(pickle.loads(pickle.dumps(part))[key][0], part[key][0])


def test_what_stays_resident_follows_from_the_memory(monkeypatch):
    monkeypatch.setattr("zoo.data.augment.batched.usable_memory", lambda: 4 << 30)
    large, small = np.broadcast_to(np.uint8(0), (2000, 512, 512, 3)), np.zeros((9, 32, 32, 3), np.uint8)
    cpu = torch.device("cpu")
    assert Pixels(large, np.arange(2000), cpu).resident is None  # 2.1 GB of the 4
    assert Pixels(large, np.zeros(2000, np.int64), cpu).resident is not None  # one image
    assert Pixels(small, np.arange(9), cpu).resident is not None


@pytest.mark.parametrize("kind", ["held", "read"])
def test_the_images_that_speed_measures_again_and_again_are_held_once(monkeypatch, images, labels, kind):
    """`zoo speed` held 2,780 MiB for a fast model; the batches are those of as many copies, to the bit."""
    if kind == "read":
        monkeypatch.setattr("zoo.data.augment.batched.usable_memory", lambda: 0)
    rows = np.resize(np.arange(20)[::-1], 100)
    again, copies = make(images, labels, indices=rows), make(images[rows], labels[rows])
    assert again.count == 100
    for (x, y), (wanted_x, wanted_y) in zip(again.epoch(1), copies.epoch(1), strict=True):
        assert torch.equal(x, wanted_x)
        assert torch.equal(y, wanted_y)
    resident = again._executor.pixels.resident
    assert (0 if resident is None else resident.nbytes) == (20 * 4 * 32 * 32 if kind == "held" else 0)


def test_refusals(images, labels):
    with pytest.raises(RecipeError) as caught:
        make(images, labels, [{"GaussianBlur": {}}], executor="batched")
    assert str(caught.value) == (
        "executor 'batched': GaussianBlur has no batched form; use the executor 'albumentations' or 'auto'"
    )
    with pytest.raises(UnknownNameError, match=r"unknown executor 'batch'.*did you mean 'batched'"):
        make(images, labels, executor="batch")
    with pytest.raises(RecipeError, match="batch_size 64 is larger than the 50 training images"):
        make(images, labels, batch_size=64)


# ----------------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("executor", EXECUTORS)
def test_eval_keeps_order_and_drops_nothing(executor, images, labels):
    loader = EvalLoader(images, labels, [], batch_size=16, device="cpu", executor=executor, indices=range(45))
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    assert torch.cat([x[:, 0, 0, 0] for x, _ in batches]).tolist() == list(range(45))
    assert torch.equal(torch.cat([y for _, y in batches]), torch.arange(45) % 10)
    assert all(torch.equal(x, again) for (x, _), (again, _) in zip(batches, loader, strict=True))


def test_eval_executors_agree(images, labels):
    ours, theirs = (
        torch.cat([x for x, _ in EvalLoader(images, labels, [NORMALIZE], batch_size=16, device="cpu", executor=name)])
        for name in EXECUTORS
    )
    assert (ours - theirs).abs().max() <= 1e-6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_same_values_and_no_synchronisation(images, labels):
    expected, _ = collect(make(images, labels, executor="batched"))
    loader = make(images, labels, executor="batched", device="cuda")
    collect(loader)  # first use sets up constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        x, y = collect(loader)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert y.device.type == "cuda"
    scale = 1 / (255 * 0.243)  # one grey level: a near tie of the rotation may round the other way
    difference = (x.cpu() - expected).abs()
    assert difference.max() <= 1.01 * scale
    assert (difference > 1e-5).float().mean() < 0.002
