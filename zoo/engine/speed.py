"""Speed and size of a model: memory layout, inference throughput and latency, multiply-accumulates."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from zoo.engine.evaluate import autocast
from zoo.engine.machine import seconds_of
from zoo.engine.memory_format import LAYOUTS
from zoo.registry.entries import Layout
from zoo.utils.device import is_accelerator
from zoo.utils.stats import Range, is_disturbed

INFERENCE_BATCHES, INFERENCE_BATCHES_ON_ACCELERATORS = (32, 128), (512, 2048)
WARM_UP = 3
REPETITIONS, SECONDS = 4, 0.5  # of each batch size, at least
LATENCIES, LATENCY_SECONDS = 200, 3.0  # as many single images, or as many seconds of them, at least 50


@dataclass(frozen=True)
class Inference:
    """Images per second at the best of the tried batch sizes, and seconds per image at batch 1.

    The quartiles are of the repetitions.
    """

    inference_images_per_second: float
    inference_batch_size: int
    latency_p50: float
    latency_p90: float
    latency_p99: float
    inference_quartiles: Range
    latency_quartiles: Range


def measure_inference(
    model: nn.Module, device: torch.device, precision: str, layout: Layout, image_shape: tuple[int, int, int]
) -> Inference:
    """Throughput over at least 0.5 s per batch size, latency over 50 to 200 single images; warmed up, synchronised.

    The better of two batch sizes counts, of those that nothing disturbed where there are any.
    """
    model.eval()
    with torch.inference_mode(), autocast(device, precision):

        def run(batch: int) -> Callable[[], object]:
            images = torch.randn(batch, *image_shape, device=device).contiguous(memory_format=LAYOUTS[layout])
            return lambda: model(images)

        rates: dict[int, tuple[float, Range]] = {}
        batches = INFERENCE_BATCHES_ON_ACCELERATORS if is_accelerator(device) else INFERENCE_BATCHES
        for batch in batches:
            forward = run(batch)
            seconds_of(forward, device)
            times: list[float] = []
            while sum(times) < SECONDS or len(times) < REPETITIONS:
                times.append(seconds_of(forward, device))
            low, _, high = statistics.quantiles(times, n=4, method="inclusive")
            rates[batch] = batch / statistics.median(times), (batch / high, batch / low)
        single = run(1)
        for _ in range(WARM_UP):
            single()
        latencies: list[float] = []
        while len(latencies) < 50 or (len(latencies) < LATENCIES and sum(latencies) < LATENCY_SECONDS):
            latencies.append(seconds_of(single, device))
    best = max(rates, key=lambda batch: (not is_disturbed(*rates[batch]), rates[batch]))
    rate, spread = rates[best]
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return Inference(rate, best, cuts[49], cuts[89], cuts[98], spread, (cuts[24], cuts[74]))
