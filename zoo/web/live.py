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

from zoo.errors import MachineError, ResultError, ZooError, did_you_mean
from zoo.results.folder import EXPLAIN, FILE, RunFolder, find_results, load_all
from zoo.results.history import load_history
from zoo.utils.lock import dead_holder
from zoo.web.charts import curve
from zoo.web.data import run_id
from zoo.web.writer import render

OFTEN = 1.0  # seconds: however many pages ask, the folders are not searched more often


class Site:
    """The page of `roots` as files under `folder`, made anew when results change. Its methods may run in threads.

    What cannot be read later on leaves the page as it was and stands in :meth:`news`. The first build raises
    :class:`ZooError`. `word` makes a text of an error.
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
        self._seen = _state(self.roots)
        self._looked = time.monotonic()
        self._files: set[str] = set()
        self._waits: str | None = None
        self._build()

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
            running, unreadable = unfinished(self.roots, self._epochs)
            return {"edition": self._edition, "running": running, "problem": self._problem or unreadable or self._waits}

    def _refresh(self) -> None:
        if time.monotonic() - self._looked < OFTEN:
            return
        self._looked = time.monotonic()
        try:
            state = _state(self.roots)
            if state == self._seen:
                return
            self._seen = state
            self._build()
            self._problem = None
        except ZooError as problem:
            self._problem = self.word(problem)

    def _build(self) -> None:
        stored = load_all(find_results(self.roots))
        # A baseline that is not done yet is no mistake here: its bench may be at work.
        names = {run.result.model.name for run in stored}
        baseline = self.baseline if self.baseline in names else None
        fresh = self.folder / str(self._edition + 1)
        shutil.rmtree(fresh, ignore_errors=True)  # of a build that failed
        try:
            fresh.mkdir()
            render(stored, fresh, baseline, self.allow_dirty, self._edition + 1)
        except OSError as problem:
            raise MachineError(f"{fresh}: the page cannot be written ({problem.strerror})") from problem
        self._waits = None
        if self.baseline is not None and baseline is None:
            self._waits = f"no finished run of the baseline {self.baseline!r} yet{did_you_mean(self.baseline, names)}"
        self._files = {path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file()}
        self._edition += 1
        shutil.rmtree(self.folder / str(self._edition - 2), ignore_errors=True)  # the last one may still be read
        self._epochs = {(run.result.dataset.name, run.result.recipe.slug): run.result.recipe.epochs for run in stored}


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
