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
from zoo.testing import suite

SIZE = (5, 4)
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def check_norm(
    norm: str | Callable[..., nn.Module],
    *,
    kwargs: Mapping[str, object] | None = None,
    activation_included: bool = False,
    batch_independent: bool = False,
    channels: Sequence[int] = (16, 24, 64),
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
) -> None:
    """Hold a norm to what zoo expects: shapes, gradients, bfloat16, evaluation, stored weights, copies, memory layouts.

    `norm` is the name of a registered norm, whose arguments and claims the registry has, or a builder: a function from
    the number of channels to a module on (N, C, H, W). For a builder, `kwargs` are its further arguments,
    `activation_included` says that it is the activation too (and takes ``apply_act``), and `batch_independent` that in
    training an image's output is the same in any batch. `channels` are the numbers of channels to build it for;
    `dtype` is what equal answers are compared in: float64 sees smaller differences, where the norm computes in it.
    `compiled` asks for one graph under torch.compile as well, which takes seconds.

    Raises :class:`ConformanceError` with a line for each check that failed, and :class:`zoo.errors.ZooError` for a name
    that is not registered or a builder that cannot be imported.
    """
    if isinstance(norm, str):
        if kwargs or activation_included or batch_independent:
            raise TypeError(
                f"norm {norm!r}: its arguments and claims are the registry's; give them with a builder only"
            )
        layer, batch_independent = registered_norm(load_registry(), norm)
    else:
        name = getattr(norm, "__name__", type(norm).__name__)
        layer = Norm(name, norm, dict(kwargs or {}), activation_included, where=f"norm {name!r}")
    checks = _Checks(layer, channels, channels[len(channels) // 2], batch_independent, dtype)
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


@dataclass(frozen=True)
class _Checks:
    """`norm` built for `width` channels, and for its shape for all `channels`; with and without its own activation."""

    norm: Norm
    channels: Sequence[int]
    width: int
    batch_independent: bool
    dtype: torch.dtype

    def all(self, compiled: bool) -> list[suite.Check]:
        """By name; the first is whether it can be built at all."""
        checks = [("shape", self.shape)]
        named: dict[str, Callable[[bool], None]] = {
            "gradients": self.gradients,
            "bfloat16": self.bfloat16,
            "evaluation": self.evaluation,
            "state dict": self.stored,
            "deep copy": self.copied,
            "channels-last": self.layout,
            "one recipe": self.fair,
        }
        if self.batch_independent:
            named["batch independence"] = self.independence
        if compiled:
            named["torch.compile"] = self.compiled
        ways = (True, False) if self.norm.activation_included else (True,)
        for name, check in named.items():
            for apply_act in ways:
                title = name if apply_act else f"{name}, without its activation"
                checks.append((title, partial(check, apply_act)))
        return checks

    def x(self, seed: int = 0) -> Tensor:
        return images(6, self.width, *SIZE, seed=seed, dtype=self.dtype)

    def layer(self, channels: int, apply_act: bool, size: tuple[int, int], branch_end: bool = False) -> nn.Module:
        """A new one for images of that size."""
        layer = self.norm(channels, apply_act=apply_act, branch_end=branch_end, spatial_size=size)
        materialise("it", layer, (channels, *size))
        return layer

    def make(self, apply_act: bool) -> nn.Module:
        """In the middle of its life: no parameter or buffer where it started, three training steps seen."""
        layer = self.layer(self.width, apply_act, SIZE).to(self.dtype).train()
        g = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.5 * torch.rand(parameter.shape, generator=g))
            for seed in (7, 8, 9):
                suite.forward(layer, self.x(seed))
        return layer

    def shape(self) -> None:
        for channels in self.channels:
            for count, height, width in ((6, 5, 4), (1, 8, 8), (4, 2, 2)):
                for apply_act in (True, False):
                    layer = self.layer(channels, apply_act, (height, width), branch_end=not apply_act)
                    for training in (True, False):
                        x = images(count, channels, height, width)
                        y = suite.forward(layer.train(training), x)
                        if y.shape != x.shape or y.dtype != x.dtype:
                            raise AssertionError(
                                f"{tuple(x.shape)} {x.dtype} becomes {tuple(y.shape)} {y.dtype}; both have to stay"
                            )
                        suite.finite(y, f"the output of {tuple(x.shape)}")

    def gradients(self, apply_act: bool) -> None:
        layer = self.make(apply_act)
        x = self.x().requires_grad_()
        y = layer(x)
        y.backward(images(*y.shape, seed=3, dtype=y.dtype))
        suite.gradient(x)
        if dead := suite.without_gradient(layer):
            raise AssertionError(f"no gradient reaches {', '.join(dead)}")

    def bfloat16(self, apply_act: bool) -> None:
        layer = self.make(apply_act).float()
        ordinary = images(6, self.width, *SIZE).bfloat16()
        for x, what in (
            (ordinary, "images"),
            (100 * ordinary, "images 100 times as bright"),
            (torch.full_like(ordinary, 3.0), "images of one colour"),
        ):
            twin = copy.deepcopy(layer)
            bright = x.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16):
                y = twin(bright)
                y.float().square().sum().backward()
            suite.finite(y, f"the output of {what} in bfloat16")
            suite.finite(bright.grad, f"the gradient of {what} in bfloat16")
            suite.without_gradient(twin)
        exact = copy.deepcopy(layer)(ordinary.float())
        with torch.autocast("cpu", torch.bfloat16):
            suite.same(copy.deepcopy(layer)(ordinary), exact, "bfloat16 images give another answer", 0.02)

    def evaluation(self, apply_act: bool) -> None:
        suite.check_evaluation(
            self.make(apply_act), self.x(), TOLERANCE[self.dtype], as_in_training=self.batch_independent
        )

    def stored(self, apply_act: bool) -> None:
        fresh = self.layer(self.width, apply_act, SIZE).to(self.dtype)
        suite.check_stored(self.make(apply_act), fresh, self.x())

    def copied(self, apply_act: bool) -> None:
        suite.check_copy(self.make(apply_act), self.x())

    def layout(self, apply_act: bool) -> None:
        for training in (True, False):
            suite.check_layout(self.make(apply_act).train(training), self.x(), TOLERANCE[self.dtype])

    def fair(self, apply_act: bool) -> None:
        with fairness.untouched("it", "building"):
            layer = self.layer(self.width, apply_act, SIZE)
        fairness.check_step("it", layer, images(6, self.width, *SIZE))

    def independence(self, apply_act: bool) -> None:
        layer = self.make(apply_act).train()
        together = suite.forward(copy.deepcopy(layer), self.x())
        what = "in training an image's output depends on the others of its batch"
        suite.same(together, suite.alone(layer, self.x()), what, TOLERANCE[self.dtype])

    def compiled(self, apply_act: bool) -> None:
        suite.check_compiled(self.make(apply_act), self.x(), TOLERANCE[self.dtype])
