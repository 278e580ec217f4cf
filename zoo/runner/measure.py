"""All speeds of one model under one recipe, without training it to an end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from zoo.comparison.speeds import ratio
from zoo.data.loader import TrainLoader
from zoo.engine import counts, memory_format, speed, throughput
from zoo.engine.convolution import use_side_by_side
from zoo.registry.entries import Layout
from zoo.registry.model import Model
from zoo.results.disturbed import disturbed
from zoo.runner.inputs import Inputs
from zoo.runner.settings import machine_faults
from zoo.utils.device import synchronize
from zoo.utils.seeding import same_random_numbers
from zoo.utils.stats import Range

AGAIN = "give the command again"


@dataclass(frozen=True)
class Speed:
    """Images per second, seconds, bytes and FLOP/s; docs/metrics.md says how each is measured.

    `step_flops` is what the bare step achieves, at 2 FLOPs a multiply-accumulate and a backward pass of two forward
    passes; `peak_share` is its share of what a large matrix product achieves in the same precision.
    `quartiles` are of windows and repetitions, by the name of their median; `disturbed` names what they lie too far
    apart for. `compile_gain`: the training speed over that of the same model not compiled, with half the interquartile
    range of that ratio; `pays_after_epochs`: after so many, compiling has saved the time that it took.
    """

    model: str
    norm: str | None
    precision: str
    batch_size: int
    layout: str
    executor: str
    compiled: bool
    train_images_per_second: float
    step_images_per_second: float
    efficiency: float
    windows: int
    compile_seconds: float | None
    inference_images_per_second: float
    inference_batch_size: int
    latency_p50: float
    latency_p90: float
    latency_p99: float
    device_peak_bytes: int | None
    resident_peak_bytes: int | None
    parameters: int
    macs: int
    activation_bytes: int
    step_flops: float
    peak_share: float
    quartiles: dict[str, Range]
    disturbed: list[str]
    compile_gain: float | None = None
    compile_gain_error: float | None = None
    pays_after_epochs: int | None = None


def faster_layout(model: Model, inputs: Inputs) -> tuple[Layout, float] | None:
    """The memory layout in which `model` trains faster here, and how many times as fast as in the other.

    None where something disturbed the clock too much to tell.
    """
    settings = inputs.settings
    with machine_faults(model.name, settings, AGAIN, "training in two layouts"):
        return memory_format.faster_layout(inputs.build(model, 0), inputs.recipe, settings.device, inputs.train_shape)


def beside_eager(compiled: Speed, eager: Speed, images: int) -> Speed:
    """`compiled` with what it gains over `eager` in epochs of so many `images`.

    It pays where the gain is more than the spread of the two, which nothing disturbed.
    """
    name = "train_images_per_second"
    rates = [(getattr(speed, name), speed.quartiles[name]) for speed in (compiled, eager)]
    gain, error = ratio(*rates[0], *rates[1])
    epochs = None
    if gain - error > 1 and name not in compiled.disturbed + eager.disturbed:
        saved = images / eager.train_images_per_second - images / compiled.train_images_per_second
        epochs = math.ceil((compiled.compile_seconds or 0) / saved)
    return replace(compiled, compile_gain=gain, compile_gain_error=error, pays_after_epochs=epochs)


def _loader(inputs: Inputs, layout: Layout) -> Callable[[int], TrainLoader]:
    # The same image more than once where the dataset is small: it costs the loop the same.
    return lambda images: inputs.train_loader(layout, 0, np.resize(inputs.rows[0], images))


def bare_step(model: Model, inputs: Inputs) -> Callable[[], object]:
    """A training step of `model`, freshly built, on one batch that is already there."""
    layout, settings = inputs.layout(model), inputs.settings
    module = inputs.build(model, 0).to(memory_format=memory_format.LAYOUTS[layout]).train()
    use_side_by_side(module, settings.device, inputs.recipe.precision, settings.compiled)
    return throughput.bare_step(
        module, inputs.recipe, _loader(inputs, layout), device=settings.device, compiled=settings.compiled
    )


def steps_per_second(step: Callable[[], object], device: torch.device, seconds: float, least: int = 1) -> float:
    """The rate of a `step`, of which so many are done at `least`."""
    start, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or done < least:
        step()
        synchronize(device)
        done += 1
    return done / passed


def training_rate(model: Model, inputs: Inputs) -> float:
    """Images per second of a second of bare steps, after the first, not compiled. What is trained next does not change.

    Raises as :func:`measure` does.
    """
    inputs = inputs.replaced(settings=replace(inputs.settings, compiled=False))
    settings, device = inputs.settings, inputs.settings.device
    with same_random_numbers(), machine_faults(model.name, settings, AGAIN, "measuring its speed"):
        step = bare_step(model, inputs)
        step()
        synchronize(device)
        return inputs.recipe.batch_size * steps_per_second(step, device, 1.0)


def train(model: Model, inputs: Inputs, layout: Layout, seconds: float) -> tuple[nn.Module, throughput.Training]:
    """The training half of :func:`measure`: the network and its speeds."""
    module = inputs.build(model, 0)
    settings = inputs.settings
    training = throughput.measure_training(
        module,
        inputs.recipe,
        _loader(inputs, layout),
        device=settings.device,
        layout=layout,
        compiled=settings.compiled,
        seconds=seconds,
    )
    return module, training


def measure(model: Model, inputs: Inputs, layout: Layout, *, seconds: float, peak_flops: float) -> Speed:
    """Measure `model`, freshly built and in this memory `layout`, training it for about `seconds`.

    `peak_flops` is :func:`zoo.engine.throughput.matrix_peak` of the same device and precision.
    Raises what building the model and reading the data raise, and as
    :func:`~zoo.runner.settings.machine_faults` does for what the machine or the model's code does.
    """
    recipe, settings, device, shape = inputs.recipe, inputs.settings, inputs.settings.device, inputs.train_shape
    with machine_faults(model.name, settings, AGAIN, "measuring its speed"):
        module, trained = train(model, inputs, layout, seconds)
        module = module.to(memory_format=memory_format.LAYOUTS[layout])
        inference = speed.measure_inference(module, device, recipe.precision, layout, shape)
        macs = counts.count_macs(module, shape, device)
        activation_bytes = counts.count_activation_bytes(module, shape, device, recipe.precision)
    measured = vars(trained) | vars(inference)
    quartiles = trained.quartiles | {
        "inference_images_per_second": measured.pop("inference_quartiles"),
        "latency_p50": measured.pop("latency_quartiles"),
    }
    step_flops = 3 * 2 * macs * trained.step_images_per_second
    measured |= {"quartiles": quartiles, "step_flops": step_flops, "peak_share": step_flops / peak_flops}
    return Speed(
        model=model.name,
        norm=model.norm.name if model.norm else None,
        precision=recipe.precision,
        batch_size=recipe.batch_size,
        layout=layout,
        compiled=settings.compiled,
        **measured,
        disturbed=disturbed(quartiles, measured.get),
        parameters=counts.count_parameters(module)[0],
        macs=macs,
        activation_bytes=activation_bytes,
    )
