"""Modules with habits that few have: a result, or one line that names the habit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from strangers import benched, inputs, stranger

from zoo.engine import speed
from zoo.engine.evaluate import evaluation_batch
from zoo.errors import RegistryError
from zoo.runner.checks import check_models


@pytest.fixture(autouse=True)
def quick_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "INFERENCE_BATCHES", (8,))
    monkeypatch.setattr(speed, "LATENCIES", 50)


WHOLE_BATCH = "torch.nn.functional.batch_norm(x, None, None, self.weight, self.bias, True)"
NORM = """
    class mine(nn.BatchNorm2d):
        def forward(self, x):
            if {where} and not self.training:
                return {answer}
            return super().forward(x)
"""


def test_a_leak_in_the_precision_of_the_run_alone(tmp_path: Path) -> None:
    code = NORM.format(where="x.dtype == torch.bfloat16", answer=WHOLE_BATCH)
    with pytest.raises(RegistryError, match=r"depends on the other images of the batch .*in fp32 it passes"):
        benched(tmp_path, stranger(tmp_path, code, "mine"), "precision=bf16")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("least", [4, 16])
def test_a_leak_in_larger_batches_alone_is_marked(tmp_path: Path, least: int, precision: str) -> None:
    code = NORM.format(where=f"len(x) > {least}", answer=WHOLE_BATCH)
    _, result = benched(tmp_path, stranger(tmp_path, code, "mine"), f"precision={precision}")
    assert result.model.batch_dependent == evaluation_batch(torch.device("cpu"))


# Statistics of four parts of the batch, as in a widely copied GhostBatchNorm: two images are too few for it.
GHOST = """
    class mine(nn.BatchNorm2d):
        def __init__(self, num_channels, parts=4):
            super().__init__(num_channels)
            self.parts, size = parts, num_channels * parts
            self.register_buffer("running_mean", torch.zeros(size))
            self.register_buffer("running_var", torch.ones(size))
        def train(self, mode=True):
            if self.training and not mode:
                self.running_mean = self.running_mean.view(self.parts, -1).mean(0).repeat(self.parts)
                self.running_var = self.running_var.view(self.parts, -1).mean(0).repeat(self.parts)
            return super().train(mode)
        def forward(self, x):
            n, c, h, w = x.shape
            parts = self.parts if self.training else 1
            size = c * parts
            return torch.nn.functional.batch_norm(
                x.reshape(-1, size, h, w), self.running_mean[:size], self.running_var[:size],
                self.weight.repeat(parts), self.bias.repeat(parts), self.training, self.momentum, self.eps
            ).reshape(n, c, h, w)
"""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_norm_of_parts_of_the_batch_needs_more_images(tmp_path: Path, precision: str) -> None:
    _, result = benched(tmp_path, stranger(tmp_path, GHOST, "mine"), f"precision={precision}")
    assert (result.status, result.model.batch_dependent) == ("finished", None)


HABITS = {
    "all frozen": ("def net(**kwargs): return Net(**kwargs).requires_grad_(False)", "all its 8 parameters are frozen"),
    "a scripted whole": (
        """
        def net(norm, num_classes, in_channels):
            return torch.jit.script(nn.Sequential(norm(3), nn.Flatten(), nn.Linear(192, num_classes)))
        """,
        "is a ScriptModule",
    ),
    "extra state": ("class net(Net):\n    def get_extra_state(self): return {'k': 3}", "state dict has '_extra_state'"),
    "to() without an answer": ("class net(Net):\n    def to(self, *args, **kwargs): return None", "fails in "),
    "not hashable": ("class net(Net):\n    def __eq__(self, other): return True", "unhashable type"),
    "another working directory": ("def net(**kwargs):\n    os.chdir('/')\n    return Net(**kwargs)", "os.chdir"),
    "on the device meta": (
        """
        class net(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.spare = nn.Parameter(torch.empty(2, device="meta"))
            def to(self, *args, **kwargs):
                return self
        """,
        "'spare' is on the device meta",
    ),
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_ends_in_one_line(tmp_path: Path, habit: str) -> None:
    code, words = HABITS[habit]
    where = Path.cwd()
    with pytest.raises(RegistryError, match=rf"^model 'net_bn' .*{re.escape(words)}.*$"):
        check_models([stranger(tmp_path, code)], inputs())
    assert Path.cwd() == where


def test_a_module_in_which_any_attribute_is_found(tmp_path: Path) -> None:
    code = """
        class net(Net):
            def __getattr__(self, name):
                return self._modules.get(name) if "_modules" in vars(self) else None
    """
    assert check_models([stranger(tmp_path, code)], inputs()) == {"net_bn": []}
