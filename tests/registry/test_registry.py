"""The registry: files to entries, layers to names, names to modules, and every mistake in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from zoo.builder import construct as building
from zoo.builder.norm import Norm
from zoo.cli.options import worded
from zoo.errors import Option, RegistryError, UnknownNameError, sentence
from zoo.registry import fingerprint
from zoo.registry.entries import read_registry_file
from zoo.registry.merge import ENVIRONMENT_VARIABLE, Registry, load_registry
from zoo.registry.model import BUILT_IN, Model

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No layer from the outside; what a test puts on the import path goes away with it."""
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("my_", "plugin_")):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file under the test's folder and gives its path."""

    def writer(text: str, name: str = "registry.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return writer


def load(path: Path) -> Registry:
    """The registry as it is in the folder of `path`."""
    return load_registry(folder=path.parent)


def message(path: Path, error: type[Exception] = RegistryError) -> str:
    """The one line that loading the folder of `path` fails with."""
    with pytest.raises(error) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


MINE = 'norms:\n  mine: {builder: "torch.nn:BatchNorm2d"}\n'


# Names


def test_pairs_resolve_without_being_listed(write: Write) -> None:
    registry = load(write(""))
    model = registry.resolve("wrn28_10_ws_gn")  # both halves hold underscores, and no models: line names it
    assert "wrn28_10_ws_gn" not in registry.models
    assert (model.architecture.name, model.norm.name) == ("wrn28_10", "ws_gn")
    assert model.label == "WRN-28-10, GroupNorm + weight standardisation"


def test_one_line_under_norms_gives_every_architecture(write: Write) -> None:
    registry = load(write(MINE))
    assert registry.architectures.keys() == read_registry_file(BUILT_IN, "built in").architectures.keys()
    for architecture in registry.architectures:
        model = registry.resolve(f"{architecture}_mine")
        assert (model.architecture.name, model.norm.builder) == (architecture, "torch.nn:BatchNorm2d")
        assert f"{architecture}_mine" in set(registry.names())


def test_string_form_is_the_builder(write: Write) -> None:
    path = write('norms:\n  mine: "torch.nn:BatchNorm2d"\n')
    assert load(path).norms["mine"] == read_registry_file(write(MINE), "working folder").norms["mine"]


def test_every_name_once_and_each_resolves(write: Write) -> None:
    registry = load(write(""))
    names = list(registry.names())
    pairs = {f"{architecture}_{norm}" for architecture in registry.architectures for norm in registry.norms}
    assert sorted(names) == sorted(pairs)
    assert [model.name for model in registry.match(names)] == names


def test_patterns_keep_order_and_do_not_repeat(write: Write) -> None:
    registry = load(write(""))
    found = [model.name for model in registry.match(["resnet20_ln", "resnet[23]?_ln", "vgg*_frn", "resnet20_ln"])]
    # vgg16_frn is a pair that no models: line names. Within a pattern the listed models come first, as in the file.
    assert found == ["resnet20_ln", "resnet34_ln", "resnet32_ln", "vgg16_frn"]


def test_pattern_without_match(write: Write) -> None:
    path = write("")
    with pytest.raises(UnknownNameError) as caught:
        load(path).match(["resnet18_bn", "alexnet_*"])
    assert sentence(caught.value.parts, worded) == (
        f"unknown model pattern 'alexnet_*' (looked in {BUILT_IN}, {path}); "
        "no name matches; `zoo list --all` shows all names"
    )


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("resnet18_lnn", "; did you mean 'resnet18_ln' or 'resnet18_none' or 'resnet18_ln2d'?"),
        ("resnt18_ln", "; did you mean 'resnet18_ln' or 'resnet9_ln' or 'resnet18_w16_ln'?"),
        ("RESNET18_BN", "; did you mean 'resnet18_bn' or 'resnet18_brn' or 'resnet18_ln'?"),
        ("zzz", "; `zoo list` shows the names"),
    ],
)
def test_unknown_model(write: Write, name: str, end: str) -> None:
    path = write("")
    with pytest.raises(UnknownNameError) as caught:
        load(path).resolve(name)
    assert str(caught.value) == f"unknown model {name!r} (looked in {BUILT_IN}, {path}){end}"


def test_unknown_norm_with_nothing_near_lists_the_norms(write: Write) -> None:
    norms = ", ".join(read_registry_file(BUILT_IN, "built in").norms)
    with pytest.raises(UnknownNameError, match=f"; vgg16 takes: {norms}"):
        load(write("")).resolve("vgg16_qqqqqqqqqqqqqqqqqqqqqqq")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{architecture: resnet81, norm: bn}", "unknown architecture 'resnet81'"),
        ("{architecture: resnet18, norm: bnn}", "unknown norm 'bnn'"),
    ],
)
def test_model_entry_with_an_unknown_part(write: Write, entry: str, told: str) -> None:
    path = write(f"models:\n  special: {entry}\n")
    line = message(path, UnknownNameError)
    assert line.startswith(f"{told} (looked in {path}:2, model 'special'); did you mean '")
    assert ("'resnet18'" if "resnet81" in entry else "'bn'") in line


def test_ambiguous_name_must_be_listed(write: Write) -> None:
    text = 'architectures:\n  a: "m:f"\n  a_b: "m:f"\nnorms:\n  c: "m:f"\n  b_c: "m:f"\n'
    with pytest.raises(RegistryError) as caught:
        load(write(text)).resolve("a_b_c")
    assert str(caught.value) == (
        "model 'a_b_c' can be read as a with norm b_c or a_b with norm c; list the intended one under models:"
    )


def test_model_entry_may_not_hide_another_pair(write: Write) -> None:
    path = write("models:\n  resnet18_ln: {architecture: resnet18, norm: bn, override: true}\n")
    assert message(path).startswith(f"{path}:2: model 'resnet18_ln' would hide the pair resnet18 with ln")


# Layers


def test_layers_in_order_and_their_origins(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write('norms:\n  one: "m:f"\n')
    environment = write('norms:\n\n  two: "m:f"\n', "env.yaml")
    option = write('\n\nnorms: {three: "m:f"}\n', "option.yaml")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(environment))
    (tmp_path / "a" / "b").mkdir(parents=True)
    registry = load_registry(option, tmp_path / "a" / "b")  # the nearest parent's file counts
    assert [file.layer for file in registry.files] == [
        "built in",
        "working folder",
        "$ZOO_REGISTRY",
        Option("registry"),
    ]
    origins = {name: registry.norms[name].origin for name in ("one", "two", "three")}
    assert {name: (origin.layer, origin.path, origin.line) for name, origin in origins.items()} == {
        "one": ("working folder", folder, 2),
        "two": ("$ZOO_REGISTRY", environment, 3),
        "three": (Option("registry"), option, 3),
    }
    assert registry.norms["bn"].origin.layer == "built in"
    assert registry.norms["bn"].origin.path == BUILT_IN
    # A pair comes from the later of its two layers.
    assert registry.resolve("resnet18_two").origin == origins["two"]
    assert registry.where == f"{BUILT_IN}, {folder}, {environment}, {option}"


def test_nearest_parent_only(write: Write) -> None:
    write('norms: {far: "m:f"}\n')
    near = write('norms: {near: "m:f"}\n', "inner/registry.yaml")
    registry = load(near)
    assert "near" in registry.norms
    assert "far" not in registry.norms


def test_working_folder_is_the_process_own(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(MINE).parent)
    assert "mine" in load_registry().norms


@pytest.mark.parametrize("section", ["norms", "architectures", "models"])
def test_duplicate_names_both_files(write: Write, section: str) -> None:
    name = {"norms": "bn", "architectures": "resnet18", "models": "resnet18_bn"}[section]
    path = write(f'{section}:\n  {name}: {{builder: "m:f"}}\n')
    line = next(i for i, text in enumerate(BUILT_IN.read_text().splitlines(), 1) if text.startswith(f"  {name}:"))
    assert message(path) == (
        f"{section[:-1]} {name!r} is defined twice: {BUILT_IN}:{line} and {path}:2; "
        "rename one, or add `override: true` to the second"
    )


def test_override_wins_and_a_third_layer_must_say_it_too(write: Write) -> None:
    path = write('norms:\n  bn: {builder: "m:mine", override: true}\n')
    registry = load(path)
    assert (registry.norms["bn"].builder, registry.norms["bn"].origin.path) == ("m:mine", path)
    assert registry.resolve("resnet18_bn").norm.builder == "m:mine"  # listed models follow
    with pytest.raises(RegistryError, match=r"option.yaml:1; rename one"):
        load_registry(write('norms: {bn: "m:f"}\n', "option.yaml"), path.parent)


def test_same_file_in_two_layers_is_read_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(MINE)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(path))
    monkeypatch.chdir(path.parent)
    assert [file.layer for file in load_registry("registry.yaml").files] == ["built in", "working folder"]


def test_same_file_by_another_spelling_is_read_once(write: Write) -> None:
    path = write(MINE)
    (path.parent / "sub").mkdir()
    registry = load_registry(path.parent / "sub" / ".." / "registry.yaml", path.parent)
    assert "mine" in registry.norms


@pytest.mark.parametrize("how", ["option", "environment"])
def test_missing_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "environment":
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, "nowhere.yaml")
    with pytest.raises(RegistryError) as caught:
        load_registry("nowhere.yaml" if how == "option" else None, tmp_path)
    layer = {"option": "--registry", "environment": "$ZOO_REGISTRY"}[how]
    line = sentence(caught.value.parts, worded)
    assert line == f"{layer}: no such file: nowhere.yaml; give the path of a registry.yaml"


def test_builtin_mark_replaces_the_built_in_layer(write: Write) -> None:
    path = write('builtin: true\nnorms: {bn: "m:mine"}\n')
    registry = load(path)
    assert [(file.layer, file.path) for file in registry.files] == [("built in", path)]
    assert list(registry.norms) == ["bn"]


# Files


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("- a\n", 1, "expected a mapping of sections, found a list"),
        ("\nnorm:\n", 2, "unknown section 'norm', expected norms, architectures or models; did you mean 'norms'?"),
        ("norms: [a]\n", 1, "norms: expected a mapping of names, found a list"),
        ("norms: text\n", 1, "norms: expected a mapping of names, found text"),
        ("norms:\n  a: 1\n", 2, "norm 'a': expected \"module:function\" or a mapping, found a number"),
        ("norms:\n  a:\n", 2, "norm 'a': expected \"module:function\" or a mapping, found nothing"),
        ("norms:\n  a: {}\n", 2, "norm 'a': 'builder' is missing, expected \"module:function\""),
        ("norms:\n  a: m.f\n", 2, "norm 'a': builder: expected \"module:function\", found 'm.f'"),
        ("norms:\n  a: {builder: 3}\n", 2, "norm 'a': builder: expected \"module:function\", found a number: 3"),
        ('norms:\n  a: {builder: "m:f", conv: x}\n', 2, "norm 'a': conv: expected \"module:function\", found 'x'"),
        (
            'norms:\n  a:\n    builder: "m:f"\n    kwargs: [1]\n',
            4,
            "norm 'a': kwargs: expected a mapping of keyword arguments, found a list: [1]",
        ),
        ('norms:\n  a:\n    builder: "m:f"\n    label: 1\n', 4, "norm 'a': label: expected text, found a number: 1"),
        (
            'norms:\n  a: {builder: "m:f",\n    paper: {}}\n',
            3,
            "norm 'a': paper: expected text, found a mapping: {}",
        ),
        (
            'norms:\n  a: {builder: "m:f", override: 1}\n',
            2,
            "norm 'a': override: expected true or false, found a number: 1",
        ),
        (
            'norms:\n  a: {builder: "m:f", batch_independent: "no"}\n',
            2,
            "norm 'a': batch_independent: expected true or false, found text: 'no'",
        ),
        (
            'norms:\n  a: {builder: "m:f", activation: true}\n',
            2,
            "norm 'a': activation: expected 'included' or 'separate', found true/false: True",
        ),
        (
            'norms:\n  a: {builder: "m:f", activation: include}\n',
            2,
            "norm 'a': activation: expected 'included' or 'separate', found 'include'",
        ),
        (
            'norms:\n  a: {builder: "m:f", layout: nhwc}\n',
            2,
            "norm 'a': layout: expected 'nchw' or 'channels_last', found 'nhwc'",
        ),
        (
            "models:\n  a: {norm: bn, architecture: resnet18, layout: auto}\n",
            2,
            "model 'a': layout: expected 'nchw' or 'channels_last', found 'auto'",
        ),
        (
            'architectures:\n  a: {builder: "m:f", layout: [nchw]}\n',
            2,
            "architecture 'a': layout: expected 'nchw' or 'channels_last', found a list: ['nchw']",
        ),
        ('norms:\n  a: {builder: "m:f", layuot: nchw}\n', 2, "norm 'a': unknown key 'layuot'; did you mean 'layout'?"),
        ('norms:\n  a: {biulder: "m:f"}\n', 2, "norm 'a': unknown key 'biulder'; did you mean 'builder'?"),
        (
            'architectures:\n  a: {builder: "m:f", conv: "m:f"}\n',
            2,
            "architecture 'a': unknown key 'conv'; allowed: builder, kwargs, arguments, label, layout, paper, override",
        ),
        (
            "norms:\n  _a: x\n",
            2,
            "norm '_a': a name is letters, digits and _ . + -, and starts with a letter or digit",
        ),
        *(
            (
                f'{section}s:\n  {name}: "m:f"\n',
                2,
                f"{section} '{name}': Windows has no file or folder of this name; take another name",
            )
            for section in ("norm", "architecture", "model")
            for name in ("con", "NUL", "aux.small", "Com1", "lpt9.a.b", "mine.")
        ),
        ("models:\n  a: {norm: bn}\n", 2, "model 'a': expected 'architecture' and 'norm', or a 'builder'"),
        (
            'models:\n  a: {norm: bn, architecture: resnet18, builder: "m:f"}\n',
            2,
            "model 'a': 'norm' is not read beside 'builder'; take it out (bench a@bn)",
        ),
        (
            'models:\n  a: {architecture: resnet18, builder: "m:f"}\n',
            2,
            "model 'a': 'architecture' is not read beside 'builder'; take it out (an architecture has a builder of its "
            "own)",
        ),
        (
            "models:\n  a: {architecture: resnet18, norm: bn, arguments: {num_classes: n}}\n",
            2,
            "model 'a': 'arguments' is not read beside 'architecture'; write it in the entry of 'resnet18'",
        ),
        (
            'models:\n  a: {builder: "m:f", arguments: {num_class: n}}\n',
            2,
            "model 'a': arguments: zoo gives no 'num_class' to the builder of a model; did you mean 'num_classes'?",
        ),
        (
            'models:\n  a: {builder: "m:f", arguments: {num_classes: 10}}\n',
            2,
            "model 'a': arguments: num_classes: expected the name of a parameter of the builder, found 10",
        ),
        (
            'norms:\n  a: {builder: "m:f", kwargs: {since: 2020-01-13}}\n',
            2,
            "'2020-01-13' is read as timestamp; put it in quotes, without a tag",
        ),
        (
            'models:\n  a: {builder: "m:f", arguments: {num_classes: n, in_channels: n}}\n',
            2,
            "model 'a': arguments: in_channels and num_classes are both 'n'; each has its own parameter",
        ),
        (
            'norms:\n  a: {builder: "m:f", kwargs: {eps: .nan}}\n',
            2,
            "norm 'a': kwargs: expected text, numbers, true, false, null, lists and mappings, found nan",
        ),
        (
            'norms:\n  a: {builder: "m:f", kwargs: {size: {tuple: 3}}}\n',
            2,
            "norm 'a': kwargs: tuple: expected a list, found 3",
        ),
        (
            "models:\n  a: {norm: 1, architecture: resnet18}\n",
            2,
            "model 'a': norm: expected the name of a norm, found a number: 1",
        ),
        ("norms:\n  a: x:y\n\n  a: x:y\n", 4, "key 'a' is given twice, first on line 2"),
        ("norms: {}\nmodels: {}\nnorms: {}\n", 3, "key 'norms' is given twice, first on line 1"),
        ("norms:\n  ? [a]\n  : x:y\n", 2, "a key must be plain text"),
        ("norms:\n  a: {builder: 'm:f'\n  b: x\n", 3, "not valid YAML: "),
        ("norms:\n\ta: x\n", 2, "not valid YAML: "),
        ("norms: *nothing\n", 1, "not valid YAML: found undefined alias"),
    ],
)
def test_mistakes_in_a_file(write: Write, text: str, line: int, told: str) -> None:
    path = write(text)
    found = message(path)
    assert found.startswith(f"{path}:{line}: {told}")
    assert found == f"{path}:{line}: {told}" or told.startswith("not valid YAML")


@pytest.mark.parametrize(
    "text",
    [
        "norms: &n\n  a: *n\n",  # a mapping that holds itself
        'norms:\n  a: {builder: "m:f", label: 2020-13-45}\n',  # looks like a date and is none
        "norms:\n  a: !!int x\n",
        'norms:\n  a:\n    builder: "m:f"\n    kwargs: {sizes: [{x: 1, x: 2}]}\n',  # a duplicate inside a list
        'builtin: "yes"\n',
    ],
)
def test_stranger_mistakes_are_one_line_too(write: Write, text: str) -> None:
    assert message(path := write(text)).startswith(f"{path}:")


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(b"norms: \xff\n")
    assert message(path) == f"{path}:1: cannot be read: not UTF-8 text; save it as UTF-8"


def test_the_layout_is_asked_for_by_the_model_else_its_norm_else_its_architecture(write: Write) -> None:
    registry = load(write(
        """norms:
  flat: {builder: "torch.nn:BatchNorm2d", layout: nchw}
  last: {builder: "torch.nn:BatchNorm2d", layout: channels_last}
architectures:
  plain: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 20}, layout: nchw}
models:
  own: {architecture: plain, norm: flat, layout: channels_last}
  whole: {builder: "zoo.models.resnet_cifar:resnet_cifar", layout: nchw}
"""
    ))  # fmt: skip
    layouts = {
        "resnet20_bn": "channels_last", "resnet20_in": "nchw", "resnet20_flat": "nchw", "plain_bn": "nchw",
        "plain_last": "channels_last", "own": "channels_last", "whole": "nchw", "timm:resnet18@flat": "nchw",
        "timm:resnet18": "channels_last",
    }  # fmt: skip
    assert {name: registry.resolve(name).layout for name in layouts} == layouts


def test_the_layout_is_no_part_of_a_definition(write: Write) -> None:
    text = 'norms:\n  a: {builder: "torch.nn:BatchNorm2d"}\n'
    before = fingerprint.definition(load(write(text)).resolve("resnet20_a"))
    registry = load(write(text.replace('"}', '", layout: nchw}')))
    assert registry.resolve("resnet20_a").layout == "nchw"
    assert fingerprint.definition(registry.resolve("resnet20_a")) == before


def test_nchw_is_asked_for_by_instance_norm_alone() -> None:
    """It is faster so on a CPU (docs/findings.md); every other built-in norm is slower or as fast in NCHW."""
    registry = Registry([read_registry_file(BUILT_IN, "built in")])
    assert {name for name, norm in registry.norms.items() if norm.layout == "nchw"} == {"in"}
    assert all(entry.layout is None for entry in (*registry.architectures.values(), *registry.models.values()))


@pytest.mark.parametrize("text", ["", "# nothing\n", "norms:\nmodels:\n"])
def test_empty_file_and_sections(write: Write, text: str) -> None:
    assert list(load(write(text)).norms) == list(load_registry(folder=Path("/")).norms)


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system", "!!python/object/new:int {}"]
)
@pytest.mark.parametrize("place", ["norms:\n  a: {}\n", 'norms:\n  a: {{builder: "m:f", kwargs: {{x: {}}}}}\n'])
def test_yaml_executes_nothing(write: Write, monkeypatch: pytest.MonkeyPatch, value: str, place: str) -> None:
    path = write(place.format(value))
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("the file was executed"))
    assert message(path).startswith(f"{path}:2: ")
    assert not (path.parent / "ran").exists()


def test_loading_and_looking_imports_nothing_heavy(write: Write) -> None:
    path = write('norms: {mine: "plugin_that_fails:f"}\n')
    code = (
        "import sys; from zoo.registry.merge import load_registry; r = load_registry();"
        "r.match(['resnet*']); list(r.names()); r.resolve('resnet18_mine');"
        "print([m for m in ('torch', 'numpy', 'timm', 'pandas', 'pydantic', 'plugin_that_fails') if m in sys.modules])"
    )
    (path.parent / "plugin_that_fails.py").write_text("raise SystemExit('imported')\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_ten_thousand_norms_load_at_once(write: Write) -> None:
    lines = [f'  norm{i}: {{builder: "my_norm:norm{i}", label: Norm {i}}}' for i in range(10_000)]
    path = write("norms:\n" + "\n".join(lines) + "\n")
    # In a process of its own, as a user has it; processor time, so that a busy machine does not fail it.
    code = (
        "import time; from zoo.registry.merge import load_registry\n"
        "def once():\n start = time.process_time(); r = load_registry(); return time.process_time() - start, r\n"
        "taken = [once() for _ in range(3)]; print(len(taken[0][1].norms), min(t for t, _ in taken))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True, check=True)
    count, seconds = done.stdout.split()
    assert int(count) == 10_000 + len(read_registry_file(BUILT_IN, "built in").norms)
    print(f"10,000 norms: best of 3 {float(seconds):.3f} s (wanted: under 0.5 s)")
    assert float(seconds) < 1.0


# Builders

NORM = "from torch import nn\n\ndef mine(num_channels, **kwargs):\n    return nn.GroupNorm(1, num_channels)\n"


def failure(path: Path, name: str) -> str:
    """The one line that building `name` from the folder of `path` fails with."""
    model = load(path).resolve(name)
    with pytest.raises(RegistryError) as caught:
        building.build(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_local_norm_is_built_everywhere(write: Write) -> None:
    write(NORM, "my_norm.py")
    model = building.build(load(write('norms: {mine: "my_norm:mine"}\n')).resolve("resnet20_mine"))
    norms = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == 19
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_model_entries_with_kwargs_and_with_their_own_builder(write: Write) -> None:
    write(
        "from torch import nn\n\ndef whole(num_classes, in_channels, width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * width, num_classes))\n",
        "my_models.py",
    )
    path = write(
        "models:\n"
        "  thin: {architecture: resnet20, norm: gn, kwargs: {width: 32}, label: Thin}\n"
        '  whole: {builder: "my_models:whole", kwargs: {width: 7}}\n'
    )
    registry = load(path)
    thin, whole = registry.resolve("thin"), registry.resolve("whole")
    assert (thin.label, whole.label, whole.norm, whole.origin.line) == ("Thin", "whole", None, 3)
    assert building.build(thin).conv1.out_channels == 32  # the model's kwargs go over the architecture's
    assert building.build(whole, num_classes=5, in_channels=2)[1].weight.shape == (5, 14)


@pytest.mark.parametrize(
    ("source", "builder", "told"),
    [
        (NORM, "my_nrom:mine", "norm 'mine' ({0}:1): no module 'my_nrom' in {1} or installed; did you mean 'my_norm'?"),
        (NORM, "my_norm:mien", "norm 'mine' ({0}:1): 'my_norm' has no 'mien'; did you mean 'mine'?"),
        (
            "import not_there_at_all\n",
            "my_norm:mine",
            "norm 'mine' ({0}:1): importing 'my_norm' failed: No module named 'not_there_at_all'; install it",
        ),
        (
            "1 / 0\n",
            "my_norm:mine",
            "norm 'mine' ({0}:1): importing 'my_norm' failed: ZeroDivisionError: division by zero",
        ),
        (
            "import sys\n\nsys.exit('no')\n",
            "my_norm:mine",
            "norm 'mine' ({0}:1): importing 'my_norm' failed: SystemExit: no",
        ),
        ("mine = 3\n", "my_norm:mine", "norm 'mine' ({0}:1): my_norm:mine is not a function or class but int"),
        (
            "def mine():\n    pass\n",
            "my_norm:mine",
            "norm 'mine' ({0}:1): my_norm:mine() cannot be called with (num_channels): too many positional arguments",
        ),
        (
            "def mine(channels, groups):\n    pass\n",
            "my_norm:mine",
            "norm 'mine' ({0}:1): my_norm:mine(channels, groups) cannot be called with (num_channels): "
            "missing a required argument: 'groups'; write `kwargs: {{groups: ...}}` in its entry, or name a function "
            "that needs none",
        ),
        (
            "def mine(channels):\n    return 3\n",
            "my_norm:mine",
            "norm 'mine' ({0}:1): my_norm:mine returned int, expected a torch.nn.Module",
        ),
        (
            "def mine(channels):\n    raise ValueError('two\\nlines')\n",
            "my_norm:mine",
            "norm 'mine' ({0}:1): my_norm:mine(64) failed: ValueError: two lines",
        ),
    ],
)
def test_mistakes_in_a_norm_builder(write: Write, source: str, builder: str, told: str) -> None:
    write(source, "my_norm.py")
    path = write(f'norms: {{mine: "{builder}"}}\n')
    assert failure(path, "resnet18_mine") == told.format(path, path.parent)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "def net(num_classes):\n    pass\n",
            "architecture 'net' ({0}:1): my_net:net(num_classes) cannot be called with "
            "(norm, num_classes): got an unexpected keyword argument 'norm'; an architecture takes 'norm': ",
        ),
        ("def net(**kwargs):\n    pass\n", "architecture 'net' ({0}:1): my_net:net returned NoneType, expected"),
        (
            "def net(norm, **kwargs):\n    norm()\n",
            "architecture 'net' ({0}:1): my_net:net(num_classes=10, in_channels=3) failed: TypeError: ",
        ),
    ],
)
def test_mistakes_in_an_architecture_builder(write: Write, source: str, told: str) -> None:
    write(source, "my_net.py")
    path = write('architectures: {net: "my_net:net"}\n')
    assert failure(path, "net_bn").startswith(told.format(path))


def test_mistakes_in_a_model_builder(write: Write) -> None:
    write("def net(classes):\n    pass\n", "my_whole.py")
    path = write('models: {net: {builder: "my_whole:net"}}\n')
    assert failure(path, "net") == (
        f"model 'net' ({path}:1): my_whole:net(classes) cannot be called with (): "
        "missing a required argument: 'classes'; write `arguments: {num_classes: classes}` in its entry"
    )


def test_wrong_kwargs_in_the_file_are_found_before_anything_is_built(write: Write) -> None:
    path = write('norms: {mine: {builder: "zoo.norms:group_norm", kwargs: {gruop_size: 8}}}\n')
    assert "got an unexpected keyword argument 'gruop_size'" in failure(path, "resnet18_mine")


# What an architecture receives


class Recorder(nn.Module):
    """A norm that keeps what it was made with."""

    def __init__(self, num_channels: int, **kwargs: object) -> None:
        super().__init__()
        self.made_with = (num_channels, kwargs)


def plain(num_channels: int, **kwargs: object) -> nn.Module:
    return Recorder(num_channels, **kwargs)


def names_branch_end(num_channels: int, branch_end: bool = False) -> nn.Module:
    return Recorder(num_channels, branch_end=branch_end)


def test_apply_act_goes_to_an_included_norm_only() -> None:
    included = Norm("n", plain, {"k": 1}, activation_included=True)
    assert included(8).made_with == (8, {"k": 1, "apply_act": True})
    assert included(8, apply_act=False, branch_end=True).made_with == (8, {"k": 1, "apply_act": False})
    assert Norm("n", plain, {"k": 1})(8, apply_act=False, branch_end=True).made_with == (8, {"k": 1})


def test_branch_end_goes_where_it_is_named_only() -> None:
    norm = Norm("n", names_branch_end)
    assert norm(8).made_with == (8, {"branch_end": False})
    assert norm(8, branch_end=True).made_with == (8, {"branch_end": True})


def test_activation_of_a_norm() -> None:
    assert type(Norm("n", plain).act()) is nn.ReLU
    assert type(Norm("n", plain).act(nn.GELU)) is nn.GELU
    assert type(Norm("n", plain, activation_included=True).act(nn.GELU)) is nn.Identity


def test_convolution_of_a_norm(write: Write) -> None:
    registry = load(write(""))
    standard = building.load_norm(registry.norms["ws_gn"]).conv2d(3, 8, 3, stride=2, padding=1)
    ordinary = building.load_norm(registry.norms["gn"]).conv2d(3, 8, 3, stride=2, padding=1)
    assert type(standard).__name__ == "StdConv2d"
    assert type(ordinary) is nn.Conv2d
    for conv in (standard, ordinary):
        assert (conv.in_channels, conv.out_channels, conv.stride, conv.bias) == (3, 8, (2, 2), None)


# What a result says of a model


def definition_of(model: Model) -> dict[str, Any]:
    """As a process of its own would tell it, which has not loaded the files as they were before."""
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]
    return fingerprint.definition(model)


def test_definition_changes_with_the_file_and_only_then(write: Write) -> None:
    source = write(NORM, "my_norm.py")
    path = write('norms: {mine: "my_norm:mine"}\n')
    first = definition_of(load(path).resolve("resnet20_mine"))
    path.write_text('# moved down\n\nnorms:\n  mine: {builder: "my_norm:mine", label: Mine}\n')
    assert definition_of(load(path).resolve("resnet20_mine")) == first  # labels and lines are not the model
    source.write_text(NORM.replace("GroupNorm(1,", "GroupNorm(2,"))
    assert fingerprint.definition(load(path).resolve("resnet20_mine")) == first  # what is loaded is what runs
    assert definition_of(load(path).resolve("resnet20_mine")) != first
    source.write_text(NORM)
    assert definition_of(load(path).resolve("resnet20_mine")) == first


@pytest.mark.parametrize(
    "form",
    [
        "from torch import nn\nmine = nn.{}\n",
        "import functools\nfrom torch import nn\nmine = functools.partial(nn.{})\n",
    ],
    ids=["alias", "partial"],
)
def test_definition_changes_with_the_file_whatever_its_form(write: Write, form: str) -> None:
    source = write(form.format("BatchNorm2d"), "my_norm.py")
    model = load(write('norms: {mine: "my_norm:mine"}\n')).resolve("resnet20_mine")
    first = definition_of(model)
    source.write_text(form.format("InstanceNorm2d"))
    assert definition_of(model) != first


def test_definition_changes_with_a_local_convolution(write: Write) -> None:
    write(NORM, "my_norm.py")
    source = write("from torch import nn\n\nclass Conv(nn.Conv2d):\n    pass\n", "my_conv.py")
    model = load(write('norms: {mine: {builder: "my_norm:mine", conv: "my_conv:Conv"}}\n')).resolve("resnet20_mine")
    first = definition_of(model)
    source.write_text(source.read_text() + "    scale = 2\n")
    assert definition_of(model) != first


def test_definition_of_a_model_that_only_changes_arguments(write: Write) -> None:
    path = write("models: {slim: {architecture: resnet18, norm: bn, kwargs: {width: 16}}}\n")
    assert fingerprint.definition(load(path).resolve("slim"))["model"]["kwargs"] == {"width": 16}


def test_definition_changes_with_a_file_called_as_one_of_pythons(write: Write) -> None:
    source = write(NORM, "this.py")
    model = load(write('norms: {mine: "this:mine"}\n')).resolve("resnet20_mine")
    told = []
    for text in (NORM, NORM.replace("GroupNorm(1,", "GroupNorm(2,")):
        source.write_text(text)
        sys.modules.pop("this", None)
        told.append(fingerprint.definition(model)["norm"]["source_sha256"])
    sys.modules.pop("this", None)
    assert told[0] != told[1]


def test_definition_changes_with_kwargs_and_overrides(write: Write) -> None:
    path = write("")
    first = fingerprint.definition(load(path).resolve("resnet20_gn"))
    assert fingerprint.definition(load(path).resolve("resnet20_gn")) == first
    path.write_text('norms: {gn: {builder: "zoo.norms:group_norm", kwargs: {group_size: 8}, override: true}}\n')
    assert fingerprint.definition(load(path).resolve("resnet20_gn")) != first
    assert fingerprint.definition(load(path).resolve("resnet20_ws_gn")) != first  # same builder, other convolution
