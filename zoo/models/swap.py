"""Every norm layer of a model that is not zoo's, swapped for a norm of the registry: ``timm:resnet18@gn``.

What is swapped: batch, group, layer, instance and RMS norms, of torch, timm and torchvision, with or without an
activation of their own. What stays, and is told: norms of queries and keys inside attention, norms that read one vector
an image (there is no place to normalise over), and norms that never run. What else cannot be swapped is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.errors import RegistryError
from zoo.models.observe import IMAGES, Seen, images, watch
from zoo.models.stem import IMAGE, device_of, evaluating, replace_layers

if TYPE_CHECKING:
    from zoo.builder.norm import Norm

_IN_ATTENTION = re.compile(r"(^|\.)(norm_?[qkv]|[qkv]_?norm)$")
PLANE, TOKENS, LAST, SEQUENCE = "(N, C, H, W)", "(N, L, C)", "(N, H, W, C)", "(N, C, L)"


class Swapped(nn.Module):
    """A norm of the registry where the layer before read no (N, C, H, W), or activated too. Shape and dtype are kept.

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
        return self.act(self.drop(y))

    def extra_repr(self) -> str:
        """The layout."""
        return self.reads


def swap(what: str, module: nn.Module, norm: Norm, in_channels: int) -> str:
    """Swap the norms of `module`, which takes (N, `in_channels`, 32, 32); how many, in words. `what` names the model.

    Scales and biases keep their values where shapes agree; device, dtype and training mode are those of the layer
    before. Raises :class:`RegistryError`, in one line, where nothing can be swapped or one layer cannot.
    """

    def run() -> None:
        with evaluating(module):
            module(images(in_channels, IMAGE, device_of(module)))

    told = watch(module, lambda layer: channels(layer) is not None, run)
    where = f"{what}@{norm.name}"
    wanted: list[tuple[Seen, str]] = []
    kept: Counter[str] = Counter()
    for seen in told.seen:
        if _IN_ATTENTION.search(seen.path):
            kept["inside attention"] += 1
        elif all(len(shape) == 2 and shape[0] == IMAGES for shape in seen.reads):
            kept["on one vector an image"] += 1
        else:
            wanted.append((seen, _reads(where, seen)))
    if unused := sum(channels(layer) is not None for layer in module.modules()) - len(told.seen):
        kept["never used"] += unused
    if not wanted:
        has = ", ".join(f"{count} {why}" for why, count in kept.items())
        raise RegistryError(f"{where}: has no norm layer that can be swapped ({has or 'it has none at all'})")
    layers = [seen for seen, _ in wanted]
    lines = [_count(layers)]
    new: dict[int, nn.Module] = {}
    if norm.conv is not None:
        lines[0] += f", {_convolutions(where, norm, layers, new)}"
    activated = _activations(where, layers, told.calls, new) if norm.activation_included else set()
    for seen, reads in wanted:
        new[id(seen.layer)] = _layer(where, norm, seen, reads, id(seen.layer) in activated)
    replace_layers(module, new)
    lines += [f"{count} stay, {why}" for why, count in kept.items()]
    return f"{norm.name} instead of {'; '.join(lines)}"


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
        shape = layer.normalized_shape
        return shape[0] if len(shape) == 1 else -1
    modules = (evo_norm.__name__, filter_response_norm.__name__)
    if isinstance(layer, FrozenBatchNormAct2d | FrozenBatchNorm2d) or type(layer).__module__ in modules:
        return layer.weight.numel()
    return None


def _reads(where: str, seen: Seen) -> str:
    """How the layer's input is laid out. Raises where it is no image of one of the known layouts."""
    shapes, count, kind = set(seen.reads), channels(seen.layer), type(seen.layer).__name__
    first = next(iter(sorted(shapes)))
    refusal = f"{where}: cannot be swapped: {seen.path!r} ({kind}) "
    if count == -1:
        raise RegistryError(f"{refusal}normalises over several axes at once")
    if any(shape[0] != IMAGES for shape in shapes):
        raise RegistryError(
            f"{refusal}reads parts of images as if they were images, {first} of {IMAGES} images, so a norm over an "
            "image has no meaning there"
        )
    # Layer and RMS norms normalise the last axis, unless made for (N, C, H, W): their names end so in every library.
    over_last = hasattr(seen.layer, "normalized_shape") and "2d" not in kind
    found = set()
    for shape in shapes:
        axis = len(shape) - 1 if over_last else 1
        layouts = {(3, 2): TOKENS, (3, 1): SEQUENCE, (4, 3): LAST, (4, 1): PLANE}
        found.add(layouts.get((len(shape), axis)) if shape[axis] == count else None)
    if len(found) != 1 or None in found:
        raise RegistryError(f"{refusal}reads {first}, which is none of {PLANE}, {TOKENS}, {LAST}, {SEQUENCE}")
    return found.pop()


def _count(layers: Sequence[Seen]) -> str:
    kinds = Counter(type(seen.layer).__name__ for seen in layers)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _activations(where: str, layers: Sequence[Seen], calls: dict[int, int], new: dict[int, nn.Module]) -> set[int]:
    """Put Identity for the activation after each layer into `new`; the ids of the layers that have one, or their own.

    Raises where an activation cannot be told apart from the others, since it would then act twice.
    """
    after = Counter(id(one) for seen in layers for one in seen.activations)
    found = set()
    for seen in layers:
        if _own_activation(seen.layer):
            found.add(id(seen.layer))
        if not seen.activations and not seen.functional:
            continue
        why = ""
        if seen.functional:
            why = "is a function, not a module"
        elif seen.other:
            why = "is not all that reads its output"
        elif any(after[id(one)] != calls[id(one)] for one in seen.activations):
            why = "is used in other places too"
        if why:
            raise RegistryError(
                f"{where}: cannot be swapped: the norm activates by itself, and the activation after {seen.path!r} "
                f"{why}, so it cannot be taken out; choose a norm without activation"
            )
        found.add(id(seen.layer))
        new |= {id(one): nn.Identity() for one in seen.activations}
    return found


def _own_activation(layer: nn.Module) -> bool:
    """Whether the layer activates: by an activation of its own, or as EvoNorm and FRN do."""
    if isinstance(act := getattr(layer, "act", None), nn.Module):
        return not isinstance(act, nn.Identity)
    return _activates_inside(layer)


def _activates_inside(layer: nn.Module) -> bool:
    return bool(getattr(layer, "apply_act", False)) and not isinstance(getattr(layer, "act", None), nn.Module)


def _layer(where: str, norm: Norm, seen: Seen, reads: str, activated: bool) -> nn.Module:
    old = seen.layer
    if _activates_inside(old) and not norm.activation_included:
        raise RegistryError(
            f"{where}: cannot be swapped: {seen.path!r} ({type(old).__name__}) normalises and activates in one, so no "
            "activation would be left; choose a norm that activates: evos0, evob0 or frn"
        )
    new = norm(channels(old), apply_act=activated)
    with torch.no_grad():
        for name in ("weight", "bias"):
            before, after = getattr(old, name, None), getattr(new, name, None)
            if isinstance(before, Tensor) and isinstance(after, Tensor) and before.shape == after.shape:
                after.copy_(before)
    drop, act = getattr(old, "drop", None), getattr(old, "act", None)
    act = None if norm.activation_included else act
    if reads != PLANE or any(isinstance(part, nn.Module) and not isinstance(part, nn.Identity) for part in (drop, act)):
        new = Swapped(new, reads, drop or nn.Identity(), act or nn.Identity())
    return _like(old, new)


def _like(old: nn.Module, new: nn.Module) -> nn.Module:
    """`new` with the device, dtype and training mode of `old`."""
    tensor = next((one for one in [*old.parameters(), *old.buffers()] if one.is_floating_point()), None)
    if tensor is not None:
        new = new.to(tensor.device, tensor.dtype)
    return new.train(old.training)


def _convolutions(where: str, norm: Norm, layers: Sequence[Seen], new: dict[int, nn.Module]) -> str:
    """Put a convolution of the norm's kind for each one before a swapped layer into `new`; how many, in words."""
    found = {id(seen.by): seen for seen in layers if seen.by is not None}
    if not found:
        raise RegistryError(
            f"{where}: cannot be swapped: the norm brings its own convolution, and none is before a norm"
        )
    for seen in found.values():
        old: Any = seen.by
        if type(old) is not nn.Conv2d or old.padding_mode != "zeros" or isinstance(old.padding, str):
            raise RegistryError(
                f"{where}: cannot be swapped: the norm brings its own convolution, and the one before {seen.path!r} is "
                f"a {type(old).__name__}, not a plain Conv2d"
            )
        made = norm.conv(
            old.in_channels, old.out_channels, old.kernel_size, stride=old.stride, padding=old.padding,
            dilation=old.dilation, groups=old.groups, bias=old.bias is not None,
        )  # fmt: skip
        with torch.no_grad():
            made.weight.copy_(old.weight)
            if old.bias is not None:
                made.bias.copy_(old.bias)
        new[id(old)] = _like(old, made)
    return f"and {type(made).__name__} instead of {len(found)} Conv2d"
