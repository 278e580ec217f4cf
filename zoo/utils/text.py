"""Text that others wrote, as it may be shown."""

from __future__ import annotations

import re

# What moves a terminal's cursor, colours it or turns text round, and what UTF-8 cannot hold.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
