"""An export from start to end: the files of its folder, checked, then written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from zoo.data.datasets import Dataset
from zoo.export import check as checks
from zoo.export.card import RECIPE, card, config
from zoo.export.formats import FORMATS, encode
from zoo.export.graph import Graph, preparation
from zoo.render.recipes import as_yaml
from zoo.results.recipe_source import described
from zoo.trained.load import TrainedRun
from zoo.utils.files import write_atomic


@dataclass(frozen=True)
class Export:
    """The files of an export, by name, the model first; nothing is on the disk yet."""

    files: Mapping[str, bytes]
    check: checks.Check


def export(run: TrainedRun, data: Dataset, to: str, licence: str) -> Export:
    """`run` in the format `to`, one of :data:`~zoo.export.formats.FORMATS`, checked on test images of its own `data`.

    Files: the model, ``config.json``, ``README.md`` (the model card; `licence` as the hub names it) and the recipe.
    Raises :class:`zoo.errors.ResultError` where the recipe's evaluation cannot be part of a graph, where the exporter
    fails, or where the logits differ from the run's.
    """
    chosen, wanted = FORMATS[to], checks.reference(run, data)
    channels, height, width = wanted.images.shape[1:]
    graph = Graph(run, (height, width))
    facts = config(run, preparation(run), (height, width), graph.resized)
    example = torch.zeros(2, channels, height, width)
    content = encode(chosen, graph, example, facts, run.folder.weights.read_bytes())
    check = checks.check(chosen.open(content, graph), wanted, f"{run.folder.path} as {chosen.label}")
    recipe = described(run.result, f"of {run.model.name} seed {run.result.seed}")
    files = {
        chosen.file: content,
        "config.json": json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n",
        "README.md": card(run, facts, chosen, check, licence).encode(),
        RECIPE: as_yaml(recipe).encode(),
    }
    if chosen.file != "model.safetensors" or not _local(run):
        checks.check_usage(chosen.usage, files, f"{run.folder.path} as {chosen.label}")
    return Export(files, check)


def _local(run: TrainedRun) -> bool:
    """Whether a part of the model is of a registry file, which the export's folder does not have."""
    parts = (run.model.architecture, run.model.norm, run.model.entry)
    return any(part is not None and part.origin.folder is not None for part in parts)


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Put `files` into `folder`; each is whole or not there, the model last. Raises as :func:`write_atomic` does."""
    for name, content in reversed(list(files.items())):
        write_atomic(folder / name, content)
