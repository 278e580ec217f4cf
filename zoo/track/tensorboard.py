"""TensorBoard: event files under ``<runs>/tensorboard``, a folder for each run."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

# protobuf makes the classes of the pb2 modules as they are imported, which pyright cannot follow.
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.hparams.api_pb2 import Status  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG, create_summary_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams

from zoo.track.tracker import Entry

LAST = "final/parameters"  # every run ends with it


class TensorBoard:
    """Written in this thread; that of torch's SummaryWriter reports a full disk by a traceback."""

    name = "tensorboard"

    def __init__(self, runs: Path) -> None:
        self.folder = runs / "tensorboard"
        self.where = str(self.folder)
        self._writer: RecordWriter | None = None
        logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it would log every purge

    def holds(self, entry: Entry) -> bool:
        """See :class:`zoo.track.tracker.Tracker`."""
        return bool(self._steps(entry, LAST))

    def begin(self, entry: Entry, fresh: bool) -> Collection[int]:
        """See :class:`zoo.track.tracker.Tracker`. A folder has no id: a fresh run replaces an older one."""
        folder = self.folder / entry.path
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            for file in folder.glob("events.out.tfevents.*"):
                file.unlink()
        logged = self._steps(entry, "lr")
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter((folder / name).open("xb"))
        self._write(file_version="brain.Event:2")
        # Whatever a killed session still wrote of later steps is not shown.
        self._write(step=max(logged, default=0) + 1, session_log=SessionLog(status=SessionLog.START))
        if not logged:
            _, start, _ = hparams(entry.params, {})  # type: ignore[no-untyped-call]  # torch does not annotate it
            self._write(summary=start)
        self._writer.flush()
        return logged

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """See :class:`zoo.track.tracker.Tracker`."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._write(step=epoch, summary=Summary(value=values)).flush()

    def end(self, status: str, epoch: int, metrics: dict[str, float], files: dict[str, str]) -> None:
        """See :class:`zoo.track.tracker.Tracker`. The status is in the HPARAMS tab; files have no place."""
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

    def _write(self, **content: Any) -> RecordWriter:
        assert self._writer is not None, "no run is open"
        self._writer.write(Event(wall_time=time.time(), **content).SerializeToString())
        return self._writer


open_tracker = TensorBoard
