"""`zoo lr-find`: a short training whose learning rate only rises, its two suggestions, its table and its picture."""

from __future__ import annotations

import json
import math
import re

import pytest
from csv_text import frame_of

from zoo.data.datasets import Dataset
from zoo.data.loader import EvalLoader, TrainLoader
from zoo.tuning.lr_find import DIVERGED, SHARE, RangeTest, rates_of

REGISTRY = 'architectures:\n  mini: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
COMMAND = ("lr-find", "mini_bn", "mini_none", "--recipe", "smoke", "--layout", "nchw", "--set", "split.train=320")


@pytest.fixture
def cli(inline_cli):
    """The command line where `mini` is an architecture."""
    (inline_cli.folder / "registry.yaml").write_text(REGISTRY)
    return inline_cli


def test_rises_until_it_diverges_and_says_what_to_set(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    split, read = Dataset.split, []

    def guarded(self: Dataset, name: str):
        read.append(name)
        return split(self, name)

    monkeypatch.setattr(Dataset, "split", guarded)
    rows = []
    made = TrainLoader.__init__

    def loader(self, *given, indices, **named):
        rows.append(len(indices))
        made(self, *given, indices=indices, **named)

    monkeypatch.setattr(TrainLoader, "__init__", loader)
    monkeypatch.setattr(EvalLoader, "__len__", lambda self: pytest.fail("a split was evaluated"))
    output = cli.ok(*COMMAND, "--steps", "40", "--high", "1000", "--format", "json")
    assert set(read) == {"train"}
    assert rows == [320, 320]  # the images that the recipe trains on, none that is held out
    bn, none = json.loads(output.stdout)
    for one in (bn, none):
        ratios = {round(b / a, 9) for a, b in zip(one["rates"], one["rates"][1:], strict=False)}
        assert len(ratios) == 1
        assert one["rates"][0] == pytest.approx(1e-4)
        assert all(math.isfinite(loss) for loss in one["losses"])
        assert one["lowest_loss"] == min(one["losses"])
    # Without a norm it cannot go on to a learning rate of 1000.
    assert none["lr_at_divergence"] < 1000
    assert none["steps"] < 40
    assert none["share_of_divergence"] == pytest.approx(SHARE * none["lr_at_divergence"])
    assert not (cli.folder / "runs").exists()
    text = cli.ok(*COMMAND, "--steps", "40", "--high", "1000", "--out", "curve.svg")  # again, the same figures
    assert f"mini_none, 0.1 of divergence: --set optimizer.lr={none['share_of_divergence']:.3g}" in text.stdout
    assert "mini_bn" in (cli.folder / "curve.svg").read_text()
    assert (cli.folder / "lr-find.png").read_bytes().startswith(b"\x89PNG")
    for rate in re.findall(r"--set (optimizer\.lr=\S+)", text.stdout):
        assert cli("recipe", "show", "smoke", "--set", rate).returncode == 0


def test_table_formats(cli) -> None:
    from zoo.render.lr_find import render

    found = [RangeTest("a_bn", 10, rates_of(1e-3, 1, 50), valley(50), 0.7)]
    frame = frame_of(render(found, "csv", "title"))
    assert frame["steepest_descent"][0] == found[0].steepest
    for style in ("text", "markdown", "latex"):
        text = render(found, style, "title")
        assert "title" in text
        assert f"{found[0].steepest:.3g}" in text
        assert f"{DIVERGED:g} times the highest of the first 10%" in text.replace("\\%", "%")


def valley(steps: int) -> list[float]:
    """A loss that stays, falls fastest in the middle and rises again."""
    places = [step / (steps - 1) for step in range(steps)]
    falling = [2.3 - 1 / (1 + math.exp(-30 * (place - 0.5))) for place in places]
    return [loss + max(0.0, 5 * (place - 0.85)) for loss, place in zip(falling, places, strict=True)]


def test_steepest_descent_and_share() -> None:
    rates = rates_of(1e-4, 1, 101)
    found = RangeTest("m", 10, rates, valley(101), 0.5)
    assert found.steepest == pytest.approx(1e-2, rel=0.3)
    assert found.share == pytest.approx(0.05)
    flat = RangeTest("m", 10, rates, [2.3 + 0.001 * step for step in range(101)], None)
    assert (flat.steepest, flat.share) == (None, None)
    noisy = [2.9, 2.4, *valley(101)[2:]]  # the first losses are means of few
    assert RangeTest("m", 10, rates, noisy, None).steepest == found.steepest


def test_mistakes(cli) -> None:
    for arguments, words in (
        (("--low", "1", "--high", "0.1"), ("--low", "1 is not below --high 0.1")),
        (("--out", "a.gif"), ("a.gif", ".png, .svg, .pdf")),
        (("--steps", "3"), ("--steps", "10")),
        (("--low", "1e30", "--high", "1e31", "--set", "optimizer.lr=1"), ("begin lower", "--low")),
    ):
        output = cli("lr-find", "mini_none", "--recipe", "smoke", "--set", "split.train=640", *arguments)
        assert output.returncode == 2, output.stdout
        assert all(word in output.lines[-1] for word in words), output.lines[-1]
        assert not (cli.folder / "lr-find.png").exists()


@pytest.mark.parametrize(
    "command",
    [("lr-find", "--steps", "10"), ("tune", "--trials", "1", "--set", "epochs=2"), ("speed", "--seconds", "1")],
)
def test_what_was_done_to_a_model_of_another_library_is_told(inline_cli, command: tuple[str, ...]) -> None:
    name = "timm:test_resnet@ln"
    output = inline_cli.ok(command[0], name, *COMMAND[3:], *command[1:])
    told = [line for line in output.lines if line.startswith(f"{name}: ")]
    assert any("ln instead of " in line for line in told), output.stderr
