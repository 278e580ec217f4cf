"""How progress is shown, and how far a long loop is, on the terminal of somebody who waits for it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Literal, TextIO, TypeVar, get_args

Item = TypeVar("Item")
Style = Literal["bar", "plain", "none"]

STYLES: tuple[Style, ...] = get_args(Style)
PATIENCE, OFTEN = 2.0, 0.2  # seconds before the first word, and between two
EACH = 50  # items between two looks at the clock
# What kernels of Jupyter, Colab and Kaggle set, and so the commands of a cell's `!` have. Those have a terminal, whose
# every change the notebook keeps. An editor that starts a kernel by itself leaves Jupyter's out, but not its backend.
NOTEBOOKS = ("JPY_PARENT_PID", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")
INLINE = "matplotlib_inline"

terminal: TextIO | None = None  # where lines may move: set by the command line; nobody waits for what Python calls
style: Style = "plain"


def show(wanted: Style | None) -> None:
    """Show progress as `wanted`, or as stderr allows: a bar on a terminal where a person sits, else plain lines."""
    global style, terminal
    style = wanted or ("bar" if sys.stderr.isatty() and may_move(os.environ) else "plain")
    terminal = sys.stderr if style == "bar" else None


def may_move(environment: Mapping[str, str]) -> bool:
    """Whether a terminal with this `environment` is one on which lines can be written over."""
    kept = any(environment.get(name) for name in (*NOTEBOOKS, "CI")) or INLINE in environment.get("MPLBACKEND", "")
    return not kept and environment.get("TERM", "") not in ("dumb", "unknown")


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
