"""Every random number in zoo is a pure function of (seed, purpose, epoch, position); global state decides nothing.

The code of a model draws from the global generators, which :func:`seed_all` sets.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np


def derive(*parts: int | str) -> int:
    """A 63-bit seed from any number of integers and strings.

    Equal parts give equal seeds on every machine; any change of any part gives an unrelated seed (BLAKE2b, RFC 7693).
    """
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed_all(seed: int) -> None:
    """Seed the generators that the code of a model draws from: those of torch, NumPy and Python."""
    import torch

    torch.manual_seed(seed)
    np.random.seed([seed % 2**32, seed // 2**32 % 2**32])  # noqa: NPY002 the global one; it takes numbers of 32 bits
    random.seed(seed)


@contextlib.contextmanager
def same_random_numbers() -> Iterator[None]:
    """What the block draws from those generators, the code after it draws again."""
    import torch

    from zoo.utils.device import accelerator

    here = accelerator()
    numbers = [torch.accelerator.current_device_index()] if here else []
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 the same
    try:
        with torch.random.fork_rng(numbers, device_type=here.type if here else "cuda"):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 the same
