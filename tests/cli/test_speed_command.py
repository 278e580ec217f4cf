"""``zoo speed`` as a user meets it."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import signal
from typing import Any

import pytest
import torch
from printed_tables import of_text

from zoo.engine import memory_format
from zoo.engine.environment import describe
from zoo.errors import ZooError
from zoo.runner.measure import Speed

SMALL = ("--recipe", "smoke", "--set", "batch_size=8", "--layout", "nchw", "--seconds", "1")


def test_json_holds_every_figure_and_nothing_is_kept(inline_cli) -> None:
    told = json.loads(inline_cli.ok("speed", "resnet20_bn", *SMALL, "--format", "json").stdout)
    (found,) = told["models"]
    assert (found["model"], found["norm"], found["layout"], found["executor"]) == (
        "resnet20_bn", "bn", "nchw", "batched",
    )  # fmt: skip
    assert (found["batch_size"], found["parameters"], found["macs"]) == (8, 269_722, 10_138_240)  # 16x16 images
    assert found["latency_p50"] <= found["latency_p90"] <= found["latency_p99"]
    assert found["step_flops"] == pytest.approx(6 * found["macs"] * found["step_images_per_second"])
    assert found["peak_share"] == pytest.approx(found["step_flops"] / told["peak_flops"])
    assert 0 < found["peak_share"] < 1
    assert 0.2 < found["efficiency"] < 2
    for name, (low, high) in found["quartiles"].items():
        assert low <= found[name] <= high
        assert (name in found["disturbed"]) == (high - low > 0.2 * found[name])
    assert set(found["quartiles"]) == {
        "train_images_per_second", "step_images_per_second", "efficiency", "inference_images_per_second", "latency_p50",
    }  # fmt: skip
    assert told["environment"]["cores"] >= 1
    assert list(inline_cli.folder.iterdir()) == []


def test_table_and_csv(inline_cli) -> None:
    text = inline_cli.ok("speed", "resnet20_bn", "resnet20_in", *SMALL).stdout
    rows, said = of_text(text), " ".join(text.split())
    for title in (
        "layout", "train img/s", "step img/s", "loop/step", "inference img/s", "batch", "p50 ms", "p90 ms", "p99 ms",
        "device MiB", "resident MiB", "activations KiB", "MACs (M)", "GFLOP/s", "% of peak",
    ):  # fmt: skip
        assert title in rows[0] or f" {title} " in said.partition(" model ")[0], title
    assert [row["model"] for row in rows] == ["resnet20_bn", "resnet20_in"]
    assert "batch 8, batched augmentation" in said
    assert f"{describe(torch.device('cpu'))['instructions']}), " in said  # machines of one name differ by it
    rows = list(csv.DictReader(io.StringIO(inline_cli.ok("speed", "resnet20_ln", *SMALL, "--format", "csv").stdout)))
    assert [row["model"] for row in rows] == ["resnet20_ln"]


def test_auto_says_which_layout_is_faster_and_measures_in_it(inline_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.cycle([1.0, 4.0])  # NCHW, then channels-last
    monkeypatch.setattr(memory_format, "seconds_of", lambda work, device: (work(), next(clock))[1])
    output = inline_cli.ok("speed", "resnet20_ln", *SMALL, "--layout", "auto", "--format", "json")
    assert "  nchw trains 4.00 times as fast as the other layout" in output.lines
    assert "  `zoo bench` uses channels_last; give it --layout nchw for the faster one" in output.lines
    assert [measured["layout"] for measured in json.loads(output.stdout)["models"]] == ["nchw"]
    assert list(inline_cli.folder.iterdir()) == []


def test_auto_advises_nothing_by_a_disturbed_clock(inline_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(model: Any, inputs: Any, layout: str, **_: float) -> None:
        raise ZooError(f"begun in {layout}")

    clock = itertools.cycle([1.0, 4.0, 4.0, 1.0])  # now one layout is faster, now the other
    monkeypatch.setattr(memory_format, "seconds_of", lambda work, device: (work(), next(clock))[1])
    monkeypatch.setattr("zoo.engine.throughput.matrix_peak", lambda device, precision: 1e12)
    monkeypatch.setattr("zoo.runner.measure.measure", measure)
    output = inline_cli("speed", "resnet20_ln", *SMALL, "--layout", "auto")
    assert output.lines[-2:] == [
        "  timings vary too much to compare the layouts; channels_last is measured", "zoo: begun in channels_last",
    ]  # fmt: skip
    assert "times as fast as the other layout" not in output.stderr


def test_a_long_list_that_is_interrupted_shows_what_it_has(zoo_cli) -> None:
    running = zoo_cli.start("speed", "resnet20_bn", "resnet20_ln", "resnet20_gn", *SMALL, "--format", "json")
    for line in running.stderr:
        if line.startswith("[2/3]"):
            running.send_signal(signal.SIGINT)
            break
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 130
    assert [found["model"] for found in json.loads(out)["models"]] == ["resnet20_bn"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("speed", "resnet20_bnn"), ("resnet20_bnn", "did you mean 'resnet20_bn'")),
        (("speed", "resnet20_bn", "--seconds", "0"), ("--seconds", "0")),
        (
            ("speed", "vgg16_bn", "--recipe", "smoke"),
            ("vgg16_bn", "training step on images of shape (3, 16, 16)"),
        ),
        (("speed",), ("MODEL",)),
    ],
)
def test_mistakes_are_one_line(inline_cli, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = inline_cli(*arguments)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert line.startswith("zoo: ")
    assert all(word in line for word in words), line


DISTURBED = '''import multiprocessing

import torch
from torch import nn


class Disturbed(nn.BatchNorm2d):
    """It has an operation without a deterministic form, and kills the loader's processes when it trains."""

    def forward(self, x):
        torch.zeros(1).put_(torch.tensor([0]), torch.ones(1))
        for worker in multiprocessing.active_children():
            worker.kill()
        return super().forward(x)
'''


@pytest.mark.parametrize("command", [("speed", "--seconds", "1"), ("lr-find",), ("bench",)], ids=lambda part: part[0])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        (("--deterministic",), ("--deterministic: resnet20_disturbed", "put_ does not have", "leave the option out")),
        (
            ("--executor", "albumentations", "--workers", "1"),
            ("resnet20_disturbed", "a loader process was killed", "most likely because", "fewer --workers: "),
        ),
    ],
    ids=["deterministic", "killed"],
)
def test_what_the_machine_does_is_one_line(
    zoo_cli, inline_cli, command: tuple[str, ...], how: tuple[str, ...], words: tuple[str, ...]
) -> None:
    cli = inline_cli if "--deterministic" in how else zoo_cli  # what kills is a process of its own
    (zoo_cli.folder / "registry.yaml").write_text('norms:\n  disturbed: "disturbed:Disturbed"\n')
    (zoo_cli.folder / "disturbed.py").write_text(DISTURBED)
    output = cli(command[0], "resnet20_disturbed", *SMALL[:-2], *command[1:], *how)
    assert output.returncode == 2, output.stderr
    assert all(word in output.lines[-1] for word in words), output.lines[-1]


def fake_measure(model: Any, inputs: Any, layout: str, **_: Any) -> Speed:
    """Speeds as of a network that takes 100 seconds an epoch; compiled, `ln` is 1.4 times as fast and `bn` as fast."""
    compiled = inputs.settings.compiled
    rate = len(inputs.rows[0]) / 100 * (1.4 if compiled and model.name.endswith("ln") else 1.01 if compiled else 1.0)
    figures = dict.fromkeys((field.name for field in dataclasses.fields(Speed)), 1.0)
    return Speed(**figures | {
        "model": model.name, "norm": model.norm.name, "precision": "fp32", "layout": layout, "executor": "batched",
        "compiled": compiled, "train_images_per_second": rate, "compile_seconds": 60.0 if compiled else None,
        "quartiles": {"train_images_per_second": (0.98 * rate, 1.02 * rate)}, "disturbed": [],
        "compile_gain": None, "compile_gain_error": None, "pays_after_epochs": None,
    })  # fmt: skip


def test_compile_both_says_where_compiling_pays(inline_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.runner.measure.measure", fake_measure)
    monkeypatch.setattr("zoo.engine.machine.check_compiler", lambda device: None)
    monkeypatch.setattr("zoo.runner.checks.try_on", lambda *_: [])
    command = ("speed", "--compile", "both", "resnet20_ln", "resnet20_bn", *SMALL)
    output = inline_cli.ok(*command)
    assert "  compiling pays after 3 epochs: 1.40 ± 0.04 times as fast" in output.lines
    assert "  compiling does not pay: 1.01 ± 0.03 times as fast" in output.lines
    rows = of_text(output.stdout)
    assert [(row["model"], row["compiled"]) for row in rows] == [
        ("resnet20_ln", "no"), ("resnet20_ln", "yes"), ("resnet20_bn", "no"), ("resnet20_bn", "yes"),
    ]  # fmt: skip
    gains = [(row["compile s"], row["x eager"], row["pays after"]) for row in rows]
    assert gains[1::2] == [("60", "1.40 ± 0.04", "3 epochs"), (gains[3][0], "1.01 ± 0.03", "-")]
    models = json.loads(inline_cli.ok(*command, "--format", "json").stdout)["models"]
    assert [(model["compiled"], model["pays_after_epochs"]) for model in models] == [
        (False, None), (True, 3), (False, None), (True, None),
    ]  # fmt: skip


@pytest.mark.parametrize("words", [("--compile", "resnet20_ln"), ("resnet20_ln", "--compile")])
def test_compile_alone_takes_no_model_for_its_value(inline_cli, monkeypatch: pytest.MonkeyPatch, words) -> None:
    monkeypatch.setattr("zoo.runner.measure.measure", fake_measure)
    monkeypatch.setattr("zoo.engine.machine.check_compiler", lambda device: None)
    monkeypatch.setattr("zoo.runner.checks.try_on", lambda *_: [])
    (model,) = json.loads(inline_cli.ok("speed", *words, *SMALL, "--format", "json").stdout)["models"]
    assert (model["model"], model["compiled"], model["compile_gain"]) == ("resnet20_ln", True, None)
