"""Models that have to be shown an image before they are whole: norms that are given its size, and lazy modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo.errors import RegistryError
from zoo.utils.text import named

if TYPE_CHECKING:
    from torch import Tensor, nn

Size = tuple[int, int]  # (H, W)


@dataclass
class Sizes:
    """(H, W) of what each norm of a model reads, in the order in which the norms are made.

    A first build is shown an image, which fills `sizes`; the model is then built again with them.
    """

    where: str
    image_size: Size
    sizes: list[Size | None] = field(default_factory=list)
    made: int | None = None  # of the second build; None in the first one

    def layer(self, make: Callable[[Size], nn.Module]) -> nn.Module:
        """The next norm: what `make` gives for its size."""
        if self.made is None:
            return self._recorded(make)
        self.made += 1
        size = self.sizes[self.made - 1] if self.made <= len(self.sizes) else None
        if size is None:
            raise RegistryError(
                f"{self.where}: needs spatial_size, but no image reaches the norm that is made as number {self.made}; "
                "make a norm only where it is used"
            )
        return make(size)

    def _recorded(self, make: Callable[[Size], nn.Module]) -> nn.Module:
        """A layer for images, so that code which looks at it finds what it expects; its input tells its size."""
        layer, number = make(self.image_size), len(self.sizes)
        self.sizes.append(None)

        def forward(x: Tensor) -> Tensor:
            size = (x.shape[2], x.shape[3]) if x.ndim == 4 else None
            if size is None or self.sizes[number] not in (None, size):
                read = f"{tuple(x.shape)}" if size is None else f"maps of {self.sizes[number]} and of {size}"
                raise RegistryError(f"{self.where}: needs one spatial_size, but norm number {number + 1} reads {read}")
            self.sizes[number] = size
            output: Tensor = make(size).eval()(x)
            return output

        vars(layer)["forward"] = forward
        return layer


def show(where: str, module: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Put two images of zeros through `module` in eval mode. Raises :class:`RegistryError` where that fails."""
    import torch

    modes = [(part, part.training) for part in module.modules()]
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(2, *image_shape))
    except RegistryError:
        raise
    except Exception as problem:  # whatever a model makes of images
        raise RegistryError(f"{where}: fails on images of shape {image_shape}: {named(problem)}") from problem
    for part, before in modes:
        part.training = before


def materialise(where: str, module: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Give the lazy parameters and buffers of `module` their sizes, by images of that shape. Nothing else changes."""
    import torch
    from torch.nn.parameter import is_lazy

    tensors = [*module.parameters(), *module.buffers()]
    if not any(map(is_lazy, tensors)):
        return
    kept = [(tensor, tensor.clone()) for tensor in tensors if not is_lazy(tensor)]
    show(where, module, image_shape)
    with torch.no_grad():
        for tensor, before in kept:
            if not torch.equal(tensor, before):  # an expanded buffer cannot be written
                tensor.copy_(before)
