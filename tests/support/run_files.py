"""What a run leaves on the disk, and whether two runs are the same: for the tests that disturb one of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from zoo.recipes.recipe import fingerprint_of

TIMES = ("train_images_per_second", "train_seconds", "eval_seconds")


def find_run(folder: Path, model: str, seed: int = 0) -> Path:
    """The folder of the only run of this model and seed under `folder`/runs."""
    (found,) = (folder / "runs").glob(f"*/*/{model}/seed{seed}")
    return found


def save_edited(path: Path, result: dict[str, Any]) -> None:
    """Write the JSON `result` as ``result.json``, its recipe with the fingerprint of its content."""
    recipe = result["recipe"] | {"fingerprint": fingerprint_of(result["recipe"]["content"])}
    path.write_text(json.dumps(result | {"recipe": recipe}))


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file under `folder`: time and bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def history(folder: Path) -> list[dict[str, str]]:
    """history.csv without its clock."""
    rows = csv.DictReader((folder / "history.csv").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def check_same(folder: Path, reference: Path, resumes: int | None = None) -> None:
    """The finished run in `folder` is the undisturbed one in `reference`, bit by bit. `resumes`: of the first."""
    assert {path.name for path in folder.iterdir()} == {
        "result.json", "history.csv", "model.safetensors", "predictions.npz",
    }  # fmt: skip
    mine, theirs = (load_file(path / "model.safetensors") for path in (folder, reference))
    assert set(mine) == set(theirs)
    assert [name for name in mine if mine[name].tobytes() != theirs[name].tobytes()] == []
    assert (folder / "model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()
    assert history(folder) == history(reference)
    with np.load(folder / "predictions.npz") as mine, np.load(reference / "predictions.npz") as theirs:
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    mine, theirs = (json.loads((path / "result.json").read_text()) for path in (folder, reference))
    assert theirs["resumes"] == 0
    assert resumes in (None, mine["resumes"])
    parts = ("test", "holdout", "train", "selection", "running_train_loss", "model", "recipe", "dataset")
    for part in (*parts, "epochs_trained"):
        assert mine[part] == theirs[part], part
