"""What a command takes of a machine that may be busy: how many threads, and a line where other work takes a part."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.results.run import Run


def take_what_is_free(say: Callable[[str], None], runs: Iterable[Run] = ()) -> None:
    """``--threads auto``: give torch as many threads as other work leaves free, or as the first of `runs` was given."""
    import torch

    from zoo.runner.kept import auto_threads
    from zoo.utils.cpu import free_cores, share_of_cores

    threads = torch.get_num_threads()
    if before := auto_threads(runs):
        say(f"--threads auto: {_count(before, 'thread')}, as what is stored of these runs was made with")
    else:
        before = free_cores(threads, share_of_cores(threads))
        say(f"--threads auto: {before} of {_count(threads, 'thread')} {'is' if before == 1 else 'are'} free")
    torch.set_num_threads(before)


def warn_of_load(say: Callable[[str], None]) -> None:
    """A line where other work takes a part of the cores that torch's threads are to have."""
    import torch

    from zoo.engine.machine import gain_of_fewer
    from zoo.utils.cpu import ENOUGH, free_cores, share_of_cores

    threads = torch.get_num_threads()
    if (share := share_of_cores(threads)) >= ENOUGH:
        return
    gets = "gets" if threads == 1 else "get"
    each = " each" if threads > 1 else ""
    advice = "stop the other work"
    if (fewer := free_cores(threads, share)) < threads:
        gain = gain_of_fewer(fewer)
        advice += f", or give --threads {fewer} ({gain:.1f} times as fast here) or --threads auto"
    say(
        f"warning: {_count(threads, 'thread')} {gets} {100 * share:.0f} % of a core{each}: other work or a limit takes "
        f"the rest, and speeds will be too low; {advice}"
    )


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
