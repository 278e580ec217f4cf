"""Speed and size of a model: memory layout, inference throughput and latency, multiply-accumulates."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from zoo.builder.fairness import unsynchronised
from zoo.data.cache import user_cache
from zoo.engine.evaluate import autocast
from zoo.engine.machine import synchronize
from zoo.engine.optim import make_optimizer
from zoo.engine.step import TrainStep
from zoo.errors import EnvironmentFault
from zoo.recipes.recipe import Recipe
from zoo.utils.distributed import ALONE
from zoo.utils.files import write_first

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
LAYOUT_BATCH = 32  # enough work to tell the layouts apart, little enough to take a second or two on a CPU
INFERENCE_BATCHES = {"cpu": (32, 128), "cuda": (512, 2048)}
WARM_UP = 3
LAYOUT_TURNS = 5
LATENCIES, LATENCY_SECONDS = 200, 3.0  # as many single images, or as many seconds of them, at least 50


@dataclass(frozen=True)
class Inference:
    """Images per second at the best of the tried batch sizes, and seconds per image at batch 1."""

    images_per_second: float
    batch_size: int
    latency_p50: float
    latency_p90: float
    latency_p99: float


def choose_layout(model: nn.Module, recipe: Recipe, device: torch.device, image_shape: tuple[int, int, int]) -> str:
    """``nchw`` or ``channels_last``, whichever trains a copy of `model` faster here; the mathematics are the same.

    The layouts take turns and the median of the turns' ratios counts, so that a machine that slows down slows both, and
    one that is twice as fast for a moment (a shared one may be) speaks for neither.
    """
    batch = min(recipe.batch_size, LAYOUT_BATCH if device.type == "cpu" else recipe.batch_size)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, *image_shape, generator=generator).to(device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    steps, seconds = {}, {}
    for name, layout in LAYOUTS.items():
        twin = unsynchronised(copy.deepcopy(model)).to(memory_format=layout).train()
        step = TrainStep(twin, make_optimizer(twin, recipe.optimizer), recipe, device, world=ALONE)
        steps[name] = (step, images.contiguous(memory_format=layout))
        seconds[name] = []
    for turn in range(1 + LAYOUT_TURNS):
        for name, (step, batch_images) in steps.items():
            taken = seconds_of(lambda step=step, x=batch_images: step(x, labels, 0.5), device)
            if turn > 0:  # the first step of each allocates and picks kernels
                seconds[name].append(taken)
    one, other = LAYOUTS
    slower = statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))
    return other if slower > 1 else one


def remembered_layout(key: dict[str, Any], measure: Callable[[], str]) -> str:
    """The layout that `measure` once gave for `key` on this machine, measured now if it is the first time.

    The layouts differ in the last bits, so a choice made by the clock anew in every run would give one seed two
    results. Raises :class:`EnvironmentFault` when the user cache cannot be written.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = user_cache() / "layouts" / f"{digest[:32]}.json"
    advice = "set ZOO_CACHE to a writable folder, or choose with --layout"
    try:
        if path.exists():
            if layout := _layout(path.read_bytes()):
                return layout
            path.unlink()  # damaged
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise EnvironmentFault(f"{path}: cannot be read or made ({problem.strerror}); {advice}") from problem
    measured = measure()
    content = json.dumps({"layout": measured, **key}, indent=1).encode()
    try:
        return _layout(write_first(path, content)) or measured  # of two that measure at once, both use the first's
    except EnvironmentFault as problem:
        raise EnvironmentFault(f"{problem}; {advice}") from problem


def _layout(content: bytes) -> str | None:
    """What a remembered file says; None where it is damaged."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        layout = json.loads(content)["layout"]
        return layout if layout in LAYOUTS else None
    return None


def measure_inference(
    model: nn.Module, device: torch.device, precision: str, layout: str, image_shape: tuple[int, int, int]
) -> Inference:
    """Throughput over at least 0.5 s per batch size, latency over 50 to 200 single images; warmed up, synchronised."""
    model.eval()
    with torch.inference_mode(), autocast(device, precision):

        def run(batch: int) -> Callable[[], object]:
            images = torch.randn(batch, *image_shape, device=device).contiguous(memory_format=LAYOUTS[layout])
            return lambda: model(images)

        rates = {}
        for batch in INFERENCE_BATCHES[device.type]:
            forward = run(batch)
            seconds_of(forward, device)
            times: list[float] = []
            while sum(times) < 0.5 or len(times) < 2:
                times.append(seconds_of(forward, device))
            rates[batch] = batch / statistics.median(times)
        single = run(1)
        for _ in range(WARM_UP):
            single()
        latencies: list[float] = []
        while len(latencies) < 50 or (len(latencies) < LATENCIES and sum(latencies) < LATENCY_SECONDS):
            latencies.append(seconds_of(single, device))
    best = max(rates, key=rates.__getitem__)
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return Inference(rates[best], best, cuts[49], cuts[89], cuts[98])


def count_macs(model: nn.Module, image_shape: tuple[int, int, int], device: torch.device) -> int:
    """Multiply-accumulates of one image's forward pass: convolutions and matrix products by torch's FLOP counter.

    It does not know every fused kernel of attention, and which is taken depends on the device: here none is.
    """
    was_training, fused = model.training, torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, *image_shape, device=device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    model.train(was_training)
    return counter.get_total_flops() // 2


def count_activation_bytes(
    model: nn.Module, image_shape: tuple[int, int, int], device: torch.device, precision: str
) -> int:
    """Bytes that autograd keeps between one image's forward and backward pass: what a norm costs in training memory.

    Each storage counts once. The difference of two batches leaves out what does not grow with the batch (weights).
    """
    twin = copy.deepcopy(model).train()

    def kept(batch: int) -> int:
        sizes: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        images = torch.zeros(batch, *image_shape, device=device)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), autocast(device, precision):
            loss = twin(images).sum()  # keeps the graph, so that no storage is given out twice while it is counted
        del loss
        return sum(sizes.values())

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        return (kept(4) - kept(2)) // 2


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """All parameters, and those that are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of `work` with nothing queued on `device` before or after it."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start
