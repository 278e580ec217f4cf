"""What each layer of a model does by itself: one function in training and in evaluation, with gradients."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from zoo.builder.fairness import distance, largest
from zoo.registry.importing import LIBRARIES
from zoo.runner.derivatives import wrong_gradient
from zoo.utils.device import backend, is_accelerator
from zoo.utils.seeding import derive, same_random_numbers, seed_all

PASSES = 256  # over the same images, in which running statistics come to be those of the images
SETTLED = 0.03  # of the largest value: what may be left between them
STILL = 0.01  # of a difference: what still moves by more has not settled
FLOAT64, FLOAT32 = 1e-7, 1e-3  # of the largest value: a smaller change is rounding


@dataclass(frozen=True)
class Call:
    """A layer at `path`, one of `count` of its class, and what it was called with."""

    path: str
    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    count: int = 1

    def __str__(self) -> str:
        kind = type(self.layer).__name__
        return f"its module {self.path!r} ({kind})" if self.path else f"its {kind}"

    @property
    def images(self) -> Tensor | None:
        """What it reads, where that is numbers with a fraction."""
        first = next(iter([*self.args, *self.kwargs.values()]), None)
        return first if isinstance(first, Tensor) and first.is_floating_point() and first.numel() else None

    def answer(self, change: Callable[[Tensor], Tensor] = Tensor.clone) -> Tensor:
        """The answer to its images after a `change`. Raises :class:`Unjudged`."""
        images = self.images

        def passed(argument: Any) -> Any:
            if argument is images and images is not None:
                return change(images)
            return argument.clone() if isinstance(argument, Tensor) else argument

        seed_all(derive("layer"))
        before = _generators(images)
        answer = self.layer(*map(passed, self.args), **{name: passed(part) for name, part in self.kwargs.items()})
        if not isinstance(answer, Tensor) or not answer.is_floating_point() or not answer.isfinite().all():
            raise Unjudged
        if _generators(images) != before:
            raise Unjudged
        return answer


class Unjudged(Exception):
    """A layer that draws random numbers, or whose answer is not one tensor of finite numbers with a fraction."""


def is_judged(kind: type) -> bool:
    """Whether a class of layers is a stranger's: zoo's and those of the libraries that it records are tested."""
    return kind.__module__.partition(".")[0] not in (*LIBRARIES, "zoo")


def layers_of(module: nn.Module, images: Tensor, judged: Callable[[type], bool] = is_judged) -> list[Call]:
    """One layer of each class of `module` that is `judged`: the one with the largest maps.

    It is called as the module calls it for a batch of the first of `images` alone, so that nothing depends on which
    ones are in it. `module` is used up: parameters that are all zero get other values, since nothing is seen behind
    zeros.
    """
    counts = Counter(type(part) for part in module.modules() if judged(type(part)))
    if not counts:
        return []
    tensor = next((part for part in module.parameters() if part.is_floating_point()), images)
    same = images[:1].to(tensor).expand(max(2, len(images)), *images.shape[1:])
    with same_random_numbers():
        seed_all(derive("layers"))
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad and not parameter.any():
                    parameter.normal_(0, 0.1)
        return _calls(module.eval(), same.clone(memory_format=torch.preserve_format), counts)


def problem_in(calls: Sequence[Call]) -> str:
    """What the first wrong layer of a model does wrong, in words; nothing where all are sound.

    Only the layer's own flag ``training`` changes, so that its own code is judged, not that of its parts. What draws
    random numbers, or does not answer a tensor, is not judged.
    """
    return _first(calls, lambda call: _cut(call) or _other(call))


def note_on(calls: Sequence[Call]) -> str:
    """What is to be said about a layer that computes its gradient by code of its own, in words.

    A gradient that is not the slope of the answer may be a mistake, or a straight-through estimator.
    """
    kinds = {type(call.layer) for call in calls}
    innermost = [call for call in calls if sum(type(part) in kinds for part in call.layer.modules()) == 1]
    return _first(innermost, _wrong)


def _first(calls: Sequence[Call], look: Callable[[Call], str]) -> str:
    with same_random_numbers():
        seed_all(derive("layers"))
        for call in calls:
            try:
                words = look(call)
            except Exception:  # it cannot be called by itself
                continue
            finally:
                call.layer.eval()
            if words:
                return f"{call} {words}"
    return ""


def _wrong(call: Call) -> str:
    if call.images is None or len(call.args) > 1 or call.kwargs:
        return ""
    call.layer.training = True
    nodes, seen = [call.answer(lambda images: images.clone().requires_grad_()).grad_fn], set()
    while nodes:
        if (node := nodes.pop()) is None or node in seen:
            continue
        if isinstance(node, BackwardCFunction):
            problem = wrong_gradient(call.layer, call.images)
            return (
                f"has a backward pass of its own, and {problem}; a straight-through estimator is so" if problem else ""
            )
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
    return ""


def difference_of_modes(call: Call, parts: Sequence[nn.Module]) -> float:
    """By what share of the largest value the answer in eval mode differs from that in training, once both stay.

    `parts` are the modules whose mode changes. 0 where the answers agree, draw random numbers or have not settled.
    """

    def answer(training: bool) -> Tensor:
        for part in parts:
            part.training = training
        return call.answer()

    done, trained, evaluated = 0, torch.empty(0), torch.empty(0)
    with torch.no_grad():
        while True:
            before = trained, evaluated
            for _ in range(max(1, done)):  # 1, 2, 4, ... in all
                trained = answer(True)
            done += max(1, done)
            evaluated = answer(False)
            if trained.shape != evaluated.shape:
                return 0.0
            difference = distance(trained, evaluated)
            share = difference / largest(evaluated, trained)
            if share <= SETTLED + _unbiased(call.images):
                return 0.0
            if done > 1:
                moved = max(map(distance, (trained, evaluated), before))
                if moved == 0 or done >= PASSES:
                    return share if moved <= STILL * difference else 0.0


def _unbiased(images: Tensor | None) -> float:
    """By what share a standard deviation over one of `images` differs from the unbiased one."""
    if images is None or images.ndim < 3:
        return 0.0
    places = images[0].numel() // (images.shape[1] if images.ndim == 4 else images.shape[-1])
    return 1 / (2 * places - 2) if places > 1 else 1.0


def _generators(images: Tensor | None) -> list[object]:
    """The states of all that is seeded."""
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 the global one
    drawn = numpy["state"]["key"].tobytes(), numpy["state"]["pos"], numpy["has_gauss"]
    on_gpu = []
    if images is not None and is_accelerator(images.device):
        on_gpu = [backend(images.device).get_rng_state(images.device).numpy().tobytes()]
    return [torch.get_rng_state().numpy().tobytes(), random.getstate(), drawn, *on_gpu]


def _calls(module: nn.Module, images: Tensor, kinds: Mapping[type, int]) -> list[Call]:
    """One of each of the `kinds`, in the order in which they are called: the one that reads the largest maps."""
    calls: dict[type, Call] = {}

    def keep(path: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call, largest = Call(path, layer, args, kwargs), calls.get(type(layer))
            size = call.images.numel() if call.images is not None else 0
            if largest is None or (largest.images is not None and size > largest.images.numel()):
                copies = [part.clone() if isinstance(part, Tensor) else part for part in args]
                named = {name: part.clone() if isinstance(part, Tensor) else part for name, part in kwargs.items()}
                calls[type(layer)] = Call(path, layer, tuple(copies), named, kinds[type(layer)])

        return hook

    hooks = [
        part.register_forward_pre_hook(keep(path), with_kwargs=True)
        for path, part in module.named_modules()
        if type(part) in kinds
    ]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()
    return list(calls.values())


def _other(call: Call) -> str:
    share = difference_of_modes(call, [call.layer])
    if not share:
        return ""
    return (
        f"computes another function in evaluation than in training: its outputs differ by {100 * share:.2g} % of the "
        "largest, even with the statistics of the same images; compute the same where self.training is false"
    )


def _cut(call: Call) -> str:
    """Whether no gradient reaches the images of a layer, or one of its parameters, in training."""
    images, layer = call.images, call.layer
    layer.training = True
    if images is None:
        return ""
    inputs = images.clone().requires_grad_()
    answer = call.answer(lambda _: inputs * 1)
    own = {name: part for name, part in layer.named_parameters(recurse=False) if part.requires_grad}
    wanted = [inputs, *own.values()]
    gradients: Sequence[Tensor | None] = [None] * len(wanted)
    if answer.requires_grad:
        gradients = torch.autograd.grad(answer, wanted, torch.randn_like(answer), allow_unused=True)
    zero = [gradient is None or not gradient.any() for gradient in gradients]

    def matters(moved_answer: Callable[[], Tensor]) -> bool:
        with torch.no_grad():
            moved = distance(moved_answer(), answer)
        return moved > (FLOAT64 if answer.dtype == torch.float64 else FLOAT32) * largest(answer.detach())

    def moved_by(parameter: Tensor) -> Tensor:
        before = parameter.detach().clone()
        parameter.add_(torch.randn_like(parameter))
        moved = call.answer()
        parameter.copy_(before)
        return moved

    others = images + torch.randn_like(images)
    if zero[0] and answer.shape == images.shape and matters(lambda: call.answer(lambda _: others.clone())):
        return "passes no gradient to what is before it; look for detach(), .data, no_grad() or a rounding in forward"
    for (name, parameter), is_zero in zip(own.items(), zero[1:], strict=True):
        if is_zero and matters(functools.partial(moved_by, parameter)):
            return (
                f"depends on its parameter {name!r} but passes it no gradient, so training would not change it; look "
                "for detach(), .data or item() in forward, or make it a buffer (register_buffer)"
            )
        if is_zero and call.count > 1:
            return f"has a parameter {name!r} that changes no output; use it in forward, or remove it"
    return ""
