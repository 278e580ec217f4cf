"""Every norm layer of a model that is not zoo's, swapped for a norm of the registry: ``timm:resnet18@gn``.

It swaps batch, group, layer, instance and RMS norms of torch, timm and torchvision; a layer that also activates keeps
its activation. Three kinds stay, and are reported: norms of queries and keys inside attention, norms that read one
vector an image (there is no place to normalise over), and norms that never run. Other norm layers are refused. So is a
norm that takes more than the place of a norm layer: one with an activation or a convolution of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.errors import RegistryError
from zoo.models.observe import Observed, observe
from zoo.models.stem import replace_layers

if TYPE_CHECKING:
    from zoo.builder.norm import Norm

IMAGES = 2  # so that a layer that reads parts of images as if they were images differs from one that reads images
_IN_ATTENTION = re.compile(r"(^|\.)(norm_?[qkv]|[qkv]_?norm)$")
PLANE, TOKENS, LAST, SEQUENCE = "(N, C, H, W)", "(N, L, C)", "(N, H, W, C)", "(N, C, L)"


class Swapped(nn.Module):
    """A norm of the registry in place of a layer that read no (N, C, H, W), or that activated. Shape and dtype stay.

    `reads` is one of PLANE, TOKENS, LAST and SEQUENCE; the norm gets (N, C, H, W), tokens as (N, C, L, 1).
    """

    def __init__(self, norm: nn.Module, reads: str, drop: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.norm, self.reads, self.drop, self.act = norm, reads, drop, act

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape that the layer before read, to the same shape."""
        if self.reads == PLANE:
            y = self.norm(x)
        elif self.reads == TOKENS:
            y = self.norm(x.transpose(1, 2).unsqueeze(3)).squeeze(3).transpose(1, 2)
        elif self.reads == LAST:
            y = self.norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        else:
            y = self.norm(x.unsqueeze(3)).squeeze(3)
        out: Tensor = self.act(self.drop(y))
        return out

    def extra_repr(self) -> str:
        """The layout."""
        return self.reads


def swap(what: str, module: nn.Module, norm: Norm, image_shape: tuple[int, int, int]) -> str:
    """Swap the norms of `module`, which takes images of `image_shape` (C, H, W); how many, in words.

    `what` names the model. Scales and biases keep their values where shapes agree; device, dtype and training mode are
    those of the layer before. Raises :class:`RegistryError`, in one line, where nothing can be swapped or one layer
    cannot, and for a norm with an activation or a convolution of its own.
    """
    where = f"{what}@{norm.name}"
    if norm.activation_included or norm.conv is not None:
        extra, kept = ("activation", "activations") if norm.activation_included else ("convolution", "convolutions")
        raise RegistryError(
            f"{where}: norm {norm.name!r} has its own {extra}, but models of other libraries keep their {kept}; choose "
            f"a norm without one, such as {what}@gn, or a model of the registry, such as resnet18_{norm.name}"
        )
    layers, _ = observe(module, lambda layer: channels(layer) is not None, (IMAGES, *image_shape))
    new: dict[int, nn.Module] = {}
    swapped: Counter[str] = Counter()
    stay: Counter[str] = Counter()
    for layer in layers:
        if _IN_ATTENTION.search(layer.path):
            stay["inside attention"] += 1
        elif all(len(shape) == 2 and shape[0] == IMAGES for shape in layer.inputs):
            stay["on one vector an image"] += 1
        else:
            new[id(layer.layer)] = _replacement(where, norm, layer)
            swapped[type(layer.layer).__name__] += 1
    if unused := sum(channels(layer) is not None for layer in module.modules()) - len(layers):
        stay["never used"] += unused
    if not new:
        reasons = ", ".join(f"{count} {why}" for why, count in stay.items())
        raise RegistryError(f"{where}: has no norm layer that can be swapped ({reasons or 'it has none at all'})")
    replace_layers(module, new)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(swapped.items()))
    return f"{norm.name} instead of {'; '.join([kinds, *(f'{count} stay, {why}' for why, count in stay.items())])}"


def channels(layer: nn.Module) -> int | None:
    """The channels that the norm `layer` has; None for what is no norm that can be swapped. -1: over several axes."""
    from timm.layers import evo_norm, filter_response_norm
    from timm.layers.norm_act import FrozenBatchNormAct2d
    from torchvision.ops import FrozenBatchNorm2d

    if isinstance(layer, nn.modules.batchnorm._NormBase):  # instance norms too
        return layer.num_features
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm) or type(layer).__name__.startswith(("RmsNorm", "SimpleNorm")):
        shape: tuple[int, ...] = vars(layer)["normalized_shape"]
        return shape[0] if len(shape) == 1 else -1
    modules = (evo_norm.__name__, filter_response_norm.__name__)
    if isinstance(layer, FrozenBatchNormAct2d | FrozenBatchNorm2d) or type(layer).__module__ in modules:
        return int(layer.state_dict()["weight"].numel())
    return None


def _reads(where: str, old: Observed, count: int) -> str:
    """How the layer's input is laid out. Raises where it is no image of one of the known layouts."""
    shapes, kind = set(old.inputs), type(old.layer).__name__
    first = min(shapes)
    refusal = f"{where}: cannot be swapped: {old.path!r} ({kind}) "
    if count == -1:
        raise RegistryError(f"{refusal}normalises over several axes at once")
    if any(shape[0] != IMAGES for shape in shapes):
        raise RegistryError(
            f"{refusal}reads parts of images as if they were images, {first} of {IMAGES} images, so a norm over an "
            "image has no meaning there"
        )
    # Layer and RMS norms normalise the last axis, unless made for (N, C, H, W): their names end so in every library.
    over_last = hasattr(old.layer, "normalized_shape") and "2d" not in kind
    layouts = set()
    for shape in shapes:
        axis = len(shape) - 1 if over_last else 1
        layout = {(3, 2): TOKENS, (3, 1): SEQUENCE, (4, 3): LAST, (4, 1): PLANE}.get((len(shape), axis))
        layouts.add(layout if shape[axis] == count else None)
    reads = layouts.pop()
    if layouts or reads is None:
        raise RegistryError(f"{refusal}reads {first}, which is none of {PLANE}, {TOKENS}, {LAST}, {SEQUENCE}")
    return reads


def _replacement(where: str, norm: Norm, old: Observed) -> nn.Module:
    """A layer of `norm` with the scale, bias, dropout, activation, device, dtype and training mode of `old`."""
    layer, count = old.layer, channels(old.layer) or 0
    reads = _reads(where, old, count)
    drop, act = getattr(layer, "drop", None), getattr(layer, "act", None)
    if getattr(layer, "apply_act", False) and not isinstance(act, nn.Module):
        raise RegistryError(
            f"{where}: cannot be swapped: {old.path!r} ({type(layer).__name__}) normalises and activates in one, so no "
            f"activation would be left; use {where.partition('@')[0]} with its own norms"
        )
    new = norm(count)
    with torch.no_grad():
        for name in ("weight", "bias"):
            before, after = getattr(layer, name, None), getattr(new, name, None)
            if isinstance(before, Tensor) and isinstance(after, Tensor) and before.shape == after.shape:
                after.copy_(before)
    if reads != PLANE or any(isinstance(part, nn.Module) and not isinstance(part, nn.Identity) for part in (drop, act)):
        new = Swapped(new, reads, drop or nn.Identity(), act or nn.Identity())
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            new = new.to(tensor.device, tensor.dtype)
            break
    return new.train(layer.training)
