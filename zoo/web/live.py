"""What a served page asks for every two seconds: unfinished runs, and whether finished results have changed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import MachineError, ResultError, UnknownNameError, ZooError, did_you_mean
from zoo.results.folder import EXPLAIN, FILE, RunFolder, Stored, find_results, load_stored
from zoo.results.history import load_history
from zoo.utils.gcpause import paused_gc
from zoo.utils.lock import dead_holder
from zoo.web.charts import curve
from zoo.web.data import run_id, tables
from zoo.web.writer import render

OFTEN = 1.0  # seconds: however many pages ask, the folders are not searched more often


class Site:
    """The page of `roots` as files under `folder`, made anew when results change. Its methods may run in threads.

    The first build raises :class:`ZooError`. A run that cannot be read or shown later on stays as it was, and the
    others go on; what is wrong stands in :meth:`news`. `word` makes a text of an error.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        folder: Path,
        baseline: str | None,
        word: Callable[[ZooError], str] = str,
        allow_dirty: bool = False,
    ) -> None:
        self.roots, self.folder, self.baseline, self.word = roots, folder, baseline, word
        self.allow_dirty = allow_dirty
        self._lock = threading.Lock()
        self._edition = 0
        self._problem: str | None = None
        self._epochs: dict[tuple[str, str], int] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._again = 0.0  # when to look again; an error that passes by is tried again
        self._runs: dict[Path, Stored] = {}  # that the page shows
        self._files: set[str] = set()
        self._waits: str | None = None
        state = _state(self.roots)
        self._build({path: load_stored(path) for path in find_results(self.roots)}, [])
        self._seen = state

    def read(self, name: str) -> bytes | None:
        """A file of the newest page, by its name from the page's folder on; None for anything else."""
        with self._lock:
            if name.endswith(".html"):
                self._refresh()
            # Looked up among the names that were written, so that no name leads out of the folder.
            return (self.folder / str(self._edition) / name).read_bytes() if name in self._files else None

    def news(self) -> dict[str, Any]:
        """`edition` rises with each new page; `running`: runs without a result; `problem`: one line or None."""
        with self._lock:
            self._refresh()
            running: list[dict[str, Any]] = []
            try:
                running, unreadable = unfinished(self.roots, self._epochs)
            except Exception as problem:
                unreadable = self._words(problem)
            return {"edition": self._edition, "running": running, "problem": self._problem or unreadable or self._waits}

    def _refresh(self) -> None:
        if (begun := time.monotonic()) < self._again:
            return
        try:
            state = _state(self.roots)
            if state != self._seen:
                faults: list[Exception] = []
                self._build(self._read(faults), faults)
                self._problem = next(map(self._words, faults), None)
                if not faults:  # else it is tried again
                    self._seen = state
        except Exception as problem:
            self._problem = self._words(problem)
        now = time.monotonic()
        self._again = now + max(OFTEN, 20 * (now - begun) if self._problem else 0)

    def _words(self, problem: Exception) -> str:
        if isinstance(problem, ZooError):
            return self.word(problem)
        return " ".join(f"the page could not be made anew: {type(problem).__name__}: {problem}".split())[:300]

    @paused_gc()
    def _read(self, faults: list[Exception]) -> dict[Path, Stored]:
        """The results as they are now, or as they were where one cannot be read."""
        runs = {}
        for path in find_results(self.roots):
            try:
                runs[path] = load_stored(path)
            except ResultError as problem:
                faults.append(problem)
                if path in self._runs:
                    runs[path] = self._runs[path]
        return runs

    def _fitting(self, runs: dict[Path, Stored], baseline: str | None, faults: list[Exception]) -> dict[Path, Stored]:
        """Of `runs` those that can be compared: of two that contradict each other the one that the page has."""
        kept = {path: run for path, run in runs.items() if path in self._runs}
        for path in runs.keys() - kept.keys():
            try:
                tables([*kept.values(), runs[path]], baseline, self.allow_dirty)
            except UnknownNameError:  # the baseline comes later
                pass
            except ResultError as problem:
                faults.append(problem)
                continue
            kept[path] = runs[path]
        return kept

    def _render(
        self, runs: dict[Path, Stored], fresh: Path, baseline: str | None, faults: list[Exception] | None
    ) -> None:
        shutil.rmtree(fresh, ignore_errors=True)  # of a build that failed
        fresh.mkdir(parents=True)
        render(list(runs.values()), fresh, baseline, self.allow_dirty, self._edition + 1, faults)

    def _build(self, runs: dict[Path, Stored], faults: list[Exception]) -> None:
        if self._edition and runs == self._runs and faults:
            return
        names = {run.result.model.name for run in runs.values()}
        # A baseline that is not done yet is no mistake here: its bench may be at work.
        baseline = self.baseline if self.baseline in names else None
        fresh = self.folder / str(self._edition + 1)
        try:
            try:
                self._render(runs, fresh, baseline, None)
            except ResultError:
                if not self._edition:
                    raise
                runs = self._fitting(runs, baseline, faults)
                if runs == self._runs and faults:
                    return
                self._render(runs, fresh, baseline, faults)
        except OSError as problem:
            raise MachineError(f"{fresh}: the page cannot be written ({problem.strerror})") from problem
        self._waits = None
        if self.baseline is not None and baseline is None:
            self._waits = f"no finished run of the baseline {self.baseline!r} yet{did_you_mean(self.baseline, names)}"
        self._files = {path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file()}
        self._edition += 1
        shutil.rmtree(self.folder / str(self._edition - 2), ignore_errors=True)  # the last one may still be read
        self._runs = runs
        self._epochs = {
            (run.result.dataset.name, run.result.recipe.slug): run.result.recipe.epochs for run in runs.values()
        }


def unfinished(roots: Sequence[Path], epochs: dict[tuple[str, str], int]) -> tuple[list[dict[str, Any]], str | None]:
    """The runs under `roots` with an epoch or a process but no result, and what could not be read of them.

    `epochs`: how many the recipes of finished runs have, by dataset and recipe folder.
    """
    runs, problem = [], None
    for folder in sorted(_begun(roots)):
        run = RunFolder(folder)
        try:
            rows = load_history(run.history) if run.history.is_file() else []
        except ResultError as fault:
            if run.history.is_file():  # else it was restarted between the two looks
                problem = str(fault)
            continue
        dataset, recipe, model, seed = folder.absolute().parts[-4:]
        number = int(seed.removeprefix("seed"))
        runs.append({
            "id": run_id(folder, model, number), "model": model, "norm": "", "seed": number,
            "dataset": dataset, "recipe": recipe, "state": _state_of(folder),
            "epoch": rows[-1].epoch if rows else 0, "epochs": epochs.get((dataset, recipe), 0), "curve": curve(rows),
        })  # fmt: skip
    return runs, problem


def _begun(roots: Sequence[Path]) -> set[Path]:
    """Folders of a bench's runs with a history or a lock and no result; trials of a tuning are none."""
    folders = set()
    for root in roots:
        for folder, names, files in os.walk(root):
            if "history.csv" in files:
                folders.add(Path(folder))
            folders |= {Path(folder, name) for name in names if f".{name}.lock" in files}
    return {
        folder
        for folder in folders
        if re.fullmatch("seed[0-9]+", folder.absolute().name)
        and not (folder / FILE).is_file()
        and len(folder.absolute().parts) > 4
    }


def _state_of(folder: Path) -> str:
    """The state of a run by its lock, which names a killed process, too."""
    try:
        process = dead_holder(folder)
    except FileNotFoundError:
        return "stopped; the same `zoo bench` goes on"
    if process is None:
        return "running"
    return f"no process {process} on this machine; if it was killed, the same `zoo bench` goes on"


def _state(roots: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """All results with time and size, and the pictures beside them."""
    state = {}
    for path in find_results(roots):
        for seen in (path, path.parent / EXPLAIN):
            with contextlib.suppress(OSError):  # gone since, or never explained
                status = seen.stat()
                state[str(seen)] = (status.st_mtime_ns, status.st_size)
    return state
