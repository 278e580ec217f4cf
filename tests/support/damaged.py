"""Damaged files for the borders that read them, and commands run over them with no net below."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click

from zoo.errors import ZooError
from zoo.recipes.recipe import fingerprint_of

MISSING, TWICE = "-- missing --", "-- twice --"
LIMIT, HANGS = 20.0, 180.0  # seconds of one try: of the processor, and by the clock, on a machine that is busy
MEMORY = 2 * 2**30  # bytes over what the process has


def _deep(levels: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(levels):
        nest = [nest]
    return nest


def _twist(value: Any) -> Any:
    """`value` as another type that reads like it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return dict(enumerate(value))
    return list(value.items()) if isinstance(value, dict) else [value]


# What is put in the place of a value; 27 kinds. `elsewhere` is a folder that nothing may write to.
DAMAGES: dict[str, Callable[[Any, Path], Any]] = {
    "missing": lambda value, elsewhere: MISSING,
    "twice": lambda value, elsewhere: TWICE,
    "null": lambda value, elsewhere: None,
    "true": lambda value, elsewhere: True,
    "zero": lambda value, elsewhere: 0,
    "one": lambda value, elsewhere: 1,
    "negative": lambda value, elsewhere: -1,
    "fraction": lambda value, elsewhere: 0.5,
    "tiny": lambda value, elsewhere: 5e-324,
    "large": lambda value, elsewhere: 2**52,
    "larger": lambda value, elsewhere: 1e308,
    "huge": lambda value, elsewhere: 10**400,
    "NaN": lambda value, elsewhere: float("nan"),
    "Infinity": lambda value, elsewhere: float("inf"),
    "empty text": lambda value, elsewhere: "",
    "text": lambda value, elsewhere: "x",
    "control characters": lambda value, elsewhere: "a\x1b[2J\r\nb\0",
    "half a character": lambda value, elsewhere: "\ud800",
    "turned around": lambda value, elsewhere: "\u202eabc\u2028",
    "upwards": lambda value, elsewhere: f"../../../../../../..{elsewhere}/x",
    "absolute": lambda value, elsewhere: f"{elsewhere}/x",
    "long": lambda value, elsewhere: "x" * 10**6,
    "empty list": lambda value, elsewhere: [],
    "empty mapping": lambda value, elsewhere: {},
    "deep": lambda value, elsewhere: _deep(400),
    "another type": lambda value, elsewhere: _twist(value),
    "unknown key": lambda value, elsewhere: value | {"\x1b[1m": 1} if isinstance(value, dict) else {"x": value},
}
Place = tuple[str | int, ...]


def places(content: Any, place: Place = ()) -> Iterator[Place]:
    """Where there is a value in `content`; of a list its first and last."""
    if place:
        yield place
    keys = list(content) if isinstance(content, dict) else sorted({0, len(content) - 1} & set(range(len(content))))
    for key in keys:
        if isinstance(content[key], dict | list):
            yield from places(content[key], (*place, key))
        else:
            yield (*place, key)


def damaged(content: Any, place: Place, kind: str, elsewhere: Path) -> str:
    """The JSON of `content` with that damage; a recipe's content has its fingerprint, as an attacker's would."""
    content = json.loads(json.dumps(content))
    *parents, last = place
    target = content
    for key in parents:
        target = target[key]
    new = DAMAGES[kind](target[last], elsewhere)
    twice = None
    if new == MISSING:
        del target[last]
    elif new == TWICE:
        twice = json.dumps(target[last])
        target[last] = TWICE
    else:
        target[last] = new
    if place[:2] == ("recipe", "content"):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            content["recipe"]["fingerprint"] = fingerprint_of(content["recipe"]["content"])
    text = json.dumps(content, indent=1)  # laid out as zoo's own
    if twice is not None:
        end = f"{twice}, {json.dumps(last)}: {twice}" if isinstance(last, str) else f"{twice}, {twice}"
        text = text.replace(json.dumps(TWICE), end)
    return text


@dataclass
class Count:
    """What came of all tries. `bad`: each other than an end without error or one line."""

    tried: int = 0
    held: int = 0
    bad: list[str] = field(default_factory=list)
    slowest: float = 0.0
    last: str = ""  # the last mistake's line

    @property
    def words(self) -> str:
        """For the report."""
        return f"{self.tried} tried, {self.held} held, slowest {self.slowest:.1f} s"

    def attempt(self, label: str, run: Callable[[], object]) -> bool:
        """Call `run`; whether it ended well, and not in a mistake's one line."""
        self.tried += 1
        begun = time.process_time()
        fine = False
        try:
            with _alarm(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                run()
            fine = True
        except (ZooError, click.ClickException) as problem:
            self.last = words = str(problem) if isinstance(problem, ZooError) else problem.format_message()
            if "\n" in words or not words.isprintable() or len(words) > 1500:
                self.bad.append(f"{label}: not one line: {words[:200]!r}")
                return False
        except BaseException as problem:
            if isinstance(problem, KeyboardInterrupt):
                raise
            frame = traceback.extract_tb(problem.__traceback__)[-1]
            own = [step for step in traceback.extract_tb(problem.__traceback__) if "/zoo/" in step.filename]
            where = own[-1] if own else frame
            name = Path(where.filename).name
            self.bad.append(f"{label}: {type(problem).__name__}: {str(problem)[:100]!r} at {name}:{where.lineno}")
            return False
        finally:
            self.slowest = max(self.slowest, time.process_time() - begun)
        self.held += 1
        return fine


class TookTooLong(BaseException):
    """A try that hangs."""


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"more than {LIMIT} s of the processor, or {HANGS} s")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, LIMIT), (signal.SIGALRM, signal.ITIMER_REAL, HANGS))
    before = [signal.signal(number, ring) for number, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


@contextlib.contextmanager
def little_memory(most: int = MEMORY) -> Iterator[None]:
    """No more than `most` bytes over what the process has, whatever a file says."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (held + most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def zoo(*arguments: object) -> None:
    """``zoo ARGUMENTS`` without the net of main()."""
    from zoo.cli.main import cli

    cli.main(args=[str(argument) for argument in arguments], standalone_mode=False)


def sample(content: Any, share: float, seed: int = 0) -> list[tuple[Place, str]]:
    """A `share` of all places and damages, drawn by `seed`."""
    tries: Sequence[tuple[Place, str]] = list(itertools.product(places(content), DAMAGES))
    return sorted(random.Random(seed).sample(tries, round(share * len(tries))), key=repr)
