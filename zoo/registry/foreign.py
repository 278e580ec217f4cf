"""What code that is not zoo's raises, as one line: a stranger's mistake is no bug of zoo's, nor is it an end."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from zoo.errors import ZooError
from zoo.registry.importing import STANDARD, installed_in
from zoo.utils.text import named

_ZOO = Path(__file__).parents[1]


@contextlib.contextmanager
def foreign(error_of: Callable[[BaseException], ZooError | None]) -> Iterator[None]:
    """Raise what `error_of` makes of anything that the block raises, were it ``sys.exit()``; None: as it is.

    Only what the user does, Ctrl-C, passes.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as problem:
        error = error_of(problem)
        if error is None or error is problem:
            raise
        raise error from problem


def described(problem: BaseException) -> str:
    """As :func:`zoo.utils.text.named`, with the last line of the user's own code that it passed."""
    for frame, number in reversed(list(traceback.walk_tb(problem.__traceback__))):
        file = Path(frame.f_code.co_filename)
        site = installed_in(file)
        of_torch = site is not None and file.is_relative_to(site / "torch")
        if file.is_file() and not file.is_relative_to(_ZOO) and site != STANDARD and not of_torch:
            return f"{named(problem)} ({file.name}:{number})"
    return named(problem)
