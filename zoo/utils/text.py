"""Text that others wrote, as it may be shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What moves a terminal's cursor, colours it or turns text round, and what UTF-8 cannot hold.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

LONGEST = 300  # characters of another library's message
LISTED, LONGEST_NAME = 5, 40  # names in a list, and their characters


def named(problem: BaseException) -> str:
    """The type and the message of an error, on one line that is not too long."""
    try:
        text = " ".join(str(problem).split())
    except Exception:  # a message that cannot be made either
        text = ""
    return cut(f"{type(problem).__name__}: {text}" if text else type(problem).__name__, LONGEST)


def cut(text: str, most: int) -> str:
    """The first `most` characters of `text`, and dots where it has more."""
    return text if len(text) <= most else f"{text[:most]}..."


def listed(names: Sequence[str]) -> str:
    """The first of `names`, long ones cut, and how many more there are."""
    shown = ", ".join(cut(name, LONGEST_NAME) for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED:,} more" if len(names) > LISTED else "")


def counted(number: int, word: str) -> str:
    """``1 run``, ``1,200 runs``."""
    return f"{number:,} {word}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """``4.2 s``, ``45 s``, from a minute on ``h:mm:ss``.

    >>> duration(59.4), duration(59.6), duration(86_400)
    ('59 s', '0:01:00', '24:00:00')
    """
    whole = round(seconds)
    if whole >= 60:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"


def visible(text: str) -> str:
    """`text` with all that a terminal would act on, or could not show, as Python writes it: ``\\x1b``."""
    return text if text.isprintable() else CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def markdown(text: str) -> str:
    """`text` on one line of Markdown, in which none of it is a link, a tag, open code, or the border of a cell."""
    marks = "[|`]" if text.count("`") % 2 else "[|]"
    return re.sub(rf"({marks}|\](?=[(\[:])|<(?=[A-Za-z/!?]))", r"\\\1", visible(text))
