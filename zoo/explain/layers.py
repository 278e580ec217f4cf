"""Which layers a model has that can be looked at, and what the norms among them do to activations and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.builder.construct import load_norm
from zoo.errors import ResultError, unknown
from zoo.explain.grid import grid_of
from zoo.registry.model import Model
from zoo.utils.device import in_float64

ACTIVATIONS = {
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "prelu", "elu", "elu_", "celu",
    "selu", "gelu", "silu", "mish", "hardswish", "softplus", "sigmoid", "tanh", "clamp", "clamp_", "clamp_min",
}  # fmt: skip
# What hands a norm's output on without mixing channels or pixels: sums with a shortcut, scales, dropout.
PASSING = {
    "add", "add_", "__add__", "__radd__", "__iadd__", "mul", "mul_", "__mul__", "__rmul__", "__imul__", "dropout",
    "dropout2d", "contiguous", "to",
}  # fmt: skip
TRIED = 12  # modules of a stage: behind the last block of a transformer, only the class token has a gradient
NORMS = "_zoo_norms"  # the attribute of a tensor that names the norms it comes from


@dataclass(frozen=True)
class Place:
    """A module whose output is a grid over the image: its dotted name, (C, H, W), whether it has children, how often
    it ran.
    """

    name: str
    shape: tuple[int, ...]
    holds: bool
    times: int


def places(model: nn.Module, image: Tensor) -> list[Place]:
    """All modules whose output has a grid larger than 1x1, in the order in which they run on `image` (1, 3, H, W)."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if grid := grid_of(output, image):
                shapes.setdefault(name, []).append(grid.shape)

        return hook

    # What torch.jit.script compiled takes no hooks.
    modules = {
        name: module
        for name, module in model.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)
    }
    handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return [
        Place(name, seen[-1], any(True for _ in modules[name].children()), len(seen)) for name, seen in shapes.items()
    ]


def stages(candidates: Sequence[Place], side: int, usable: Callable[[str], bool] = lambda name: True) -> list[str]:
    """The stages of half and of a quarter of the image's `side`: 16x16 and 8x8 of 32x32, layer2 and layer3 of a ResNet.

    A stage is recognised by the size of its output alone. Of the modules with that output, those with children come
    before single layers, then the outermost of them, then the last to run. Where that one is not `usable`, it is the
    last to run that is. Stages that end in a pool (VGG, ResNet-9) are found by what they hand on. Where no module has
    that size, one pixel less will do (airbench94 has 15x15). Where none has that either, it is the last module with a
    grid.
    """
    once = [place for place in candidates if place.times == 1]

    def first(ranked: Sequence[Place]) -> list[str]:
        return [place.name for place in ranked[:TRIED] if usable(place.name)][:1]

    def best(size: int) -> list[str]:
        places = [(i, place) for i, place in enumerate(once) if place.shape[1] == size]
        if not places:
            return []
        outermost = max(places, key=lambda pair: (pair[1].holds, -pair[1].name.count("."), pair[0]))
        earlier = sorted(places, key=lambda pair: (pair[1].holds, pair[0]), reverse=True)
        return first([place for _, place in [outermost, *earlier]])

    chosen = [name for part in (2, 4) for name in best(side // part) or best(side // part - 1)]
    return chosen or first(once[::-1])


def check_layers(names: Sequence[str], candidates: Sequence[Place], model: nn.Module, where: str) -> list[str]:
    """`names`, where each is a layer that Grad-CAM can look at.

    Raises :class:`~zoo.errors.UnknownNameError` with the nearest names, :class:`ResultError` for a layer that gives no
    image or runs more than once in a pass. `where` names the model.
    """
    times = {place.name: place.times for place in candidates}
    modules = dict(model.named_modules())
    outer = sorted(candidates, key=lambda place: (not place.holds, place.name.count(".")))
    near = ", ".join(place.name for place in outer[:4])
    for name in names:
        if name not in modules or not name:
            raise unknown("layer", name, times, where, f"there are {near} and others: `zoo show {where}` lists them")
        if name not in times:
            raise ResultError(f"layer {name!r} of {where} has no spatial output; name one such as {near}")
        if times[name] > 1:
            raise ResultError(
                f"layer {name!r} of {where} runs {times[name]} times in a pass, so a map of it is none of one "
                f"place; name one such as {near}"
            )
    return list(names)


def norm_layers(model: Model, module: nn.Module) -> list[str]:
    """Names of the norm layers in `module`, which `model` built.

    A module is a norm layer if its parts are of the types that the norm's builder makes. The registry has no norm for a
    model with a builder of its own: there, torch's norms count, and modules without children named Norm.
    """
    if model.norm is None:
        torch_norms = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
        return [
            name
            for name, part in module.named_modules()
            if isinstance(part, torch_norms) or ("Norm" in type(part).__name__ and not list(part.children()))
        ]
    norm = load_norm(model.norm)
    kinds = [_types(norm(64)), _types(norm(64, apply_act=False))]
    return [name for name, part in module.named_modules() if _types(part) in kinds]


def _types(module: nn.Module) -> list[type]:
    return [type(part) for part in module.modules()]


@dataclass(frozen=True)
class NormStatistics:
    """What one norm layer did, over all images used. Gradients are of each image's own cross-entropy.

    `mean` and `spread` (standard deviation) are over images, channels and pixels of the norm's output. `dead` is the
    share of channels that are nowhere above 0 after the activation that the output reaches, None where it reaches none.
    `gradient` is the Euclidean norm of the gradient at the norm's output, root mean square over images.
    """

    name: str
    channels: int
    mean: float
    spread: float
    dead: float | None
    gradient: float


class _Watch(TorchFunctionMode):
    """Follows a norm's output through sums to the next activation function, module or not.

    A tensor carries the names of the norms that it comes from, each with the dimension of its channels, as
    :data:`NORMS`. The output of a function not in :data:`PASSING`, such as a convolution, carries none.
    """

    def __init__(self, activated: dict[str, Tensor]) -> None:
        super().__init__()
        self.activated = activated

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if isinstance(result, Tensor) and (name in ACTIVATIONS or name in PASSING):
            tensors = [argument for argument in (*args, *(kwargs or {}).values()) if isinstance(argument, Tensor)]
            norms = {norm: axis for tensor in tensors for norm, axis in vars(tensor).get(NORMS, {}).items()}
            if name in PASSING:
                vars(result)[NORMS] = norms
            else:
                note_highest(self.activated, norms, result)
        return result


def note_highest(highest: dict[str, Tensor], norms: Mapping[str, int], output: Tensor) -> None:
    """Keep, for every norm, the highest value so far of every channel of `output`, at the norm's own dimension."""
    for name, axis in norms.items():
        top = output.detach().movedim(axis, 0).flatten(1).amax(1)
        highest[name] = torch.maximum(highest[name], top) if name in highest else top


def channels_of(norm: nn.Module, output: Tensor) -> int | None:
    """The dimension of the channels in what `norm` puts out; None where that is of no shape that norms have.

    Of tokens (N, L, C) it is the last one but for norms of sequences (N, C, L), of four dimensions the second, unless
    the norm has weights for as many channels as the last one has.
    """
    if output.dim() == 3:
        return 1 if isinstance(norm, nn.modules.batchnorm._NormBase | nn.GroupNorm) else 2
    if output.dim() == 4:
        weights = {parameter.numel() for parameter in norm.parameters()}
        return 3 if output.shape[3] in weights and output.shape[1] not in weights else 1
    return 1 if output.dim() == 2 else None


def statistics(
    module: nn.Module, names: Sequence[str], batches: Iterable[tuple[Tensor, Tensor]], included: bool
) -> list[NormStatistics]:
    """Statistics of the norms `names` over `batches`, in the order of the forward pass; no weight changes.

    `module` is in eval mode, so BatchNorm uses its running statistics. `included`: the norm activates by itself, so
    where no activation follows its own output is what is looked at for dead channels. A norm that runs several times
    in one pass counts all of them together; one that never runs is left out. Where a part of the model keeps no graph,
    no gradient reaches what is before it, and 0 is noted there.
    """
    sums: dict[str, Tensor] = {}  # count, sum, sum of squares, sum over images of the squared gradient norm
    activated: dict[str, Tensor] = {}
    own: dict[str, Tensor] = {}
    images = 0

    def note(name: str) -> Any:
        def hook(part: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or (axis := channels_of(part, output)) is None:
                return

            def add(gradient: Tensor) -> None:
                total[3:] += in_float64(gradient).square().sum()

            values = in_float64(output.detach())
            total = sums.setdefault(name, values.new_zeros(4))
            total[:3] += torch.stack(
                [torch.tensor(float(values.numel())).to(values), values.sum(), values.square().sum()]
            )
            note_highest(own, {name: axis}, output)
            vars(output)[NORMS] = {name: axis}
            if output.requires_grad:
                output.register_hook(add)  # type: ignore[no-untyped-call]  # torch annotates no arguments

        return hook

    handles = [module.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        for x, labels in batches:
            x = x.detach().requires_grad_()  # asked for the image's gradient alone, torch makes none for the weights
            with _Watch(activated), torch.enable_grad():
                loss = F.cross_entropy(module(x), labels, reduction="sum")
            if loss.requires_grad:
                torch.autograd.grad(loss, x, allow_unused=True)
            images += len(labels)
    finally:
        for handle in handles:
            handle.remove()
    rows = []
    for name, total in sums.items():
        count, first, second, gradient = total.tolist()
        mean = first / count
        highest = activated.get(name, own[name] if included else None)
        dead = None if highest is None else float(in_float64(highest <= 0).mean())
        spread = max(0.0, second / count - mean**2) ** 0.5
        rows.append(NormStatistics(name, len(own[name]), mean, spread, dead, (gradient / images) ** 0.5))
    return rows
