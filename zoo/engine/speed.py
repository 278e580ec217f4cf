"""Speed and size of a model: memory layout, inference throughput and latency, multiply-accumulates."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from zoo.engine.evaluate import autocast
from zoo.engine.memory_format import LAYOUTS
from zoo.engine.timing import seconds_of
from zoo.registry.entries import Layout

INFERENCE_BATCHES = {"cpu": (32, 128), "cuda": (512, 2048)}
WARM_UP = 3
LATENCIES, LATENCY_SECONDS = 200, 3.0  # as many single images, or as many seconds of them, at least 50


@dataclass(frozen=True)
class Inference:
    """Images per second at the best of the tried batch sizes, and seconds per image at batch 1."""

    inference_images_per_second: float
    inference_batch_size: int
    latency_p50: float
    latency_p90: float
    latency_p99: float


def measure_inference(
    model: nn.Module, device: torch.device, precision: str, layout: Layout, image_shape: tuple[int, int, int]
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
