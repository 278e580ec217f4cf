"""One pass of images through a model: which layers of a kind run, in which order, and what they read."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_NORMS = frozenset({"batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"})  # functions of torch


@dataclass
class Observed:
    """A layer that ran: its path in the model, and the shapes of its input and its output, one for each pass.

    `plain`: it was called with one tensor and nothing else, each time.
    """

    path: str
    layer: nn.Module
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    outputs: list[tuple[int, ...]] = field(default_factory=list)
    plain: bool = True


def observe(
    module: nn.Module,
    wanted: Callable[[nn.Module], bool],
    shape: tuple[int, int, int, int],
    training: bool = False,
    functions: list[str] | None = None,
) -> tuple[list[Observed], object]:
    """The `wanted` layers of `module` that ran on (N, C, H, W) zeros of `shape`, first ones first, and its output.

    A layer counts where its input and its output are tensors, called as ``layer(x)`` or as ``layer.forward(x)``.
    The model runs in eval mode or in `training` mode, without gradients; each part's own mode is put back. `functions`
    gets torch's functions that normalise images outside the `wanted` layers, each with the class that calls it.
    """
    observed: dict[str, Observed] = {}
    inside: list[str] = []  # the wanted layers that are running

    def watched(path: str, layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any, **named: Any) -> Any:
            inside.append(path)
            try:
                output = forward(*inputs, **named)
            finally:
                inside.pop()
            first = next(iter([*inputs, *named.values()]), None)
            if isinstance(first, Tensor) and isinstance(output, Tensor):
                entry = observed.setdefault(path, Observed(path, layer))
                entry.inputs.append(tuple(first.shape))
                entry.outputs.append(tuple(output.shape))
                entry.plain &= len(inputs) == 1 and not named
            return output

        return run

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if functions is not None and not inside and getattr(func, "__name__", "") in _NORMS:
                first = next((argument for argument in [*args, *kwargs.values()] if isinstance(argument, Tensor)), None)
                if first is not None and first.shape[:1] == shape[:1]:  # some convolutions normalise their weights so
                    functions.append(f"{func.__name__} in {_caller()}")
            return func(*args, **kwargs)

    example = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), torch.empty(0))
    layers = [(path, part) for path, part in module.named_modules() if wanted(part)]
    with contextlib.ExitStack() as stack:
        for path, part in layers:
            stack.enter_context(_forward(part, watched(path, part, part.forward)))
        stack.enter_context(in_mode(module, training))
        stack.enter_context(torch.no_grad())
        if functions is not None:
            stack.enter_context(Functions())
        output = module(torch.zeros(shape, device=example.device, dtype=example.dtype))
    return list(observed.values()), output


def _caller() -> str:
    """The class of the module that is running."""
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(running := frame.f_locals.get("self"), nn.Module):
            return type(running).__name__
        frame = frame.f_back
    return "a function"


@contextlib.contextmanager
def _forward(layer: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """`forward` in place of that of `layer`, which a hook would not see called by its own name."""
    own = vars(layer).get("forward")
    vars(layer)["forward"] = forward
    try:
        yield
    finally:
        del vars(layer)["forward"]
        if own is not None:
            vars(layer)["forward"] = own


@contextlib.contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """`module` in training or in eval mode, and each part in its own again."""
    modes = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, before in modes:
            part.training = before
