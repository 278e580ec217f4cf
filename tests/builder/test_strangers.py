"""Networks that nobody here wrote, by a line of YAML: each takes a step, or is refused in the line that says why."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from strangers import try_on

from zoo.builder.construct import build
from zoo.errors import RegistryError
from zoo.registry.entries import read_registry_file
from zoo.registry.merge import load_registry

FOLDER = Path(__file__).parents[1] / "support" / "strangers"
REFUSED = {
    "auxiliary": "tuple",
    "dataclass": "Output",
    "unnamed": "returns (2, 100) for two images, expected (2, 10); write `arguments: {num_classes: class_num}`",
    "needs_blocks": "missing a required argument: 'blocks'; write `kwargs: {blocks: ...}` in its entry, or name a",
    "settings": "missing a required argument: 'args'; write `kwargs: {args: ...}` in its entry, or name a function",
    "swallows": "expected (2, 10); its builder has no parameter 'num_classes' (it has width); write `arguments: {num_",
    "two": "networks:prints_and_returns_two returned tuple, expected a torch.nn.Module",
}
NAMES = list(read_registry_file(FOLDER / "registry.yaml", "").models)
BENCHED = [name for name in NAMES if name not in REFUSED]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("networks", None)


def take_a_step(name: str, layout: str = "nchw") -> None:
    model = load_registry(folder=FOLDER).resolve(name)
    try_on(model, lambda: build(model), (3, 32, 32), 10, layout=layout)


def test_there_are_twenty_and_more() -> None:
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", BENCHED)
def test_a_stranger_takes_a_step(name: str) -> None:
    take_a_step(name)


@pytest.mark.parametrize("name", REFUSED)
def test_a_stranger_is_refused_in_a_line(name: str) -> None:
    with pytest.raises(RegistryError) as caught:
        take_a_step(name)
    assert "\n" not in str(caught.value)
    assert f"{FOLDER / 'registry.yaml'}:" in str(caught.value)
    assert REFUSED[name] in str(caught.value)


@pytest.mark.slow
def test_the_script_benches_strangers_and_counts_them() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "strangers.py"
    models = ["tuples", "scripted", "viewed", "swallows", "two"]
    chosen = [word for model in models for word in ("--model", model)]
    command = [sys.executable, script, FOLDER, FOLDER / "registry.yaml", *chosen]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    ends = dict(re.findall(r"^\| (\w+) \| bench \| (\w+) \| \d+ \|", done.stdout, re.MULTILINE))
    assert ends.items() >= {"tuples": "done", "scripted": "done", "swallows": "refused", "two": "refused"}.items()
    assert set(ends) == set(models)
    assert "0 end otherwise" in done.stdout
    assert done.returncode == 0
