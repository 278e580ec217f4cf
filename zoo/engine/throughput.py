"""How fast a model trains: the real loop beside its ceiling, the same step on one batch that is already there.

Both take turns, window by window, so that a machine that slows down slows both; their ratio is the efficiency of
everything around the step: data, learning rate, bookkeeping.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from zoo.data.loader import WINDOWS_PER_EPOCH, TrainLoader
from zoo.engine import train
from zoo.engine.checkpoint import Identity
from zoo.engine.convolution import use_side_by_side
from zoo.engine.machine import seconds_of
from zoo.engine.memory import PeakMemory
from zoo.engine.memory_format import LAYOUTS
from zoo.engine.optim import make_optimizer
from zoo.engine.reporter import Reporter
from zoo.engine.step import TrainStep
from zoo.errors import Option, ZooError
from zoo.recipes.recipe import Recipe
from zoo.recipes.schema import Constant
from zoo.registry.entries import Layout
from zoo.results.folder import RunFolder
from zoo.results.schema import SettingsPart
from zoo.utils.device import is_accelerator, synchronize
from zoo.utils.distributed import SINGLE_PROCESS
from zoo.utils.files import scratch_folder
from zoo.utils.stats import Range, quartiles

EPOCHS = 2  # of ten windows each
LR = 1e-8  # of every measurement: a speed does not depend on it, and no recipe's rate can end one by diverging
PEAK_SIDE, PEAK_SIDE_ON_ACCELERATORS = 2048, 8192  # of the square matrices of the peak
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Training:
    """Images per second of the real loop and of the bare step, medians over `windows`, and the median of their ratios.

    `quartiles` has those of the windows, by the name of the median.
    Peaks are in bytes; None where the system does not tell, or there is no such device. The device's is what training
    one model takes of a GPU: weights, gradients, optimizer, data and activations.
    """

    train_images_per_second: float
    step_images_per_second: float
    efficiency: float
    windows: int
    executor: str
    compile_seconds: float | None
    device_peak_bytes: int | None
    resident_peak_bytes: int | None
    quartiles: dict[str, Range]


class _Turns(Reporter):
    """A reporter whose every window is followed by as many bare steps; the loop does not count what it spends here."""

    def __init__(self, step: Callable[[], object], batch_size: int, device: torch.device) -> None:
        self.step, self.batch_size, self.device = step, batch_size, device
        self.pairs: list[tuple[float, float]] = []
        self.last = 0

    def window(self, epoch: int, epochs: int, step: int, steps: int, loss: float, accuracy: float, rate: float) -> None:
        count = step - (self.last if step > self.last else 0)
        self.last = step
        start = time.perf_counter()
        for _ in range(count):
            self.step()
        synchronize(self.device)
        self.pairs.append((rate, count * self.batch_size / (time.perf_counter() - start)))


def _copy_of(model: nn.Module) -> nn.Module:
    with torch.no_grad():  # else the parameters of a ScriptModule are copied as results of an operation
        twin = copy.deepcopy(model)
    for part, original in zip(twin.parameters(), model.parameters(), strict=True):
        part.requires_grad_(original.requires_grad)
    return twin


def _slowed(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"lr": LR})})


def bare_step(
    model: nn.Module, recipe: Recipe, loader: Callable[[int], TrainLoader], *, device: torch.device, compiled: bool
) -> Callable[[], object]:
    """A training step of `model`, as it is, on one batch that is there; `loader` makes one of so many images."""
    recipe = _slowed(recipe)
    optimizer = make_optimizer(model, recipe.optimizer)
    step = TrainStep(model, optimizer, recipe, device, distributed=SINGLE_PROCESS, compiled=compiled)
    with contextlib.closing(loader(recipe.batch_size)) as first:
        images, labels = (tensor.clone() for tensor in next(iter(first.epoch(0))))
    return functools.partial(step, images, labels, 0.5)


def _device_peak(step: Callable[[], object], device: torch.device, before: int, idle: nn.Module) -> int | None:
    """What one more `step` takes of the device at its peak: a network with all that trains it, and one batch.

    Neither the loop's images nor what augments them, since the faster a model is, the more of them it is measured on.
    `before`: what was taken before the network was there; `idle` came with it.
    """
    if not is_accelerator(device):
        return None
    memory = PeakMemory(device)
    step()
    peak, own = memory.read(), sum(part.nbytes for part in [*idle.parameters(), *idle.buffers()])
    return None if peak is None else peak - before - own


def measure_training(
    model: nn.Module,
    recipe: Recipe,
    loader: Callable[[int], TrainLoader],
    *,
    device: torch.device,
    layout: Layout,
    compiled: bool,
    seconds: float,
) -> Training:
    """Train copies of `model` for about `seconds`, half of it in the loop; `loader` makes one over so many images.

    The loop is :func:`zoo.engine.train.train` itself, over two epochs of ten windows, at a learning rate of its own.
    Raises :class:`zoo.errors.ZooError` where the loss of `model` as it is built is not a number.
    """
    recipe = _slowed(recipe)
    batch = recipe.batch_size

    def copied() -> nn.Module:
        twin = _copy_of(model).to(memory_format=LAYOUTS[layout])
        use_side_by_side(twin, device, recipe.precision, compiled)
        return twin

    before = PeakMemory(device).held if is_accelerator(device) else 0
    twin, trained = copied().train(), copied()  # both before the first image, of which a hook may keep maps
    step = bare_step(twin, recipe, loader, device=device, compiled=compiled)
    resident = PeakMemory(torch.device("cpu"))
    first_step = seconds_of(step, device)
    once = min(seconds_of(step, device) for _ in range(3))
    device_peak = _device_peak(step, device, before, trained)
    steps = WINDOWS_PER_EPOCH * max(1, round(seconds / (2 * EPOCHS * WINDOWS_PER_EPOCH * once)))
    schedule = Constant(name="constant", warmup_epochs=0)  # the recipe's may not fit 2 epochs
    last = recipe.selection.model_copy(update={"rule": "last"})  # nothing is evaluated that could choose
    part = recipe.model_copy(update={"epochs": EPOCHS, "schedule": schedule, "selection": last})
    used = SettingsPart(
        device=str(device),
        layout=layout,
        compiled=compiled,
        executor="batched",
        workers=0,
        deterministic=False,
    )
    turns = _Turns(step, batch, device)
    with scratch_folder("zoo-speed") as folder, contextlib.closing(loader(steps * batch)) as batches:
        train.train(
            trained,
            part,
            train.Batches(batches, None),
            device=device,
            compiled=compiled,
            state=None,
            folder=RunFolder(folder),
            identity=Identity({}, used),
            reporter=turns,
        )
    pairs = turns.pairs[1:]  # the first window warms up caches, allocators and compilers
    if not pairs:
        advice = ("correct the model, or try ", Option("set", "precision=fp32"))
        raise ZooError("the loss is not a number as the model is built: ", *advice)
    rates = {
        "train_images_per_second": [loop for loop, _ in pairs],
        "step_images_per_second": [bare for _, bare in pairs],
        "efficiency": [loop / bare for loop, bare in pairs],
    }
    return Training(
        **{name: statistics.median(windows) for name, windows in rates.items()},
        quartiles={name: span for name, windows in rates.items() if (span := quartiles(windows))},
        windows=len(pairs),
        executor=batches.executor_name,
        compile_seconds=first_step if compiled else None,
        device_peak_bytes=device_peak,
        resident_peak_bytes=resident.read(),
    )


def matrix_peak(device: torch.device, precision: str) -> float:
    """FLOP/s of a product of large square matrices in `precision`: the most that this hardware was seen to give."""
    side, dtype = PEAK_SIDE_ON_ACCELERATORS if is_accelerator(device) else PEAK_SIDE, TYPES[precision]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)
    product = functools.partial(torch.mm, left, right, out=out)
    seconds_of(product, device)
    times: list[float] = []
    while sum(times) < 1.0 or len(times) < 3:
        times.append(seconds_of(product, device))
    return 2 * side**3 / min(times)
