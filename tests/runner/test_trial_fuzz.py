"""Small random networks with a fault each: the trial ends in a result or in one line, never in a traceback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from strangers import inputs as settings_of
from strangers import stranger

from zoo.engine import guard
from zoo.errors import RegistryError
from zoo.runner.checks import try_on

# What goes into __init__, and what into forward after the maps `y` are there; `K` is drawn.
FAULTS = {
    "raises in training": ("", "if self.training: raise {error}('no\\ntraining')"),
    "raises in evaluation": ("", "if not self.training: raise {error}('no\\nevaluation')"),
    "wrong shape": ("", "y = y[:, :K]"),
    "wrong channels": ("", "y = self.conv1(y.repeat(1, K + 2, 1, 1))"),
    "view": ("", "y = y.transpose(1, K % 2 + 2).view(len(y), -1, 1, 1)"),
    "dtype": ("", "y = y.double() if K % 2 else torch.zeros(y.shape).index_add(0, torch.arange(len(y)), y.half())"),
    "hidden state": ("self.n = 0", "self.n += self.training; y = y * (1 + self.n / K)"),
    "unseeded": ("self.g = np.random.default_rng()", "y = y * self.g.uniform(0.5, 1.5) if self.training else y"),
    "leak": ("", "y = y if self.training else y + y.mean(0, keepdim=True) / K"),
    "cannot be copied": ("self.kept = []", "self.kept.append(y); y = y * 1; import copy; copy.deepcopy(self)"),
    "in place": ("", "y = y.sigmoid(); z = y * y; y.add_(1); y = y + z"),
    "not finite": ("", "y = y / 0 if K % 2 else (y - y.amax()).log() - 1"),
}
ERRORS = ("ValueError", "RuntimeError", "KeyError", "OSError", "SystemExit", "AssertionError", "StopIteration")


def code_of(fault: str, seed: int) -> str:
    """A network with this fault."""
    draw = random.Random(f"{fault} {seed}")
    init, forward = FAULTS[fault]
    number, error = draw.randint(1, 3), draw.choice(ERRORS)
    layer = draw.choice(["nn.ReLU()", "nn.GELU()", "nn.Dropout(0.1)", "nn.MaxPool2d(2)", "nn.Identity()"])
    return f"""
        K = {number}
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels, width={draw.choice([4, 8])})
                self.layer = {layer}
                {init or "pass"}
            def forward(self, x):
                y = self.layer(self.maps(x))
                {forward.format(error=error)}
                return self.fc(y.mean((2, 3)))
    """


def tried(folder: Path, fault: str, seed: int) -> str:
    """What the trial reports."""
    draw = random.Random(seed)
    norm, settings = draw.choice(["bn", "gn", "ln"]), draw.choice([(), ("ema={decay: 0.9}",), ("precision=bf16",)])
    inputs = settings_of(*settings)
    try:
        return " ".join(try_on(stranger(folder, code_of(fault, seed), norm), inputs, 16))
    except RegistryError as problem:
        return str(problem)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_a_fault_ends_in_a_line(tmp_path: Path, fault: str, seed: int) -> None:
    line = tried(tmp_path, fault, seed)
    assert "\n" not in line
    assert fault in ("in place", "view", "cannot be copied") or "model 'net_" in line or "NCHW" in line, "not found"


@pytest.mark.slow
def test_without_the_guard_half_are_tracebacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "failed", lambda *_: None)
    tracebacks = 0
    for fault in FAULTS:
        for seed in range(10):
            try:
                tried(tmp_path / f"{fault}{seed}", fault, seed)
            except (Exception, SystemExit):
                tracebacks += 1
    assert tracebacks >= len(FAULTS) * 10 / 2
