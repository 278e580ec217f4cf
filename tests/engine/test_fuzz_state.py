"""A saved state damaged in many ways: refused in one line before the first epoch, or the training goes on."""

from __future__ import annotations

import copy
import io
import os
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged import Count, little_memory
from test_train import KINDS, network, run
from tiny_training import Silent, recipe
from torch import Tensor

from zoo.engine.checkpoint import load_state
from zoo.errors import ResultError

Place = tuple[Any, ...]
GONE = object()


def _deep() -> list[Any]:
    nest: list[Any] = []
    for _ in range(150):
        nest = [nest]
    return nest


def _tensor(change: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    return lambda value: change(value) if isinstance(value, Tensor) else torch.zeros(3)


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "missing": lambda value: GONE,
    "null": lambda value: None,
    "text": lambda value: "x\x1b[2J\n",
    "true": lambda value: True,
    "negative": lambda value: -1,
    "huge": lambda value: 10**30,
    "NaN": lambda value: float("nan"),
    "infinity": lambda value: float("inf"),
    "empty list": lambda value: [],
    "empty mapping": lambda value: {},
    "deep": lambda value: _deep(),
    "another key": lambda value: {**value, "x": 1} if isinstance(value, dict) else {"x": value},
    "longer": lambda value: [*value, 1] if isinstance(value, list | tuple) else [value] * 3,
    "other shape": _tensor(lambda value: torch.zeros(*value.shape, 2)),
    "other type": _tensor(lambda value: value.to(torch.complex64)),
    "sparse": _tensor(lambda value: torch.zeros(value.shape).to_sparse()),
    "elsewhere": _tensor(lambda value: torch.zeros(value.shape, device="meta")),
    "a view of one number": _tensor(lambda value: torch.zeros(1).expand(10**12)),
    "no number": _tensor(lambda value: torch.full(value.shape, float("nan"))),
}


def places(content: Any, place: Place = ()) -> Iterator[Place]:
    """Where there is something in a state: of lists the ends, of tensors nothing inside."""
    if place:
        yield place
    if isinstance(content, dict):
        for key in content:
            yield from places(content[key], (*place, key))
    elif isinstance(content, list | tuple) and content:
        for index in sorted({0, len(content) - 1}):
            yield from places(content[index], (*place, index))


def damaged(content: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    """A copy of `content` with that change."""
    if not place:
        return change(content)
    first, *rest = place
    part = damaged(content[first], tuple(rest), change)
    if isinstance(content, dict):
        return {key: part if key == first else old for key, old in content.items() if key != first or part is not GONE}
    return [part if key == first else old for key, old in enumerate(content) if key != first or part is not GONE]


def saved_state(kind: str, folder: Path) -> tuple[Any, Any]:
    """A recipe and the state after its first epoch."""
    wanted = recipe(*KINDS[kind])

    def keep(epoch: int) -> None:
        if epoch == 1:
            (folder / "first.pt").write_bytes((folder / "state.pt").read_bytes())

    run(folder, wanted, reporter=Silent(keep))
    return wanted, torch.load(folder / "first.pt", weights_only=True)


def attack(saved: tuple[Any, Any], folder: Path, share: float) -> Count:
    wanted, content = saved
    path, count, model = folder / "state.pt", Count(), network()
    tries = [(place, name) for place in places(content) for name in DAMAGES]
    tries = tries if share == 1 else random.Random(0).sample(tries, round(share * len(tries)))
    with little_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's of sparse tensors
        for place, name in tries:
            torch.save(damaged(content, place, DAMAGES[name]), path)
            count.attempt(
                f"{place} {name}",
                lambda: run(folder, wanted, state=load_state(path), model=copy.deepcopy(model)),
            )
    return count


def test_row_9_a_damaged_state_is_one_line_before_the_first_epoch(tmp_path: Path, figure) -> None:
    """20 of 43 such states were tracebacks, some of them after the whole training."""
    count = attack(saved_state("muon", tmp_path), tmp_path, 0.03)
    figure("damaged states", count.words)
    assert count.bad == []
    assert count.tried >= 43


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_row_9_every_damage_of_a_state(kind: str, tmp_path: Path, figure) -> None:
    count = attack(saved_state(kind, tmp_path), tmp_path, 1)
    figure(f"all damages of a state of {kind}", count.words)
    assert count.bad == []


def test_row_9_a_file_that_is_no_state(tmp_path: Path) -> None:
    _, content = saved_state("sgd+cosine", tmp_path)
    for kind in ("pipe", "folder", "packed", "bomb", "no zip", "cut", "a byte", "other entries"):
        folder = tmp_path / kind
        folder.mkdir()
        refused(folder / "state.pt", kind, content)


def refused(path: Path, kind: str, state: Any) -> None:
    content = io.BytesIO()
    torch.save(state, content)
    whole = content.getvalue()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("packed", "bomb", "other entries"):
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                stored = zipfile.ZIP_STORED if kind == "other entries" else None
                if not (kind == "other entries" and name.endswith("data/0")):
                    new.writestr(name, old.read(name), stored)
            if kind == "bomb":
                with new.open("archive/data/x", "w") as part:
                    for _ in range(40):
                        part.write(bytes(2**20))
    else:
        middle, key = len(whole) // 2, whole.index(b"progress")
        flipped = whole[:key] + b"q" + whole[key + 1 :]
        path.write_bytes({"no zip": b"x" * 1000, "cut": whole[:middle], "a byte": flipped}[kind])
    with little_memory(), pytest.raises(ResultError, match="the saved state cannot be read") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)
