"""``--track``: runs logged to TensorBoard, MLflow and Weights & Biases as well. Imports none of them before it must."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import MachineError, Option, ZooError, unknown
from zoo.utils.extras import install
from zoo.utils.text import named

if TYPE_CHECKING:
    from zoo.track.tracker import Tracker

NAMES = ("tensorboard", "mlflow", "wandb")  # each is a package, an extra of zoo's, and a module of this folder
# Set before a package is loaded, where the user has not. No usage statistics; no waiting for a server that is gone, for
# that would hold up the next run. W&B's words and its copies of the terminal, of the source and of the machine's load
# are not wanted, the last since speeds are being measured.
ENVIRONMENT = {
    "tensorboard": {},
    "mlflow": {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    },
    "wandb": {
        "WANDB_MODE": "offline",
        "WANDB_PROJECT": "norm-zoo",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_FINISH_TIMEOUT": "60",
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "WANDB_DISABLE_CODE": "true",
        "WANDB_DISABLE_GIT": "true",
        "WANDB__DISABLE_STATS": "true",
    },
}


def parse(text: str) -> tuple[str, ...]:
    """``"mlflow, wandb"`` as names, each once. Raises :class:`zoo.errors.UnknownNameError` with the nearest one."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in NAMES:
            raise unknown("tracker", name, NAMES, Option("track"), f"there are {', '.join(NAMES)}")
    return names


def check_installed(names: Sequence[str]) -> None:
    """Raise :class:`zoo.errors.MachineError` with what to install, where a package of `names` is missing."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        what = f": {' and '.join(missing)} {are} not installed; {install(missing)}"
        raise MachineError(Option("track", ",".join(names)), what)


@contextlib.contextmanager
def open_trackers(names: Sequence[str], runs: Path, say: Callable[[str], None]) -> Iterator[list[Tracker]]:
    """The trackers `names`, whose files go beside `runs` unless a tracker's own environment variables say otherwise.

    One that fails later is taken from the list, see :class:`zoo.track.reporter.Tracked`. Raises
    :class:`zoo.errors.MachineError` for one that cannot be opened, before any training.
    """
    trackers: list[Tracker] = []
    try:
        for name in names:
            os.environ.update(ENVIRONMENT[name] | os.environ)
            try:
                trackers.append(importlib.import_module(f"zoo.track.{name}").open_tracker(runs))
            except ZooError:
                raise
            except Exception as problem:
                reason = f": cannot be opened: {named(problem)}; mend that, or leave {name} out"
                raise MachineError(Option("track", name), reason) from problem
            say(f"logging to {name} in {trackers[-1].where}")
        yield trackers
    finally:
        for tracker in trackers:
            try:
                tracker.close()
            except Exception as problem:
                say(f"zoo: {tracker.name}: {named(problem)}")
