"""Each norm on a GPU, in both memory layouts, in float32 and under autocast, against a CPU in float64. Needs a GPU."""

from __future__ import annotations

import pytest
import torch
from norm_layers import CHANNELS, LAYERS, SHAPE, images, in_midlife, norm_of
from torch import Tensor, nn

from zoo.engine.evaluate import autocast

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = "cuda"


def answers(layer: nn.Module, x: Tensor, slope: Tensor) -> list[Tensor]:
    """Output, gradients and buffers in float64 on the CPU; under autocast where `x` is in bfloat16.

    `x` is (N, C, H, W), and so is `slope`, the gradient of the output.
    """
    x = x.clone().requires_grad_()
    with autocast(x.device, "bf16" if x.dtype == torch.bfloat16 else "fp32"):
        y = layer(x)
    assert y.dtype == x.dtype
    y.backward(slope)
    gradients = [parameter.grad for parameter in layer.parameters()]
    return [tensor.detach().double().cpu() for tensor in (y, x.grad, *gradients, *layer.buffers())]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("name", "apply_act"), [layer for layer in LAYERS if layer[0] != "syncbn"])
def test_a_norm_is_the_same_function_there(
    name: str, apply_act: bool, training: bool, dtype: torch.dtype, tolerance: float, layout: torch.memory_format
) -> None:
    # The CPU gets what is rounded for the GPU: a gate such as EvoNorm-B0's max opens elsewhere for another input.
    x = images(*SHAPE).to(dtype)
    slope = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)).to(dtype)
    here, there = (in_midlife(norm_of(name)(CHANNELS, apply_act=apply_act)).train(training) for _ in range(2))
    expected = answers(here.double(), x.double(), slope.double())
    found = answers(there.to(GPU), x.to(GPU).contiguous(memory_format=layout), slope.to(GPU))
    for got, wanted in zip(found, expected, strict=True):
        assert (got - wanted).norm() <= tolerance * wanted.norm()
