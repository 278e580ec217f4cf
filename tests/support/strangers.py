"""Networks that no one here wrote, in a registry of their own, and a bench of a second that meets them."""

from __future__ import annotations

import copy
import functools
import textwrap
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tiny_training import CPU, IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, Silent, recipe
from torch import nn

from zoo.builder.construct import other_classes, where_of
from zoo.builder.fairness import check_module
from zoo.data.datasets import Dataset
from zoo.registry.entries import Layout
from zoo.registry.merge import load_registry
from zoo.registry.model import Model
from zoo.results.run import Run, planned_runs
from zoo.results.schema import Result
from zoo.runner.checks import check
from zoo.runner.inputs import Inputs, Shape
from zoo.runner.settings import Settings
from zoo.runner.sweep import bench
from zoo.runner.trial import Trial
from zoo.utils.seeding import seed_all

# What the code of a case may use; `Net` is a small network that takes any norm.
START = """
import os, random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, norm, num_classes, in_channels, width=8):
        super().__init__()
        self.conv1, self.norm1, self.act1 = norm.conv2d(in_channels, width, 3, padding=1), norm(width), norm.act()
        self.conv2, self.norm2, self.act2 = norm.conv2d(width, 8, 3, padding=1, stride=2), norm(8), norm.act()
        self.fc = nn.Linear(8, num_classes)

    def maps(self, x):
        return self.act2(self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x))))))

    def forward(self, x):
        return self.fc(self.maps(x).mean((2, 3)))
"""


def stranger(folder: Path, code: str, norm: str = "bn", registry: str = "") -> Model:
    """The architecture `net` of `code`, or :data:`START`'s own, with `norm`; a norm of the code's own is its `mine`.

    `registry` is more of the architecture's entry, such as ``layout: channels_last``.
    """
    module = f"stranger_{uuid.uuid4().hex}"
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(START + textwrap.dedent(code))
    builder = f"{module}:{'net' if 'net(' in code else 'Net'}"
    norms = f'norms: {{mine: "{module}:mine"}}\n' if norm == "mine" else ""
    (folder / "registry.yaml").write_text(f"{norms}architectures: {{net: {{builder: '{builder}', {registry}}}}}\n")
    return load_registry(folder=folder).resolve(f"net_{norm}")


def inputs(*overrides: str, layout: Any = None, allow_batch_dependent: bool = False) -> Inputs:
    """64 random images of 8 pixels a side, one epoch of four steps unless `overrides` say otherwise."""
    arrays = {
        "train_images": IMAGES, "train_labels": LABELS.astype(np.int64),
        "test_images": TEST_IMAGES, "test_labels": TEST_LABELS.astype(np.int64),
    }  # fmt: skip
    data = Dataset(
        name="tiny",
        classes=tuple("abcd"),
        fingerprint="d" * 64,
        source="made here",
        folder=Path("/nowhere"),
        arrays=arrays,
    )
    settings = Settings(
        device=CPU, layout=layout, executor="batched", workers=0, compiled=False, deterministic=False,
        allow_batch_dependent=allow_batch_dependent,
    )  # fmt: skip
    return Inputs(recipe("epochs=1", "schedule={name: constant, warmup_epochs: 0}", *overrides), data, settings)


def planned(folder: Path, model: Model, given: Inputs) -> list[Run]:
    """Its run of seed 0."""
    return planned_runs([model], [0], given.recipe, given.dataset.name, folder / "runs")


def benched(folder: Path, model: Model, *overrides: str, **settings: Any) -> tuple[Run, Result]:
    """The run of seed 0 and its result, checked before as `zoo bench` does. Raises what it raises."""
    given = inputs(*overrides, **settings)
    (run,) = planned(folder, model, given)
    check([run], given)
    (result,) = bench([run], given, Silent())
    return run, result


def try_on(
    model: Model,
    module: nn.Module | Callable[[], nn.Module],
    shape: Shape,
    classes: int,
    smallest_batch: int = 2,
    layout: Layout = "nchw",
) -> None:
    """The trial of copies of `module`, or of what it makes, in fp32. Raises the refusal."""
    if isinstance(module, nn.Module):
        check_module(where_of(model), module)  # a copy has no hooks

    def made() -> nn.Module:
        seed_all(0)
        return copy.deepcopy(module) if isinstance(module, nn.Module) else module()

    trial = Trial(
        where_of(model),
        made,
        recipe(),
        CPU,
        layout,
        shape,
        classes,
        smallest_batch,
        advice=functools.partial(other_classes, model),
    )
    if problem := trial.refusal():
        raise problem
