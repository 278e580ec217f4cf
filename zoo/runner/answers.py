"""Answers of a model: what is wrong with one, and whether two are the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from zoo.builder.fairness import distance, largest, same
from zoo.utils.device import in_float64

NEAR = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.1}  # of the largest logit: two layouts, or a GPU that adds in any order
NOT_STORED = (
    "a fresh model with its stored weights predicts otherwise: what training changes must be in parameters or buffers "
    "(register_buffer), which are stored"
)
UNSEEDED = (
    "draws random numbers that zoo does not seed (numpy.random.default_rng() without a seed, os.urandom or the like), "
    "so one seed would not give one result; draw from torch, numpy.random or random"
)


def problem_of(answer: object, wanted: tuple[int, int], advice: Callable[[int, int], str]) -> str:
    """What is wrong with an `answer` that has to be logits of the shape `wanted`; nothing where nothing is.

    `advice` is what to add where there are so many logits, but so many classes.
    """
    count, classes = wanted
    if not isinstance(answer, Tensor):
        return f"returns {_described(answer)}, expected one tensor of shape {wanted}{_wrap(answer)}"
    if tuple(answer.shape) == wanted and answer.is_floating_point():
        return ""
    asked = {1: "one image", 2: "two images"}.get(count, f"{count} images")
    kind = "" if answer.is_floating_point() else f" of {answer.dtype}"
    others = answer.ndim == 2 and len(answer) == count and answer.shape[1] != classes
    added = advice(answer.shape[1], classes) if others else ""
    return f"returns {tuple(answer.shape)}{kind} for {asked}, expected {wanted}{added}"


def cut_off(module: nn.Module, first: set[str], second: set[str], processes: int) -> str:
    """What is wrong where two steps give parameters of these names no gradient; nothing where it is no fault.

    A part that is never used is a network's own affair, unless processes wait for its gradient.
    """
    trained = sum(part.requires_grad for part in module.parameters())
    unreached = sorted(first | second if processes > 1 else first & second)
    if processes > 1 and unreached:
        return (
            f"no gradient reaches parameter {unreached[0]!r}, for which the processes of torchrun would wait; "
            "freeze it (requires_grad_(False)), or train in one process"
        )
    if dead := _unused(module, unreached):
        return f"no gradient reaches {dead}; use it in forward, or remove it"
    if len(unreached) > trained / 2:
        return (
            f"no gradient reaches {unreached[0]!r} and {len(unreached) - 1} more of its {trained} parameters, so "
            "training would not change them; look for detach(), .data or no_grad() in forward"
        )
    return ""


def _unused(module: nn.Module, unreached: Collection[str]) -> str:
    """A parameter that is among the `unreached` ones in all layers of a kind, in words: no part that is left unused."""
    reached: dict[tuple[type, str], list[bool]] = defaultdict(list)
    for path, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.requires_grad:
                reached[type(part), name].append(f"{path}.{name}" not in unreached)
    dead = ((kind, name, len(hits)) for (kind, name), hits in reached.items() if hits[1:] and not any(hits))
    return next((f"{name!r} of its {count} layers {kind.__name__}" for kind, name, count in dead), "")


def same_answers(one: Tensor, other: Tensor, device: torch.device, precision: str) -> bool:
    """Equal; near where the `device` is a GPU, which adds in any order."""
    if device.type == "cpu":
        return same(one, other)
    return one.shape == other.shape and near(one, other, NEAR[precision])


def near(one: Tensor, other: Tensor, share: float) -> bool:
    """Whether they differ by no more than `share` of the largest number."""
    one, other = in_float64(one).nan_to_num(), in_float64(other).nan_to_num()
    return not one.numel() or distance(one, other) <= share * largest(other)


def finite(tensor: Tensor) -> bool:
    """Whether there is no infinity and no NaN in it."""
    return bool(tensor.isfinite().all())


def unstored(module: nn.Module, fresh: nn.Module) -> str:
    """What of `module` is not stored and differs from that of `fresh`, in words; nothing where nothing is seen."""
    for path, name, _, _ in hidden_state(module, fresh):
        return f"; its {'.'.join(filter(None, (path, name)))} is not"
    return ""


def hidden_state(module: nn.Module, fresh: nn.Module) -> Iterator[tuple[str, str, object, object]]:
    """Numbers and tensors outside of the state dict that differ: path of the layer, name, here and in `fresh`."""
    for (path, part), other in zip(module.named_modules(), fresh.modules(), strict=False):
        own = vars(part).keys() - vars(nn.Module()).keys()
        plain = {name: vars(part)[name] for name in sorted(own)}
        plain |= {name: part._buffers[name] for name in getattr(part, "_non_persistent_buffers_set", ())}
        for name, value in plain.items():
            theirs = getattr(other, name, None)
            if isinstance(value, Tensor) and isinstance(theirs, Tensor):
                differ = not same(value.detach(), theirs.detach())
            else:
                differ = isinstance(value, int | float) and value != theirs
            if differ:
                yield path, name, value, theirs


def _described(answer: object) -> str:
    """A tuple, dict or dataclass in words."""
    kind = type(answer).__name__
    if isinstance(answer, Mapping):
        return f"a {kind} with {', '.join(map(repr, answer))}"
    if isinstance(answer, tuple | list):
        return f"a {kind} of {len(answer)}"
    return f"a {kind}"


def _wrap(answer: object) -> str:
    """How to get at the logits, in words."""
    key = ""
    if isinstance(answer, Mapping):
        names = [name for name in answer if isinstance(answer[name], Tensor)]
        key = f"[{names[0]!r}]" if names else ""
    elif isinstance(answer, tuple | list):
        key = "[0]" if answer else ""
    else:
        names = [name for name, part in getattr(answer, "__dict__", {}).items() if isinstance(part, Tensor)]
        key = f".{names[0]}" if names else ""
    return f"; wrap it in a module whose forward returns the logits alone, such as `return self.net(x){key}`"
