"""What every architecture has to do, so that any norm can be put into it and a table can be believed."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.builder import fairness
from zoo.builder.arguments import arguments_for
from zoo.builder.norm import Norm
from zoo.errors import unknown
from zoo.registry.locate import load_builder
from zoo.registry.merge import load_registry
from zoo.testing import suite
from zoo.testing.norms import registered_norm

# One whose statistics are the batch's, one whose statistics are an image's, one that includes the activation, one that
# wants to know where a branch ends.
NORMS = ("bn", "ln", "evos0", "none")
TOLERANCE = 1e-6  # in float64, through a whole network
_NormCheck = Callable[[Norm], None]


def check_architecture(
    architecture: str | Callable[..., nn.Module],
    *,
    kwargs: Mapping[str, object] | None = None,
    norms: Sequence[str] = NORMS,
    image_size: int = 32,
    compiled: bool = False,
) -> None:
    """Hold an architecture to what zoo expects: any norm, classes and channels, gradients, bfloat16, evaluation, ...

    `architecture` is the name of a registered one, or a builder ``f(norm=, num_classes=, in_channels=, **kwargs)`` of a
    module from (N, in_channels, H, W) images to (N, num_classes) logits; `kwargs` go with a builder. It is built with
    each of `norms` (names in the registry) and given images of `image_size` pixels a side. `compiled` asks for one
    graph under torch.compile as well, which takes seconds to minutes.

    Raises :class:`ConformanceError` with a line for each check that failed, and :class:`zoo.errors.ZooError` for a name
    that is not registered or a builder that cannot be imported.
    """
    registry, names = load_registry(), dict[str, str]()
    claims = [registered_norm(registry, name) for name in norms]
    if isinstance(architecture, str):
        if kwargs:
            raise TypeError(f"architecture {architecture!r}: its arguments are the registry's; give none")
        if architecture not in registry.architectures:
            raise unknown("architecture", architecture, registry.architectures, registry.where)
        entry = registry.architectures[architecture]
        where = f"architecture {architecture!r} ({entry.origin}): {entry.builder}"
        builder, kwargs = load_builder(entry.builder, f"architecture {architecture!r}", entry.origin), entry.kwargs
        names = entry.arguments
    else:
        builder = architecture
        where = f"architecture {getattr(builder, '__name__', type(builder).__name__)!r}"
    checks = _Checks(builder, dict(kwargs or {}), names, claims, image_size)
    suite.run(where, checks.all(compiled))


def check_training_step(model: nn.Module, x: Tensor, num_classes: int) -> list[str]:
    """Two small steps on (N, C, H, W) `x`: finite logits and gradients; the parameters that none has reached, by name.

    Two, since a branch that starts at zero passes no gradient to what is before it in the first one.
    Raises :class:`AssertionError`.
    """
    target = torch.arange(len(x)) % num_classes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    dead: list[str] = []
    for _ in range(2):
        logits = model(x)
        if logits.shape != (len(x), num_classes):
            raise AssertionError(f"logits of shape {tuple(logits.shape)}, expected {(len(x), num_classes)}")
        suite.finite(logits, "the logits")
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits, target))
        dead = suite.without_gradient(model)
        optimizer.step()
    return dead


@dataclass(frozen=True)
class _Checks:
    """`norms`: each with whether an image's output is the same in any batch."""

    builder: Callable[..., nn.Module]
    kwargs: dict[str, object]
    names: dict[str, str]  # the builder's own, of what it is given
    norms: list[tuple[Norm, bool]]
    image_size: int

    def all(self, compiled: bool) -> list[suite.Check]:
        """By name; the first is whether it can be built at all."""
        checks: list[suite.Check] = [("shape", self.shape), ("classes and channels", self.sizes)]
        once: dict[str, _NormCheck] = {  # what hardly depends on the norm
            "bfloat16": self.bfloat16,
            "state dict": self.stored,
            "deep copy": self.copied,
            "one recipe": self.fair,
        }
        if compiled:
            once["torch.compile"] = self.compiled
        for number, (norm, independent) in enumerate(self.norms):
            answers = partial(self.evaluation, independent=independent)
            named: dict[str, _NormCheck] = {
                "gradients": self.gradients,
                "evaluation": answers,
                "channels-last": self.layout,
            }
            for name, check in (named if number else named | once).items():
                checks.append((f"{name} with norm {norm.name}", partial(check, norm)))
        return checks

    def make(self, norm: Norm, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
        suite.seed(0)
        sizes = {"num_classes": num_classes, "in_channels": in_channels}
        certain, optional = arguments_for(self.builder, "the builder", self.kwargs, self.names, sizes, norm=norm)
        model = self.builder(**certain, **optional)
        if not isinstance(model, nn.Module):
            raise AssertionError(f"the builder gives {type(model).__name__}, expected a torch.nn.Module")
        return model

    def x(self, count: int = 3, channels: int = 3) -> Tensor:
        g = torch.Generator().manual_seed(1)
        return torch.randn(count, channels, self.image_size, self.image_size, generator=g)

    def midlife(self, norm: Norm) -> nn.Module:
        """In float64 after two steps, so that branches which start at zero are there."""
        model = self.make(norm).double()
        check_training_step(model, self.x().double(), 10)
        model.zero_grad()
        return model

    def shape(self) -> None:
        for norm, _ in self.norms:
            counted = replace(norm, uses=Counter())
            model = self.make(counted)
            unused = counted.unused()
            if not any(isinstance(part, nn.Conv2d) for part in model.modules()):
                unused.pop("conv2d", None)
            for problem in unused.values():
                raise AssertionError(problem)
            for training, count in ((True, 3), (False, 1)):
                y = suite.forward(model.train(training), self.x(count))
                if y.shape != (count, 10):
                    raise AssertionError(
                        f"{count} images give {tuple(y.shape)} with norm {norm.name}, not ({count}, 10)"
                    )
                suite.finite(y, f"the output with norm {norm.name}")

    def sizes(self) -> None:
        norm = self.norms[0][0]
        y = suite.forward(self.make(norm, num_classes=100, in_channels=1), self.x(2, 1))
        if y.shape != (2, 100):
            raise AssertionError(f"two grey images of 100 classes give {tuple(y.shape)}, expected (2, 100)")

    def gradients(self, norm: Norm) -> None:
        if dead := check_training_step(self.make(norm), self.x(), 10):
            raise AssertionError(f"no gradient reaches {', '.join(dead)}")

    def bfloat16(self, norm: Norm) -> None:
        model = self.make(norm)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(self.x())
        torch.autograd.backward(F.cross_entropy(logits.float(), torch.arange(3)))
        suite.finite(logits, "the output in bfloat16")
        suite.without_gradient(model)

    def evaluation(self, norm: Norm, independent: bool) -> None:
        model, x = self.midlife(norm).train(), self.x().double()
        random = suite.is_random(model, x)
        if independent and not random:
            what = "the norm is batch-independent, yet in training the output for an image depends on its batch"
            suite.same(suite.forward(copy.deepcopy(model), x), suite.alone(model, x), what, TOLERANCE)
        suite.check_evaluation(model, x, TOLERANCE, as_in_training=independent and not random)

    def stored(self, norm: Norm) -> None:
        suite.check_stored(self.midlife(norm), self.make(norm).double(), self.x().double())

    def copied(self, norm: Norm) -> None:
        suite.check_copy(self.make(norm), self.x())

    def layout(self, norm: Norm) -> None:
        model, x = self.midlife(norm), self.x().double()
        suite.check_layout(model.eval() if suite.is_random(model, x) else model, x, TOLERANCE)

    def fair(self, norm: Norm) -> None:
        with fairness.untouched("it", "building"):
            model = self.make(norm)
        fairness.check_step("it", model, self.x())

    def compiled(self, norm: Norm) -> None:
        suite.check_compiled(self.make(norm).double(), self.x().double(), TOLERANCE)
