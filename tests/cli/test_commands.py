"""The commands that only look: list, show, data, completion, help. And that looking is instant."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import yaml
from PIL import Image

from zoo import __version__
from zoo.cli.main import cli

RECIPES = ["eva6s8", "fast", "laptop", "smoke", "standard"]
HEAVY = {"torch", "torchvision", "timm", "albumentations", "pandas", "pydantic", "numpy"}


def names(stdout: str) -> list[str]:
    """The first word of every line that is none of a longer cell or note."""
    return [line.split()[0] for line in stdout.splitlines() if line.strip() and not line.startswith("   ")]


def test_list(zoo_cli):
    output = zoo_cli.ok("list")
    assert output.stderr == ""
    listed = names(output.stdout)
    for expected in ("bn", "ln", "gn", "in", "resnet18", "mobilenetv2", "resnet18_bn", "resnet18_ln", *RECIPES):
        assert expected in listed, expected
    assert "LayerNorm (GroupNorm, 1 group)" in output.stdout
    norms, architectures, models = (
        int(re.search(rf"^{title} \((\d+)", output.stdout, re.MULTILINE)[1])
        for title in ("norms", "architectures", "models")
    )
    everything = names(zoo_cli.ok("list", "--all").stdout)
    assert len(everything) == len(set(everything)) >= norms * architectures >= models
    assert "wrn28_10_ws_gn" in everything  # a pair that `models:` does not list
    assert "wrn28_10_ws_gn" not in listed


def test_list_patterns(inline_cli):
    shown = names(inline_cli.ok("list", "resnet*_ln", "vgg16_bn").stdout)
    assert shown == ["resnet18_ln", "resnet34_ln", "resnet50_ln", "resnet20_ln", "resnet32_ln", "resnet44_ln",
                     "resnet56_ln", "resnet9_ln", "resnet18_w16_ln", "resnet9_w32_ln", "resnet9_w48_ln",
                     "vgg16_bn"]  # fmt: skip
    assert names(inline_cli.ok("list", "wrn28_10_gn").stdout) == ["wrn28_10_gn"]


def test_list_origin(inline_cli, tmp_path):
    registry = tmp_path / "registry.yaml"
    registry.write_text('# a comment\n\nnorms:\n  mine: "my_norm:mine"\n')
    inner = tmp_path / "some" / "folder"
    inner.mkdir(parents=True)
    lines = inline_cli.ok("list", "--origin", cwd=inner, COLUMNS="1000").stdout.splitlines()
    mine = next(line for line in lines if line.split()[:1] == ["mine"])
    assert f"working folder: {registry}:4" in mine
    built_in = next(line for line in lines if line.split()[:1] == ["ln"])
    assert re.search(r"built in: .*registry\.yaml:\d+$", built_in)
    # A pair became possible where its later part stands.
    (pair,) = inline_cli.ok("list", "--origin", "resnet20_mine", COLUMNS="1000").stdout.splitlines()
    assert pair.endswith(f"working folder: {registry}:4")


def test_layers_of_the_registry(inline_cli, tmp_path):
    for name in ("folder", "variable", "option"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "registry.yaml").write_text(f'norms:\n  by_{name}: "m:f"\n')
    output = inline_cli.ok(
        "list", "--origin", "--registry", tmp_path / "option" / "registry.yaml",
        cwd=tmp_path / "folder", ZOO_REGISTRY=str(tmp_path / "variable" / "registry.yaml"), COLUMNS="1000",
    )  # fmt: skip
    for name, layer in (("folder", "working folder"), ("variable", "$ZOO_REGISTRY"), ("option", "--registry")):
        line = next(line for line in output.stdout.splitlines() if line.split()[:1] == [f"by_{name}"])
        assert f"{layer}: {tmp_path / name / 'registry.yaml'}:2" in line


def test_override_replaces(inline_cli, tmp_path):
    (tmp_path / "registry.yaml").write_text(
        'norms:\n  ln: {builder: "my_norm:mine", label: My own LayerNorm, override: true}\n'
    )
    assert "My own LayerNorm" in inline_cli.ok("list", "resnet18_ln").stdout


def test_show_resnet18_ln(inline_cli):
    """The layer table of the reference experiment: 49 rows and its exact totals."""
    text = inline_cli.ok("show", "resnet18_ln").stdout
    rows = [line.split() for line in text.splitlines() if re.match(r"\s*\d+\s", line)]
    assert [int(row[0]) for row in rows] == list(range(1, 50))
    shown = dict(re.findall(r"^([^:\n]+):\s+([\d.,]+)$", text, re.MULTILINE))
    assert shown == {
        "total parameters": "11,173,962",
        "trainable parameters": "11,173,962",
        "non-trainable parameters": "0",
        "input size (MB)": "0.01",
        "forward/backward size (MB)": "11.25",
        "parameter size (MB)": "42.63",
        "estimated total size (MB)": "53.89",
    }
    assert sum(int(row[-1].replace(",", "")) for row in rows) == 11_173_962
    kinds = {row[2] for row in rows}
    assert not kinds & {"ReLU", "Sequential", "Identity", "AvgPool2d", "AdaptiveAvgPool2d", "Flatten"}
    assert rows[0][2:] == ["Conv2d", "[-1,", "64,", "32,", "32]", "1,728"]
    assert rows[-1][2:] == ["Linear", "[-1,", "10]", "5,130"]


def test_data_list(zoo_cli, tmp_path):
    text = zoo_cli.ok("data", "list", ZOO_DATA=str(tmp_path)).stdout
    assert {"cifar10", "cifar100", "cifar10-jpeg", "shapes10"} <= set(names(text))
    assert "built in" in text.split("shapes10", 1)[1]
    assert str(tmp_path) in text.split("cifar10-jpeg", 1)[1]  # where to put what is not there


def test_data_list_shows_no_control_character_of_a_folder(inline_cli, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "red\x1b[31m" / split / "a").mkdir(parents=True)
    text = inline_cli.ok("data", "list", "--data-dir", str(tmp_path)).stdout
    assert "red\\x1b[31m" in text
    assert "\x1b" not in text


def test_data_verify(inline_cli):
    told = yaml.safe_load(inline_cli.ok("data", "verify", "shapes10").stdout)
    assert told["name"] == "shapes10"
    assert re.fullmatch("[0-9a-f]{64}", told["fingerprint"])
    assert told["splits"]["train"]["per_class"] == dict.fromkeys(told["classes"], 500)
    assert told["splits"]["test"]["per_class"] == dict.fromkeys(told["classes"], 100)
    assert told["splits"]["train"]["duplicates"] == told["splits"]["test"]["duplicates"] == told["shared"] == 0
    assert told["cache_ok"] is True


def test_data_show(inline_cli, tmp_path):
    output = inline_cli.ok("data", "show", "shapes10", "--part", "test", "--per-class", "4", "--out", "new/sheet.png")
    assert output.stdout.splitlines()[-1] == "wrote new/sheet.png"
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        sheet.load()
        assert sheet.format == "PNG"
        assert sheet.height == 10 * 66  # a row per class, at twice its size with a gap of two
        assert sheet.width > 4 * 66
        assert len(sheet.getcolors(sheet.width * sheet.height)) > 1000  # pictures, not a blank page
    inline_cli.ok("data", "show", "shapes10", "--per-class", "1")
    assert (tmp_path / "shapes10-train.png").is_file()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(inline_cli, shell):
    script = inline_cli.ok("completion", shell).stdout
    assert f"_ZOO_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("zoo show resnet18_l", "plain,resnet18_ln"),
        ("zoo bench resnet18_bn resnet18_l", "plain,resnet18_ln"),
        ("zoo list wrn28_10_ws", "plain,wrn28_10_ws_gn"),
        ("zoo bench resnet18_bn --recipe sm", "plain,smoke"),
        ("zoo ben", "plain,bench"),
        ("zoo data ver", "plain,verify"),
        ("zoo bench --rest", "plain,--restart"),
    ],
)
def test_completion(zoo_cli, words, expected):
    """As bash asks: COMP_CWORD is the number of the word under the cursor."""
    output = zoo_cli(_ZOO_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert output.stderr == ""
    assert expected in output.stdout.splitlines()


def test_completion_with_a_broken_registry_says_nothing(zoo_cli, tmp_path):
    (tmp_path / "registry.yaml").write_text("norms: [\n")
    output = zoo_cli(_ZOO_COMPLETE="bash_complete", COMP_WORDS="zoo show resnet18_l", COMP_CWORD="2")
    assert (output.stdout.strip(), output.stderr) == ("", "")


def test_help(zoo_cli):
    text = zoo_cli.ok("--help").stdout
    for command in ("bench", "compare", "completion", "data", "list", "show"):
        assert re.search(rf"^  {command}\s+\S", text, re.MULTILINE), command
    assert zoo_cli.ok("-h").stdout == text
    told = zoo_cli.ok("bench", "--help").stdout
    for option in ("--recipe", "--set", "--dataset", "--seeds", "--runs", "--device", "--restart", "--registry"):
        assert option in told, option


def test_help_names_every_command_once_in_a_whole_line(zoo_cli):
    """By what one wants to do, at 80 columns, with nothing cut off."""
    text = zoo_cli.ok("--help", COLUMNS="80").stdout
    assert max(map(len, text.splitlines())) <= 80
    sections = re.findall(r"^(\w+):\n((?:  .+\n)+)", text.partition("Options:")[2], re.MULTILINE)
    assert [title for title, _ in sections] == ["Train", "Compare", "Look", "Extend", "Share"]
    lines = [line for _, body in sections for line in body.splitlines()]
    assert sorted(line.split()[0] for line in lines) == sorted(cli.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


@pytest.mark.parametrize("group", ["data", "plot", "study", "recipe", "new"])
def test_help_of_a_group_cuts_no_line_off(zoo_cli, group):
    text = zoo_cli.ok(group, "--help", COLUMNS="80").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.partition("Commands:")[2]


def test_version(zoo_cli):
    assert zoo_cli.ok("--version").stdout.strip() == f"zoo, version {__version__}"


def test_a_closed_pipe_is_no_error(zoo_cli):
    """``zoo list --all | head -1``."""
    process = zoo_cli.start("list", "--all")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) in (0, 1)
    process.stderr.close()


INSTANT = [(0, "list"), (0, "--help"), (0, "list", "--all", "--origin"), (2, "show", "resnet18_lnn"), (2, "benhc"),
           (2, "bench", "resnet18_lnn", "--recipe", "smoke")]  # fmt: skip


@pytest.mark.parametrize("command", INSTANT, ids=lambda command: " ".join(map(str, command[1:])))
def test_instant(zoo_cli, command):
    """Nothing heavy is imported, and the answer takes less than half a second: of a processor, which others may use."""
    code, *arguments = command
    probe = (
        "import json, sys\n"
        "from zoo.cli.main import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "finally:\n"
        "    json.dump(sorted(sys.modules), open('modules.json', 'w'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=zoo_cli.folder, env=zoo_cli.environment, capture_output=True, check=False
    )
    assert done.returncode == code
    imported = set(json.loads((zoo_cli.folder / "modules.json").read_text()))
    assert "zoo.cli.main" in imported
    assert not imported & HEAVY

    assert best_of(lambda: zoo_cli(*arguments).returncode == code, processor_seconds) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("command", INSTANT, ids=lambda command: " ".join(map(str, command[1:])))
def test_instant_by_the_clock(zoo_cli, command):
    """As a user feels it; on a machine that does nothing else."""
    code, *arguments = command
    assert best_of(lambda: zoo_cli(*arguments).returncode == code, time.perf_counter) < 0.5


def processor_seconds() -> float:
    """What the processes that this one has waited for took of a processor."""
    used = os.times()
    return used.children_user + used.children_system


def best_of(run: Callable[[], bool], clock: Callable[[], float], enough: float = 0.5, tries: int = 20) -> float:
    """The least that `clock` says of a `run`; the next are spared when one was below `enough`."""
    best = float("inf")
    for _ in range(tries):
        start = clock()
        assert run()
        best = min(best, clock() - start)
        if best < enough:
            break
    return best
