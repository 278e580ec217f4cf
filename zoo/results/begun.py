"""Runs that are begun and not finished: what each keeps of its beginning, how far it is, and what resumes it."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pydantic import TypeAdapter

from zoo.errors import Option, ResultError
from zoo.results.fields import Count, Text
from zoo.results.folder import RunFolder, find_runs
from zoo.results.history import load_history
from zoo.results.run_filter import ALL, RunFilter
from zoo.utils.files import read_file, write_atomic
from zoo.utils.lock import dead_holder
from zoo.utils.text import counted, listed, visible

LARGEST = 2**20  # bytes of what a run keeps of its beginning
COMMANDS = 5  # in a list of runs that are not finished


@dataclass(frozen=True)
class Beginning:
    """What a run keeps while it is not finished.

    `command`: what resumes it, as words, empty where none was given; `place`: the working directory that it is of.
    `path`: the run's own folder at that time.
    """

    model: Text
    epochs: Count
    command: list[Text]
    place: Text
    path: Text


_BEGINNING = TypeAdapter(Beginning)


@dataclass(frozen=True)
class Begun:
    """A run without a result. `epochs` of its recipe and the `kept` beginning are None where an older zoo began it.

    `saved`: its finished epochs; None where its history cannot be read. `running`: whether a process is at it.
    """

    folder: RunFolder
    model: str
    saved: int | None
    running: bool
    kept: Beginning | None

    def __str__(self) -> str:
        epochs = "?" if self.saved is None else str(self.saved)
        epochs += f" of {self.kept.epochs}" if self.kept else ""
        return f"{self.model} {self.folder.path.name.replace('seed', 'seed ')} ({epochs} epochs)"

    @property
    def command(self) -> str:
        """What resumes it, typed in this working directory; empty where that is not known."""
        if self.kept is None or not self.kept.command:
            return ""
        words, here = list(self.kept.command), self.folder.path.absolute()
        if here != Path(self.kept.path) and len(here.parents) > 4:  # it was copied or moved with the runs around it
            words += Option("runs", str(here.parents[3])).arguments
        elsewhere = Path(self.kept.place) != Path.cwd() and Path(self.kept.place).is_dir()
        return visible((f"cd {shlex.quote(self.kept.place)} && " if elsewhere else "") + shlex.join(words))


def keep(folder: RunFolder, model: str, epochs: int, command: Sequence[str]) -> None:
    """Keep in the `folder` of a run of `model` what resumes it. Raises as :func:`write_atomic` does."""
    place, path = str(Path.cwd()), str(folder.path.absolute())
    beginning = {"model": model, "epochs": epochs, "command": list(command), "place": place, "path": path}
    write_atomic(folder.begun, json.dumps(beginning, indent=1).encode() + b"\n")


def look(folder: RunFolder) -> Begun:
    """How far the run in `folder`, which has no result, is. What cannot be read of it is left out."""
    kept: Beginning | None = None
    saved: int | None = 0
    running = False
    with contextlib.suppress(OSError, ValueError):
        kept = _BEGINNING.validate_json(read_file(folder.begun, LARGEST))
    with contextlib.suppress(FileNotFoundError):
        running = dead_holder(folder.path) is None
    if folder.state.exists():
        try:
            saved = len(load_history(folder.history))
        except ResultError:
            saved = None
    return Begun(folder, kept.model if kept else folder.path.parent.name, saved, running, kept)


def find_begun(roots: Iterable[Path], wanted: RunFilter = ALL) -> list[Begun]:
    """The `wanted` runs under `roots` that are begun and not finished, in the order of their paths."""
    return begun_in(find_runs(roots)[1], wanted)


def begun_in(folders: Iterable[Path], wanted: RunFilter = ALL) -> list[Begun]:
    """The `wanted` runs of the `folders` that :func:`zoo.results.folder.find_runs` gives.

    Their dataset and recipe are those that the names of their folders say. Trials of a tuning are no runs.
    """
    runs = [look(RunFolder(path)) for path in folders if re.fullmatch(r"seed\d+", path.absolute().name)]
    return [run for run in runs if _is_of(wanted, run)]


def _is_of(wanted: RunFilter, run: Begun) -> bool:
    dataset, recipe, _, _ = ("", "", "", "", *run.folder.path.absolute().parts)[-4:]
    return (
        wanted.dataset in (None, dataset)
        and wanted.recipe in (None, recipe, recipe.rpartition("-")[0])
        and (not wanted.models or any(fnmatch(run.model, pattern) for pattern in wanted.models))
    )


def lines(begun: Sequence[Begun]) -> list[str]:
    """A line for the runs that a process is at, and one for each command that resumes others; no more than fit."""
    by_command: dict[str, list[str]] = defaultdict(list)
    for run in begun:
        if not run.running:
            by_command[run.command].append(str(run))
    running = [str(run) for run in begun if run.running]
    text = [f"running: {listed(running)}"] if running else []
    for command, runs in list(by_command.items())[:COMMANDS]:
        how = f"to resume: {command}" if command else "to resume, repeat the command that began it, which was not kept"
        text.append(f"not finished: {listed(runs)}; {how}")
    if others := list(by_command.values())[COMMANDS:]:
        text.append(f"not finished: {counted(sum(map(len, others)), 'run')} more, of {len(others)} other commands")
    return [visible(line) for line in text]


def no_results(roots: Sequence[Path], otherwise: str = "`zoo bench MODEL` makes runs") -> ResultError:
    """The error where no run under `roots` is finished: it names those that are begun, or says `otherwise`."""
    where = ", ".join(map(str, roots))
    if begun := lines(find_begun(roots)):
        return ResultError(f"no run under {where} is finished yet; {'; '.join(begun)}")
    return ResultError(f"no result.json under {where}; {otherwise}")
