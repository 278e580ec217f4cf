"""Batches for training and evaluation, from either executor of a transform list."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from zoo.data.augment.batched import BatchedAugment, Pixels
from zoo.data.augment.executor import Augment, make_augment
from zoo.data.augment.ops import Params
from zoo.data.augment.spec import parse
from zoo.data.workers import (
    AHEAD,
    WAIT,
    Batches,
    check_shared_memory,
    killed_worker,
    next_batch,
    one_thread,
    start_method,
    uninterrupted,
)
from zoo.errors import RecipeError
from zoo.utils.device import has_own_memory, to_device
from zoo.utils.distributed import SINGLE_PROCESS, Distributed
from zoo.utils.seeding import derive

# Images augmented together: of small batches as many as a CPU's cache holds, or as many as spare an accelerator from
# waiting for its host; and never more pixels than the last.
AT_ONCE, AT_ONCE_ON_ACCELERATORS, PIXELS_AT_ONCE = 256, 8192, 1 << 23
WINDOWS_PER_EPOCH = 10  # the device is synchronised, the bar moved and the loss looked at this often, not every step
Rows = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Batching:
    """How an epoch is cut into batches: `size` images per step, in an order that `seed` decides.

    Each process of `distributed` gets its share of every batch: together the same images with the same augmentation as
    one process alone. `drop_last` leaves out a last batch that is not full.
    """

    size: int
    seed: int
    distributed: Distributed
    drop_last: bool = True

    def steps(self, count: int) -> int:
        """Batches of an epoch of `count` images."""
        return count // self.size if self.drop_last else -(-count // self.size)

    def shares(self, count: int) -> Iterator[slice]:
        """This process' positions in each batch of an epoch of `count` images."""
        for start in range(0, count, self.size):
            share = self.distributed.shard(min(self.size, count - start))
            yield slice(start + share.start, start + share.stop)


@dataclass(frozen=True)
class _Target:
    """Where the images of a batch are wanted, and in which form."""

    device: torch.device
    dtype: torch.dtype
    channels_last: bool

    def put(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.to(self.device, non_blocking=True).to(self.dtype, memory_format=layout)


class TrainLoader:
    """Batches of one epoch, in an order and with augmentations that depend on (seed, epoch) alone.

    Args:
        images: (N, H, W, 3) uint8, a read-only memory map will do. labels: (N,) int64.
        transforms: a recipe's list, what :func:`zoo.data.augment.spec.parse` made of it, or what :func:`make_augment`
            did, which decides the executor.
        device, dtype, channels_last: where the image batches are wanted, and in which form.
        executor: ``"batched"``, ``"albumentations"``, or ``"auto"``: batched when every transform has a batched form.
        workers: processes of the albumentations executor, 0 for none; the batched executor needs none and ignores it.
        indices: the subset of rows to use, all when None.

    Raises :class:`zoo.errors.RecipeError` as :func:`make_augment` does, and when no batch would be full.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, transforms: Iterable[Any] | Augment, batching: Batching, *,
        device: torch.device | str = "cpu", executor: str = "auto", workers: int = 0, indices: Rows | None = None,
        dtype: torch.dtype = torch.float32, channels_last: bool = False,
    ):  # fmt: skip
        self.count = len(images) if indices is None else len(indices)
        self.batching = batching
        if len(self) == 0:
            raise RecipeError(f"batch_size {batching.size} is larger than the {self.count} training images")
        if not isinstance(transforms, Augment):
            transforms = make_augment(parse(transforms, "train transforms"), images.shape[1:3], executor)
        self.executor_name: Literal["batched", "albumentations"] = transforms.executor
        target = _Target(torch.device(device), dtype, channels_last)
        self._executor = _executor(images, labels, transforms, batching, target, indices, workers)

    def __len__(self) -> int:
        """Steps per epoch."""
        return self.batching.steps(self.count)

    @property
    def window(self) -> int:
        """Steps between two looks at the progress: a tenth of an epoch.

        On an accelerator they are whole blocks of batches made at once, so that each window has its share of that work.
        """
        tenth, block = max(1, len(self) // WINDOWS_PER_EPOCH), self._executor.block
        return max(1, round(tenth / block)) * block

    def size(self, step: int) -> int:
        """Images of batch `step` (0 is the first), those of all processes."""
        return min(self.batching.size, self.count - step * self.batching.size)

    def order(self, epoch: int) -> np.ndarray:
        """(count,) int64: which row of the (sub)set comes at which position of this epoch; a pure function."""
        keys = np.random.Generator(np.random.Philox(key=derive("order", self.batching.seed, epoch))).random(self.count)
        return np.argsort(keys, kind="stable")

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (x, y): x (B, 3, H, W) on the device, normalised as the list says, y (B,) int64 on the device.

        B is :meth:`size`, or this process' share of it.
        """
        return self._executor.batches(self.order(epoch)[: len(self) * self.batching.size], epoch)

    def close(self) -> None:
        """Ends the worker processes, if any. The loader may be used again; they are then started anew."""
        self._executor.close()


class EvalLoader:
    """All images in order, each once, through the evaluation transforms (random ones would repeat the same draw).

    Arguments and errors are those of :class:`TrainLoader`; the albumentations executor runs in this process.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, transforms: Iterable[Any] | Augment, *, batch_size: int,
        device: torch.device | str = "cpu", executor: str = "auto", indices: Rows | None = None,
        dtype: torch.dtype = torch.float32, channels_last: bool = False,
    ):  # fmt: skip
        self.count = len(images) if indices is None else len(indices)
        self.batching = Batching(batch_size, 0, SINGLE_PROCESS, drop_last=False)
        if not isinstance(transforms, Augment):
            transforms = make_augment(parse(transforms, "eval transforms"), images.shape[1:3], executor)
        self.executor_name = transforms.executor
        target = _Target(torch.device(device), dtype, channels_last)
        self._executor = _executor(images, labels, transforms, self.batching, target, indices)

    def __len__(self) -> int:
        """Batches of one pass."""
        return self.batching.steps(self.count)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._executor.batches(np.arange(self.count), 0)


def _executor(
    images: np.ndarray, labels: np.ndarray, augment: Augment, batching: Batching, target: _Target, rows: Rows | None,
    workers: int = 0,
) -> _Batched | _Albumentations:  # fmt: skip
    labels, rows = np.asarray(labels, dtype=np.int64), np.arange(len(images)) if rows is None else np.asarray(rows)
    if isinstance(augment, BatchedAugment):
        return _Batched(Pixels(images, rows, target.device), labels, augment, batching, target)
    batches = Batches(images, labels, rows, augment, batching.seed)
    return _Albumentations(batches, batching, target, workers)


class _Batched:
    """Images packed on the device; per batch a handful of tensor operations and no Python per image."""

    def __init__(
        self, pixels: Pixels, labels: np.ndarray, augment: BatchedAugment, batching: Batching, target: _Target
    ):
        self.pixels, self.augment, self.batching, self.target = pixels, augment, batching, target
        self.labels = torch.tensor(labels[pixels.rows], device=target.device)
        self.most = max(1, PIXELS_AT_ONCE // pixels.each)
        on_cpu = target.device.type == "cpu"
        wanted = AT_ONCE if on_cpu else AT_ONCE_ON_ACCELERATORS
        self.together = max(1, min(wanted, self.most) // batching.size)  # batches
        self.block = 1 if on_cpu else self.together

    def batches(self, order: np.ndarray, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        drawn = self.augment.draw(self.batching.seed, epoch, len(order), rows=order)
        shares = list(self.batching.shares(len(order)))
        mine = np.concatenate([np.arange(0), *(np.arange(share.start, share.stop) for share in shares)])
        order, device = self.pixels.places[order[mine]], self.target.device
        # The only copies to the device of an epoch; from pinned memory they wait for nothing, and nothing below does.
        index = to_device(torch.from_numpy(order), device)
        params = {name: to_device(column[torch.from_numpy(mine)], device) for name, column in drawn.items()}
        labels = self.labels.index_select(0, index)
        sizes, start = iter([share.stop - share.start for share in shares]), 0
        while group := list(itertools.islice(sizes, self.together)):
            rows = slice(start, start + sum(group))
            blocks = self._augmented(rows, order, index, params), labels[rows]
            yield from zip(*(torch.split(block, group) for block in blocks), strict=True)
            start = rows.stop

    def _augmented(self, rows: slice, order: np.ndarray, index: Tensor, params: Params) -> Tensor:
        if rows.stop - rows.start > self.most:
            middle = (rows.start + rows.stop) // 2
            halves = slice(rows.start, middle), slice(middle, rows.stop)
            return torch.cat([self._augmented(half, order, index, params) for half in halves])
        packed, positions = self.pixels.at(order[rows], index[rows])
        columns = {name: column[rows] for name, column in params.items()}
        return self.target.put(self.augment.run(packed, positions, columns))

    def close(self) -> None:
        pass


class _Albumentations:
    """A torch DataLoader over whole batches; its processes live until `close`."""

    loader: torch.utils.data.DataLoader[tuple[Tensor, Tensor]] | None = None
    block = 1

    def __init__(self, dataset: Batches, batching: Batching, target: _Target, workers: int):
        self.dataset, self.target, self.workers = dataset, target, workers
        self.method = start_method(target.device)
        self.sampler = _Sampler(batching)
        check_shared_memory(batching.size * (4 * math.prod(dataset.images.shape[1:]) + 8), workers)

    def batches(self, order: np.ndarray, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        if self.loader is None:
            self.loader = self._start()
        self.sampler.order, self.sampler.epoch = order, epoch
        with uninterrupted(self.method):
            batches = iter(self.loader)
        for _ in range(len(self.sampler)):
            x, y = next_batch(batches)
            yield self.target.put(x), y.to(self.target.device, non_blocking=True)

    def _start(self) -> torch.utils.data.DataLoader[tuple[Tensor, Tensor]]:
        return torch.utils.data.DataLoader(
            self.dataset,
            batch_size=None,  # the sampler yields whole batches; the dataset returns them stacked
            sampler=self.sampler,
            num_workers=self.workers,
            prefetch_factor=AHEAD if self.workers else None,
            persistent_workers=self.workers > 0,
            timeout=WAIT if self.workers else 0,
            multiprocessing_context=self.method if self.workers else None,
            pin_memory=has_own_memory(self.target.device),
            worker_init_fn=one_thread,
            generator=torch.Generator(),  # it draws a seed that nothing here uses; without this, from the global state
        )

    def close(self) -> None:
        iterator = getattr(self.loader, "_iterator", None)
        if iterator is not None:
            try:
                iterator._shutdown_workers()
            except RuntimeError as problem:  # torch says once more that one was killed, which is over now
                if not killed_worker(problem):
                    raise
        self.loader = None


class _Sampler:
    """Hands (epoch, first position, rows of the subset) of one batch at a time to the dataset."""

    order: np.ndarray = np.arange(0)
    epoch = 0

    def __init__(self, batching: Batching) -> None:
        self.batching = batching

    def __iter__(self) -> Iterator[tuple[int, int, np.ndarray]]:
        for rows in self.batching.shares(len(self.order)):
            yield self.epoch, rows.start, self.order[rows]

    def __len__(self) -> int:
        return -(-len(self.order) // self.batching.size)
