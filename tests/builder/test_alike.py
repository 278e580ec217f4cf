"""Norms that are the same function in some layers of a network, found in the built model and said in every output.

After a change of a norm or an architecture, write the file for what imports no torch anew::

    python tests/builder/test_alike.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from zoo.builder.alike import alike
from zoo.builder.construct import build
from zoo.registry import alike as stored
from zoo.registry.entries import ArchitectureEntry, NormEntry, read_registry_file
from zoo.registry.merge import Registry
from zoo.registry.model import BUILT_IN

REGISTRY = Registry([read_registry_file(BUILT_IN, "built in")])


def key(entry: ArchitectureEntry | NormEntry) -> str:
    return stored.key(vars(entry))


def derived() -> list[list[str | int]]:
    """Every pair of built-in norms in every built-in architecture."""
    norms, pairs = list(REGISTRY.norms.values()), []
    for architecture in REGISTRY.architectures.values():
        for place, norm in enumerate(norms):
            with torch.device("meta"):
                module = build(REGISTRY.resolve(f"{architecture.name}_{norm.name}"))
            layers, same = alike(module, norm, norms[:place])
            pairs += [
                [key(architecture), key(norm), key(REGISTRY.norms[name]), count, layers] for name, count in same.items()
            ]
    return pairs


@pytest.mark.slow
def test_stored_pairs_are_those_of_the_built_models() -> None:
    assert json.loads(stored.FILE.read_text(encoding="utf-8")) == derived()


def test_groupnorm_of_resnet20_is_layernorm_in_seven_layers() -> None:
    module = build(REGISTRY.resolve("resnet20_gn"))
    layers, same = alike(module, REGISTRY.norms["gn"], REGISTRY.norms.values())
    assert (layers, same) == (19, {"ln": 7})
    pairs = [(vars(REGISTRY.architectures["resnet20"]), vars(REGISTRY.norms[norm])) for norm in ("gn", "ln")]
    assert stored.alike(pairs) == ["gn is the same function as ln in 7 of 19 norm layers of resnet20."]
    assert stored.alike(pairs[:1]) == []


def test_layers_that_only_begin_alike_are_not_the_same() -> None:
    """Batch renormalisation begins as BatchNorm, and Ghost BatchNorm is it in small batches."""
    module = build(REGISTRY.resolve("resnet20_brn"))
    assert alike(module, REGISTRY.norms["brn"], REGISTRY.norms.values()) == (19, {})


@pytest.mark.parametrize("groups", ["num_channels // 16", "1", "num_channels"])
def test_an_own_norm_is_compared_too(inline_cli, groups: str) -> None:
    (inline_cli.folder / "registry.yaml").write_text('norms: {mine: "my_norm:mine"}')
    code = f"from torch import nn\ndef mine(num_channels):\n    return nn.GroupNorm({groups}, num_channels)\n"
    (inline_cli.folder / "my_norm.py").write_text(code)
    printed = inline_cli.ok("show", "resnet20_mine").stdout
    same = {
        "num_channels // 16": [("ln", 7), ("gn", 19)], "1": [("ln", 19), ("gn", 7)], "num_channels": [("in", 19)],
    }[groups]  # fmt: skip
    for norm, count in same:
        assert f"mine is the same function as {norm} in {count} of 19 norm layers" in printed


def test_show_list_and_compare_say_it(inline_cli) -> None:
    said = "gn is the same function as ln in 7 of 19 norm layers"
    assert said in inline_cli.ok("show", "resnet20_gn").stdout
    for arguments in (("list",), ("list", "resnet20_*")):
        output = inline_cli.ok(*arguments)
        assert f"{said} of resnet20" in " ".join([*output.stdout.split(), *output.stderr.split()])
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    for models, is_said in ((("*_gn", "*_ln"), True), (("*_gn", "*_bn"), False)):
        chosen = [option for model in models for option in ("--model", model)]
        printed = inline_cli.ok("compare", results, "--recipe", "laptop-5ebfdb2c", *chosen).stdout
        assert (said in " ".join(printed.split())) == is_said


if __name__ == "__main__":
    rows = ",\n".join(f" {json.dumps(pair)}" for pair in derived())
    stored.FILE.write_text(f"[\n{rows}\n]\n", encoding="utf-8")
