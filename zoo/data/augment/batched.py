"""The batched executor: a transform list as tensor operations on the device, for a whole batch at once.

How it works. Images live on the device as packed pixels, one int32 of four bytes (R, G, B, 0) each, so that one indexed
read moves all three channels. Pad, crop and flip only say which source row and which source column an output pixel
comes from; a run of them is one read. Cutout and constant borders are products of a row mask and a column mask, painted
after the read. Rotate and Resize mix neighbours and therefore end a run. Normalize comes last, one subtract and one
multiply. Random parameters are drawn on the CPU for a whole epoch: row p of every column is the p-th number of a stream
that (seed, epoch, transform, column) names, so it is the same for any batch size, subset size and device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from zoo.data.augment.filters import Normalize, Resize, Rotate
from zoo.data.augment.ops import AlternatingFlip, Crop, Draw, Flip, Holes, Op, Pad, Params, Plan, to_packed, to_planes
from zoo.data.augment.spec import TransformSpec, build
from zoo.errors import RecipeError
from zoo.utils.device import backend, has_own_memory
from zoo.utils.memory import usable_memory

OPS: dict[str, type[Op]] = {
    "PadIfNeeded": Pad,
    "RandomCrop": Crop,
    "CenterCrop": Crop,
    "HorizontalFlip": Flip,
    "VerticalFlip": Flip,
    "AlternatingFlip": AlternatingFlip,
    "Cutout": Holes,
    "CoarseDropout": Holes,
    "Rotate": Rotate,
    "Resize": Resize,
    "Normalize": Normalize,
}


_SLICE = 1 << 23  # pixels that are packed at a time


class NoBatchedForm(RecipeError):
    """A transform list that only albumentations can run; `reason` says which transform and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; use the executor 'albumentations' or 'auto'")


def pack(images: np.ndarray, device: torch.device | str = "cpu", rows: np.ndarray | None = None) -> Tensor:
    """(N, H, W, 3) uint8 to the resident form, (N, H, W) int32 on `device`; `rows` picks and orders a subset.

    Copies a slice at a time, so a memory-mapped array is never held twice.
    """
    count = len(images) if rows is None else len(rows)
    packed = torch.empty(count, *images.shape[1:3], dtype=torch.int32, device=device)
    step = max(1, _SLICE // (images.shape[1] * images.shape[2]))
    for start in range(0, count, step):
        stop = min(start + step, count)
        part = images[start:stop] if rows is None else images[rows[start:stop]]
        four = np.zeros((*part.shape[:3], 4), dtype=np.uint8)
        four[..., :3] = part
        packed[start:stop] = torch.from_numpy(four.view("<i4")[..., 0])
    return packed


class Pixels:
    """The packed images of `rows`: resident on the device where they fit, else read from the map for each batch.

    A row that comes several times is held once: `places` says where each of `rows` is among those held.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray, device: torch.device):
        self.images, self.device = images, device
        self.rows, self.places = np.unique(rows, return_inverse=True)
        self.each = images.shape[1] * images.shape[2]  # pixels of an image
        fits = 4 * self.each * len(self.rows) <= _room(device)
        self.resident = pack(images, device, self.rows) if fits else None

    def at(self, positions: np.ndarray, index: Tensor) -> tuple[Tensor, Tensor]:
        """Packed images, and which of them are those at `positions` of those held; `index`: these on the device."""
        if self.resident is not None:
            return self.resident, index
        return pack(self.images, self.device, self.rows[positions]), torch.arange(len(index), device=self.device)


def _room(device: torch.device) -> int:
    """Bytes for the resident images of one split, of which training and evaluation have one each."""
    if has_own_memory(device):
        free, _ = backend(device).mem_get_info(device)
        return int(free) // 2
    return usable_memory() // 4


class BatchedAugment:
    """A transform list, ready to run on images of one size.

    `specs` come from :func:`zoo.data.augment.spec.parse`, `size` is (height, width). Raises :class:`NoBatchedForm`, and
    :class:`zoo.errors.RecipeError` where a crop is larger than the image that reaches it.
    """

    executor: Final = "batched"

    def __init__(self, specs: Sequence[TransformSpec], size: tuple[int, int] = (32, 32)):
        self.size = self.out_size = size
        self.ops: list[Op] = []
        self._normalize: tuple[np.ndarray, np.ndarray] | None = None  # mean and scale, (3,) float32
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}
        for number, spec in enumerate(specs):
            kind, size = OPS.get(spec.name), self.out_size
            if kind is None:
                raise NoBatchedForm(f"{spec.name} has no batched form")
            transform = build(spec)
            if reason := kind.reason(transform, size):
                raise NoBatchedForm(f"{spec.name} has no batched form with {reason}")
            if kind is Normalize and number != len(specs) - 1:
                raise NoBatchedForm("Normalize has a batched form only as the last transform")
            op = kind(transform, size)
            self.out_size = op.out
            if kind is Crop and (op.out[0] > size[0] or op.out[1] > size[1]):
                raise RecipeError(
                    f"{spec.name}: {op.out[0]}x{op.out[1]} is larger than the {size[0]}x{size[1]} image it gets"
                )
            if isinstance(op, Normalize):
                constants = (op.transform.mean_np, op.transform.denominator)
                mean, scale = (np.broadcast_to(constant, 3).astype(np.float32) for constant in constants)
                self._normalize = (mean, scale)
            else:
                self.ops.append(op)

    def draw(self, seed: int, epoch: int, count: int, rows: np.ndarray | None = None) -> Params:
        """The parameter table of one epoch on the CPU, `count` rows. Row p depends on (seed, epoch, p) alone.

        `rows`, (count,): which training image comes at each position, for transforms that keep to an image over
        epochs; image p at position p when None.
        """
        table = {}
        order = np.arange(count) if rows is None else rows
        for index, op in enumerate(self.ops):
            for name, column in op.draw(Draw(seed, epoch, index, order)).items():
                table[f"{index}.{name}"] = torch.from_numpy(np.ascontiguousarray(column))
        return table

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """(B, 3, H, W) uint8 to (B, 3, H', W') float32, with these parameters. No randomness."""
        return self.run(to_packed(images), torch.arange(len(images), device=images.device), params)

    def run(self, resident: Tensor, index: Tensor, params: Params) -> Tensor:
        """As :meth:`apply`, on images ``resident[index]`` in packed form (:func:`pack`). No host synchronisation."""
        packed, planes, position = resident, None, 0
        unread: Tensor | None = index
        while position < len(self.ops) or unread is not None:
            end = position
            while end < len(self.ops) and self.ops[end].index_only:
                end += 1
            if end > position or unread is not None:
                packed, unread = self._read(packed, unread, position, end, params), None
            if end == len(self.ops):
                break
            op = self.ops[end]
            planes = op.filter(to_planes(packed), self._columns(params, end)).round_()  # whole levels, as on uint8
            if end < len(self.ops) - 1:
                packed, planes = to_packed(planes), None
            position = end + 1
        if planes is None:
            planes = to_planes(packed)
        if self._normalize is None:
            return planes
        if planes.device not in self._constants:
            tensors = (torch.tensor(array, device=planes.device) for array in self._normalize)
            mean, scale = (tensor[None, :, None, None] for tensor in tensors)
            self._constants[planes.device] = (mean, scale)
        mean, scale = self._constants[planes.device]
        return planes.sub_(mean).mul_(scale)

    def _columns(self, params: Params, op: int) -> Params:
        prefix = f"{op}."
        return {name[len(prefix) :]: column for name, column in params.items() if name.startswith(prefix)}

    def _read(self, packed: Tensor, index: Tensor | None, start: int, stop: int, params: Params) -> Tensor:
        """One indexed read for the index-only transforms start .. stop - 1, then the painted rectangles."""
        height, width = packed.shape[1:]
        device = packed.device
        if index is None:
            index = torch.arange(len(packed), device=device)
        plan = Plan(torch.arange(height, device=device)[None], torch.arange(width, device=device)[None], [])
        for number in range(start, stop):
            self.ops[number].plan(plan, self._columns(params, number))
        if start == stop:
            return packed.index_select(0, index)
        first = index[:, None] * (height * width) + plan.rows * width  # (B, H'): where each output row starts
        narrow = torch.int32 if packed.numel() < 2**31 else torch.int64  # int32: a fifth of the time on a CPU
        where = first.to(narrow)[:, :, None] + plan.cols.to(narrow)[:, None, :]
        out = packed.view(-1).index_select(0, where.view(-1)).view(where.shape)
        for rows, cols, colour in plan.paint:  # as bit masks: several times faster on a CPU than masked_fill_
            keep = _bits(~rows)[:, :, None] | _bits(~cols)[:, None, :]
            out.bitwise_and_(keep)
            if colour:
                out.bitwise_or_(keep.bitwise_not_().bitwise_and_(colour))
        return out


def _bits(mask: Tensor) -> Tensor:
    """A boolean mask as int32: all bits set where true."""
    return mask.to(torch.int32).neg_()
