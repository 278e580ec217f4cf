"""Grad-CAM: image regions that raise the logit of a class at a layer, computed by captum."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def grad_cam(model: nn.Module, layer: str, images: Tensor, targets: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) float32, at least 0: the maps of `layer` for the classes `targets` (N,) int64, at `size` = (H, W).

    Each channel of the layer's output is weighted by the gradient of the target's logit there, averaged over the
    pixels. The weighted sum is cut off at 0 and resized to `size` by bilinear interpolation, but not rescaled.
    `images` are (N, 3, H', W') float32, `model` is in eval mode. No weight changes, and none gets a gradient.
    Paper: Selvaraju et al., "Grad-CAM", arXiv:1610.02391 (equations 1 and 2). Library: captum.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    with torch.enable_grad():
        maps = LayerGradCam(model, model.get_submodule(layer)).attribute(images, targets, relu_attributions=True)
    assert isinstance(maps, Tensor)  # one layer gives one
    resized: Tensor = LayerAttribution.interpolate(maps.detach().float(), size, "bilinear")
    return resized[:, 0].cpu().numpy()
