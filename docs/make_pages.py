"""Writes docs/cli.md, docs/built-in.md and the printed tables of other pages: ``python docs/make_pages.py``.

They are committed, so that they can be read in the repository; tests/docs/test_site.py compares them with what this
file makes. None of it depends on the terminal, the working folder or what else is installed.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from click.testing import CliRunner

from zoo.builder.construct import build
from zoo.cli.main import cli
from zoo.comparison.verdict import MARGIN
from zoo.data.datasets import DESCRIPTIONS
from zoo.recipes import catalogue
from zoo.registry.entries import NormEntry, read_registry_file
from zoo.registry.merge import Registry
from zoo.registry.model import BUILT_IN
from zoo.render import marks
from zoo.render.robustness import render as render_robustness
from zoo.results.schema import hardware
from zoo.trained.robustness import Record
from zoo.trained.tables import contrasts

FOLDER = Path(__file__).parent
MEASURED = FOLDER.parent / "benchmarks" / "figures"
QUIET, OTHER = "cpu-avx512-bf16-no-amx", "cpu-avx512-bf16-all-met"  # of machines that did nothing else
PRINTING = ("findings.md", "which-norm.md", "tuning.md")
# A command, and below it its Markdown output in the repository.
PRINTED = re.compile(r"(?<=```bash\n)(?P<command>zoo [^\n]*)\n```\n\n<!-- printed -->\n.*?<!-- end -->", re.DOTALL)
MADE = re.compile(r"<!-- (?P<name>costs|corrupted|peers|speeds) -->\n.*?<!-- end -->", re.DOTALL)
WIDTH = 80  # columns of the help texts, whatever the terminal's are
NOTE = "<!-- Written by `python docs/make_pages.py`; what is changed here is lost. -->"


def pages() -> dict[str, str]:
    """Every page by its file's name, in Markdown."""
    printing = {name: (FOLDER / name).read_text(encoding="utf-8") for name in PRINTING}
    return {
        "cli.md": "\n".join(_commands()),
        "built-in.md": "\n".join(_built_in()),
        **{name: MADE.sub(_made, PRINTED.sub(_printed, text)) for name, text in printing.items()},
    }


def _commands() -> Iterator[str]:
    yield f"# Commands\n\n{NOTE}\n\nThe output of `zoo COMMAND --help` for every command. `-h` is short for `--help`.\n"
    yield from _help(cli, ("zoo",))


def _printed(match: re.Match[str]) -> str:
    """The command again, and below it its output in the repository."""
    command = match["command"]
    with contextlib.chdir(FOLDER.parent):
        result = CliRunner().invoke(cli, shlex.split(command)[1:], catch_exceptions=False)
    return f"{command}\n```\n\n<!-- printed -->\n{result.stdout}<!-- end -->"


def _made(match: re.Match[str]) -> str:
    """A table of what was measured, from its file: to measure anew takes minutes and gives other last digits."""
    lines = {"costs": _costs, "corrupted": _corrupted, "peers": _peers, "speeds": _speeds}[match["name"]]()
    return f"<!-- {match['name']} -->\n{lines}<!-- end -->"


def _costs() -> str:
    """A training step of each norm beside BatchNorm's, dearest last; the ratio on another processor too."""
    quiet, other = (json.loads((MEASURED / f"{name}.json").read_text()) for name in (QUIET, OTHER))
    again = _norms(other)
    rows = [
        (
            norm,
            f"{step['nchw']:.0f}",
            f"{step['channels_last']:.0f}",
            f"{step['of_bn']:.2f}",
            f"{again[norm]['of_bn']:.2f}",
        )
        for norm, step in sorted(_norms(quiet).items(), key=lambda pair: -pair[1]["of_bn"])
    ]
    table = _table(("norm", "NCHW, img/s", "channels-last, img/s", "of BatchNorm's", "with AMX"), rows)
    machine = quiet["machine_info"]["zoo"]
    return f"{''.join(table)}\n{hardware(machine)}; torch {machine['torch']}.\n"


def _norms(suite: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What the suite measured of each norm's step, img/s by memory layout and the better one over BatchNorm's."""
    return next(test["extra_info"]["norms"] for test in suite["benchmarks"] if "norms" in test["extra_info"])


def _peers() -> str:
    """An epoch of zoo's beside the same one of other training loops, as documented and tuned by hand."""
    suite = json.loads((MEASURED / f"{QUIET}.json").read_text())
    rates = next(test["extra_info"] for test in suite["benchmarks"] if test["name"] == "test_peers")
    ratios = {
        peer: next(figure["value"] for figure in suite["figures"] if figure["name"].startswith(f"  times {peer} ("))
        for peer in rates
        if peer != "zoo"
    }
    rows = [("zoo", f"{median(rates['zoo']):.1f}", "")]
    rows += [(peer, f"{median(rates[peer]):.1f}", f"{ratio:.2f}") for peer, ratio in ratios.items()]
    return "".join(_table(("epoch of `resnet18_bn`", "img/s", "zoo is times as fast"), rows))


def _speeds() -> str:
    """Every architecture with BatchNorm as `zoo speed` measured it, smallest first."""
    speeds = json.loads((MEASURED / "speeds.json").read_text())
    rows = [
        (
            f"`{model['model']}`",
            f"{model['parameters']:,}",
            f"{model['macs'] / 1e6:,.0f}",
            marks.recorded_speed(model, "train_images_per_second", "{:,.0f}"),
            marks.recorded_speed(model, "efficiency", "{:.2f}"),
            marks.recorded_speed(model, "inference_images_per_second", "{:,.0f}"),
            f"{model['inference_batch_size']}",
            marks.recorded_speed(model, "latency_p50", "{:.1f}", 1e3),
            marks.recorded_speed(model, "peak_share", "{:.0f}", 100),
        )
        for model in sorted(speeds["models"], key=lambda model: model["macs"])
    ]
    heads = ("model", "parameters", "MACs (M)", "train img/s", "loop/step")
    table = "".join(_table((*heads, "inference img/s", "batch", "p50 ms", "% of peak"), rows))
    first, machine = speeds["models"][0], speeds["environment"]
    how = f"torch {machine['torch']}, {first['precision']}, batch {first['batch_size']}"
    return f"{table}\n{hardware(machine)}; {how}.\n"


def _corrupted() -> str:
    records = [Record(**record) for record in json.loads((MEASURED / "corrupted.json").read_text())]
    return render_robustness(records, "markdown", contrasts=contrasts(records, "resnet20_bn", [], MARGIN))


def _help(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    """A heading and the help text; subcommands below their group."""
    result = CliRunner().invoke(
        cli, [*path[1:], "--help"], prog_name="zoo", terminal_width=WIDTH, color=False, catch_exceptions=False
    )
    yield f"{'##' if len(path) < 3 else '###'} {' '.join(path)}\n"
    yield f"```text\n{result.output.rstrip()}\n```\n"
    for name, part in sorted(getattr(command, "commands", {}).items()):
        yield from _help(part, (*path, name))


def _built_in() -> Iterator[str]:
    registry = Registry([read_registry_file(BUILT_IN, "built in")])
    yield f"""# Norms, architectures, recipes and datasets

{NOTE}

{len(registry.architectures)} architectures times {len(registry.norms)} norms: every `<architecture>_<norm>` is a model.
`zoo list` shows these names, `zoo list --all` every pair, and `zoo show resnet18_ln` the layers of one.
All are defined in [registry.yaml](../registry.yaml). [Add a norm](adding-a-norm.md) explains how to add yours.

## Norms

*Batch-independent*: in training, an image's output is the same in any batch. Tests check this for every norm.
"""
    yield from _table(
        ("norm", "description", "batch-independent", "activation", "paper"),
        (
            (
                f"`{norm.name}`",
                norm.label,
                "yes" if norm.batch_independent else "no",
                _activation(norm),
                _paper(norm.paper),
            )
            for norm in registry.norms.values()
        ),
    )
    yield """## Architectures

All are for 32x32 images. Parameters are counted with `bn` and 10 classes, trained or not. Most norms have as many.
"""
    yield from _table(
        ("architecture", "description", "parameters", "paper"),
        (
            (f"`{entry.name}`", entry.label, f"{_parameters(registry, entry.name):,}", _paper(entry.paper))
            for entry in registry.architectures.values()
        ),
    )
    yield "## Recipes\n\n[Recipes](recipes.md) describes their keys, and how to write one.\n"
    recipes = [entry for entry in catalogue.recipes() if entry.origin.layer == "built in"]
    descriptions = ((f"`{entry.name}`", marks.marked(entry.description, entry.selection)) for entry in recipes)
    yield from _table(("recipe", "description"), descriptions)
    yield f"{marks.TEST_NOTE}\n\n## Datasets\n"
    yield from _table(("dataset", "description"), ((f"`{name}`", text) for name, text in DESCRIPTIONS.items()))
    yield """`--dataset` also takes [your own images](datasets.md): class folders or parquet files. `zoo data list`
lists the datasets that were found (in `--data-dir`, `$ZOO_DATA`, the user cache), and how to get the others.
[`zoo data fetch`](datasets.md#cifar-10) downloads them. Test-only sets (CIFAR-10.1, CIFAR-10-C) are for
[`zoo evaluate`](robustness.md#new-test-sets).

The committed results use `cifar10-jpeg`, a JPEG-recompressed copy of CIFAR-10, because the original was not available
on that machine. It has the same 60,000 images and labels. JPEG loses detail, so accuracies on the two must not be
compared. Every `result.json` has a fingerprint of images and labels (here 15191365).
"""


def _activation(norm: NormEntry) -> str:
    if norm.conv:
        return f"separate; convolution: `{norm.conv}`"
    return norm.activation


def _paper(text: str) -> str:
    kind, _, number = text.partition(":")
    return f"[{text}](https://arxiv.org/abs/{number})" if kind == "arXiv" else text


def _parameters(registry: Registry, architecture: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(registry.resolve(f"{architecture}_bn")).parameters())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = [head, ("---",) * len(head), *rows]
    yield "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
