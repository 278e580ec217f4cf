"""Parts that many results have alike, such as a recipe: checked once and kept once, by their content."""

from __future__ import annotations

import marshal
from typing import Any

from pydantic import ValidationInfo, ValidatorFunctionWrapHandler

MOST = 4096  # different contents of one part that are kept for the next result


class Shared:
    """A pydantic wrap validator of one field, for what is read from JSON. Nothing may change what it gives."""

    def __init__(self) -> None:
        self._parts: dict[bytes, Any] = {}

    def __call__(self, part: Any, check: ValidatorFunctionWrapHandler, where: ValidationInfo) -> Any:
        """The checked `part`. Raises as `check` does."""
        if where.mode != "json":
            return check(part)
        content = marshal.dumps(part, 2)  # tells 1, 1.0 and true apart; the later formats depend on who else has a part
        if content not in self._parts:
            if len(self._parts) >= MOST:
                self._parts.clear()
            self._parts[content] = check(part)
        return self._parts[content]
