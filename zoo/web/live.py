"""The page of results that change, made anew by a process of its own: no request waits for it."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from zoo.errors import MachineError, Message, ResultError, ZooError, did_you_mean
from zoo.results.begun import look
from zoo.results.folder import RunFolder, Stored, load_all
from zoo.results.history import load_history
from zoo.results.schema import Result
from zoo.utils import waiting
from zoo.utils.disk import remove, rename
from zoo.utils.gcpause import paused_gc
from zoo.utils.lock import dead_holder
from zoo.utils.text import named
from zoo.web.charts import curve
from zoo.web.data import Table, run_id, tables
from zoo.web.runpage import others
from zoo.web.watch import SHARE, SOON, Seen, Watch
from zoo.web.writer import OVERVIEWS, File, Writer, fixed_files

LISTED = 20  # runs that are trained, and runs that were stopped, in the news: those of the newest epochs
POINTS = 30  # of a curve in the news
PAGES = "pages"  # the folder of the files that are of no edition
SETTLE = 0.05  # seconds in which what is written together is there


@dataclass(frozen=True)
class News:
    """`edition` rises with each new page. `running` and `stopped`: runs without a result, the newest of so many as
    `counts` has. `histories`: the files of all their curves, by the run's id. `problem`: what is wrong.
    """

    edition: int
    running: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    histories: dict[str, str] = field(default_factory=dict)
    problem: Message | None = None


class Builder:
    """The page of `roots` as files under `folder`: those on all runs in a folder for each edition, others beside it.

    The first build raises :class:`ZooError`. A run that cannot be read or shown later on stays as it was, and the
    others go on; what is wrong stands in the news.
    """

    def __init__(
        self, roots: Sequence[Path], folder: Path, baseline: str | None, allow_dirty: bool = False, edition: int = 0
    ) -> None:
        self.folder, self.baseline, self.allow_dirty, self.edition = folder, baseline, allow_dirty, edition
        self.watch = Watch(roots)
        self._first = True
        self._runs: dict[str, Stored] = {}  # that the page shows, by their folders
        self._pages: dict[str, tuple[Result, tuple[str, ...]]] = {}  # by a run's id what its page was made of
        self._late: list[str] = []  # pages of the edition that are still to be written
        self._tables: list[Table] = []
        self._again: set[str] = set()  # folders of which something could not be read or shown
        self._when = self._next = 0.0  # to try them again, and to look at unfinished runs
        self._problem: ZooError | None = None
        self._waits: ZooError | None = None  # for the baseline
        self._epochs: dict[tuple[str, str], int] = {}  # of the recipes of finished runs, by dataset and recipe folder
        self._unfinished: tuple[dict[str, Any], ZooError | None] = ({}, None)
        for file in fixed_files():
            self._put(PAGES, file)
        self._build(self.watch.look())
        self._first = False

    def refresh(self) -> News:
        """Look for changes, make anew what they concern, and give the news. Raises nothing."""
        begun = time.monotonic()
        changed: set[str] = set()
        try:
            changed = self.watch.look()
            self._again |= {path for path in changed if path in self._runs or self._has_result(path)}
            if self._again and (changed or begun >= self._when):
                self._build(self._again)
            elif not self._again:
                self._problem = None
        except ZooError as problem:
            self._problem = problem
        except Exception as problem:
            self._problem = ZooError(f"the page could not be made anew: {named(problem)}")
        if self._again or self._problem:
            self._when = time.monotonic() + max(SOON, 20 * (time.monotonic() - begun))
        if changed or begun >= self._next:
            begun = time.monotonic()
            self._unfinished = unfinished(self.watch.seen, self._epochs)
            self._next = time.monotonic() + max(SOON, (time.monotonic() - begun) / SHARE)
        return self.news

    @property
    def news(self) -> News:
        """What a page asks for."""
        about, unreadable = self._unfinished
        problem = self._problem or unreadable or self._waits
        return News(self.edition, **about, problem=problem.parts if problem else None)

    def finish(self) -> None:
        """Write the pages of the edition for which the news did not wait."""
        writer = Writer(self._baseline(self._runs), self.edition)
        while self._late:
            self._put(str(self.edition), writer.overview(self._late.pop(), self._tables))
        remove(self.folder / str(self.edition - 2))  # the last one may still be read

    @paused_gc()
    def _build(self, folders: Iterable[str]) -> None:
        """Read the results in `folders` again, and make a new edition, unless nothing came of it."""
        faults: dict[str, ZooError] = {}
        runs = self._read(folders, faults)
        shown = self._fitting(runs, faults)
        writer = Writer(self._baseline(runs), self.edition + 1)
        by_folder = {str(run.folder.path): folder for folder, run in runs.items()}
        pages = {run.id: (table, line, run) for table in shown for line in table.lines for run in line.runs}
        try:
            for name, (table, line, run) in waiting.watched(pages.items(), "pages written"):
                made = (run.result, (table.id, *(other.id for other in others(line, run))))
                folder = by_folder[str(run.stored.folder.path)]
                before = self._pages.get(name)
                if before and before[0] is run.result and before[1] == made[1] and folder not in folders:
                    continue
                problems: list[ZooError] = []
                try:
                    for file in writer.run(table, line, run, None if self._first else problems):
                        self._put(PAGES, file)
                except ResultError as problem:  # its file was damaged since
                    if self._first:
                        raise
                    problems.append(problem)
                if problems:
                    faults[folder] = problems[0]
                self._pages[name] = made
            if self._first or runs != self._runs or not faults.keys() >= set(folders):
                self._put(str(self.edition + 1), writer.overview("index", shown))
                self.finish()  # of the edition before
                self.edition, self._late = self.edition + 1, list(OVERVIEWS[1:])
        except OSError as problem:
            raise MachineError(f"{self.folder}: the page cannot be written ({problem.strerror})") from problem
        self._runs, self._tables, self._waits = runs, shown, None
        results = [run.result for run in runs.values()]
        self._epochs = {(result.dataset.name, result.recipe.slug): result.recipe.epochs for result in results}
        if self.baseline is not None and self._baseline(runs) is None:
            nearest = did_you_mean(self.baseline, {result.model.name for result in results})
            self._waits = ZooError(f"no finished run of the baseline {self.baseline!r} yet{nearest}")
        self._again, self._problem = set(faults), next(iter(faults.values()), None)
        for name in self._pages.keys() - pages.keys():
            for gone in (f"runs/{name}.html", f"data/{name}.js"):
                remove(self.folder / PAGES / gone)
            remove(self.folder / PAGES / "pictures" / name)
            del self._pages[name]

    def _read(self, folders: Iterable[str], faults: dict[str, ZooError]) -> dict[str, Stored]:
        """The runs of the page with the results in `folders` as they are now, or as they were where one is damaged."""
        runs = dict(self._runs)
        for folder in waiting.watched(sorted(folders), "runs read"):
            if not self._has_result(folder):
                runs.pop(folder, None)
                continue
            try:
                (run,) = load_all([RunFolder(Path(folder)).result])
            except ResultError as problem:
                if self._first:
                    raise
                faults[folder] = problem
            else:
                if run != runs.get(folder):  # the same object stands for the same result
                    runs[folder] = run
        return runs

    def _fitting(self, runs: dict[str, Stored], faults: dict[str, ZooError]) -> list[Table]:
        """The tables of `runs`. New ones that contradict others are taken out of it, and found by halves."""
        fresh = [folder for folder, run in runs.items() if run is not self._runs.get(folder)]
        try:
            return self._tables_of(runs)
        except ResultError:
            if self._first or not fresh:
                raise
        kept = {folder: self._runs.get(folder, run) for folder, run in runs.items()}
        kept = {folder: run for folder, run in kept.items() if folder in self._runs}
        parts = [fresh]
        while parts:
            part = parts.pop()
            trial = kept | {folder: runs[folder] for folder in part}
            try:
                self._tables_of(trial)
                kept = trial
            except ResultError as problem:
                if len(part) == 1:
                    faults[part[0]] = problem
                else:
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
        runs.clear()
        runs |= kept
        return self._tables_of(runs)

    def _tables_of(self, runs: Mapping[str, Stored]) -> list[Table]:
        return tables(list(runs.values()), self._baseline(runs), self.allow_dirty)

    def _baseline(self, runs: Mapping[str, Stored]) -> str | None:
        """None while it is not done: that is no mistake here, its bench may be at work."""
        return self.baseline if any(run.result.model.name == self.baseline for run in runs.values()) else None

    def _has_result(self, folder: str) -> bool:
        return folder in self.watch.seen and self.watch.seen[folder].result is not None

    def _put(self, place: str, file: File) -> None:
        """A whole file for whoever reads it; after a crash of the machine nobody does."""
        name, content = file
        path = self.folder / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.tmp")
        fresh.write_bytes(content)
        rename(fresh, path)


def keep_fresh(
    connection: Connection, roots: Sequence[Path], folder: Path, baseline: str | None, allow_dirty: bool, edition: int
) -> None:
    """What the process does: send the first news, or why there are none, then news whenever they change."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it
    waiting.terminal = sys.stderr if sys.stderr.isatty() else None
    try:
        builder = Builder(roots, folder, baseline, allow_dirty, edition)
    except ZooError as problem:
        connection.send(problem)
        return
    waiting.terminal = None  # from here on nobody waits
    sent: News | None = None
    while True:
        if (news := builder.refresh()) != sent:
            if sent is None:
                builder.finish()
            connection.send(news)
            sent = news
        builder.finish()
        if connection in wait([connection, *builder.watch.handles], SOON):
            return  # the server is gone
        time.sleep(SETTLE)


def unfinished(
    seen: Mapping[str, Seen], epochs: Mapping[tuple[str, str], int]
) -> tuple[dict[str, Any], ZooError | None]:
    """Of what was `seen` the runs with an epoch or a process but no result, as :class:`News` has them, and what could
    not be read of them. Trials of a tuning are none.

    `epochs`: how many the recipes of finished runs have, by dataset and recipe folder.
    """
    begun = {
        Path(path).absolute(): run.history
        for path, run in seen.items()
        if run.result is None and re.fullmatch("seed[0-9]+", Path(path).absolute().name)
    }
    folders = sorted((path for path in begun if len(path.parts) > 4), key=lambda path: begun[path] or (0, 0))
    states = {folder: _state_of(folder) for folder in reversed(folders)}
    parts = {
        "running": [folder for folder, state in states.items() if state == "running"],
        "stopped": [folder for folder, state in states.items() if state != "running"],
    }
    about: dict[str, Any] = {"counts": {name: len(part) for name, part in parts.items()}, "histories": {}}
    problem: ZooError | None = None
    for name, part in parts.items():
        about[name] = []
        for folder in part:
            dataset, recipe, model, seed = folder.parts[-4:]
            number = int(seed.removeprefix("seed"))
            run = RunFolder(folder)
            identity = run_id(folder, model, number)
            about["histories"][identity] = str(run.history)
            if len(about[name]) == LISTED:
                continue
            try:
                rows = load_history(run.history) if run.history.is_file() else []
            except ResultError as fault:
                problem = fault if run.history.is_file() else problem  # else it was restarted between the two looks
                continue
            accuracies, stage = curve(rows)["eval_accuracy"], look(run)
            of_recipe = stage.kept.epochs if stage.kept else epochs.get((dataset, recipe), 0)
            resumes = f"to resume: {stage.command}" if stage.command else "the same `zoo bench` goes on"
            about[name].append({
                "id": identity, "model": stage.model, "norm": "", "seed": number, "dataset": dataset, "recipe": recipe,
                "state": states[folder] if name == "running" else f"{states[folder]}; {resumes}",
                "epoch": len(rows), "epochs": of_recipe,
                "accuracy": next((share for share in reversed(accuracies) if share is not None), None),
                "curve": [None if share is None else round(share, 4) for share in accuracies[-POINTS:]],
            })  # fmt: skip
    return about, problem


def _state_of(folder: Path) -> str:
    """The state of a run by its lock, which names a killed process, too."""
    try:
        process = dead_holder(folder)
    except FileNotFoundError:
        return "stopped"
    if process is None:
        return "running"
    return f"process {process} has ended"
