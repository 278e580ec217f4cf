"""TensorBoard: event files under ``<runs>/tensorboard``, a folder for each run."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG, create_summary_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams

from zoo.track.tracker import Entry

LAST = "final/parameters"  # every run ends with it


class TensorBoard:
    """Written as it comes, without the thread of torch's SummaryWriter, which tells of a full disk by a traceback."""

    name = "tensorboard"

    def __init__(self, runs: Path) -> None:
        self.folder = runs / "tensorboard"
        self.where = str(self.folder)
        self._writer: RecordWriter | None = None
        logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it would tell of every purge

    def holds(self, entry: Entry) -> bool:
        """See :class:`zoo.track.tracker.Tracker`."""
        return bool(self._steps(entry, LAST))

    def begin(self, entry: Entry, fresh: bool) -> Collection[int]:
        """See :class:`zoo.track.tracker.Tracker`. A folder has no id: a fresh run takes the place of an
        older one.
        """
        folder = self.folder / entry.path
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            for file in folder.glob("events.out.tfevents.*"):
                file.unlink()
        known = self._steps(entry, "lr")
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter((folder / name).open("xb"))
        self._write(file_version="brain.Event:2")
        # Whatever a killed session still wrote of later steps is not shown.
        self._write(step=max(known, default=0) + 1, session_log=SessionLog(status=SessionLog.START))
        if not known:
            self._write(summary=hparams(entry.params, {})[1])
        self._writer.flush()
        return known

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._write(step=epoch, summary=Summary(value=values))
        self._writer.flush()

    def end(self, status: str, epoch: int, metrics: dict[str, float], files: dict[str, str]) -> None:
        """See :class:`zoo.track.tracker.Tracker`. The status is in the HPARAMS tab; there is no place for
        files.
        """
        self.log(epoch, metrics)
        ended = SessionEndInfo(status=Status.Value("STATUS_SUCCESS" if status == "finished" else "STATUS_FAILURE"))
        metadata = create_summary_metadata(HParamsPluginData(session_end_info=ended))
        self._write(summary=Summary(value=[Summary.Value(tag=SESSION_END_INFO_TAG, metadata=metadata)]))
        self.close()

    def close(self) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        if self._writer:
            self._writer.close()
            self._writer = None

    def _steps(self, entry: Entry, tag: str) -> set[int]:
        events = EventAccumulator(str(self.folder / entry.path), size_guidance={"scalars": 0}).Reload()
        return {event.step for event in events.Scalars(tag)} if tag in events.Tags()["scalars"] else set()

    def _write(self, **content: Any) -> None:
        self._writer.write(Event(wall_time=time.time(), **content).SerializeToString())


open_tracker = TensorBoard
