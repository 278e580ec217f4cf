"""Checks of a layer that need more than one look at it: derivatives, other devices and dtypes, state that is hidden."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from zoo.testing import suite

SETTLED = 0.03  # of the largest value: statistics of few pixels, unbiased or not
DIRECTIONS = 3
FINE, COARSE = (1e-6, 1e-5), (1e-3, 0.05)  # the step, and the share of a slope by which it may differ
LONGEST = 1024  # training steps on one image
LARGE = 10_000  # what a counter may come to


def check_dtypes(module: nn.Module, x: Tensor) -> None:
    """In float64, weights and images, the answer has that dtype too; in bfloat16 also, where torch computes in it."""

    def check(dtype: torch.dtype) -> None:
        for training in (True, False):
            y = suite.forward(copy.deepcopy(module).to(dtype).train(training), x.to(dtype))
            if y.dtype != dtype:
                raise AssertionError(f"{dtype} images become {y.dtype}; the dtype has to stay")

    check(torch.float64)
    # An operation without a kernel for bfloat16 is one that autocast would leave out.
    with contextlib.suppress(RuntimeError):
        check(torch.bfloat16)


def check_device(module: nn.Module, x: Tensor) -> None:
    """Weights, buffers and images on another device than the CPU: all that it computes is there too.

    Nothing is computed: the device is torch's ``meta``, with fake tensors. A layer that looks at values, which do not
    exist there, is not judged.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    for training in (True, False):
        twin = copy.deepcopy(module).train(training)
        with FakeTensorMode(allow_non_fake_inputs=True), _only_devices_matter():
            images = torch.empty(x.shape, dtype=x.dtype, device="meta", requires_grad=True)
            y = _on_meta(twin)(images)
            if y.device.type != "meta":
                raise AssertionError(f"images on another device become {y.device.type}; give tensors device=x.device")
            torch.autograd.backward(y.sum())


@contextlib.contextmanager
def _only_devices_matter() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # torch logs what it then raises
    try:
        yield
    except AssertionError:
        raise
    except Exception as problem:
        if "same device" in str(problem) or "Device Propagation" in str(problem):
            raise AssertionError(
                "on another device it mixes tensors of that one and of cpu: give tensors device=x.device, or make them "
                "buffers (register_buffer)"
            ) from problem
    finally:
        logging.disable(before)


def _on_meta(module: nn.Module) -> nn.Module:
    """`module` with weights and buffers moved, what it has besides left where it is."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.to("meta")
    return module


def check_derivatives(module: nn.Module, x: Tensor) -> None:
    """The gradients of images and parameters are the slopes of the answer, in float64 along random directions.

    Slopes are central differences; coarser ones where the answer is rough, since the layer computes in float32.
    """
    module, x = module.double(), x.double()
    twin, images = copy.deepcopy(module), x.clone().requires_grad_()
    y = suite.forward(twin, images)
    g = torch.Generator().manual_seed(4)
    weights = torch.randn(y.shape, generator=g, dtype=x.dtype)
    torch.autograd.backward((y * weights).sum())

    def score(name: str, direction: Tensor) -> float:
        moved = copy.deepcopy(module)
        with torch.no_grad():
            if name:
                moved.get_parameter(name).add_(direction)
            return float((suite.forward(moved, x if name else x + direction) * weights).sum())

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
            raise AssertionError(
                f"the gradient of {name or 'the images'} is not the slope of the answer: {both[0]:.4g} along a random "
                f"direction, expected {both[1]:.4g}"
            )


def check_nothing_hidden(module: nn.Module, fresh: nn.Module, x: Tensor) -> None:
    """Numbers that training has changed and that the state dict lacks, such as a counter, do not change the answer."""

    def answers(path: str, name: str, number: object) -> Tensor:
        twin = copy.deepcopy(module)
        setattr(twin.get_submodule(path), name, number)
        return torch.cat([suite.forward(copy.deepcopy(twin).train(training), x) for training in (True, False)])

    for (path, part), other in zip(module.named_modules(), fresh.modules(), strict=True):
        for name in vars(part).keys() - vars(nn.Module()).keys():
            after, before = vars(part)[name], vars(other).get(name)
            if not isinstance(after, int | float) or after == before:
                continue
            with contextlib.suppress(AttributeError, ArithmeticError, IndexError, TypeError, ValueError):
                now, later = answers(path, name, after), answers(path, name, type(after)(LARGE))
                if not torch.equal(now, later) or not torch.equal(now, answers(path, name, before)):
                    raise AssertionError(
                        f"{'.'.join(filter(None, (path, name)))} changes in training and the answer with it, but it is "
                        "not stored; make it a buffer (register_buffer)"
                    )


def check_settles(module: nn.Module, x: Tensor) -> None:
    """Trained on the same image again and again, its statistics come to be that image's: both modes answer alike."""
    x = x[:1].expand(2, *x.shape[1:]).contiguous()
    twin, difference, steps = copy.deepcopy(module).train(), float("inf"), 0
    with torch.no_grad():
        while steps < LONGEST:
            before = difference
            for _ in range(max(1, steps)):  # 1, 2, 4, ... in all
                y = twin(x.clone())
                steps += 1
            expected = suite.forward(copy.deepcopy(twin).eval(), x)
            difference = float((y - expected).abs().max() / expected.abs().max().clamp(min=1e-3))
            if difference <= SETTLED:
                return
    if not difference < 0.9 * before:  # else its averages are slow
        raise AssertionError(
            f"after {steps} training steps on one image, eval mode answers otherwise for it than training (largest "
            f"difference {difference:.2g} of the largest value)"
        )


def check_convolution(conv: Callable[..., nn.Module]) -> None:
    """`conv` makes convolutions without bias as ``nn.Conv2d`` does: each output pixel is of the same input pixels."""
    for size, options in (
        (3, {"padding": 1}),
        (3, {"stride": 2, "padding": 1}),
        (3, {"padding": 1, "groups": 4}),
        (3, {"padding": 2, "dilation": 2}),
        (1, {}),
        (1, {"stride": 2}),
    ):
        asked = f"of {size}x{size}" + "".join(f", {name}={number}" for name, number in options.items())
        layer, plain = conv(8, 16, size, **options), _plain(size, **options)
        if getattr(layer, "bias", None) is not None:
            raise AssertionError(f"a convolution {asked} has a bias, though it is built with bias=False")
        g = torch.Generator().manual_seed(0)
        x = torch.randn(2, 8, 9, 9, generator=g)
        y, expected = suite.forward(layer, x), plain(x)
        if y.shape != expected.shape or y.dtype != x.dtype:
            raise AssertionError(
                f"a convolution {asked} makes {tuple(y.shape)} {y.dtype} of {tuple(x.shape)} {x.dtype}, expected "
                f"{tuple(expected.shape)}"
            )
        suite.finite(y, f"the output of a convolution {asked}")
        for place in ((0, 3, 0, 0), (1, 12, 2, 2)):
            if not torch.equal(_reached(layer, x, place), _reached(plain, x, place)):
                raise AssertionError(f"a convolution {asked} reads other pixels or channels than nn.Conv2d does")


def _plain(size: int, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(8, 16, size, stride, padding, dilation, groups, bias=False)
    nn.init.ones_(layer.weight)
    return layer


def _reached(layer: nn.Module, x: Tensor, place: tuple[int, ...]) -> Tensor:
    """Which input values the output at `place` depends on."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[place], x)
    return gradient != 0
