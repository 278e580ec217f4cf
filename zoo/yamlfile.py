"""YAML with line numbers: plain data only, duplicate keys refused, every value knows the line it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import ZooError

# The C loader is several times faster; both are the safe kind, which builds plain data and executes nothing.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Located:
    """A value and the line it starts on (1 is the first). Mappings hold ``dict[str, Located]``, the rest plain data."""

    value: Any
    line: int

    def plain(self) -> Any:
        """The value with all line numbers dropped."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
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


def type_name(value: Any) -> str:
    """What a YAML author calls the type of `value`."""
    if value is None:
        return "nothing"
    names = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def _locate(loader: Any, node: yaml.Node, path: Path, error: type[ZooError]) -> Located:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        return Located(loader.construct_object(node, deep=True), line)
    items: dict[str, Located] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        key_line = key_node.start_mark.line + 1
        if key is None or key_node.tag == "tag:yaml.org,2002:merge":
            raise error(f"{path}:{key_line}: a key must be plain text")
        if key in items:
            raise error(f"{path}:{key_line}: key {key!r} is given twice, first on line {items[key].line}")
        item = _locate(loader, value_node, path, error)
        items[key] = Located(item.value, key_line)
    return Located(items, line)
