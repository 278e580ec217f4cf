"""The one reader of YAML, for files and values of options: plain data only, and every value has its line.

Nothing in a document can cost more than reading it: its size, its depth and the number of its values, aliases
expanded, have limits, which are checked before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import Words, ZooError
from zoo.utils.text import CONTROL

BYTES = 1_000_000  # of a document
VALUES = 100_000  # keys, values, lists and mappings, as they are written
EXPANDED = 10_000  # where there are aliases, each as often as they repeat it
DEPTH = 50
DIGITS = 18  # of an integer: whatever counts something fits into 64 bits

# The C loader is several times faster; both are the safe kind, which builds plain data and executes nothing.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + "map", _TAG + "seq"}
# YAML 1.1 takes 1e-5 for text, unlike YAML 1.2 and whoever writes it.
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+\Z")
_FORBIDDEN = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
    non-string key, what is no plain data or too much of it, or a top level that is not a mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(BYTES + 1)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path}: cannot be read: {reason}; check its permissions") from problem
    if len(content) > BYTES:
        raise error(f"{path}: larger than {BYTES:,} bytes; name the right file, or split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(f"{path}:{line}: cannot be read: not UTF-8 text; save it as UTF-8") from problem
    document = _Document(text, error, lambda line: (f"{path}:{line}",)).read() or Located({}, 1)
    if not isinstance(document.value, dict):
        raise error(f"{path}:1: expected a mapping of sections, found {type_name(document.plain())}")
    return document


def read_plain(path: Path, error: type[ZooError]) -> dict[str, Any]:
    """The document in `path` without line numbers. Raises as :func:`read` does."""
    content: dict[str, Any] = read(path, error).plain()
    return content


def read_text(text: str, error: type[ZooError], *where: Words) -> Any:
    """The value that `text`, out of an option, has in YAML. Raises `error`, which begins with `where`."""
    document = _Document(text, error, lambda line: where).read()
    return document and document.plain()


def located(value: object, error: type[ZooError], where: str) -> Located:
    """`value`, made in Python, as if it had been read from the first line of a file. Raises as :func:`read` does."""
    left = EXPANDED

    def copied(part: object, depth: int) -> Located:
        nonlocal left
        left -= 1
        if depth > DEPTH or left < 0:
            raise error(f"{where}: {_TOO_DEEP if depth > DEPTH else _TOO_MANY}")
        if isinstance(part, Mapping):
            if strange := [key for key in part if not isinstance(key, str)]:
                raise error(f"{where}: a key must be text, found {strange[0]!r}")
            return Located({key: copied(inner, depth + 1) for key, inner in part.items()}, 1)
        if isinstance(part, list | tuple):
            return Located([copied(inner, depth + 1) for inner in part], 1)
        return Located(part, 1)

    return copied(value, 0)


def type_name(value: Any) -> str:
    """What a YAML author calls the type of `value`."""
    if value is None:
        return "nothing"
    names = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


def _line(place: yaml.Node | yaml.Event) -> int:
    return place.start_mark.line + 1 if place.start_mark else 1


_TOO_MANY = f"more than {VALUES:,} keys and values, or {EXPANDED:,} with aliases expanded; write fewer"
_TOO_DEEP = f"nested more than {DEPTH} deep; make it flatter"


@dataclass(frozen=True)
class _Document:
    """A text to be read; `at` is where a line of it stands, for messages."""

    text: str
    error: type[ZooError]
    at: Callable[[int], tuple[Words, ...]]

    def read(self) -> Located | None:
        """The document, None where the text has none."""
        if strange := _FORBIDDEN.search(self.text):
            line = self.text.count("\n", 0, strange.start()) + 1
            raise self._wrong(line, f"the control character U+{ord(strange[0]):04X} is not allowed; remove it")
        loader = _Loader(self.text)
        try:
            self._measure()
            node = loader.get_single_node()
            return None if node is None else self._locate(loader, node)
        except yaml.YAMLError as problem:
            mark = getattr(problem, "problem_mark", None)
            what = getattr(problem, "problem", None) or " ".join(str(problem).split())
            advice = "; correct it, or put it in quotes if it is text"
            raise self._wrong(mark.line + 1 if mark else 1, f"not valid YAML: {what}{advice}") from problem
        finally:
            loader.dispose()

    def _wrong(self, place: int | yaml.Event, what: str) -> ZooError:
        line = place if isinstance(place, int) else _line(place)
        return self.error(*self.at(line), f": {what}")

    def _measure(self) -> None:
        """Go over the events of the text, which are small whatever it means, and refuse what would grow."""
        total, limit = 0, VALUES
        anchors: dict[str, tuple[int, int] | None] = {}  # of each: values and depth; None while it is open
        # Of the collections that are open: anchor, values before it, depth below. The first holds the document.
        stack: list[tuple[str | None, int, int]] = [(None, 0, 0)]
        for event in yaml.parse(self.text, Loader=_Loader):
            anchor, before, depth = getattr(event, "anchor", None), total, 1
            if isinstance(event, yaml.CollectionStartEvent):
                stack.append((anchor, before, 0))
                anchors |= {anchor: None} if anchor else {}
                total += 1
            elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                if isinstance(event, yaml.AliasEvent):
                    reached = anchors.get(str(event.anchor), (1, 1))
                    if reached is None:
                        raise self._wrong(event, "an anchor that refers to itself; write out what it stands for")
                    anchor, limit, (values, depth) = None, EXPANDED, reached
                    total += values
                elif isinstance(event, yaml.ScalarEvent):
                    total += 1
                else:
                    anchor, before, depth = stack.pop()
                    depth += 1
                anchors |= {anchor: (total - before, depth)} if anchor else {}
                stack[-1] = (*stack[-1][:2], max(stack[-1][2], depth))
            if len(stack) + stack[-1][2] > DEPTH:
                raise self._wrong(event, _TOO_DEEP)
            if total > limit:
                raise self._wrong(event, _TOO_MANY)

    def _locate(self, loader: Any, node: yaml.Node) -> Located:
        line = _line(node)
        if isinstance(node, yaml.ScalarNode):
            return Located(self._scalar(loader, node, line), line)
        if node.tag not in _PLAIN_TAGS:
            allowed = "plain mappings, lists, numbers and text are"
            raise self._wrong(line, f"the tag {node.tag} is not allowed; {allowed}")
        if isinstance(node, yaml.SequenceNode):
            return Located([self._locate(loader, part) for part in node.value], line)
        items: dict[str, Located] = {}
        for key_node, value_node in node.value:
            key_line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _TAG + "merge":
                raise self._wrong(key_line, "a key must be plain text")
            key = key_node.value
            if CONTROL.search(key):
                raise self._wrong(key_line, f"the key {key!r} holds a control character; remove it")
            if key in items:
                raise self._wrong(key_line, f"key {key!r} is given twice, first on line {items[key].line}")
            items[key] = Located(self._locate(loader, value_node).value, key_line)
        return Located(items, line)

    def _scalar(self, loader: Any, node: yaml.ScalarNode, line: int) -> str | float | None:
        text: str = node.value
        if node.tag == _TAG + "str" and not node.style and _EXPONENT.match(text):
            return float(text)
        shown = repr(text if len(text) <= 40 else f"{text[:40]}...")
        try:
            scalar = loader.construct_object(node, deep=True)
        except yaml.YAMLError:
            raise
        except Exception as problem:  # its constructors raise whatever they meet: 2020-13-45, !!int "", !!bool x
            advice = "correct it, or put it in quotes, without a tag"
            raise self._wrong(line, f"{shown} is not a valid {node.tag.removeprefix(_TAG)}; {advice}") from problem
        if isinstance(scalar, int) and abs(scalar) >= 10**DIGITS:
            raise self._wrong(line, f"{shown} has more than {DIGITS} digits; lower it, or put it in quotes")
        if isinstance(scalar, str) and (strange := _FORBIDDEN.search(scalar)):
            raise self._wrong(line, f"the control character U+{ord(strange[0]):04X} is not allowed; remove it")
        if scalar is None or isinstance(scalar, str | int | float):
            return scalar
        raise self._wrong(line, f"{shown} is read as {node.tag.removeprefix(_TAG)}; put it in quotes, without a tag")
