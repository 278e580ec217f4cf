"""Parts that many results have alike, such as the recipe: read once, and kept once in memory."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationInfo, ValidatorFunctionWrapHandler
from pydantic_core import from_json

MOST_KEPT = 4096  # different texts of one part that are kept for the next result
KEYS = ("model", "recipe", "dataset", "selection", "settings", "environment", "git")
_BEGIN, _NEXT = re.compile(rb'\n "(?:%b)": ' % "|".join(KEYS).encode()), b',\n "'


class Shared:
    """A pydantic wrap validator of a part that many results have alike: read once and kept once, by its text.

    In place of such a part stands a short text, whose own text is in the validation's context: see :func:`cut`.
    Nothing may change what it gives.
    """

    def __init__(self) -> None:
        self._parts: dict[bytes, Any] = {}

    def __call__(self, part: Any, check: ValidatorFunctionWrapHandler, where: ValidationInfo) -> Any:
        """The checked `part`. Raises as `check` does, and ValueError where its text is no JSON."""
        text = where.context.get(part) if where.context and isinstance(part, str) else None
        if text is None:
            return check(part)
        if text not in self._parts:
            if len(self._parts) >= MOST_KEPT:
                self._parts.clear()
            self._parts[text] = check(from_json(text, allow_inf_nan=False))
        return self._parts[text]


def cut(text: bytes) -> tuple[bytes, dict[str, bytes]] | None:
    """The JSON of a result with a short text in place of the value of each of :data:`KEYS`, and by it the value's own.

    None where the result is not laid out as zoo does it, each key on a line that begins with one blank. What is not
    JSON is not made so: line breaks stand between JSON's tokens only, the values are whole if they are JSON, and the
    short texts have a control character, which nothing else in a result may have.
    """
    pieces: list[bytes] = []
    values: dict[str, bytes] = {}
    end = 0
    for begin in _BEGIN.finditer(text):
        pieces += text[end : begin.end()], b'"\\u0000%d"' % len(values)
        end = text.find(_NEXT, begin.end())
        values[f"\0{len(values)}"] = text[begin.end() : end]
    short = b"".join([*pieces, text[end:]])
    # A backslash may spell one of the keys, or a short text.
    return (short, values) if len(values) == len(KEYS) and short.count(b"\\") == len(KEYS) else None
