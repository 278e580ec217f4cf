"""How far a long loop is, on the terminal of somebody who waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

Item = TypeVar("Item")

PATIENCE, OFTEN = 2.0, 0.2  # seconds before the first word, and between two
EACH = 50  # items between two looks at the clock

terminal: TextIO | None = None  # set by the command line where stderr is one; nobody waits for what Python calls


def watched(items: Iterable[Item], what: str) -> Iterator[Item]:
    """`items`; after two seconds a line on :data:`terminal` counts them, and is gone when the loop ends."""
    if terminal is None:
        yield from items
        return
    total = f" of {len(items):,}" if isinstance(items, Sized) else ""
    next_word, spoken = time.monotonic() + PATIENCE, False
    try:
        for number, item in enumerate(items):
            if number % EACH == 0 and (now := time.monotonic()) > next_word:
                terminal.write(f"\r{what}: {number:,}{total}")
                terminal.flush()
                next_word, spoken = now + OFTEN, True
            yield item
    finally:
        if spoken:
            terminal.write("\r\x1b[K")
            terminal.flush()
