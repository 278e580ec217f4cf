"""Every value of a ``result.json`` damaged in 27 ways, before each command that reads one, with no net below."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged import DAMAGES, Count, damaged, little_memory, places, sample, zoo
from PIL import Image
from run_files import find_run, save_edited
from web_runs import LAPTOP, make_run

from zoo.errors import ResultError
from zoo.results.folder import RunFolder, load_result

RUN = Path("runs/cifar10-jpeg") / LAPTOP / "resnet20_bn" / "seed0"
PLOT = ("--out", "out/figure", "--format", "svg")
TABLES: list[tuple[Any, ...]] = [
    *(("compare", "runs", "--format", style) for style in ("text", "markdown", "csv", "latex", "json")),
    ("compare", "runs", "--baseline", "resnet20_ln", "--power", "--view", "differences"),
    ("compare", "runs", "--baseline", "resnet20_ln", "--format", "json"),
    ("compare", "runs", "--allow-mixed", "--view", "quality"),
    ("compare", "runs", "--seconds-to", "50"),
    ("compare", "runs", "--tuned"),
    ("recipe", "show", RUN),
    ("recipe", "diff", RUN, "laptop"),
]
PICTURES: list[tuple[Any, ...]] = [
    *(("plot", kind, "runs", *PLOT) for kind in ("bars", "pareto", "curves")),
    ("plot", "batch-size", "sizes", *PLOT),
    ("report", "runs", "--out", "out/report", "--baseline", "resnet20_ln"),
]


def fuller(path: Path) -> dict[str, Any]:
    """The result at `path` with all that any run has."""
    content = json.loads(path.read_text())
    entry = {"builder": "a:b", "kwargs": {"a": 1}, "source_sha256": "0" * 64, "arguments": {"norm": "norms"}}
    content["model"] |= {"image_size": [32, 32], "notes": ["a note"], "replaces": {"norm bn": "package"}}
    content["model"]["definition"] = {
        "architecture": {"name": "resnet20", **entry},
        "norm": {"name": content["model"]["norm"], "conv": "", "activation": "separate", **entry},
        "pretrained": {"sha256": "0" * 64}, "code": {"a.py": "1"}, "packages": {"x": "1"}, "data": {"file": "1"},
    }  # fmt: skip
    content["environment"] |= {"processes": 2, "zoo": "0.1.0"}
    content["speed"] |= {"inference_quartiles": [2000.0, 2100.0], "latency_quartiles": [0.003, 0.004]}
    content["test"]["extra"] = {"f1": 0.5}
    path.write_text(json.dumps(content, indent=1))
    return content


@pytest.fixture
def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Any]]:
    """The file that is damaged, among others, and what it holds; the working folder is that of the runs."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        for norm, correct in (("bn", 240), ("ln", 210)):
            fuller(make_run(Path("runs"), norm, seed, correct + seed).result)
    sizes = make_run(Path("sizes"), "bn", 0, 230, recipe__content__batch_size=128)
    fuller(sizes.result)
    for name in ("out", "elsewhere", "sizes/same"):
        Path(name).mkdir()
    path = RunFolder(RUN).result
    Path("sizes/same/result.json").symlink_to(path.absolute())
    return path, json.loads(path.read_text())


def names(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if folder / "out" not in path.parents}


def attack(
    victim: tuple[Path, dict[str, Any]], tries: list[Any], commands: Callable[[int, bool], list[tuple[Any, ...]]]
) -> Count:
    """Each try's damage before the `commands` of its number, and of whether the file is still a result."""
    path, content = victim
    count, here, elsewhere = Count(), Path.cwd(), Path("elsewhere").absolute()
    for command in (*TABLES, *PICTURES):  # all go, on what is whole
        count.attempt(f"{command}", lambda command=command: zoo(*command))
    assert count.bad == []
    before = names(here)
    with little_memory():
        for number, (place, kind) in enumerate(tries):
            path.write_text(damaged(content, place, kind, elsewhere))
            reads = count.attempt(f"{place} {kind}", lambda: load_result(path))
            for command in commands(number, reads):
                count.attempt(f"{place} {kind} {command[:2]}", lambda command=command: zoo(*command))
    assert names(here) == before
    return count


def test_row_9_a_damaged_result_is_one_line(victim, figure) -> None:
    """3,938 of 49,668 such tries were tracebacks."""
    assert len(DAMAGES) == 27
    every = TABLES + PICTURES
    count = attack(victim, sample(victim[1], 0.02), lambda number, reads: [every[number % len(every)]])
    figure("damaged results", count.words)
    assert count.bad == []
    assert count.tried > 200


@pytest.mark.slow
def test_row_9_every_damage_of_every_value(victim, figure) -> None:
    every = TABLES + PICTURES

    def commands(number: int, reads: bool) -> list[tuple[Any, ...]]:
        return [*TABLES, PICTURES[number % len(PICTURES)]] if reads else [every[number % len(every)]]

    count = attack(victim, sample(victim[1], 1), commands)
    figure("all damages of a result", count.words)
    assert count.bad == []


@pytest.mark.slow
def test_row_9_commands_that_need_the_weights(module_inline, tiny, monkeypatch: pytest.MonkeyPatch, figure) -> None:
    """What still is a result after a damage goes on to evaluate, predict, explain, export and push."""
    normal = "[Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}]"
    tiny = (*tiny, "--set", f"augment={{train: {normal}, eval: {normal}}}")
    module_inline.ok("bench", "resnet20_bn", *tiny)
    monkeypatch.chdir(module_inline.folder)
    run = find_run(Path(), "resnet20_bn")
    path, elsewhere, count = run / "result.json", Path("elsewhere").absolute(), Count()
    elsewhere.mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("image.png")
    content = json.loads(path.read_text())
    commands: list[tuple[Any, ...]] = [
        ("evaluate", run), ("predict", run, "image.png"), ("explain", run, "--images", 1, "--out", "out/explain"),
        ("export", run, "--to", "safetensors", "--out", "out/export"),
        ("push", run, "me/it", "--to-folder", "out/push"), ("bench", "resnet20_bn", *tiny, "--dry-run"),
    ]  # fmt: skip
    for command in commands:
        assert count.attempt(f"{command}", lambda command=command: zoo(*command)), count.last
    before, number = names(Path.cwd()), 0
    for place, kind in sample(content, 1):
        path.write_text(damaged(content, place, kind, elsewhere))
        try:
            load_result(path)
        except ResultError:
            continue
        number += 1
        if number % 6 == 0:
            command = commands[number // 6 % len(commands)]
            count.attempt(f"{place} {kind} {command[0]}", lambda command=command: zoo(*command))
    figure("damaged results with weights", count.words)
    assert count.bad == []
    assert names(Path.cwd()) == before


def test_every_place_is_damaged(victim) -> None:
    found = {".".join(map(str, place)) for place in places(victim[1])}
    assert {"seed", "recipe.name", "recipe.content.augment.train.0", "model.definition.norm.kwargs.a"} <= found
    assert {"test.confusion.2.2", "environment", "test.extra.f1", "git.dirty"} <= found


@pytest.mark.parametrize("what", ["pipe", "folder", "socket", "link to a device"])
def test_row_10_a_result_that_is_no_file_is_one_line_at_once(victim, what: str) -> None:
    path, _ = victim
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "socket":
        import socket

        bound = socket.socket(socket.AF_UNIX)
        with bound, pytest.MonkeyPatch.context() as patch:
            patch.chdir(path.parent)
            bound.bind(path.name)
    else:
        path.symlink_to("/dev/zero")
    count = Count()
    for command in TABLES[:1] + PICTURES[:1]:
        assert not count.attempt(f"{what} {command[:2]}", lambda command=command: zoo(*command))
        assert "result.json: cannot be read" in count.last
    assert count.bad == []
    assert count.slowest < 5
    if what == "folder":
        shutil.rmtree(path)


@pytest.mark.parametrize("part", [b"0,", b"{},"])
def test_a_result_of_too_many_values_is_not_read(victim, part: bytes) -> None:
    """The parser would end the process where its memory is gone."""
    victim[0].write_bytes(b'{"schema_version": 1, "a": [' + part * (60 * 2**20 // len(part)) + b"0]}")
    with little_memory(), pytest.raises(ResultError, match="cannot be read: more than 6,000,000 numbers"):
        load_result(victim[0])


def test_a_result_too_large_is_not_read(victim) -> None:
    path, _ = victim
    with path.open("wb") as file:
        file.truncate(2**40)
    with little_memory(), pytest.raises(ResultError, match="cannot be read: larger than 67,108,864 bytes"):
        load_result(path)


@pytest.mark.parametrize("correct", [0, 300])
def test_row_12_plots_at_0_and_100_percent(victim, correct: int) -> None:
    for norm in ("bn", "ln"):
        make_run(Path("ends"), norm, 0, correct)
    for kind in ("bars", "pareto"):
        zoo("plot", kind, "ends", *PLOT)
    assert Path("out/figure.svg").is_file()


def test_an_edited_recipe_is_refused(victim) -> None:
    path, content = victim
    content["recipe"]["content"]["epochs"] = 5
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match="the fingerprint is not that of the content"):
        load_result(path)
    content["recipe"]["content"]["optimizer"]["lr"] = "0.1"
    save_edited(path, content)
    with pytest.raises(ResultError, match=r"recipe: optimizer\.lr: input should be a valid number, found '0.1'"):
        load_result(path)
