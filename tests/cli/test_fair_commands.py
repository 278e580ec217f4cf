"""A model that would be trained otherwise than its rivals is refused before the first epoch, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

HONEST = """\
import torch
from torch import nn


class Mine(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels, 1, 1))
        {init}

    def forward(self, x):
        {forward}
        return x * self.weight

    {method}


def mine(num_channels):
    {build}
    return Mine(num_channels)


{top}
"""


def code(**parts: str) -> str:
    """`my_norm.py` with one line or more put in somewhere."""
    return HONEST.format(**dict.fromkeys(("init", "forward", "build", "top"), "pass") | {"method": ""} | parts)


REFUSED = {
    "own optimizer": (
        code(method="def configure_optimizers(self):\n        return torch.optim.Adam(self.parameters())"),
        ["(Mine) has 'configure_optimizers'", "cannot bring its own training", "--recipe"],
    ),
    "optimizer inside": (
        code(init="self.fast = torch.optim.SGD([self.weight], lr=1.0)"),
        ["(Mine) has 'fast'", "cannot bring its own training"],
    ),
    "faster by a hook": (
        code(init="self.weight.register_hook(lambda grad: 10 * grad)"),
        [".weight' has a gradient hook"],
    ),
    "changed by forward": (
        code(forward="self.weight.data /= self.weight.data.norm()"),
        ["changes the values of parameter", ".weight'", "register_buffer"],
    ),
    "seed in forward": (
        code(forward="torch.manual_seed(0)"),
        ["running it changes the seed of all random numbers", "take that out of the model's code"],
    ),
    "seed when built": (code(build="torch.manual_seed(0)"), ["building it changes the seed", "(torch.manual_seed)"]),
    "threads": (code(build="torch.set_num_threads(7)"), ["building it changes the number of threads", "to 7"]),
    "tf32": (
        code(top="torch.set_float32_matmul_precision('high')"),
        ["the float32 matmul precision", "from highest to high"],
    ),
    "never evaluates": (
        code(method="def train(self, mode=True):\n        return super().train(True)"),
        ["(Mine) is in training mode after eval()"],
    ),
}  # fmt: skip


BENCH = ("bench", "resnet20_mine", "--recipe", "smoke")
SHOW = ("show", "resnet20_mine")  # builds and tries as bench does


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("command", [BENCH, SHOW], ids=["bench", "show"])
def test_refused(inline_cli, tmp_path: Path, command: tuple[str, ...], name: str):
    refuse(inline_cli, tmp_path, command, name)


@pytest.mark.parametrize(
    ("command", "name"),
    [(BENCH, "seed in forward"), *(pytest.param(SHOW, name, marks=pytest.mark.slow) for name in REFUSED)],
)
def test_refused_in_a_process(zoo_cli, tmp_path: Path, command: tuple[str, ...], name: str):
    refuse(zoo_cli, tmp_path, command, name)


def refuse(cli, tmp_path: Path, command: tuple[str, ...], name: str) -> None:
    """One line that says what is wrong with the model, and nothing was trained."""
    text, says = REFUSED[name]
    (tmp_path / "registry.yaml").write_text('norms:\n  mine: "my_norm:mine"\n')
    (tmp_path / "my_norm.py").write_text(text)
    output = cli(*command)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert line.startswith(f"zoo: model 'resnet20_mine' ({tmp_path}/registry.yaml:2): ")
    for part in says:
        assert part in line, f"not said: {part}"
    assert not (tmp_path / "runs").exists(), "nothing was trained"


@pytest.mark.parametrize("key", ["optimizer: {lr: 1}", "recipe: fast", "epochs: 100"])
@pytest.mark.parametrize(
    "entry",
    ["norms:\n  mine: {{builder: 'm:f', {}}}\n", "models:\n  mine: {{architecture: resnet20, norm: bn, {}}}\n"],
)
def test_a_recipe_in_the_registry(inline_cli, tmp_path: Path, entry: str, key: str):
    (tmp_path / "registry.yaml").write_text(entry.format(key))
    output = inline_cli("bench", "resnet20_bn", "--recipe", "smoke")
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert f"{tmp_path}/registry.yaml:2" in line
    assert f"{key.split(':')[0]!r}: a model cannot bring its own recipe" in line
    assert "--recipe ./mine.yaml" in line


def test_an_honest_norm_is_shown(inline_cli, tmp_path: Path):
    (tmp_path / "registry.yaml").write_text('norms:\n  mine: "my_norm:mine"\n')
    (tmp_path / "my_norm.py").write_text(code())
    assert "total parameters" in inline_cli.ok("show", "resnet20_mine").stdout


def test_a_model_that_fails_leaves_the_others_alone(inline_cli, tmp_path: Path, tiny):
    """In the trial, and in a run that the trial could not foresee; the exit code tells."""
    tiny_net = 'builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}'
    norms = 'norms: {mine: "my_norm:mine", later: "my_norm:later"}'
    (tmp_path / "registry.yaml").write_text(f"{norms}\narchitectures: {{resnet8: {{{tiny_net}}}}}\n")
    later = "class later(nn.BatchNorm2d):\n    def forward(self, x):\n        assert len(x) < 30, 'too\\nmany'\n"
    later += "        return super().forward(x)"
    (tmp_path / "my_norm.py").write_text(code(forward="raise ValueError('never')", top=later))
    output = inline_cli("bench", "resnet8_mine", "resnet8_later", "resnet8_bn", *tiny)
    assert output.returncode == 2
    assert "resnet8_bn" in output.stdout
    failures = [line for line in output.lines if line.startswith("zoo: ")]
    assert len(failures) == 3
    assert "resnet8_mine" in failures[0]
    assert "fails in the first training step on images of shape (3, 16, 16)" in failures[0]
    assert "ValueError: never (my_norm.py:" in failures[0]
    assert "resnet8_later" in failures[1]
    assert "fails in training: AssertionError: too many (my_norm.py:" in failures[1]
    assert failures[2] == "zoo: 2 of 3 models failed: resnet8_mine, resnet8_later"
    assert [path.name for path in tmp_path.glob("runs/*/*/*") if (path / "seed0/result.json").exists()] == [
        "resnet8_bn"
    ]


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_every_model_of_a_bench_that_fails_is_reported(inline_cli, tmp_path: Path, tiny, more: list[str]):
    tiny_net = 'builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}'
    norms = 'norms: {first: "my_norm:first", second: "my_norm:second"}'
    (tmp_path / "registry.yaml").write_text(f"{norms}\narchitectures: {{resnet8: {{{tiny_net}}}}}\n")
    (tmp_path / "my_norm.py").write_text(
        "def first(num_channels):\n    raise ValueError('no\\nfirst')\n\n\ndef second(num_channels):\n    return None\n"
    )
    output = inline_cli("bench", "resnet8_first", "resnet8_second", *tiny, *more)
    assert (output.returncode, output.stdout) == (2, "")
    first, second, both = [line for line in output.lines if line.startswith("zoo: ")]
    assert "norm 'first'" in first
    assert first.endswith("my_norm:first(num_channels=4) failed: ValueError: no first")
    assert "norm 'second'" in second
    assert second.endswith("returned NoneType, expected a torch.nn.Module")
    assert both == "zoo: 2 of 2 models failed: resnet8_first, resnet8_second"


def test_a_single_model_that_fails_is_one_line(inline_cli, tmp_path: Path, tiny):
    (tmp_path / "registry.yaml").write_text('norms: {mine: "my_norm:mine"}\n')
    (tmp_path / "my_norm.py").write_text("def mine(num_channels):\n    raise ValueError('no')\n")
    output = inline_cli("bench", "resnet20_mine", *tiny)
    assert (output.returncode, output.stdout, len(output.lines)) == (2, "", 1)
