"""One look at a model as it runs: what its norm layers read, what comes before them and what comes after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

IMAGES = 2  # so that a layer that reads parts of images as if they were images is told from one that reads images
_ACTIVATION_MODULES = ("torch.nn.modules.activation", "timm.layers.activations", "timm.layers.activations_me")
_NO_ACTIVATIONS = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax)
_ACTIVATIONS = frozenset({
    "relu", "relu_", "relu6", "silu", "gelu", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "celu", "mish",
    "hardswish", "hardsigmoid", "hardtanh", "hardtanh_", "prelu", "softplus", "sigmoid", "sigmoid_", "tanh", "tanh_",
    "swish", "clamp", "clamp_",
})  # fmt: skip
# What asks a tensor about itself, and reads no values.
_QUESTIONS = frozenset({"__get__", "size", "dim", "numel", "is_contiguous", "is_floating_point", "stride", "__len__"})


@dataclass
class Seen:
    """A norm layer that ran. `reads`: the shape of each input. `by`: the layer that gives that input, if one does.

    `activations` are those that read its output; `functional` says that one of them is a function of torch, no module;
    `other` that something else reads the output too.
    """

    path: str
    layer: nn.Module
    reads: list[tuple[int, ...]] = field(default_factory=list)
    by: nn.Module | None = None
    activations: list[nn.Module] = field(default_factory=list)
    functional: bool = False
    other: bool = False


@dataclass
class Watched:
    """All norm layers that ran, in order, and how often each activation ran."""

    seen: list[Seen]
    calls: dict[int, int]  # by id of the activation


def watch(module: nn.Module, is_norm: Callable[[nn.Module], bool], run: Callable[[], Any]) -> Watched:
    """Let `run` put images through `module` and see what happens around its norm layers."""
    watcher = _Watcher()
    handles = []
    for path, layer in module.named_modules():
        if is_norm(layer):
            known = Seen(path, layer)
            handles.append(layer.register_forward_pre_hook(watcher.enters(known)))
            handles.append(layer.register_forward_hook(watcher.leaves(known)))
        elif is_activation(layer):
            handles.append(layer.register_forward_pre_hook(watcher.activates))
            handles.append(layer.register_forward_hook(watcher.activated))
        elif isinstance(layer, nn.Conv2d):
            handles.append(layer.register_forward_hook(watcher.convolved))
    try:
        with watcher:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return Watched(list(watcher.seen.values()), watcher.calls)


def is_activation(layer: nn.Module) -> bool:
    """Whether `layer` is a module that only activates."""
    return type(layer).__module__ in _ACTIVATION_MODULES and not isinstance(layer, _NO_ACTIVATIONS)


class _Watcher(TorchFunctionMode):
    """Knows the outputs of norm layers and convolutions by identity; it holds them, so that no two are mistaken."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, Seen] = {}
        self.calls: dict[int, int] = {}
        self.outputs: dict[int, tuple[Tensor, Seen]] = {}
        self.makers: dict[int, tuple[Tensor, nn.Module]] = {}
        self.inside = 0  # of a norm layer or an activation: what is computed there is its own

    def enters(self, known: Seen) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = inputs[0]
            self._read(inputs)  # a norm of a norm
            self.inside += 1
            self.seen.setdefault(id(layer), known).reads.append(tuple(x.shape))
            known.by = self.makers[id(x)][1] if id(x) in self.makers else known.by

        return hook

    def leaves(self, known: Seen) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self.inside -= 1
            self.outputs[id(output)] = (output, known)

        return hook

    def activates(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.inside += 1
        self.calls[id(layer)] = self.calls.get(id(layer), 0) + 1
        if inputs and id(inputs[0]) in self.outputs:
            self.outputs[id(inputs[0])][1].activations.append(layer)

    def activated(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.inside -= 1
        self.outputs.pop(id(output), None)  # in place: from now on this tensor is the activation's

    def convolved(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.makers[id(output)] = (output, layer)

    def _read(self, arguments: Iterable[Any]) -> None:
        for item in arguments:
            if isinstance(item, list | tuple):
                self._read(item)
            elif isinstance(item, Tensor) and id(item) in self.outputs:
                self.outputs[id(item)][1].other = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if not self.inside and name not in _QUESTIONS:
            if name in _ACTIVATIONS and args and isinstance(args[0], Tensor) and id(args[0]) in self.outputs:
                self.outputs[id(args[0])][1].functional = True
            else:
                self._read([*args, *(kwargs or {}).values()])
        result = func(*args, **(kwargs or {}))
        if not self.inside and name not in _QUESTIONS and isinstance(result, Tensor):
            self.outputs.pop(id(result), None)  # changed in place (`x += shortcut`): no longer what the norm gave
        return result


def images(in_channels: int, side: int, device: torch.device) -> Tensor:
    """The :data:`IMAGES` images that are looked at: (2, `in_channels`, `side`, `side`)."""
    return torch.zeros(IMAGES, in_channels, side, side, device=device)
