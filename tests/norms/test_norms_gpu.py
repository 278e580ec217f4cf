"""Each norm on a GPU, in both memory layouts, in float32 and under autocast, against a CPU in float64. Needs a GPU."""

from __future__ import annotations

import pytest
import torch
from norm_layers import CHANNELS, LAYERS, SHAPE, images, in_midlife, norm_of
from torch import Tensor

from zoo.engine.evaluate import autocast

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = "cuda"


def answers(
    name: str, apply_act: bool, training: bool, device: str, dtype: torch.dtype, layout: torch.memory_format,
    precision: str,
) -> list[Tensor]:  # fmt: skip
    """Output, gradients and buffers of one norm, in float64 on the CPU."""
    layer = in_midlife(norm_of(name)(CHANNELS, apply_act=apply_act)).to(device, dtype).train(training)
    x = images(*SHAPE).to(device, dtype).contiguous(memory_format=layout).requires_grad_()
    with autocast(torch.device(device), precision):
        y = layer(x if precision == "fp32" else x.to(torch.bfloat16))
    assert y.dtype == (torch.bfloat16 if precision == "bf16" else dtype)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(device, y.dtype)
    (y * weights).sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    return [tensor.detach().double().cpu() for tensor in (y, x.grad, *gradients, *layer.buffers())]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 3e-2)])
@pytest.mark.parametrize(("name", "apply_act"), [layer for layer in LAYERS if layer[0] != "syncbn"])
def test_a_norm_is_the_same_function_there(
    name: str, apply_act: bool, training: bool, precision: str, tolerance: float, layout: torch.memory_format
) -> None:
    expected = answers(name, apply_act, training, "cpu", torch.float64, torch.contiguous_format, "fp32")
    found = answers(name, apply_act, training, GPU, torch.float32, layout, precision)
    for got, wanted in zip(found, expected, strict=True):
        assert (got - wanted).norm() <= tolerance * wanted.norm()
