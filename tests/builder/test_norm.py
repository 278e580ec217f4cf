"""What an architecture and a norm owe each other: the norm is used as it has to be, and it is given what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from strangers import stranger

from zoo.builder.construct import build
from zoo.errors import RegistryError

# Architectures that make their convolutions or activations themselves, or no norm at all.
IGNORES = """
class net(nn.Module):
    def __init__(self, norm, num_classes, in_channels):
        super().__init__()
        self.body = nn.Sequential({conv}(in_channels, 8, 3), {norm}, {act})
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))
"""


def ignores(conv: str = "norm.conv2d", norm: str = "norm(8)", act: str = "norm.act()") -> str:
    return IGNORES.format(conv=conv, norm=norm, act=act)


@pytest.mark.parametrize(
    ("code", "norm", "problem"),
    [
        (ignores(conv="nn.Conv2d"), "ws_gn", "norm.conv2d is never called, .* another norm than ws_gn, such as gn"),
        (ignores(act="nn.ReLU()"), "evos0", "norm.act is never called, .* would activate twice; call norm.act"),
        (ignores(act="nn.ReLU()"), "frn", "norm.act is never called"),
        (ignores(norm="nn.BatchNorm2d(8)"), "ln", "no layer is made by `norm`, so all norms would be the same model"),
    ],
)
def test_architectures_that_ignore_norm_conv2d_or_norm_act(tmp_path: Path, code: str, norm: str, problem: str) -> None:
    with pytest.raises(RegistryError, match=problem) as caught:
        build(stranger(tmp_path, code, norm))
    assert str(caught.value).startswith("architecture 'net' (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "norm"),
    [
        (ignores(conv="nn.Conv2d", act="nn.ReLU()"), "gn"),  # a norm that needs neither
        (ignores(conv="nn.Conv2d"), "evob0"),
        (ignores(act="nn.ReLU()"), "ws_gn"),
        (ignores(norm="norm(8, apply_act=False)", act="nn.Identity()"), "evos0"),  # nothing is activated
    ],
)
def test_a_norm_goes_into_an_architecture_that_does_what_it_needs(tmp_path: Path, code: str, norm: str) -> None:
    assert build(stranger(tmp_path, code, norm))(torch.rand(2, 3, 8, 8)).shape == (2, 10)
