"""Networks and norms that no one here wrote: each kind gives its right result, or one line before it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from strangers import benched, stranger

from zoo.engine import speed
from zoo.engine.checkpoint import load_weights


@pytest.fixture(autouse=True)
def quick_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_REGISTRY", raising=False)
    monkeypatch.setattr(speed, "INFERENCE_BATCHES", {"cpu": (8,)})
    monkeypatch.setattr(speed, "LATENCIES", 50)


CONSTANTS = {
    "mask in a buffer": 'self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))',
    "frozen parameter": 'self.mask = nn.Parameter(torch.full((4, 4), float("-inf")).triu(1), requires_grad=False)',
    "parameter left empty": "self.mask, self.unused = torch.zeros(4, 4), nn.Parameter(torch.full((3,), torch.nan))",
}
AVERAGES = {
    "no average": (),
    "ema": ("ema={decay: 0.9}",),
    "lookahead": ("lookahead={every: 2, decay: 0.9, power: 2}",),
}


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("constant", CONSTANTS)
def test_case_02_an_infinite_constant_is_no_divergence(tmp_path: Path, constant: str, average: str) -> None:
    code = f"""
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                {CONSTANTS[constant]}
            def forward(self, x):
                rows = self.maps(x).mean(3).transpose(1, 2)
                return self.fc(((rows @ rows.transpose(1, 2) / 6 + self.mask).softmax(-1) @ rows).mean(1))
    """
    _, result = benched(tmp_path, stranger(tmp_path, code, "gn"), *AVERAGES[average])
    assert result.status == "finished"


@pytest.mark.parametrize("average", AVERAGES)
def test_case_02_a_range_that_starts_at_infinity(tmp_path: Path, average: str) -> None:
    code = """
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                self.register_buffer("low", torch.tensor(float("inf")))
            def maps(self, x):
                x = super().maps(x)
                if self.training:
                    self.low.copy_(torch.minimum(self.low, x.detach().min().float()))
                return x
    """
    run, result = benched(tmp_path, stranger(tmp_path, code, "gn"), *AVERAGES[average])
    assert result.status == "finished"
    assert load_weights(run.folder.weights)["low"].isfinite()


def test_a_weight_that_training_makes_infinite_diverges(tmp_path: Path) -> None:
    _, result = benched(tmp_path, stranger(tmp_path, "", "gn"), "optimizer.lr=1e30")
    assert result.status == "diverged"


DRAWS = {
    "initial weights": """
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                with torch.no_grad():
                    self.fc.weight.copy_(torch.from_numpy(np.random.randn(*self.fc.weight.shape) * random.random()))
    """,
    "noise in training": """
        class net(Net):
            def maps(self, x):
                x = super().maps(x)
                return x * float(np.random.uniform(0.5, 1.5)) * random.uniform(0.5, 1.5) if self.training else x
    """,
}


@pytest.mark.parametrize("draws", DRAWS)
def test_case_10_numpy_and_python_draw_the_same_for_a_seed(tmp_path: Path, draws: str) -> None:
    weights = []
    for name in ("first", "second"):
        run, _ = benched(tmp_path / name, stranger(tmp_path / name, DRAWS[draws]))
        weights.append(load_weights(run.folder.weights))
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
