"""``NAME@NORM`` for models that have a builder of their own."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo.builder import notes
from zoo.builder.construct import build
from zoo.errors import RegistryError, UnknownNameError
from zoo.registry.fingerprint import definition
from zoo.registry.merge import Registry, load_registry

# A small network of each of a stranger's habits; `{module}` is a name that no other test uses.
NET = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, num_classes, in_channels, width=8):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return self.fc(F.relu(self.norm2(self.conv2(x))).mean((2, 3)))
"""


@pytest.fixture
def strangers(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """A registry of `models` (lines of YAML) over a module with :data:`NET` and `code`."""

    def make(code: str = "", builder: str = "Net", more: str = "") -> Registry:
        name = "net_" + "".join(character for character in request.node.name if character.isalnum())
        (tmp_path / f"{name}.py").write_text(NET + textwrap.dedent(code))
        (tmp_path / "registry.yaml").write_text(f'models: {{mine: {{builder: "{name}:{builder}"{more}}}}}\n')
        return load_registry(folder=tmp_path)

    return make


def make(registry: Registry, name: str, size: tuple[int, int] = (32, 32)) -> nn.Module:
    torch.manual_seed(0)
    return build(registry.resolve(name), 4, image_size=size)


def test_name_at_norm_works_for_a_model_with_a_builder_of_its_own(strangers: Any) -> None:
    registry = strangers(more=", kwargs: {width: 16}, label: Mine")
    model = registry.resolve("mine@ln")
    module, own = make(registry, "mine@ln"), make(registry, "mine")
    assert notes.of(module) == ["norms: ln instead of 2 BatchNorm2d"]
    assert [type(part).__name__ for part in module.children()] == [
        "Conv2d",
        "GroupNorm",
        "Conv2d",
        "GroupNorm",
        "Linear",
    ]
    assert torch.equal(module.conv2.weight, own.conv2.weight)
    assert (model.name, model.label, model.norm.name) == ("mine@ln", "Mine, LayerNorm (GroupNorm, 1 group)", "ln")
    swapped, plain = definition(model), definition(registry.resolve("mine"))
    assert swapped["architecture"] == plain["model"]
    assert swapped["norm"]["builder"] == "zoo.norms:layer_norm"


def test_a_model_is_swapped_at_the_size_of_the_images(strangers: Any) -> None:
    registry = strangers(
        """
        class Fixed(Net):
            def forward(self, x):
                assert x.shape[2:] == (24, 20)
                return super().forward(x)
        """,
        builder="Fixed",
    )
    assert notes.of(make(registry, "mine@gn", (24, 20))) == ["norms: gn instead of 2 BatchNorm2d"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("resnet18_bn@ln", "resnet18_bn@ln: resnet18_bn is architecture resnet18 with norm bn; write resnet18_ln"),
        ("resnet18@ln", "resnet18@ln: resnet18 is an architecture, which takes any norm: write resnet18_ln"),
        ("mine@lnn", "unknown norm 'lnn'.*did you mean 'ln'"),
        ("mime@ln", "unknown model 'mime'.*did you mean 'mine'"),
    ],
)
def test_what_has_no_norm_to_swap_names_what_does(strangers: Any, name: str, problem: str) -> None:
    with pytest.raises((RegistryError, UnknownNameError), match=problem):
        strangers().resolve(name)


def test_a_pattern_with_an_at_chooses_among_swapped_models(strangers: Any) -> None:
    assert [model.name for model in strangers().match(["m*@l*"])] == ["mine@ln", "mine@ln2d"]


def test_commands_take_a_swapped_model(inline_cli: Any, tiny: tuple[str, ...]) -> None:
    (inline_cli.folder / "swapped_net.py").write_text(NET)
    (inline_cli.folder / "registry.yaml").write_text('models: {mine: "swapped_net:Net"}\n')
    assert "norms: ln instead of 2 BatchNorm2d" in inline_cli.ok("show", "mine@ln").stdout
    assert "norms: ln instead of 2 BatchNorm2d" in inline_cli.ok("bench", "mine", "mine@ln", *tiny).stderr
    table = [line.split()[:2] for line in inline_cli.ok("compare", "--baseline", "mine").stdout.splitlines()]
    assert sorted(row for row in table if row and row[0].startswith("mine")) == [["mine", "-"], ["mine@ln", "ln"]]
    (folder,) = (inline_cli.folder / "runs").glob("*/*/mine-ln-*/seed0")
    assert " yes " in inline_cli.ok("evaluate", folder).stdout  # the accuracy that is stored
