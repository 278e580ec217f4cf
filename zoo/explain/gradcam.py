"""Grad-CAM: image regions that raise the logit of a class at a layer, computed by captum."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.explain.grid import grid_of


def grad_cam(model: nn.Module, layer: str, images: Tensor, targets: Tensor, size: tuple[int, int]) -> np.ndarray | None:
    """(N, H, W) float32, at least 0: the maps of `layer` for the classes `targets` (N,) int64, at `size` = (H, W).

    Each channel of the layer's output is weighted by the gradient of the target's logit there, averaged over the
    pixels. The weighted sum is cut off at 0 and resized to `size` by bilinear interpolation, but not rescaled. An
    output of tokens, or with its channels last, is brought to (N, C, H, W) before (:mod:`zoo.explain.grid`).
    None where the layer has no such output, or no gradient of the logits reaches it.
    `images` are (N, 3, H', W') float32, `model` is in eval mode. No weight changes, and none gets a gradient.
    Paper: Selvaraju et al., "Grad-CAM", arXiv:1610.02391 (equations 1 and 2). Library: captum.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    maps, reached = nn.Identity(), []

    def through_maps(module: nn.Module, inputs: Any, output: Any) -> Any:
        grid = grid_of(output, images)
        if grid is None:
            return output
        pixels = grid.maps(output)
        if not pixels.requires_grad:  # what is before it has no weights to train, or keeps no graph
            pixels = pixels.detach().clone().requires_grad_()
        pixels.register_hook(lambda gradient: reached.append(bool(gradient.any())))  # type: ignore[no-untyped-call]
        return grid.back(maps(pixels), output)

    handle = model.get_submodule(layer).register_forward_hook(through_maps)
    try:
        with torch.enable_grad():
            cam = LayerGradCam(model, maps).attribute(images, targets, relu_attributions=True)
    except (AssertionError, RuntimeError):
        if any(reached):
            raise
        return None
    finally:
        handle.remove()
    if not any(reached):
        return None
    assert isinstance(cam, Tensor)  # one layer gives one
    resized: Tensor = LayerAttribution.interpolate(cam.detach().float(), size, "bilinear")
    return resized[:, 0].cpu().numpy()
