"""MLflow: ``$MLFLOW_TRACKING_URI``, else the SQLite store ``<runs>/mlflow.db``; an experiment for each table."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Collection
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

from zoo.errors import MachineError, Option
from zoo.track.tracker import Entry
from zoo.utils.files import check_no_link

ID, STATUS = "zoo.id", "zoo.status"
AT_ONCE = 100  # parameters in one request, at most


class MLflow:
    """Through the client alone: no global active run, nothing patched."""

    name = "mlflow"

    def __init__(self, runs: Path) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it would log each table that it makes
        address, self._artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not address:
            if re.search("[?#%]", str(runs.absolute())):
                raise MachineError(
                    f"{runs.absolute()}: MLflow reads ?, # and % in a folder's name as parts of a URL; set "
                    "MLFLOW_TRACKING_URI, or choose another folder with ", Option("runs", "FOLDER"),
                )  # fmt: skip
            runs.mkdir(parents=True, exist_ok=True)
            check_no_link(runs / "mlflow.db")
            address = f"sqlite:///{runs.absolute() / 'mlflow.db'}"
            self._artifacts = (runs.absolute() / "mlflow-artifacts").as_uri()
        self.where = re.sub(r"//[^/@]*@", "//", address)  # without a password
        self._client = MlflowClient(address)
        self._run = ""  # id of the open run
        self._client.search_experiments(max_results=1)  # raises where nothing answers at the address

    def holds(self, entry: Entry) -> bool:
        """See :class:`zoo.track.tracker.Tracker`."""
        run = self._find(entry)
        return run is not None and run.data.tags.get(STATUS) in ("finished", "diverged")

    def begin(self, entry: Entry, fresh: bool) -> Collection[int]:
        """See :class:`zoo.track.tracker.Tracker`."""
        run = self._find(entry)
        if run is None:
            tags = {ID: entry.id, "mlflow.source.name": "zoo"}
            if commit := entry.params.get("git_commit"):
                tags["mlflow.source.git.commit"] = str(commit)
            run = self._client.create_run(self._experiment(entry), run_name=entry.name, tags=tags)
        self._run = run.info.run_id
        self._client.update_run(self._run, "RUNNING")
        self._client.set_tag(self._run, STATUS, "running")
        # Parameters cannot be changed: a resumed run keeps those that it began with.
        lacking = [Param(key, str(value)) for key, value in entry.params.items() if key not in run.data.params]
        for start in range(0, len(lacking), AT_ONCE):
            self._client.log_batch(self._run, params=lacking[start : start + AT_ONCE])
        return {metric.step for metric in self._client.get_metric_history(self._run, "lr")}

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        now = int(1000 * time.time())
        self._client.log_batch(self._run, [Metric(name, value, now, epoch) for name, value in metrics.items()])

    def end(self, status: str, epoch: int, metrics: dict[str, float], files: dict[str, str]) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        self.log(epoch, metrics)
        for name, text in files.items():
            self._client.log_text(self._run, text, name)
        self._client.set_tag(self._run, STATUS, status)
        self._client.set_terminated(self._run, "FINISHED" if status == "finished" else "FAILED")
        self._run = ""

    def close(self) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        if self._run:
            self._client.set_terminated(self._run, "KILLED")

    def _experiment(self, entry: Entry) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or entry.group
        experiment = self._client.get_experiment_by_name(name)
        return experiment.experiment_id if experiment else self._client.create_experiment(name, self._artifacts)

    def _find(self, entry: Entry) -> Run | None:
        runs = self._client.search_runs([self._experiment(entry)], f"tags.`{ID}` = '{entry.id}'", max_results=1)
        return runs[0] if runs else None


open_tracker = MLflow
