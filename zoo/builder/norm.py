"""What an architecture builder receives as ``norm``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.builder.arguments import Builder, named_parameters
from zoo.builder.shown import Sizes
from zoo.errors import RegistryError
from zoo.registry.importing import modules_of
from zoo.utils.text import named

if TYPE_CHECKING:
    from torch import nn


ASKED = "_zoo_asked"  # the attribute of a layer with what :class:`Norm` was asked for


class Asked(NamedTuple):
    """What an architecture asked of :class:`Norm` for one layer, see :class:`Norm`."""

    num_channels: int
    apply_act: bool
    branch_end: bool
    spatial_size: tuple[int, int]


@dataclass(frozen=True)
class Norm:
    """What an architecture builder receives as ``norm``: makes one normalisation layer per call.

    An architecture uses it so::

        self.conv1 = norm.conv2d(in_channels, 64, 3, padding=1)
        self.norm1 = norm(64)                     # an activation follows
        self.act1 = norm.act()                    # nn.ReLU, or nn.Identity where the norm includes the activation
        self.norm2 = norm(64, apply_act=False, branch_end=True)   # last layer of a residual branch

    and every norm of the registry works in it.
    """

    name: str
    builder: Callable[..., nn.Module]
    kwargs: dict[str, Any] = field(default_factory=dict)
    activation_included: bool = False
    conv: Callable[..., nn.Module] | None = None
    where: str = ""  # for messages
    arguments: dict[str, str] = field(default_factory=dict)  # the builder's names of what it is given, where others
    folder: Path | None = None  # whose modules the builder and the convolution see
    uses: Counter[str] = field(default_factory=Counter, compare=False)  # what was called, and how often
    sizes: Sizes | None = None  # for builders that name `spatial_size`

    def __call__(
        self,
        num_channels: int,
        *,
        apply_act: bool = True,
        branch_end: bool = False,
        spatial_size: tuple[int, int] | None = None,
    ) -> nn.Module:
        """A layer for (N, `num_channels`, H, W).

        `apply_act`: whether an activation belongs here; passed on only to a norm that includes the activation.
        `branch_end`: True on the last norm of a residual branch; passed on only to a builder that names it
        (SkipInit starts such a branch at zero).
        `spatial_size`: (H, W) of what the layer reads; passed on only to a builder that names it. An architecture may
        leave it out: it is then read off an image.
        """
        self.uses.update({"norm": 1, "followed by an activation": int(apply_act)})

        def make(size: tuple[int, int]) -> nn.Module:
            args, kwargs = self.call_with(num_channels, apply_act, branch_end, size)
            with modules_of(self.folder):
                layer = call_builder(self.builder, self.where, *args, **kwargs)
            vars(layer)[ASKED] = Asked(num_channels, apply_act, branch_end, size)
            return layer

        if spatial_size is None and self.names("spatial_size"):
            if self.sizes is None:
                raise RegistryError(f"{self.where}: names 'spatial_size', which is not given; give spatial_size=(H, W)")
            return self.sizes.layer(make)
        return make(spatial_size or (1, 1))

    def call_with(
        self, num_channels: int, apply_act: bool, branch_end: bool, spatial_size: tuple[int, int]
    ) -> tuple[list[int], dict[str, Any]]:
        """The arguments of the builder for such a layer, by position and by name."""
        optional: dict[str, object] = {"num_channels": num_channels, "apply_act": apply_act, "branch_end": branch_end}
        optional["spatial_size"] = spatial_size
        passed = {name for name in optional if self.names(name)} - {"apply_act"}
        passed |= {"apply_act"} if self.activation_included else set()
        named = {self.arguments.get(name, name): argument for name, argument in optional.items() if name in passed}
        no_channels = "num_channels" in passed or self._is_lazy
        return [] if no_channels else [num_channels], {**self.kwargs, **named}

    def names(self, argument: str) -> bool:
        """Whether the builder has a parameter for `argument`, under that name or another."""
        return argument in self.arguments or argument in named_parameters(self.builder)

    @property
    def _is_lazy(self) -> bool:
        """Whether the builder is a class of torch that counts the channels itself, by the first image."""
        from torch.nn.modules.lazy import LazyModuleMixin

        return isinstance(self.builder, type) and issubclass(self.builder, LazyModuleMixin)

    def branch_scale(self, num_channels: int) -> nn.Module:
        """The layer after the last convolution of a pre-activation branch: Identity for all but norms like SkipInit.

        Such a branch has no norm at its end, so a builder that names `branch_end` gets a layer of its own there. A zero
        scale before the branch's last ReLU would never leave zero, since its gradient is zero too.
        """
        from torch import nn

        return self(num_channels, apply_act=False, branch_end=True) if self.names("branch_end") else nn.Identity()

    def act(self, layer: Callable[..., nn.Module] | None = None) -> nn.Module:
        """The activation after a norm: `layer()` (ReLU unless given), or Identity where the norm includes its own."""
        from torch import nn

        self.uses["act"] += 1
        return nn.Identity() if self.activation_included else (layer or nn.ReLU)()

    def conv2d(self, in_channels: int, out_channels: int, kernel_size: int, **kwargs: Any) -> nn.Module:
        """A convolution without bias, of the kind that the norm asks for (weight standardisation has its own)."""
        from torch import nn

        self.uses["conv2d"] += 1
        with modules_of(self.folder):
            return (self.conv or nn.Conv2d)(in_channels, out_channels, kernel_size, bias=False, **kwargs)

    def unused(self) -> dict[str, str]:
        """What an architecture that was built with it never called, and what that makes of norms that need it."""
        problems = {}
        if not self.uses["norm"]:
            problems["norm"] = "no layer is made by `norm`, so all norms would be the same model"
        if not self.uses["conv2d"]:
            problems["conv2d"] = "norm.conv2d is never called, so a norm with its own convolution would not have it"
        if self.uses["followed by an activation"] and not self.uses["act"]:
            problems["act"] = "norm.act is never called, so a norm with its own activation would activate twice"
        return problems

    def check_used(self, where: str) -> None:
        """Raise :class:`RegistryError` where the architecture `where` left out what this norm needs."""
        needs = {"norm": True, "conv2d": self.conv is not None, "act": self.activation_included}
        for name, problem in self.unused().items():
            if needs[name]:
                instead = "" if name == "norm" else f", or choose another norm than {self.name}, such as gn"
                raise RegistryError(
                    f"{where}: {problem}; call norm{'' if name == 'norm' else '.' + name}(...){instead}"
                )


def call_builder(
    builder: Builder, where: str, *args: object, optional: Mapping[str, object] | None = None, **kwargs: object
) -> nn.Module:
    """What `builder` makes, where its arguments fit. Raises :class:`RegistryError` in one line.

    An argument of `optional` that code behind its ``**kwargs`` does not take, or has from elsewhere, is left out.
    """
    from torch import nn

    kwargs |= optional or {}
    try:
        module = builder(*args, **kwargs)
    except (RegistryError, KeyboardInterrupt):
        raise
    except BaseException as problem:  # sys.exit() too
        line = named(problem)
        left = {name: argument for name, argument in (optional or {}).items() if f"argument '{name}'" not in line}
        refused = "unexpected keyword" in line or "multiple values" in line
        if isinstance(problem, TypeError) and refused and len(left) < len(optional or {}):
            certain = {name: argument for name, argument in kwargs.items() if name not in (optional or {})}
            return call_builder(builder, where, *args, optional=left, **certain)
        by_name = (f"{key}={argument!r}" for key, argument in kwargs.items() if key != "norm")
        raise RegistryError(f"{where}({', '.join([*map(repr, args), *by_name])}) failed: {line}") from problem
    if not isinstance(module, nn.Module):
        raise RegistryError(f"{where} returned {type(module).__name__}, expected a torch.nn.Module")
    return module
