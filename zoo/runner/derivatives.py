"""Whether the gradients of a layer are the slopes of its answer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from zoo.utils.seeding import seed_all

DIRECTIONS = 3
FINE, COARSE = (1e-6, 1e-5), (1e-3, 0.05)  # the step, and the share of a slope by which it may differ


def wrong_gradient(module: nn.Module, x: Tensor) -> str:
    """Which gradient, of the images or a parameter, is no slope of the answer, in words; nothing where all are.

    They are compared in float64 along random directions. Slopes are central differences; coarser ones where the
    answer is rough, since the layer computes in float32.
    """

    def answer(layer: nn.Module, pixels: Tensor) -> Tensor:
        seed_all(1)
        logits: Tensor = layer(pixels.clone())
        return logits

    # On the CPU: an accelerator may have no float64, and the layer's own device does not change what it computes.
    module, x = copy.deepcopy(module).to("cpu", torch.float64), x.to("cpu", torch.float64)
    twin, images = copy.deepcopy(module), x.clone().requires_grad_()
    y = answer(twin, images)
    g = torch.Generator().manual_seed(4)
    weights = torch.randn(y.shape, generator=g, dtype=x.dtype)
    torch.autograd.backward((y * weights).sum())

    def score(name: str, direction: Tensor) -> float:
        moved = copy.deepcopy(module)
        with torch.no_grad():
            if name:
                moved.get_parameter(name).add_(direction)
            return float((answer(moved, x if name else x + direction) * weights).sum())

    def disagreement(name: str, gradient: Tensor, step: float, tolerance: float) -> tuple[float, float] | None:
        """Gradient and slope where they differ in all directions: one may lie across the corner of an activation."""
        middle, rough = score(name, torch.zeros_like(gradient)), []
        for _ in range(DIRECTIONS):
            direction = torch.randn(gradient.shape, generator=g, dtype=x.dtype)
            low, high = (score(name, sign * step * direction) for sign in (-1, 1))
            expected, actual = (high - low) / (2 * step), float((gradient * direction).sum())
            allowed = tolerance * max(abs(expected), float((gradient * direction).norm()), 1e-3)
            if abs(actual - expected) <= allowed:
                return None
            rough.append(abs(high - 2 * middle + low) / (2 * step) > allowed)
        if all(rough) and (step, tolerance) != COARSE:
            return disagreement(name, gradient, *COARSE)
        return actual, expected

    for name, gradient in {"": images.grad, **{name: part.grad for name, part in twin.named_parameters()}}.items():
        if gradient is not None and (both := disagreement(name, gradient, *FINE)):
            return (
                f"the gradient of {name or 'the images'} is not the slope of the output: {both[0]:.4g} along a random "
                f"direction, expected {both[1]:.4g}"
            )
    return ""
