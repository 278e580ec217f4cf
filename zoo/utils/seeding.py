"""Every random number in zoo is a pure function of (seed, purpose, epoch, position); global state decides nothing."""

from __future__ import annotations

import hashlib


def derive(*parts: int | str) -> int:
    """A 63-bit seed from any number of integers and strings.

    Equal parts give equal seeds on every machine; any change of any part gives an unrelated seed (BLAKE2b, RFC 7693).
    """
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
