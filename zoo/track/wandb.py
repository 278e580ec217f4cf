"""Weights & Biases, offline unless ``$WANDB_MODE`` says otherwise: ``<runs>/wandb``, sent on by ``wandb sync``."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Collection
from pathlib import Path

import wandb

from zoo.track.tracker import Entry
from zoo.utils.files import write_atomic

RESULT = "zoo-result.json"


class WandB:
    """One W&B run for each run of zoo, by its id."""

    name = "wandb"

    def __init__(self, runs: Path) -> None:
        self.folder = Path(os.environ.get("WANDB_DIR") or runs)
        self.where = f"{self.folder / 'wandb'} ({os.environ['WANDB_MODE']})"
        self._run: wandb.Run | None = None  # the open one

    def holds(self, entry: Entry) -> bool:
        """See :class:`zoo.track.tracker.Tracker`."""
        return any((folder / "files" / RESULT).is_file() for folder in self._folders(entry))

    def begin(self, entry: Entry, fresh: bool) -> Collection[int]:
        """See :class:`zoo.track.tracker.Tracker`.

        Online the server has the last step. What a killed session wrote offline is only partly on the disk, so the run
        is logged again from its first epoch and replaces that session's folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        older = [folder for folder in self._folders(entry) if folder.name.startswith("offline-run-")]
        self._run = wandb.init(
            id=entry.id, resume="allow", dir=self.folder, name=entry.name, group=entry.group,
            config=entry.params, tags=[str(entry.params[key]) for key in ("dataset", "norm") if key in entry.params],
        )  # fmt: skip
        for folder in older:
            if folder.name != Path(self._run.dir).parent.name:  # named by the second in which it was begun
                shutil.rmtree(folder)
        return range(1, self._run.starting_step)

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        assert self._run is not None, "no run is open"
        self._run.log(metrics, step=epoch, commit=True)

    def end(self, status: str, epoch: int, metrics: dict[str, float], files: dict[str, str]) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        assert self._run is not None, "no run is open"
        self._run.summary.update({**metrics, "status": status})
        self._run.tags = (*(self._run.tags or ()), status)
        for name, text in files.items():  # W&B uploads what is in this folder
            write_atomic(Path(self._run.dir, name), text.encode())
        self._finish(0 if status == "finished" else 1)

    def close(self) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        try:
            self._finish(1)
        finally:
            wandb.teardown()  # else as Python ends, with a traceback where W&B's process has died

    def _finish(self, code: int) -> None:
        run, self._run = self._run, None
        if run:
            run.finish(exit_code=code)

    def _folders(self, entry: Entry) -> list[Path]:
        return sorted((self.folder / "wandb").glob(f"*run-*-{glob.escape(entry.id)}"))


open_tracker = WandB
