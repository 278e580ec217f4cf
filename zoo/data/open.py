"""Images of any kind by name or folder: a dataset, or a set for testing only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zoo.data import datasets, test_sets
from zoo.data.choice import NOTHING, Choice
from zoo.data.datasets import Dataset
from zoo.data.test_sets import ShiftedSet
from zoo.errors import DataError, Option, UnknownNameError, unknown
from zoo.utils.files import reachable


def test_only(name: str) -> str | None:
    """The test-only set called `name`, or the one in the folder of this path; None for anything else."""
    if canonical := test_sets.canonical(name):
        return canonical
    with reachable(name, DataError):
        folder = Path(name).expanduser()
        return test_sets.kind(folder) if folder.is_dir() else None


def open_images(name: str, data_dir: str | None, choice: Choice = NOTHING) -> Dataset | ShiftedSet:
    """A dataset of any kind, by name or by folder."""
    if canonical := test_only(name):
        choice.refuse(f"{canonical} has test images only")
        if test_sets.canonical(name):
            opened = test_sets.open_set(canonical, datasets.search_path(data_dir))
        else:
            opened = test_sets.open_folder(Path(name).expanduser().absolute(), canonical)
        return replace(opened, size=choice.image_size)
    try:
        return datasets.load(name, data_dir, choice)
    except UnknownNameError as problem:
        places = " and ".join(map(str, datasets.search_path(data_dir)))
        names = [row.name for row in datasets.available(data_dir)]
        hint = (f"there are {', '.join(names)}; name any other by its folder, as in ", Option("dataset", f"./{name}"))
        raise unknown("dataset", name, names, places, *hint) from problem
