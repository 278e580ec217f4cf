"""The memory format of a model: NCHW or channels-last, whichever trains faster on this machine."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import json
import statistics
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from zoo.data.cache import user_cache
from zoo.engine.convolution import use_side_by_side
from zoo.engine.optim import make_optimizer
from zoo.engine.step import TrainStep
from zoo.engine.timing import seconds_of
from zoo.errors import MachineError, Option
from zoo.recipes.recipe import Recipe
from zoo.utils.distributed import SINGLE_PROCESS, unsynchronised
from zoo.utils.files import write_first

Layout = Literal["nchw", "channels_last"]
LAYOUTS: dict[Layout, torch.memory_format] = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
LAYOUT_BATCH = 32  # enough work to tell the layouts apart, little enough to take a second or two on a CPU
LAYOUT_TURNS = 5


def choose_layout(model: nn.Module, recipe: Recipe, device: torch.device, image_shape: tuple[int, int, int]) -> Layout:
    """``nchw`` or ``channels_last``, whichever trains a copy of `model` faster here; the mathematics are the same.

    The layouts take turns and the median of the turns' ratios counts, so that a machine that slows down slows both, and
    one that is twice as fast for a moment (a shared one may be) speaks for neither.
    """
    batch = min(recipe.batch_size, LAYOUT_BATCH if device.type == "cpu" else recipe.batch_size)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, *image_shape, generator=generator).to(device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    steps: list[Callable[[], object]] = []
    for layout in LAYOUTS.values():
        twin = unsynchronised(copy.deepcopy(model)).to(memory_format=layout).train()
        use_side_by_side(twin, device, recipe.precision, compiled=False)
        step = TrainStep(twin, make_optimizer(twin, recipe.optimizer), recipe, device, distributed=SINGLE_PROCESS)
        steps.append(functools.partial(step, images.contiguous(memory_format=layout), labels, 0.5))
    turns = [[seconds_of(step, device) for step in steps] for _ in range(1 + LAYOUT_TURNS)]
    # The first step of each allocates and picks kernels.
    ratio = statistics.median(nchw / channels_last for nchw, channels_last in turns[1:])
    return "channels_last" if ratio > 1 else "nchw"


def remembered_layout(key: dict[str, Any], measure: Callable[[], Layout]) -> Layout:
    """The layout that `measure` once gave for `key` on this machine, measured now if it is the first time.

    The layouts differ in the last bits, so a choice made by the clock anew in every run would give one seed two
    results. Raises :class:`MachineError` when the user cache cannot be written.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = user_cache() / "layouts" / f"{digest[:32]}.json"
    advice = ("; set ZOO_CACHE to a writable folder, or choose with ", Option("layout"))
    try:
        if path.exists():
            if layout := _layout(path.read_bytes()):
                return layout
            path.unlink()  # damaged
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise MachineError(f"{path}: cannot be read or made ({problem.strerror})", *advice) from problem
    measured = measure()
    content = json.dumps({"layout": measured, **key}, indent=1).encode()
    try:
        return _layout(write_first(path, content)) or measured  # of two that measure at once, both use the first's
    except MachineError as problem:
        raise MachineError(*problem.parts, *advice) from problem


def _layout(content: bytes) -> Layout | None:
    """What a remembered file says; None where it is damaged."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        layout = json.loads(content)["layout"]
        return layout if layout in LAYOUTS else None
    return None
