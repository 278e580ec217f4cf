"""Each norm is the same function on a GPU, in both memory layouts, in float32 and under autocast. Needs a GPU."""

from __future__ import annotations

import pytest
import torch
from norm_layers import CHANNELS, LAYERS, images, in_midlife, norm_of

from zoo.engine.evaluate import autocast

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = "cuda"


def answers(name: str, apply_act: bool, device: str, dtype: torch.dtype, layout: torch.memory_format, precision: str):
    """Output and gradients of one norm in training mode, in float64 on the CPU."""
    torch.manual_seed(0)
    layer = in_midlife(norm_of(name)(CHANNELS, apply_act=apply_act)).to(device, dtype)
    x = images(32, CHANNELS, 4, 4).to(device, dtype).contiguous(memory_format=layout).requires_grad_()
    with autocast(torch.device(device), precision):
        y = layer(x if precision == "fp32" else x.to(torch.bfloat16))
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(device, y.dtype)
    (y * weights).sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    return [tensor.detach().double().cpu() for tensor in (y, x.grad, *gradients)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 3e-2)])
@pytest.mark.parametrize(("name", "apply_act"), [layer for layer in LAYERS if layer[0] != "syncbn"])
def test_a_norm_is_the_same_function_there(
    name: str, apply_act: bool, precision: str, tolerance: float, layout: torch.memory_format
) -> None:
    expected = answers(name, apply_act, "cpu", torch.float64, torch.contiguous_format, "fp32")
    for got, wanted in zip(answers(name, apply_act, GPU, torch.float32, layout, precision), expected, strict=True):
        assert (got - wanted).norm() <= tolerance * wanted.norm()
