"""A recipe from its YAML file: `extends`, ``--set key=value``, and every mistake in one line that names the key."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from zoo.errors import Message, Option, RecipeError, did_you_mean, unknown
from zoo.recipes.catalogue import recipe_files, recipe_names
from zoo.recipes.hints import SECTIONS, TAGGED, hint
from zoo.recipes.recipe import Recipe, put
from zoo.utils import yamlfile
from zoo.utils.files import reachable


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe called `name`, built in or of a plugin, or the file when it is a path to one.

    `overrides` are ``key.key=value`` and change it.

    Raises :class:`RecipeError` (file, key, what was expected) or :class:`~zoo.errors.UnknownNameError` (nearest names).
    """
    path, content = _read(name, ())
    overrides = list(overrides)
    try:
        return _with(path, content, overrides)
    except ValidationError as problem:
        line = one_line(problem)
        causes = _causes(path, content, overrides, line)
        of_keys = line.startswith("unknown key") or line.endswith("is missing")
        near: Message = ()
        if len(causes) == 1 and (of_keys or "{" not in causes[0]):  # else a value in a section that is right
            near = hint(causes[0], content)
        if near:
            line = line.partition("; did you mean")[0].partition("; there are: ")[0]
        words = [part for cause in causes for part in (" ", Option("set", cause))]
        raise RecipeError(str(path), *([" with", *words] if words else []), f": {line}", *near) from problem


def _with(path: Path, content: dict[str, Any], overrides: Iterable[str]) -> Recipe:
    """Raises ValidationError, and RecipeError for what is no change of the `content`."""
    content = copy.deepcopy(content)
    for override in overrides:
        _override(content, override)
    return Recipe(name=path.stem, **content)


def _causes(path: Path, content: dict[str, Any], overrides: Sequence[str], line: str) -> Sequence[str]:
    """Those of `overrides` without which the mistake `line` is not made; none where the file itself makes it."""

    def has_it(some: Iterable[str]) -> bool:
        try:
            _with(path, content, some)
        except ValidationError as problem:
            return one_line(problem) == line
        except RecipeError:  # another change builds on the one that is left out
            pass
        return False

    if has_it(()):
        return ()
    others = [[*overrides[:place], *overrides[place + 1 :]] for place in range(len(overrides))]
    return [cause for cause, rest in zip(overrides, others, strict=True) if not has_it(rest)] or overrides


def with_values(recipe: Recipe, values: Mapping[str, Any], where: str) -> Recipe:
    """`recipe` with other `values` (by dotted keys that it has), checked as a file's are.

    Raises :class:`RecipeError`, which begins with `where`.
    """
    content = recipe.model_dump()
    for key, value in values.items():
        put(content, key, value)
    try:
        return Recipe.model_validate(content)
    except ValidationError as problem:
        raise RecipeError(f"{where}: {one_line(problem)}") from problem


def _read(name: str, seen: tuple[Path, ...]) -> tuple[Path, dict[str, Any]]:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        with reachable(name, RecipeError):
            path = Path(name).expanduser()
            if not path.is_file():
                raise RecipeError(f"recipe file {name} does not exist; recipes by name: {', '.join(recipe_names())}")
    elif origin := (files := recipe_files()).get(name):
        path = origin.path
    else:
        hint = f"there are: {', '.join(sorted(files))}; a file is given by its path, ending in .yaml"
        where = ", ".join(sorted({str(origin.path.parent) for origin in files.values()}))
        raise unknown("recipe", name, files, where, hint)
    if path.resolve() in seen:
        raise RecipeError(f"{path}: 'extends' goes round in a circle")
    content = yamlfile.read_plain(path, RecipeError)
    if "name" in content:
        raise RecipeError(f"{path}: a recipe's name is its file's name; remove the key 'name'")
    base = content.pop("extends", None)
    if base is None:
        return path, content
    beside = path.parent / str(base)
    _, merged = _read(str(beside) if str(base).endswith((".yaml", ".yml")) else str(base), (*seen, path.resolve()))
    return path, _merge(merged, content)


def _merge(base: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`new` over `base`. A section that names another kind (``schedule.name``) replaces the whole section."""
    merged = dict(base)
    for key, section in new.items():
        old, both = base.get(key), isinstance(section, dict)
        if isinstance(old, dict) and both and section.get("name", old.get("name")) == old.get("name"):
            section = _merge(old, section)
        merged[key] = section
    return merged


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        near = hint(override, content) or (", as in ", Option("set", "optimizer.lr=0.1"))
        raise RecipeError(Option("set", override), ": expected key=value", *near)
    value = yamlfile.read_text(text, RecipeError, Option("set", override))
    *parents, last = key.split(".")
    target, fields = content, Recipe.model_fields
    for depth, part in enumerate(parents):
        _check_key(part, [*target, *fields] if depth == 0 else list(target), override, content)
        if not isinstance(target.get(part), dict):
            if target.get(part) is not None or part not in ("ema", "lookahead"):
                section = ".".join(parents[: depth + 1])
                raise RecipeError(Option("set", override), f": {section} is not a section; set it as a whole")
            target[part] = {}
        target = target[part]
    if not parents:
        _check_key(last, [name for name in fields if name != "name"], override, content)
    target[last] = value


def _check_key(key: str, choices: list[str], override: str, content: dict[str, Any]) -> None:
    if key not in choices:
        near = hint(override, content) or (f"; there are: {', '.join(dict.fromkeys(choices))}",)
        raise RecipeError(Option("set", override), f": unknown key {key!r}", *near)


def one_line(problem: ValidationError) -> str:
    """The first error of `problem`: key, what was expected, what was found, the nearest key.

    An unknown key comes first: it is often the misspelt one that is missing too.
    """
    errors = problem.errors(include_url=False)
    first = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    parts = [str(part) for part in first["loc"] if part not in TAGGED]
    key = ".".join(parts)
    if first["type"] == "extra_forbidden":
        siblings = _siblings(parts[:-1], first["loc"])
        return f"unknown key {key!r}{did_you_mean(parts[-1], siblings) or '; there are: ' + ', '.join(siblings)}"
    if first["type"] == "missing":
        return f"{key} is missing"
    message = first["msg"].removeprefix("Value error, ")
    actual = f", found {first['input']!r:.200}" if key and not isinstance(first["input"], dict) else ""
    return f"{key + ': ' if key else ''}{message[0].lower() + message[1:]}{actual}"


def _siblings(parents: list[str], loc: tuple[Any, ...]) -> list[str]:
    """The keys that the section at `parents` has; `loc` still holds the tag that chose among a union's members."""
    if not parents:
        return [name for name in Recipe.model_fields if name != "name"]
    cls = next((SECTIONS[part] for part in reversed(loc[:-1]) if part in SECTIONS), None)
    return list(cls.model_fields) if cls else []
