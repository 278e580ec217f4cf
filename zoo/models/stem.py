"""Models made for large images, fit for 32x32: the stem's first factor of four is taken out.

The rule (docs/external-models.md): the model is built for images of 128x128, 4 times 32, and looked at as it runs.
Every convolution or pooling layer that makes a map larger than 32x32 smaller gets the stride with which a 32x32 image
meets the rest of the model as a 128x128 image did before: a stride of 2 becomes 1, a patch of 16 becomes 4. A pooling
layer left with stride 1 is removed. Kernels stay as they are, except of patches (as wide as their stride, or of even
width), which shrink with it. So what comes after the stem works on maps of the sizes that it has for a 128x128 image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from zoo.builder import notes
from zoo.errors import RegistryError
from zoo.models.observe import observe
from zoo.registry.external import STEM_RULE

IMAGE = 32
FACTOR = 4
# The size that a model is built for, where that matters: 4 x 32, or the nearest that a patch of 14 divides.
SIZES = (FACTOR * IMAGE, 112)


@dataclass(frozen=True)
class _Map:
    """A layer that ran: its path, and the sides of the first map that it read and of the one that it gave."""

    path: str
    layer: nn.Module
    read: int
    gave: int


def for_small_images(
    what: str, make: Callable[[int], nn.Module], stem_rule: int, num_classes: int, in_channels: int
) -> nn.Module:
    """The model that `make` builds for images of a given side, made fit for 32x32; its notes say what was changed.

    `what` names it in messages. Raises :class:`RegistryError`, in one line, where it cannot be made fit, and for a
    `stem_rule` that this zoo does not follow.
    """
    if stem_rule != STEM_RULE:
        raise RegistryError(f"{what}: was built by stem rule {stem_rule}, this zoo follows rule {STEM_RULE}")
    problem: Exception | None = None
    for size in SIZES:
        try:
            module = make(size)
            changes = "; ".join(_adapt(module, size, num_classes, in_channels)) or "as it is"
            notes.add(module, f"stem for 32x32: {changes}")
            return module
        except Exception as caught:  # whatever a model makes of a size that it was not meant for
            problem = problem or caught
    line = " ".join(str(problem).split()) or type(problem).__name__
    raise RegistryError(f"{what}: cannot be made fit for {IMAGE}x{IMAGE} images: {line}") from problem


def _adapt(module: nn.Module, size: int, num_classes: int, in_channels: int) -> list[str]:
    before, _ = _run(module, size, in_channels)
    changes = []
    for step in before:
        if step.read > IMAGE and step.gave < step.read and _stride(step.layer) > 1:
            changes.append(_restride(module, step))
    _correct_size(module)
    maps, output = _run(module, IMAGE, in_channels)
    after = {step.path: step.read for step in maps}
    rest = next((step for step in before if step.read <= IMAGE), None)
    if rest and rest.path in after and (side := after[rest.path]) < 0.75 * rest.read:
        raise RegistryError(
            f"something that is neither convolution nor pooling makes images smaller, so that {rest.path!r} reads "
            f"{side}x{side}, not {rest.read}x{rest.read}"
        )
    shape = tuple(getattr(output, "shape", ())) or type(output).__name__
    if shape != (1, num_classes):
        raise RegistryError(f"its output for one image is {shape}, expected (1, {num_classes})")
    return changes


def _run(module: nn.Module, size: int, in_channels: int) -> tuple[list[_Map], object]:
    """The convolutions and pooling layers in the order in which they first run on one image, and the model's output."""
    layers, output = observe(module, _shrinks_by_stride, (1, in_channels, size, size))
    maps = []
    for layer in layers:
        sides = [(read[-2], gave[-2]) for read, gave in zip(layer.inputs, layer.outputs, strict=True) if len(read) == 4]
        if sides:
            maps.append(_Map(layer.path, layer.layer, *sides[0]))
    return maps, output


def _shrinks_by_stride(layer: nn.Module) -> bool:
    from timm.layers.blur_pool import BlurPool2d

    return isinstance(layer, nn.Conv2d | _MaxPoolNd | _AvgPoolNd | BlurPool2d)


def _first(sides: int | Sequence[int]) -> int:
    return sides if isinstance(sides, int) else sides[0]


def _stride(layer: nn.Module) -> int:
    return _first(vars(layer)["stride"])


def _restride(module: nn.Module, step: _Map) -> str:
    """Give the layer the stride that the rule says; what that is, in words."""
    layer, path, old = step.layer, step.path, _stride(step.layer)
    new = max(1, round(old * IMAGE / step.read))
    kind = type(layer).__name__
    if not isinstance(layer, nn.Conv2d):
        if new > 1:
            vars(layer).update(stride=new)
            return f"{path} ({kind}) stride {old} to {new}"
        replace_layers(module, {id(layer): nn.Identity()})
        return f"{path} ({kind}) removed"
    kernel = layer.kernel_size[0]
    text = f"{path} ({kernel}x{kernel}) stride {old} to {new}"
    layer.stride = (new, new)
    if kernel > 1 and (kernel == old or kernel % 2 == 0):
        width = max(1, round(kernel * new / old))
        layer.kernel_size = (width, width)
        if not isinstance(layer.padding, str):
            layer.padding = tuple(round(padding * new / old) for padding in layer.padding)
        rows, columns = layer.weight.shape[:2]
        layer.weight = nn.Parameter(layer.weight.new_empty(rows, columns, width, width))
        layer.reset_parameters()
        text += f", kernel {width}x{width}"
    return text


def replace_layers(module: nn.Module, new: dict[int, nn.Module]) -> None:
    """Put ``new[id(layer)]`` wherever `layer` stands in `module`, plain lists and mappings of a part included."""
    for parent in list(module.modules()):
        for container in list(vars(parent).values()):  # the parts are one of these mappings
            if isinstance(container, dict | list):
                keys = container if isinstance(container, dict) else range(len(container))
                for key in [key for key in keys if id(container[key]) in new]:
                    container[key] = new[id(container[key])]


def _correct_size(module: nn.Module) -> None:
    """Patch embeddings compare what they read with the size that they were built for: above 32x32, it is 32x32 now."""
    for part in module.modules():
        for name in ("img_size", "image_size"):
            side = vars(part).get(name)
            if isinstance(side, int | tuple | list) and _first(side) > IMAGE:
                setattr(part, name, IMAGE if isinstance(side, int) else type(side)((IMAGE, IMAGE)))
        patch = next((getattr(part, name) for name in ("proj", "conv_proj") if hasattr(part, name)), None)
        if "patch_size" in vars(part) and isinstance(patch, nn.Conv2d):
            whole = isinstance(vars(part)["patch_size"], int)
            vars(part).update(patch_size=patch.stride[0] if whole else patch.stride)
