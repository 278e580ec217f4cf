"""Which modules of tests other systems than Linux can run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

# What other systems than Linux lack; a module of tests that names it is left out there.
LACKING = {
    "win32": r"\b(SIGKILL|bash|cgroup|chmod|damaged|fcntl|geteuid|hostile_paths|killpg|mkfifo|preexec_fn|preloaded|"
    r"resource|sched_setaffinity|symlink|symlink_to)\b|/proc",
    "darwin": r"\b(damaged|hostile_paths|preloaded|prlimit|sched_setaffinity)\b|/proc",
}


def lacks(path: Path) -> bool:
    """Whether a module names what this system lacks, so that it might not even be imported."""
    words = LACKING.get(sys.platform)
    return bool(words and path.suffix == ".py" and re.search(words, path.read_text(encoding="utf-8")))
