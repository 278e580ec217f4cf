"""Refuse a commit message whose subject is longer than 72 characters: ``python .ci/subject.py FILE``.

pre-commit calls it with git's file of the message; lines of comments and empty lines above the subject do not count.
"""

from __future__ import annotations

import sys
from pathlib import Path

LONGEST = 72


def main(file: str) -> int:
    """1 where the subject is too long or missing, else 0."""
    lines = [line.rstrip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
    subject = next((line for line in lines if line and not line.startswith("#")), "")
    if not subject:
        print("the message has no subject", file=sys.stderr)
    elif len(subject) > LONGEST:
        print(f"the subject has {len(subject)} characters, of at most {LONGEST}: {subject}", file=sys.stderr)
    return not 0 < len(subject) <= LONGEST


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
