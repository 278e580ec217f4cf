"""What a builder is called with: the arguments of its entry, and of those that zoo offers the ones that it takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from zoo.errors import RegistryError, did_you_mean
from zoo.registry.entries import TUPLE

Builder = Callable[..., object]
Parameters = Mapping[str, inspect.Parameter]
# How published code calls what zoo calls so. These names are suggested in messages, and nothing is passed by them.
_USUAL = {
    "num_classes": re.compile(
        r"class|categor|label|\A(n|num|nb|dim)?_?out(put)?s?(_?(dim|features|size|channels|planes|ch|c))?\Z|\Ac_?out\Z"
    ),
    "in_channels": re.compile(
        r"\A(n_|num_)?(in|input|img|image)_?(channels?|chans?|ch|c|planes|dim|features)\Z"
        r"|\A(channels|c_?in|n_?channels|num_channels|colou?rs)\Z"
    ),
    "norm": re.compile("norm"),
    "apply_act": re.compile(r"act|relu|non_?lin"),
}
_TUPLE, _LIST = re.compile(r"\b[Tt]uple\b"), re.compile(r"\b([Ll]ist|Sequence|Iterable)\b")


def arguments_for(
    builder: Builder,
    where: str,
    kwargs: Mapping[str, Any],
    names: Mapping[str, str],
    offered: Mapping[str, object],
    **required: object,
) -> tuple[dict[str, object], dict[str, object]]:
    """The arguments that `builder` is called with, and those that it may refuse.

    The first are the `kwargs` of its entry, `required`, and what it names of `offered`; `names` are its own names for
    the two. The others are the rest of `offered`, for a builder with ``**kwargs``. What `kwargs` give is not offered.

    Raises :class:`RegistryError`, `where` first, for a name that the builder does not have, and for `kwargs` that
    would replace what is `required`.
    """
    parameters = named_parameters(builder)
    for ours, theirs in names.items():
        if theirs in kwargs:
            raise RegistryError(f"{where}: {theirs!r} is given twice, under kwargs and under arguments; take one out")
        if theirs not in parameters and not takes_any(builder):
            near = did_you_mean(theirs, parameters) or _all_of(parameters)
            raise RegistryError(f"{where}: arguments: {ours}: it has no parameter {theirs!r}{near}")
    if taken := next((ours for ours in required if names.get(ours, ours) in kwargs), None):
        raise RegistryError(f"{where}: kwargs: {taken!r} is given by zoo; take it out of kwargs")
    certain = {name: _typed(argument, parameters.get(name)) for name, argument in kwargs.items()}
    certain |= {names.get(ours, ours): argument for ours, argument in required.items()}
    optional: dict[str, object] = {}
    for ours, argument in offered.items():
        theirs = names.get(ours, ours)
        if theirs in certain:
            continue
        if ours in names or (theirs in parameters and not _is_a_width(parameters[theirs])):
            certain[theirs] = argument
        elif theirs not in parameters and takes_any(builder):
            optional[theirs] = argument
    return certain, optional


def named_parameters(builder: Builder) -> Parameters:
    """The parameters of `builder` that can be given by name; none of compiled code that does not show them."""
    try:
        parameters = inspect.signature(builder).parameters
    except (TypeError, ValueError):
        return {}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in parameters.items() if parameter.kind in kinds}


def _is_a_width(parameter: inspect.Parameter) -> bool:
    """Whether ``in_channels`` of a builder is not the images': by default they would have more than four channels."""
    return parameter.name == "in_channels" and isinstance(parameter.default, int) and parameter.default > 4


def takes_any(builder: Builder) -> bool:
    """Whether `builder` has ``**kwargs``, or does not show its parameters."""
    try:
        parameters = inspect.signature(builder).parameters
    except (TypeError, ValueError):
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def check_signature(builder: Builder, where: str, *args: object, **kwargs: object) -> None:
    """Raise :class:`RegistryError` where `builder` cannot be called so, with what to write in its entry."""
    from torch import nn

    if isinstance(builder, nn.Module):
        kind = type(builder)
        raise RegistryError(
            f"{where} is an instance of {kind.__name__}, built when its file was imported, so seeds would share it; "
            f"name its class, {kind.__module__}:{kind.__qualname__}, or a function that builds it"
        )
    try:
        signature = inspect.signature(builder)
    except (TypeError, ValueError):  # a builtin without a signature: the call itself will fail
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as problem:
        passed = ", ".join([*("num_channels" for _ in args), *kwargs])
        advice = _advice(named_parameters(builder), kwargs, len(args))
        raise RegistryError(f"{where}{signature} cannot be called with ({passed}): {problem}{advice}") from problem


def of_other_classes(
    builder: Builder, kwargs: Mapping[str, Any], names: Mapping[str, str], outputs: int, num_classes: int
) -> str:
    """Why a model of `builder` may have `outputs` logits for `num_classes` classes, and what to do about it."""
    parameters, theirs = named_parameters(builder), names.get("num_classes", "num_classes")
    dataset = f"choose a dataset with {outputs} classes"
    if theirs in kwargs:
        return f"; its kwargs set {theirs!r}: take that out"
    if theirs in parameters or theirs in names.values():
        return f"; it was built with {theirs}={num_classes}, so its code does not use that for its last layer"
    usual = [name for name in parameters if _USUAL["num_classes"].search(name)]
    if usual:
        return f"; write `arguments: {{num_classes: {usual[0]}}}` in its entry, or {dataset}"
    if not parameters:
        return f"; its builder has no parameter for the number of classes; {dataset}"
    return (
        f"; its builder has no parameter 'num_classes'{_all_of(parameters)}; write `arguments: {{num_classes: NAME}}` "
        f"in its entry if one of them is that number, else {dataset}"
    )


def _advice(parameters: Parameters, passed: Collection[str], positional: int) -> str:
    """What to write in the entry of a builder with `parameters` that was `passed` others, some of them `positional`."""
    first = next(iter(parameters.values()), None)
    if positional and first and (first.name in passed or first.kind is first.KEYWORD_ONLY):
        # The number of channels is not the first argument, but it may be another.
        required = [name for name, part in parameters.items() if part.default is part.empty and name not in passed]
        return f"; write `arguments: {{num_channels: {required[0]}}}` in its entry" if required else ""
    refused = sorted(set(passed) - set(parameters))
    missing = [
        name for name, part in [*parameters.items()][positional:] if part.default is part.empty and name not in passed
    ]
    if refused and refused[0] in _USUAL:
        if usual := [name for name in parameters if _USUAL[refused[0]].search(name)]:
            return f"; write `arguments: {{{refused[0]}: {usual[0]}}}` in its entry"
        if refused[0] == "norm":
            return "; an architecture takes 'norm': list a network with norms of its own under models:"
    if refused:
        return did_you_mean(refused[0], parameters) or _all_of(parameters)
    if not missing:
        return "" if positional else "; name a function that takes its arguments by name"
    for ours in ("num_classes", "in_channels"):
        if not positional and ours not in passed and _USUAL[ours].search(missing[0]):
            return f"; write `arguments: {{{ours}: {missing[0]}}}` in its entry"
    return f"; write `kwargs: {{{missing[0]}: ...}}` in its entry, or name a function that needs none"


def _all_of(parameters: Parameters) -> str:
    return f" (it has {', '.join(parameters)})" if parameters else " (it has none)"


def _typed(argument: Any, parameter: inspect.Parameter | None) -> object:
    """`argument` as YAML has it, with tuples where it says ``{tuple: [...]}`` or `parameter` is annotated as one, or
    has one as its default.
    """
    argument = _tuples_of(argument)
    if parameter is None or not isinstance(argument, list):
        return argument
    default, annotation = parameter.default, str(parameter.annotation).replace("typing.", "")
    inner = isinstance(default, tuple) and any(isinstance(part, tuple) for part in default)
    inner = inner or bool(re.search(r"[Tt]uple\[[Tt]uple\b", annotation))
    if isinstance(default, tuple) or re.match(r"(Optional\[)?[Tt]uple\b", annotation):
        outer = True
    else:
        outer = bool(_TUPLE.search(annotation)) and not _LIST.search(annotation)
    if inner:
        argument = [tuple(part) if isinstance(part, list) else part for part in argument]
    return tuple(argument) if outer else argument


def _tuples_of(argument: Any) -> Any:
    if isinstance(argument, dict):
        if argument.keys() == {TUPLE}:
            return tuple(_tuples_of(argument[TUPLE]))
        return {key: _tuples_of(part) for key, part in argument.items()}
    return [_tuples_of(part) for part in argument] if isinstance(argument, list) else argument
