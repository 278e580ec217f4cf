"""Every norm layer of a model that is not zoo's, swapped for a norm of the registry: ``timm:resnet18@gn``.

It swaps batch, group, layer, instance and RMS norms of torch, timm and torchvision; a layer that also activates keeps
its activation. Three kinds stay, and are reported: norms of queries and keys inside attention, norms that read one
vector an image (there is no place to normalise over), and norms that never run. Other norm layers are refused. So is a
norm that takes more than the place of a norm layer: one with an activation or a convolution of its own.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.builder.shown import materialise
from zoo.errors import RegistryError
from zoo.models.norm_layers import IMAGES, axis_by_hand, channels, check_whole, check_without, is_by_hand, norms_of
from zoo.models.observe import Observed
from zoo.models.stem import replace_layers

if TYPE_CHECKING:
    from zoo.builder.norm import Norm

_IN_ATTENTION = re.compile(r"(^|\.)(norm_?[qkv]|[qkv]_?norm)$")
PLANE, TOKENS, LAST, SEQUENCE, ROWS = "(N, C, H, W)", "(N, L, C)", "(N, H, W, C)", "(N, C, L)", "(N, C)"
_LAYOUTS = {(4, 1): PLANE, (3, 2): TOKENS, (4, 3): LAST, (3, 1): SEQUENCE, (2, 1): ROWS}  # by axes, and that of C


class Swapped(nn.Module):
    """A norm of the registry in place of a layer that read no (N, C, H, W), or that activated. Shape and dtype stay.

    `reads` is PLANE, TOKENS, LAST, SEQUENCE or ROWS; the norm gets (N, C, H, W), tokens as (N, C, L, 1).
    """

    def __init__(self, norm: nn.Module, reads: str, drop: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.norm, self.reads, self.drop, self.act = norm, reads, drop, act
        self.eps = math.nan  # that of no norm: torch's encoder layers then call it, and do not read its values

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape that the layer before read, to the same shape."""
        if self.reads == PLANE:
            y = self.norm(x)
        elif self.reads == TOKENS:
            y = self.norm(x.transpose(1, 2).unsqueeze(3)).squeeze(3).transpose(1, 2)
        elif self.reads == LAST:
            y = self.norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        elif self.reads == SEQUENCE:
            y = self.norm(x.unsqueeze(3)).squeeze(3)
        else:
            y = self.norm(x[:, :, None, None])[:, :, 0, 0]
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
            f"{where}: norm {norm.name!r} has its own {extra}, but a swap keeps the model's {kept}; choose a norm "
            f"without one, such as {what}@gn, or a model of the registry, such as resnet18_{norm.name}"
        )
    layers, stay = norms_of(where, module, (IMAGES, *image_shape))
    new: dict[int, nn.Module] = {}
    swapped: Counter[str] = Counter()
    anew = 0
    for layer in layers:
        if _IN_ATTENTION.search(layer.path):
            stay["inside attention"] += 1
        elif all(len(shape) == 2 and shape[0] == IMAGES for shape in layer.inputs):
            stay["on one vector an image"] += 1
        else:
            new[id(layer.layer)], kept_values = _replacement(where, norm, layer)
            swapped[type(layer.layer).__name__] += 1
            anew += not kept_values
    if not new:
        reasons = ", ".join(f"{count} {why}" for why, count in stay.items() if count)
        raise RegistryError(f"{where}: has no norm layer that can be swapped ({reasons or 'it has none at all'})")
    replace_layers(module, new)
    old = [layer for layer in layers if id(layer.layer) in new]
    check_without(where, module, old, (IMAGES, *image_shape), "are used otherwise than called as parts of the model")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(swapped.items()))
    rest = [f"the scale and bias of {anew} start anew"] if anew else []
    rest += [f"{count} stay, {why}" for why, count in stay.items() if count]
    return f"{norm.name} instead of {'; '.join([kinds, *rest])}"


def _reads(where: str, norm: Norm, old: Observed, count: int) -> str:
    """How the layer's input is laid out. Raises where it is of none of the known layouts, or no image for `norm`."""
    shapes, kind = set(old.inputs), type(old.layer).__name__
    first = min(shapes)
    refusal = f"{where}: cannot be swapped: {old.path!r} ({kind}) "
    if count == -1:
        raise RegistryError(f"{refusal}normalises over several axes at once")
    if not old.plain:
        raise RegistryError(f"{refusal}is called with more than one tensor")
    if any(shape[0] != IMAGES for shape in shapes) and not _of_pixels(norm, count):
        raise RegistryError(
            f"{refusal}reads parts of images as if they were images, {first} of {IMAGES} images, so a norm over an "
            "image has no meaning there; choose a norm over single pixels, such as ln2d"
        )
    # Layer and RMS norms normalise the last axis, unless made for (N, C, H, W): their names end so in every library.
    by_hand = axis_by_hand(old.layer, first) if is_by_hand(old.layer) else None
    over_last = hasattr(old.layer, "normalized_shape") and "2d" not in kind
    layouts = set()
    for shape in shapes:
        axis = by_hand or (len(shape) - 1 if over_last else 1)
        layouts.add(_LAYOUTS.get((len(shape), axis)) if shape[axis] == count else None)
    reads = layouts.pop()
    if layouts or reads is None:
        raise RegistryError(f"{refusal}reads {first}, which is none of {', '.join(_LAYOUTS.values())}")
    return reads


def _size(reads: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """(H, W) of what the norm in a :class:`Swapped` gets."""
    channels_at = next(axis for (_, axis), layout in _LAYOUTS.items() if layout == reads)
    height, width = ([side for axis, side in enumerate(shape[1:], 1) if axis != channels_at] + [1, 1])[:2]
    return height, width


def _of_pixels(norm: Norm, count: int) -> bool:
    """Whether what `norm` makes of a pixel follows from that pixel alone, in training too."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        layer, images = norm(count, spatial_size=(3, 3)), torch.randn(2, count, 3, 3)
        if any(tensor.is_meta for tensor in (*layer.parameters(), images)):
            return False
        others = torch.randn(2, count, 3, 3)
        others[0, :, 1, 1] = images[0, :, 1, 1]
        for training in (True, False):
            try:
                one, other = (layer.train(training)(x)[0, :, 1, 1] for x in (images, others))
            except Exception:  # whatever it makes of random images
                return False
            if not torch.allclose(one, other):
                return False
    return True


def _replacement(where: str, norm: Norm, old: Observed) -> tuple[nn.Module, bool]:
    """A layer of `norm` with the scale, bias, dropout, activation, device, dtype and training mode of `old`.

    And whether scale and bias are those of `old`; where shapes differ they start anew.
    """
    layer, count = old.layer, channels(old.layer) or 0
    reads = _reads(where, norm, old, count)
    check_whole(where, layer, old.path, old.inputs[0])
    drop, act = (
        part if isinstance(part := getattr(layer, name, None), nn.Module) else None for name in ("drop", "act")
    )
    if getattr(layer, "apply_act", False) and act is None:
        raise RegistryError(
            f"{where}: cannot be swapped: {old.path!r} ({type(layer).__name__}) normalises and activates in one, so no "
            f"activation would be left; use {where.partition('@')[0]} with its own norms"
        )
    sizes = {_size(reads, shape) for shape in old.inputs}
    if len(sizes) > 1 and norm.names("spatial_size"):
        raise RegistryError(f"{where}: cannot be swapped: {old.path!r} reads maps of {len(sizes)} sizes, not of one")
    new, kept = norm(count, spatial_size=(size := min(sizes))), True
    materialise(where, new, (count, *size))
    for name in {"weight": 1, "bias": 0, **dict(layer.named_parameters())}:
        before, after = getattr(layer, name, None), new._parameters.get(name)
        if isinstance(before, Tensor) and after is not None and before.shape == after.shape:
            after.data.copy_(before.detach())
        elif isinstance(before, Tensor):  # a value that every layer starts with is no loss
            kept &= bool((before == before.flatten()[:1]).all()) and before.flatten()[0].item() in (0, 1)
    if reads != PLANE or any(part and not isinstance(part, nn.Identity) for part in (drop, act)):
        new = Swapped(new, reads, drop or nn.Identity(), act or nn.Identity())
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            new = new.to(tensor.device, tensor.dtype)
            break
    return new.train(layer.training), kept
