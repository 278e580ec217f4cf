"""YAML with line numbers: plain data only, no duplicate keys, and every value has its line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import ZooError

# The C loader is several times faster; both are the safe kind, which builds plain data and executes nothing.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
# YAML 1.1 takes 1e-5 for text, unlike YAML 1.2 and whoever writes it.
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+\Z")


@dataclass(frozen=True)
class Located:
    """A value and the line it starts on (1 is the first). Mappings and lists hold Located, the rest plain data."""

    value: Any
    line: int

    def plain(self) -> Any:
        """The value with all line numbers dropped."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


def read(path: Path, error: type[ZooError]) -> Located:
    """The document in `path`; an empty file is an empty mapping.

    Raises `error`, in one line with file and line, for an unreadable file, a syntax error, a duplicate or
    non-string key, or a top level that is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not UTF-8 text"
        raise error(f"{path}: cannot be read: {reason}") from problem
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        document = Located({}, 1) if node is None else _locate(loader, node, path, error)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        what = getattr(problem, "problem", None) or " ".join(str(problem).split())
        raise error(f"{where}: not valid YAML: {what}") from problem
    finally:
        loader.dispose()
    if not isinstance(document.value, dict):
        raise error(f"{path}:1: expected a mapping of sections, found {type_name(document.value)}")
    return document


def read_plain(path: Path, error: type[ZooError]) -> dict[str, Any]:
    """The document in `path` without line numbers. Raises as :func:`read` does."""
    content: dict[str, Any] = read(path, error).plain()
    return content


def type_name(value: Any) -> str:
    """What a YAML author calls the type of `value`."""
    if value is None:
        return "nothing"
    names = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def _locate(loader: Any, node: yaml.Node, path: Path, error: type[ZooError], parents: tuple[int, ...] = ()) -> Located:
    line = node.start_mark.line + 1
    if id(node) in parents:
        raise error(f"{path}:{line}: an anchor that refers to itself")
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
        raise error(f"{path}:{line}: the tag {node.tag} is not allowed; plain mappings, lists, numbers and text are")
    inside = (*parents, id(node))
    if isinstance(node, yaml.SequenceNode):
        return Located([_locate(loader, item, path, error, inside) for item in node.value], line)
    if not isinstance(node, yaml.MappingNode):
        text = isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str" and not node.style
        if text and _EXPONENT.match(node.value):
            return Located(float(node.value), line)
        try:
            return Located(loader.construct_object(node, deep=True), line)
        except ValueError as problem:  # a date such as 2020-13-45
            raise error(f"{path}:{line}: {node.value!r} is not valid here: {problem}; put it in quotes") from problem
    items: dict[str, Located] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        key_line = key_node.start_mark.line + 1
        if key is None or key_node.tag == "tag:yaml.org,2002:merge":
            raise error(f"{path}:{key_line}: a key must be plain text")
        if key in items:
            raise error(f"{path}:{key_line}: key {key!r} is given twice, first on line {items[key].line}")
        item = _locate(loader, value_node, path, error, inside)
        items[key] = Located(item.value, key_line)
    return Located(items, line)
