"""zoo.testing finds what is wrong with a norm, fifteen kinds of it, and finds nothing wrong with sound norms."""

from __future__ import annotations

import inspect
import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.testing import ConformanceError, check_norm


class Sound(nn.Module):
    """Of an image's own statistics: what the wrong ones differ from."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, 1, self.weight, self.bias).to(x.dtype)


def fails(norm, *words: str, **options) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_norm(norm, **options)
    for word in words:
        assert word in str(caught.value)


def test_planted_batch_leak() -> None:
    class Leak(Sound):
        def forward(self, x):
            return super().forward(x) + 0.01 * x.mean((0, 2, 3), keepdim=True)

    fails(Leak, "evaluation: in eval mode the output for an image depends on the others of its batch")


@pytest.mark.parametrize("leak", ["evaluation", "graph"])
def test_planted_leak_through_a_buffer(leak: str) -> None:
    class Leak(Sound):
        def __init__(self, num_channels):
            super().__init__(num_channels)
            self.register_buffer("last", torch.zeros(num_channels))

        def forward(self, x):
            y = super().forward(x) + 0.01 * self.last.view(1, -1, 1, 1).to(x.dtype)
            mean = x.mean((0, 2, 3)).to(self.last.dtype)
            if leak == "graph":
                self.last = self.last + mean if self.training else self.last
            else:
                self.last.copy_(mean.detach())
            return y

    if leak == "graph":
        fails(Leak, "gradients: buffer last keeps the graph of its batch")
    else:
        fails(Leak, "evaluation: in eval mode the outputs of two passes over the same images differ")


def test_planted_leak_of_earlier_batches_into_a_batch_independent_norm() -> None:
    class Leak(Sound):
        def __init__(self, num_channels):
            super().__init__(num_channels)
            self.register_buffer("mean", torch.zeros(num_channels))

        def forward(self, x):
            y = super().forward(x) + self.mean.view(1, -1, 1, 1).to(x.dtype)
            if self.training:
                self.mean.lerp_(x.detach().mean((0, 2, 3)).to(self.mean.dtype), 0.1)
            return y

    fails(Leak, "batch independence: in training an image's output depends on the batches", batch_independent=True)


def test_planted_no_gradient() -> None:
    class Cut(Sound):
        def forward(self, x):
            return super().forward(x.detach())

    fails(Cut, "gradients: the images get no gradient")


def test_planted_no_gradient_through_the_statistics() -> None:
    class Constant(Sound):
        def forward(self, x):
            scale = x.detach().square().mean((1, 2, 3), keepdim=True).add(1e-5).rsqrt()
            return x * scale * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)

    fails(Constant, "derivatives: the gradient of the images is not the slope of the output")
    check_norm(Constant, exact_gradient=False, batch_independent=True)


def test_planted_dead_parameter() -> None:
    class Dead(Sound):
        def __init__(self, num_channels):
            super().__init__(num_channels)
            self.shift = nn.Parameter(torch.zeros(num_channels))

    fails(Dead, "gradients: no gradient reaches shift")


@pytest.mark.parametrize("colour", ["one colour", "black"])
def test_planted_nan_in_bf16(colour: str) -> None:
    class NotANumber(Sound):
        def forward(self, x):
            centred = x - x.mean((2, 3), keepdim=True) if colour == "one colour" else x
            return super().forward(centred / centred.square().mean((2, 3), keepdim=True).sqrt())

    fails(NotANumber, f"images{' of one colour' if colour == 'one colour' else ''} in bfloat16 is not finite")


def test_planted_evaluation_differs_from_training() -> None:
    class Squared(nn.BatchNorm2d):
        def forward(self, x):
            if self.training:
                return super().forward(x)
            return F.batch_norm(x, self.running_mean, self.running_var.square(), self.weight, self.bias)

    class Doubled(Sound):
        def forward(self, x):
            return super().forward(x if self.training else 2 * x) * (1 if self.training else 1.1)

    for norm in (Squared, Doubled):
        fails(norm, "evaluation: trained on one image", "train() and eval() outputs for it differ")
    fails(Doubled, "evaluation: declared batch-independent, but", batch_independent=True)


class Averages(Sound):
    """A running mean, kept where `place` says."""

    place = "attribute"

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        if self.place == "buffer":
            self.register_buffer("mean", torch.zeros(num_channels), persistent=False)
        else:
            self.mean = torch.zeros(num_channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((0, 2, 3)) if self.training else self.mean.to(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * mean.detach().to(self.mean)
        return super().forward(x - mean.view(1, -1, 1, 1))


def test_planted_state_in_a_plain_attribute() -> None:
    fails(Averages, "state dict: with the stored weights the output in eval mode differs: some state is not stored")


def test_planted_state_in_a_non_persistent_buffer() -> None:
    class Buffer(Averages):
        place = "buffer"

    fails(Buffer, "state dict: with the stored weights the output in eval mode differs: some state is not stored")


@pytest.mark.parametrize("first", [1, 1000])
def test_planted_state_in_a_python_counter(first: int) -> None:
    """One that changes the answer from the `first` step on."""

    class Counter(Sound):
        def __init__(self, num_channels):
            super().__init__(num_channels)
            self._steps = 0

        def forward(self, x):
            self._steps += self.training
            return super().forward(x) * (1.1 if self._steps >= first else 1.0)

    fails(Counter, "state dict: ", "stored")


def test_a_counter_without_effect_is_no_bug() -> None:
    class Counter(Sound):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    check_norm(Counter, batch_independent=True)


@pytest.mark.parametrize("how", ["view", "memory"])
def test_planted_fails_in_channels_last(how: str) -> None:
    class Layout(Sound):
        def forward(self, x):
            if how == "memory" and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
                return super().forward(x.flip(1))
            return super().forward(x.view(x.shape[0], -1).view(x.shape) if how == "view" else x)

    fails(Layout, "channels-last: ")


def test_planted_input_overwritten() -> None:
    class Overwrites(Sound):
        def forward(self, x):
            y = super().forward(x)
            x.detach().mul_(0.5)
            return y

    fails(Overwrites, "the forward pass writes over its input")


@pytest.mark.parametrize("how", ["constant", "attribute", "answer"])
def test_planted_device_hard_coded(how: str) -> None:
    class Device(Sound):
        def __init__(self, num_channels):
            super().__init__(num_channels)
            self.scale = torch.ones(1, num_channels, 1, 1)

        def forward(self, x):
            y = super().forward(x)
            if how == "answer":
                return y.cpu()
            scale = self.scale if how == "attribute" else torch.ones(1, x.shape[1], 1, 1, device="cpu")
            return y * scale.to(x.dtype)

    fails(Device, "device: ", "device=x.device")


@pytest.mark.parametrize("how", ["answer", "operand"])
def test_planted_dtype_hard_coded(how: str) -> None:
    class Dtype(Sound):
        def forward(self, x):
            if how == "answer":
                return F.group_norm(x.float(), 1, self.weight.float(), self.bias.float())
            return x @ torch.eye(x.shape[-1], dtype=torch.float32, device=x.device) * self.weight.view(1, -1, 1, 1)

    fails(Dtype, "dtype: ")


class Half(torch.autograd.Function):
    """Its backward pass leaves out a factor."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, wrong: str) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.wrong = wrong
        return x * weight

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = gradient * weight, (gradient * x).sum((0, 2, 3), keepdim=True)
        return (of_x * 1.01, of_weight, None) if ctx.wrong == "the images" else (of_x, of_weight * 1.01, None)


@pytest.mark.parametrize("wrong", ["the images", "scale"])
def test_planted_wrong_custom_backward(wrong: str) -> None:
    class Custom(Sound):
        def __init__(self, num_channels):
            super().__init__(num_channels)
            self.scale = nn.Parameter(torch.ones(1, num_channels, 1, 1))

        def forward(self, x):
            return Half.apply(super().forward(x), self.scale, wrong)

    fails(Custom, "derivatives: the gradient of ", "is not the slope of the output")


def standardised(conv: nn.Conv2d, x: Tensor) -> Tensor:
    weight = conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)
    return F.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return standardised(self, x)


class NoStride(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, 1, self.padding, self.dilation, self.groups)


class NoGroups(nn.Conv2d):
    def __init__(self, in_channels, out_channels, kernel_size, groups=1, **options) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)


class Biased(nn.Conv2d):
    def __init__(self, *sizes, bias=False, **options) -> None:
        super().__init__(*sizes, **options)


class Frozen(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.detach(), None, self.stride, self.padding, self.dilation, self.groups)


class InPlace(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight -= self.weight.mean((1, 2, 3), keepdim=True)
        return super().forward(x)


class OfTheBatch(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


@pytest.mark.parametrize(
    ("conv", "words"),
    [
        (NoStride, "conv: a convolution of 3x3, stride=2, padding=1 makes (2, 16, 9, 9)"),
        (NoGroups, "conv: a convolution of 3x3, padding=1, groups=4 reads other pixels or channels"),
        (Biased, "conv: a convolution of 3x3, padding=1 has a bias"),
        (Frozen, "conv, gradients: no gradient reaches weight"),
        (InPlace, "conv, one recipe: it: its forward pass changes the values of parameter 'weight'"),
        (OfTheBatch, "conv, evaluation: in eval mode the output for an image depends on the others of its batch"),
        (nn.Linear, "conv: "),
    ],
)
def test_planted_broken_conv(conv: type[nn.Module], words: str) -> None:
    fails(Sound, words, conv=conv)


# No false alarms


class Last(nn.Module):
    """A norm of the last dimension for images."""

    def __init__(self, kind, num_channels: int) -> None:
        super().__init__()
        self.norm = kind(num_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Noisy(Sound):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if not self.training:
            return y
        return F.dropout(y, 0.2) + 0.1 * torch.randn_like(y) * random.random() + np.random.rand()  # noqa: NPY002


OWN = {"batch_independent": True}
SOUND = {
    "BatchNorm2d": (nn.BatchNorm2d, {}),
    "BatchNorm2d without affine": (partial(nn.BatchNorm2d, affine=False), {}),
    "BatchNorm2d of a cumulative mean": (partial(nn.BatchNorm2d, momentum=None), {}),
    "BatchNorm2d with a slow mean": (partial(nn.BatchNorm2d, momentum=0.001), {}),
    "SyncBatchNorm": (nn.SyncBatchNorm, {}),
    "GroupNorm": (partial(nn.GroupNorm, 4), OWN),
    "GroupNorm of 32": (partial(nn.GroupNorm, 32), OWN),
    "GroupNorm without affine": (partial(nn.GroupNorm, 4, affine=False), OWN),
    "InstanceNorm2d": (nn.InstanceNorm2d, OWN),
    "InstanceNorm2d with affine": (partial(nn.InstanceNorm2d, affine=True), OWN),
    "InstanceNorm2d with running statistics": (partial(nn.InstanceNorm2d, track_running_stats=True), {}),
    "InstanceNorm2d with both": (partial(nn.InstanceNorm2d, affine=True, track_running_stats=True), {}),
    "LayerNorm": (partial(Last, nn.LayerNorm), OWN),
    "LayerNorm without affine": (partial(Last, partial(nn.LayerNorm, elementwise_affine=False)), OWN),
    "RMSNorm": (partial(Last, nn.RMSNorm), OWN),
    "LocalResponseNorm": (lambda num_channels: nn.LocalResponseNorm(5), OWN),
    "Identity": (lambda num_channels: nn.Identity(), OWN),
    "random": (Noisy, OWN),
    "own convolution": (Sound, OWN | {"conv": Standardised}),
}
TIMM = [
    "LayerNorm2d", "LayerNorm2dFp32", "LayerNormExp2d", "GroupNorm", "GroupNorm1", "RmsNorm2d", "RmsNorm2dFp32",
    "SimpleNorm2d", "SimpleNorm2dFp32", "BatchNormAct2d", "GroupNormAct", "GroupNorm1Act", "LayerNormAct2d",
    "LayerNormAct2dFp32", "RmsNormAct2d", "RmsNormAct2dFp32", "FilterResponseNormAct2d", "FilterResponseNormTlu2d",
    "EvoNorm2dB0", "EvoNorm2dB1", "EvoNorm2dB2", "EvoNorm2dS0", "EvoNorm2dS0a", "EvoNorm2dS1", "EvoNorm2dS2",
    "FrozenBatchNormAct2d", "SyncBatchNormAct",
]  # fmt: skip
QUICK = {
    "LayerNorm2dFp32",
    "GroupNorm",
    "FilterResponseNormTlu2d",
    "EvoNorm2dB0",
    "EvoNorm2dS0",
    "FrozenBatchNormAct2d",
}


@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm_on_torch_s_norms(name: str) -> None:
    norm, options = SOUND[name]
    check_norm(norm, **options)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in TIMM])
def test_no_false_alarm_on_timm_s_norms(name: str) -> None:
    from timm import layers
    from timm.layers import filter_response_norm, norm, norm_act

    places = (layers, norm, norm_act, filter_response_norm)
    kind = next(getattr(place, name) for place in places if hasattr(place, name))
    check_norm(kind, activation_included="apply_act" in inspect.signature(kind).parameters)


def test_batch_norm_without_running_statistics_is_a_batch_leak() -> None:
    fails(partial(nn.BatchNorm2d, track_running_stats=False), "depends on the others of its batch")
