"""The folder of one run: where its files lie, and reading and writing each of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json, to_json

from zoo.errors import MachineError, Option, ResultError
from zoo.results.metrics import MATRIX_CLASSES
from zoo.results.run_filter import ALL, RunFilter
from zoo.results.schema import RESULT, SCHEMA_VERSION, Finished, Result
from zoo.results.shared import cut
from zoo.utils.disk import remove, unlink
from zoo.utils.files import reachable, read_file, remove_leftovers, write_atomic
from zoo.utils.gcpause import paused_gc
from zoo.utils.waiting import watched

FILE = "result.json"
# Of a result: bytes, numbers, and lists, mappings and their keys. Each takes far more in memory, and there are three
# matrices of the classes, or lists of their pairs.
LARGEST, NUMBERS, PARTS = 64 * 2**20, 6 * 10**6, 10**6
EDITED = "the file was damaged or edited"
COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results"  # in a checkout
EXPLAIN, EXPORT = "explain", "export"  # where `zoo explain` and `zoo export` write, in the run's folder


def model_folder(model: str) -> str:
    """A folder's name for `model`: its own, or, where it has characters that no name of a registry has, what is
    readable of it with a digest, so that no two models share a folder.

    >>> model_folder("resnet18_bn"), model_folder("timm:resnet18@ln")
    ('resnet18_bn', 'timm-resnet18-ln-b9eb4b3b')
    """
    readable = re.sub(r"[^A-Za-z0-9_.+-]+", "-", model)
    if readable == model:
        return model
    return f"{readable[-60:].strip('-.')}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


class _File:
    """The path of a file of a run, by its name in the folder."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: RunFolder, owner: type[RunFolder]) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """``<runs>/<dataset>/<recipe>-<fingerprint8>/<model>/seed<k>`` and the files in it."""

    path: Path

    result = _File(FILE)  # written last: a run with this file is done
    history = _File("history.csv")  # one line per epoch
    weights = _File("model.safetensors")  # the selected epoch's
    predictions = _File("predictions.npz")  # per test image: label, predicted class, confidence
    state = _File("state.pt")  # what a killed run resumes from; removed when the run is done, as is the next
    begun = _File("begun.json")  # the command that resumes it: :mod:`zoo.results.begun`
    track = _File("track.json")  # the id under which trackers know the run (``--track``)

    @classmethod
    def of(cls, runs: Path, dataset: str, recipe_slug: str, model: str, seed: int) -> RunFolder:
        """The folder of one run; it need not exist."""
        return cls(runs.joinpath(dataset, recipe_slug, model_folder(model), f"seed{seed}"))

    def forget_state(self) -> None:
        """Remove the state of a run that is done: its schedule has ended, so nothing can go on from it."""
        for path in (self.state, self.begun):
            remove(path)  # or the same command does, where it cannot be removed now

    def clear(self) -> None:
        """Remove what an earlier run left here, and what was made of it. Raises :class:`ResultError`."""
        files = (self.result, self.state, self.begun, self.history, self.weights, self.predictions, self.track)
        for path in (*files, self.path / EXPLAIN, self.path / EXPORT):
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    unlink(path)
            except OSError as problem:
                raise ResultError(f"{path}: cannot be removed ({problem.strerror})") from problem


_HERE = RunFolder(Path())
TRACES = {path.name for path in (_HERE.begun, _HERE.state, _HERE.history)}  # of a run that was begun


@dataclass(frozen=True)
class Stored:
    """A result and where it lies: predictions and history are read from there when they are asked for."""

    result: Result
    folder: RunFolder


@dataclass(frozen=True)
class Tested(Stored):
    """A finished run."""

    result: Finished


def load_stored(path: Path) -> Stored:
    """The run of one ``result.json``. Raises as :func:`load_result` does."""
    return Stored(load_result(path), RunFolder(path.parent))


@paused_gc()
def load_all(paths: Iterable[Path], wanted: RunFilter = ALL, matrix: bool = False) -> list[Stored]:
    """The runs of many ``result.json``, each without what no table shows.

    :meth:`zoo.results.schema.BaseResult.thin` says what that is, and takes `matrix`.
    Files that cannot be of `wanted` runs are not checked and left out; others may be left in. Raises as
    :func:`load_result` does.
    """
    runs = []
    for path in watched(paths, "runs read"):
        if wanted.may_have(text := _content(path)):
            result = _checked(path, text)
            result.thin(matrix)
            runs.append(Stored(result, RunFolder(path.parent)))
    return runs


def save_result(path: Path, result: Result) -> None:
    """Write `result` as JSON, whole or not at all."""
    write_atomic(path, as_text(result.model_dump(mode="json")).encode() + b"\n")


def as_text(content: JsonValue, indent: str = "\n ") -> str:
    """`content` as the JSON of a result, a line for each key; a list stands on one line unless it holds a few lists or
    mappings.
    """
    if isinstance(content, dict) and content:
        parts = [f"{json.dumps(key)}: {as_text(part, indent + ' ')}" for key, part in content.items()]
        return f"{{{indent}{f',{indent}'.join(parts)}{indent[:-1]}}}"
    parted = isinstance(content, list) and any(isinstance(part, dict | list) for part in content)
    if isinstance(content, list) and parted and len(content) <= MATRIX_CLASSES:
        return f"[{indent}{f',{indent}'.join(as_text(part, indent + ' ') for part in content)}{indent[:-1]}]"
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def load_result(path: Path) -> Result:
    """Read one ``result.json``. Raises :class:`ResultError` for a damaged file or a newer schema, and nothing else."""
    return _checked(path, _content(path))


def _content(path: Path) -> bytes:
    try:
        return read_file(path, LARGEST)
    except OSError as problem:
        raise ResultError(f"{path}: cannot be read: {problem.strerror}") from problem


def _checked(path: Path, text: bytes) -> Result:
    if len(text) > PARTS and (text.count(b",") > NUMBERS or sum(map(text.count, (b":", b"[", b"{"))) > PARTS):
        raise ResultError(f"{path}: cannot be read: more than {NUMBERS:,} numbers or {PARTS:,} parts")
    try:
        with contextlib.suppress(ValidationError):
            short, parts = cut(text) or (text, None)
            return RESULT.validate_json(short, context=parts)
        return _explained(path, text)
    except ResultError:
        raise
    except Exception as problem:  # a border: whatever a file holds is this file's mistake
        raise ResultError(f"{path}: cannot be read ({type(problem).__name__}); {EDITED}") from problem


def _explained(path: Path, text: bytes) -> Result:
    """The result of an older schema; anything else is explained by the :class:`ResultError` that is raised."""
    try:
        content = from_json(text, allow_inf_nan=False)
    except ValueError as problem:
        what = f"no {FILE}; give one, or a folder of runs"
        if path.name == FILE:
            what = f"not valid JSON ({problem}); {EDITED}"
        raise ResultError(f"{path}: {what}") from problem
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ResultError(f"{path}: has schema version {version}, this zoo reads up to {SCHEMA_VERSION}; upgrade zoo")
    try:
        return RESULT.validate_json(to_json(_upgraded(content) if version == 1 else content))
    except ValidationError as problem:
        raise ResultError(f"{path}: {in_words(problem)}; {EDITED}") from problem


def in_words(problem: ValidationError) -> str:
    """The first thing that is wrong with a result or a part of one, in one line."""
    first = problem.errors(include_url=False)[0]
    status, *keys = first["loc"] or [None]
    if status not in ("finished", "diverged"):
        keys = list(first["loc"])
    if first["type"] == "union_tag_not_found":
        return "status: field required"
    if first["type"] == "union_tag_invalid":
        return f"status: input should be {first.get('ctx', {})['expected_tags'].replace(', ', ' or ')}"
    if len(keys) == 1 and first["type"] != "missing" and (first["input"] is None or first["type"] == "none_required"):
        return f"{keys[0]}: {'null' if first['input'] is None else 'not null'} in a {status} run"
    if first["type"] == "string_pattern_mismatch":
        what = f"{first['input']!r:.100} is not allowed here"
    else:
        what = first["msg"].removeprefix("Value error, ")
        what = what[:1].lower() + what[1:]
    words = f"{'.'.join(map(str, keys)) or 'the file'}: {what}"
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in words[:500])


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 as 2: what it did not measure is null. Anything else that is missing stays missing."""
    content = content | {"schema_version": 2, "train": None, "epochs_to_90_percent_of_final": None}
    quality = {"top5_accuracy": None, "brier": None}
    parts = {"model": {"activation_bytes": None}, "settings": {"deterministic": False}}
    parts |= {"test": quality, "holdout": quality}
    return content | {part: content[part] | new for part, new in parts.items() if isinstance(content.get(part), dict)}


def find_results(roots: Iterable[Path]) -> list[Path]:
    """All ``result.json`` under `roots` (folders, or such files themselves), sorted. Raises as :func:`find_runs`."""
    return find_runs(roots)[0]


def find_runs(roots: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """All ``result.json`` under `roots` (folders, or such files themselves), and the folders of runs that are begun and
    have none; both sorted.

    Raises :class:`ResultError` for a root that does not exist and for a folder that cannot be looked into: its runs
    are not left out without a word.
    """
    results: list[Path] = []
    begun: list[Path] = []
    for root in (places := list(roots)):
        with reachable(root, ResultError):
            if not (root.is_file() or root.is_dir()):
                raise ResultError(
                    f"no runs in {root}: no such folder; give the folder that runs are kept in, or make some with "
                    "`zoo bench MODEL`"
                )
            is_file = root.is_file()
        results += [root] if is_file else watched(_under(root, begun), "runs found")
    return (results, begun) if len(places) == 1 else (sorted(set(results)), sorted(set(begun)))


def _under(root: Path, begun: list[Path]) -> Iterator[Path]:
    """All ``result.json`` under the folder `root`, in the order of their paths; links to folders are not followed.

    Folders with files of a run and no result are added to `begun`.
    """
    folders, waiting = [os.fspath(root)], list[os.DirEntry[str]]()
    while folders or waiting:
        if waiting:
            entry = waiting.pop()
            if entry.name == FILE:
                yield Path(entry.path)
            if not entry.is_dir(follow_symlinks=False):
                continue
            folders.append(entry.path)
        try:
            folder = folders.pop()
            with os.scandir(folder) as entries:
                waiting += (inside := sorted(entries, key=operator.attrgetter("name"), reverse=True))
            names = {entry.name for entry in inside}
            if FILE not in names and not names.isdisjoint(TRACES):
                begun.append(Path(folder))
        except FileNotFoundError:  # removed since
            continue
        except OSError as problem:
            raise ResultError(f"{problem.filename}: its runs cannot be read ({problem.strerror})") from problem


def make_output(folder: Path | None, own: Path, option: str = "out") -> Path:
    """Make and sweep the `folder` that the user named by `option`, else zoo's `own` one in a run's folder.

    No link may stand in the place of zoo's own. Raises :class:`ResultError` for that and for what is no folder,
    :class:`MachineError` where it cannot be made or written to.
    """
    chosen = folder or own
    where = Option(option, str(folder)) if folder else str(own)
    if folder is None and own.is_relative_to(COMMITTED):
        raise ResultError(where, ": what is published stays as it is; name a folder with ", Option(option))
    if folder is None and any(part.is_symlink() for part in (own, own.parent)):
        raise ResultError(where, ": is a link or in one; name the folder that is meant with ", Option(option))
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except FileExistsError as problem:
        raise ResultError(where, ": is a file; name a folder") from problem
    except OSError as problem:
        raise MachineError(where, f": the folder cannot be made ({problem.strerror}); name another") from problem
    if not os.access(chosen, os.W_OK | os.X_OK):
        raise MachineError(where, ": the folder cannot be written to; name another")
    remove_leftovers(chosen)
    return chosen


def make_folder(folder: RunFolder) -> None:
    """Make the folder of a run that is not done, and see that it can be written to. Raises :class:`ResultError`."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ResultError(
            f"{folder.path}: cannot be made ({problem.strerror}); choose another with ", Option("runs", "FOLDER")
        ) from problem
    if not folder.result.is_file() and not os.access(folder.path, os.W_OK | os.X_OK):  # not after the first epoch
        raise ResultError(f"{folder.path}: cannot be written to; choose another with ", Option("runs", "FOLDER"))
