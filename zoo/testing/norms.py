"""What every norm has to do, so that any architecture can use it and a table can be believed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from zoo.builder import fairness
from zoo.builder.construct import load_norm
from zoo.builder.norm import Norm
from zoo.builder.shown import materialise
from zoo.errors import unknown
from zoo.registry.merge import Registry, load_registry
from zoo.runner.convolutions import problem_of_convolution
from zoo.runner.derivatives import wrong_gradient
from zoo.runner.layers import Call, difference_of_modes
from zoo.testing import probes, suite

CHANNELS = (16, 24, 32, 64)
SIZE = (5, 4)
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def check_norm(
    norm: str | Callable[..., nn.Module],
    *,
    kwargs: Mapping[str, object] | None = None,
    conv: Callable[..., nn.Module] | None = None,
    activation_included: bool = False,
    batch_independent: bool = False,
    exact_gradient: bool = True,
    channels: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
) -> None:
    """Hold a norm to what zoo expects: shapes, dtypes, gradients, devices, evaluation, stored weights, memory layouts.

    `norm` is the name of a registered norm, whose arguments and claims the registry has, or a builder: a function from
    the number of channels to a module on (N, C, H, W). For a builder, `kwargs` are its further arguments,
    `conv` is the norm's own convolution, `activation_included` says that it is the activation too (and takes
    ``apply_act``), and `batch_independent` that in training an image's output is the same in any batch. Give
    `exact_gradient` = False for a norm whose backward pass holds statistics constant on purpose. `channels` are the
    numbers of channels to build it for, by default those of 16, 24 and 64 that it does not refuse.
    `dtype` is what equal answers are compared in: float64 sees smaller differences, where the norm computes in it.
    `compiled` asks for one graph under torch.compile as well, which takes seconds.

    Raises :class:`ConformanceError` with a line for each check that failed, and :class:`zoo.errors.ZooError` for a name
    that is not registered or a builder that cannot be imported.
    """
    if isinstance(norm, str):
        if kwargs or conv or activation_included or batch_independent:
            raise TypeError(
                f"norm {norm!r}: its arguments and claims are the registry's; give them with a builder only"
            )
        layer, batch_independent = registered_norm(load_registry(), norm)
    else:
        name = getattr(norm, "__name__", type(norm).__name__)
        layer = Norm(name, norm, dict(kwargs or {}), activation_included, conv, where=f"norm {name!r}")
    checks = _Checks(layer, channels or _possible(layer), batch_independent, exact_gradient, dtype)
    suite.run(layer.where, checks.all(compiled))


def registered_norm(registry: Registry, name: str) -> tuple[Norm, bool]:
    """The norm called `name` and whether it claims to be batch-independent. Raises :class:`zoo.errors.ZooError`."""
    if name not in registry.norms:
        raise unknown("norm", name, registry.norms, registry.where)
    entry = registry.norms[name]
    return load_norm(entry), entry.batch_independent


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, C, H, W), not centred, with a scale and a mean of its own for every image and channel."""
    g = torch.Generator().manual_seed(seed)
    n, c = shape[:2]
    scale = 0.3 + 2 * torch.rand(n, c, 1, 1, generator=g, dtype=torch.float64)
    shift = torch.randn(n, c, 1, 1, generator=g, dtype=torch.float64) + torch.linspace(-3, 3, c).view(1, c, 1, 1)
    return (torch.randn(shape, generator=g, dtype=torch.float64) * scale + shift).to(dtype)


def _possible(norm: Norm) -> Sequence[int]:
    """The numbers of channels that `norm` does not refuse by a check of its own; the usual ones where it refuses all.

    GroupNorm refuses what its number of groups does not divide.
    """
    possible = []
    for count in CHANNELS:
        try:
            with suite.torch_unchanged():
                norm(count, spatial_size=SIZE).eval()(images(2, count, *SIZE))
        except Exception as problem:
            if isinstance(problem, AssertionError | ValueError) or isinstance(
                problem.__cause__, AssertionError | ValueError
            ):
                continue
        possible.append(count)
    return possible or CHANNELS


@dataclass(frozen=True)
class _Checks:
    """`norm`, for its shape for all `channels`, else for one number of them; with and without its own activation."""

    norm: Norm
    channels: Sequence[int]
    batch_independent: bool
    exact_gradient: bool
    dtype: torch.dtype

    def all(self, compiled: bool) -> list[suite.Check]:
        """By name; the first is whether it can be built at all."""
        checks: list[suite.Check] = [("shape", self.shape)]
        width = self.channels[len(self.channels) // 2]
        for apply_act in (True, False) if self.norm.activation_included else (True,):
            layer = _Layer(
                partial(self.layer, width, apply_act, SIZE),
                width,
                self.dtype,
                independent=self.batch_independent,
                as_in_training=self.batch_independent,
                exact_gradient=self.exact_gradient,
            )
            suffix = "" if apply_act else ", without its activation"
            checks += [(f"{name}{suffix}", check) for name, check in layer.all(compiled)]
        if self.norm.conv is not None:
            checks.append(("conv", self.convolution))
            build = partial(self.norm.conv2d, width, width, 3, padding=1)
            conv = _Layer(build, width, self.dtype, independent=True, exact_gradient=self.exact_gradient)
            checks += [(f"conv, {name}", check) for name, check in conv.all(compiled)]
        return checks

    def convolution(self) -> None:
        if problem := problem_of_convolution(self.norm.conv2d):
            raise AssertionError(problem)

    def layer(self, channels: int, apply_act: bool, size: tuple[int, int], branch_end: bool = False) -> nn.Module:
        """A new one for images of that size."""
        layer = self.norm(channels, apply_act=apply_act, branch_end=branch_end, spatial_size=size)
        materialise("it", layer, (channels, *size))
        return layer

    def shape(self) -> None:
        for channels in self.channels:
            for count, height, width in ((6, 5, 4), (1, 8, 8), (4, 2, 2)):
                for training in (True, False):
                    x = images(count, channels, height, width)
                    answers = [
                        suite.forward(self.layer(channels, act, (height, width), not act).train(training), x)
                        for act in (True, False)
                    ]
                    for y in answers:
                        if y.shape != x.shape or y.dtype != x.dtype:
                            raise AssertionError(
                                f"{tuple(x.shape)} {x.dtype} becomes {tuple(y.shape)} {y.dtype}; both have to stay"
                            )
                        suite.finite(y, f"the output of {tuple(x.shape)}")


@dataclass(frozen=True)
class _Layer:
    """What `build` makes for `width` channels, a norm or a norm's convolution.

    `independent`: whether in training an image's output is the same in any batch, and `as_in_training` whether eval
    mode and earlier batches make no difference to it either.
    """

    build: Callable[[], nn.Module]
    width: int
    dtype: torch.dtype
    independent: bool
    as_in_training: bool = False
    exact_gradient: bool = True

    def all(self, compiled: bool) -> list[suite.Check]:
        """By name."""
        named: dict[str, Callable[[], None]] = {
            "gradients": self.gradients,
            "bfloat16": self.bfloat16,
            "dtype": lambda: probes.check_dtypes(self.make(), self.x()),
            "device": lambda: probes.check_device(self.make(), self.x()),
            "evaluation": self.evaluation,
            "state dict": self.stored,
            "deep copy": lambda: suite.check_copy(self.make(), self.x()),
            "channels-last": self.layout,
            "one recipe": self.fair,
        }
        if self.exact_gradient:
            named["derivatives"] = self.derivatives
        if self.independent:
            named["batch independence"] = self.independence
        if compiled:
            named["torch.compile"] = lambda: suite.check_compiled(self.make(), self.x(), TOLERANCE[self.dtype])
        return list(named.items())

    def x(self, seed: int = 0) -> Tensor:
        return images(6, self.width, *SIZE, seed=seed, dtype=self.dtype)

    def fresh(self) -> nn.Module:
        return self.build().to(self.dtype)

    def make(self) -> nn.Module:
        """In the middle of its life: no parameter or buffer where it started, three training steps seen."""
        layer = self.fresh().train()
        g = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.5 * torch.rand(parameter.shape, generator=g))
            for seed in (7, 8, 9):
                suite.forward(layer, self.x(seed))
        return layer

    def gradients(self) -> None:
        """Of two steps, since what one of them keeps may be part of the other."""
        layer = self.make()
        for seed in (0, 6):
            layer.zero_grad()
            x = self.x(seed).requires_grad_()
            y = layer(x)
            y.backward(images(*y.shape, seed=3, dtype=y.dtype))
            suite.gradient(x)
            if dead := suite.without_gradient(layer):
                raise AssertionError(f"no gradient reaches {', '.join(dead)}")
            if kept := [name for name, buffer in layer.named_buffers() if buffer.requires_grad]:
                raise AssertionError(f"buffer {kept[0]} keeps the graph of its batch: detach() what it is made of")

    def bfloat16(self) -> None:
        layer = self.make().float()
        ordinary = images(6, self.width, *SIZE).bfloat16()
        for x, what in (
            (ordinary, "images"),
            (100 * ordinary, "images 100 times as bright"),
            (torch.full_like(ordinary, 3.0), "images of one colour"),
            (torch.zeros_like(ordinary), "black images"),
        ):
            twin = copy.deepcopy(layer)
            bright = x.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16):
                y = twin(bright)
                y.float().square().sum().backward()
            suite.finite(y, f"the output of {what} in bfloat16")
            suite.finite(bright.grad, f"the gradient of {what} in bfloat16")
            suite.without_gradient(twin)
        layer.train(not suite.is_random(layer, ordinary.float()))
        exact = copy.deepcopy(layer)(ordinary.float())
        with torch.autocast("cpu", torch.bfloat16):
            suite.same(copy.deepcopy(layer)(ordinary), exact, "the output for bfloat16 images differs", 0.02)

    def evaluation(self) -> None:
        layer, tolerance = self.make(), TOLERANCE[self.dtype]
        random = suite.is_random(layer, self.x())
        suite.check_evaluation(layer, self.x(), tolerance, as_in_training=self.as_in_training and not random)
        if not random:
            layer, image = self.make(), images(1, self.width, *SIZE, dtype=self.dtype)
            call = Call("", layer, (image.expand(2, -1, -1, -1).contiguous(),))
            if share := difference_of_modes(call, list(layer.modules())):
                raise AssertionError(
                    "trained on one image again and again, train() and eval() outputs for it differ (largest "
                    f"difference {share:.2g} of the largest value)"
                )

    def derivatives(self) -> None:
        if problem := wrong_gradient(self.make(), self.x()):
            raise AssertionError(problem)

    def stored(self) -> None:
        suite.check_stored(self.make(), self.fresh(), self.x())
        probes.check_nothing_hidden(self.make(), self.fresh(), self.x())

    def layout(self) -> None:
        for training in (True, False):
            layer = self.make()
            if not training or not suite.is_random(layer, self.x()):
                suite.check_layout(layer.train(training), self.x(), TOLERANCE[self.dtype])

    def fair(self) -> None:
        with fairness.untouched("it", "building"):
            layer = self.build()
        fairness.check_step("it", layer, images(6, self.width, *SIZE).requires_grad_())

    def independence(self) -> None:
        layer, tolerance = self.make().train(), TOLERANCE[self.dtype]
        if suite.is_random(layer, self.x()):
            return
        together = suite.forward(copy.deepcopy(layer), self.x())
        what = "in training an image's output depends on the others of its batch"
        suite.same(together, suite.alone(layer, self.x()), what, tolerance)
        if self.as_in_training:
            suite.forward(layer, self.x(6))
            what = "in training an image's output depends on the batches before"
            suite.same(suite.forward(layer, self.x()), together, what, tolerance)
