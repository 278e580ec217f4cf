"""Whose code a built model runs: the modules of its classes and of the functions that these name."""

from __future__ import annotations

import contextlib
import dis
import functools
import importlib.util
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from zoo.registry.entries import Origin
from zoo.registry.importing import installed_in, is_recorded
from zoo.registry.locate import load_builder
from zoo.registry.model import Model, is_built_in

Modules = frozenset[tuple[str, str]]  # of each its name and its file
_MANY = 10_000  # elements of a list or mapping, from which on it is data
_MOST = 20_000  # objects, the nearest first
_PLAIN = frozenset({str, bytes, int, float, complex, bool, type(None)})
_remembered: dict[tuple[object, ...], Modules] = {}


def own_builders(model: Model) -> list[tuple[str, str, Origin]]:
    """The builders of `model` that are not built in, each with the name and the origin of its entry."""
    builders = []
    for part in (model.architecture, model.norm, model.entry):
        if part and not is_built_in(part.origin):
            strings = (part.builder, getattr(part, "conv", ""))
            builders += [(builder, part.name, part.origin) for builder in strings if builder]
    return builders


def remember(model: Model, num_classes: int, parts: Iterable[object]) -> None:
    """Note that `model` was built for `num_classes` and consists of `parts`."""
    if (key := _key(model, num_classes)) and key not in _remembered:
        _remembered[key] = reached([*parts, *key[2:]])


def remembered(model: Model, num_classes: int) -> Modules | None:
    """The modules that `model` was found to run when it was built; None where it was not. Of what is built in, none."""
    key = _key(model, num_classes)
    return _remembered.get(key) if key else frozenset()


def _key(model: Model, num_classes: int) -> tuple[object, ...]:
    """Empty where all is built in. A module that is imported again has other functions."""
    targets = [load_builder(builder, repr(name), origin) for builder, name, origin in own_builders(model)]
    arguments = [(part.kwargs, part.arguments) for part in (model.architecture, model.norm, model.entry) if part]
    return (num_classes, f"{model.name} {arguments}", *targets) if targets else ()


def reached(roots: Iterable[object]) -> Modules:
    """The modules whose code the objects `roots` run, but for those that a version in each result covers
    (:func:`zoo.registry.importing.is_recorded`).

    Followed are attributes, base classes, and the names in the code of what is not installed.
    """
    modules: set[tuple[str, str]] = set()
    seen: dict[int, object] = {}  # the objects too, since the number of one that is gone is given to another
    waiting = deque(roots)
    while waiting and len(seen) < _MOST:
        thing = waiting.popleft()
        if id(thing) not in seen and type(thing) not in _PLAIN:
            seen[id(thing)] = thing
            with contextlib.suppress(Exception):  # an object can raise anything when it is looked at
                waiting += _follow(thing, modules)
    return frozenset(modules)


def _follow(thing: object, modules: set[tuple[str, str]]) -> list[object]:
    """What `thing` leads to; its own module is added to `modules`."""
    if isinstance(thing, list | tuple | set | frozenset | dict):
        inside = thing.values() if isinstance(thing, dict) else thing
        return list(inside) if len(thing) < _MANY else []
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, staticmethod | classmethod | MethodType):
        return [thing.__func__]
    if isinstance(thing, property):
        return [thing.fget, thing.fset]
    if isinstance(thing, type | FunctionType | ModuleType):
        name, file = _module_of(thing)
        leads: list[object] = [*thing.__mro__[1:]] if isinstance(thing, type) else []
        if file and not is_recorded(name, Path(file)):
            modules.add((name, file))
            if not installed_in(Path(file)):
                leads += _uses(thing)
                modules.update(_imported_when_called(thing))
        return leads
    name, file = _module_of(type(thing))
    is_part = "_modules" in vars(thing) if hasattr(thing, "__dict__") else False
    return [type(thing), *([vars(thing)] if is_part or (file and not installed_in(Path(file))) else [])]


def _module_of(thing: Any) -> tuple[str, str]:
    """Its name and its file, each empty where there is none. A module of that name may be another folder's."""
    space: Any = vars(thing) if isinstance(thing, ModuleType) else getattr(thing, "__globals__", {})
    space = space if isinstance(space, dict) else {}  # the type of a function has a descriptor of that name
    name = str(space.get("__name__") or getattr(thing, "__module__", None) or "")
    if isinstance(thing, type):
        own = (value for value in vars(thing).values() if isinstance(value, FunctionType))
        inside = (value.__globals__ for value in own if value.__globals__.get("__name__") == name)
        space = next(inside, vars(sys.modules[name]) if name in sys.modules else {})
    return name, str(space.get("__file__") or "")


def _uses(thing: type | FunctionType | ModuleType) -> Iterator[object]:
    """What the code of `thing` names. Of a module that is only what others name in it."""
    if isinstance(thing, type):
        yield from list(vars(thing).values())
    elif isinstance(thing, FunctionType):
        names = {name for code in _codes(thing) for name in code.co_names}
        spaces = [thing.__globals__]
        for space in spaces:
            for name in sorted(names & space.keys()):
                yield (named := space[name])
                if isinstance(named, ModuleType) and not any(vars(named) is other for other in spaces):
                    spaces.append(vars(named))
        yield from (thing.__defaults__, thing.__kwdefaults__)
        if names & {"import_module", "__import__"}:
            texts = [text for code in _codes(thing) for text in code.co_consts if isinstance(text, str)]
            yield from (sys.modules[text] for text in texts if text in sys.modules)
        for cell in thing.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # a name that has no value yet
                continue


def _codes(function: FunctionType) -> list[CodeType]:
    """The code of `function` and of those that it defines."""
    codes = [function.__code__]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return codes


def _imported_when_called(thing: type | FunctionType | ModuleType) -> Iterator[tuple[str, str]]:
    """The installed packages that a function imports when it is called, whether it was or not, and the modules that it
    names to importlib.
    """
    for code in _codes(thing) if isinstance(thing, FunctionType) else ():
        if {"import_module", "__import__"} & {*code.co_names}:
            for text in filter(str.isidentifier, (text for text in code.co_consts if isinstance(text, str))):
                spec = None if text in {*sys.stdlib_module_names, "__main__"} else importlib.util.find_spec(text)
                if spec and spec.origin and spec.has_location and not is_recorded(text, Path(spec.origin)):
                    yield text, spec.origin
        steps = list(dis.get_instructions(code))
        for level, _, step in zip(steps, steps[1:], steps[2:], strict=False):
            top = str(step.argval).partition(".")[0]
            if step.opname == "IMPORT_NAME" and level.argval == 0 and top not in sys.stdlib_module_names:
                spec = importlib.util.find_spec(top)
                file = Path(spec.origin) if spec and spec.origin else None
                if file and installed_in(file) and not is_recorded(top, file):
                    yield top, str(file)
