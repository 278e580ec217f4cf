"""Modules beside a registry: which of several of one name is imported, and that no stale byte code is."""

from __future__ import annotations

import os
import py_compile
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from zoo.builder.construct import build
from zoo.errors import RegistryError
from zoo.registry import importing
from zoo.registry.fingerprint import definition
from zoo.registry.locate import load_builder
from zoo.registry.merge import Registry, load_registry
from zoo.utils.seeding import seed_all

NET = "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self, num_classes, in_channels):\n"
FLAT = "        super().__init__()\n        self.fc = nn.Linear(in_channels, num_classes)\n"
FORWARD = "\n    def forward(self, x):\n        return self.fc(x.mean((2, 3)))\n"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("models", "utils", "blocks", "same_name_twice", "quick_norm", "late_helper"):
            del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def registry(folder: Path) -> Registry:
    return load_registry(folder / "registry.yaml", folder=folder)


# Two folders with modules of one name


@pytest.mark.parametrize("package", [True, False], ids=["packages", "namespace-packages"])
def test_two_registries_with_modules_of_one_name(tmp_path: Path, package: bool) -> None:
    """In turns, absolute and relative imports, also those of a function that runs when the model is built."""
    for name in ("here", "there"):
        files = {
            "registry.yaml": f'models: {{{name}: "models.net:net"}}\n',
            "utils.py": f"WHO = '{name}'\n",
            "models/net.py": "from utils import WHO\n\n\ndef net(num_classes, in_channels):\n    import models.late\n"
            "    from .late import Late\n\n    assert models.late.Late is Late\n    return Late(num_classes, WHO)\n",
            "models/late.py": "from torch import nn\n\n\nclass Late(nn.Linear):\n"
            "    def __init__(self, classes, who):\n        super().__init__(3, classes)\n"
            f"        self.who = '{name}', who\n",
        }
        write(tmp_path / name, files | ({"models/__init__.py": ""} if package else {}))
    resolved = {name: registry(tmp_path / name).resolve(name) for name in ("here", "there")}
    for name in ("here", "there", "here", "there"):
        assert build(resolved[name]).who == (name, name)
    first, second = (definition(model) for model in resolved.values())
    assert first["code"]["models/net.py"] == second["code"]["models/net.py"]
    assert first["code"]["utils.py"] != second["code"]["utils.py"]


@pytest.mark.parametrize("where", ["late_helper", "blocks.late_helper", ".late_helper"])
def test_an_import_inside_a_forward_pass_finds_its_own_folder(tmp_path: Path, where: str) -> None:
    """Both models are built before either runs."""
    package, line = "." in where, f"from {where} import WHO"
    module = "blocks.net" if package else "same_name_twice"
    models = {}
    for number, name in enumerate(("here", "there")):
        folder = write(tmp_path / name, {
            "registry.yaml": f'models: {{{name}: "{module}:Net"}}\n',
            f"{module.replace('.', '/')}.py": NET + FLAT + f"\n    def forward(self, x):\n        {line}\n\n"
            "        import math\n\n        return WHO * math.prod([1]) + 0 * self.fc(x.mean((2, 3)))\n",
            f"{'blocks/' if package else ''}late_helper.py": f"WHO = {number}\n",
        })  # fmt: skip
        models[number] = build(registry(folder).resolve(name))
    for number in (0, 1, 0, 1):
        assert bool((models[number](torch.ones(1, 3, 2, 2)) == number).all())


def test_a_local_norm_enters_its_folder_once_for_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, {
        "registry.yaml": 'norms: {mine: "quick_norm:mine"}\n',
        "quick_norm.py": "from torch import nn\n\n\nclass mine(nn.BatchNorm2d):\n    pass\n",
    })  # fmt: skip
    model = registry(folder).resolve("resnet20_mine")
    build(model)
    entered = []
    make_way = importing._make_way
    monkeypatch.setattr(importing, "_make_way", lambda folder: entered.append(folder) or make_way(folder))
    build(model)
    assert entered.count(folder) <= 4, "not for each of 19 norms"


def test_a_norm_and_an_architecture_whose_files_have_one_name(tmp_path: Path) -> None:
    """A norm is called while an architecture of another folder is built."""
    write(tmp_path / "net", {
        "registry.yaml": 'architectures: {tall: "same_name_twice:tall"}\n',
        "same_name_twice.py": "from torch import nn\n\n\ndef tall(norm, num_classes, in_channels):\n"
        "    from blocks import head\n\n"
        "    return nn.Sequential(norm(in_channels), norm(in_channels), head(num_classes))\n",
        "blocks.py": "from torch import nn\n\n\ndef head(classes):\n    return nn.Conv2d(3, classes, 1)\n",
    })  # fmt: skip
    write(tmp_path / "norm", {
        "registry.yaml": 'norms: {mine: "same_name_twice:mine"}\n',
        "same_name_twice.py": "def mine(num_channels):\n    import blocks\n\n    return blocks.layer(num_channels)\n",
        "blocks.py": "from torch import nn\n\n\ndef layer(channels):\n    return nn.BatchNorm2d(channels)\n",
    })  # fmt: skip
    model = load_registry(tmp_path / "norm" / "registry.yaml", folder=tmp_path / "net").resolve("tall_mine")
    assert [type(part).__name__ for part in build(model)] == ["BatchNorm2d", "BatchNorm2d", "Conv2d"]
    assert definition(model)["architecture"]["source_sha256"] != definition(model)["norm"]["source_sha256"]


def test_a_file_beside_the_registry_wins_over_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "site-packages", {"utils/__init__.py": "WHO = 'installed'\n", "utils/inner.py": ""})
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    import utils
    import utils.inner

    folder = write(tmp_path / "mine", {
        "registry.yaml": 'models: {mine: "models.net:Net"}\n',
        "models/__init__.py": "",
        "models/net.py": "import utils\n" + NET + FLAT + "        self.who = utils.WHO\n" + FORWARD,
        "utils.py": "WHO = 'mine'\n",
    })  # fmt: skip
    assert build(registry(folder).resolve("mine")).who == "mine"
    assert (sys.modules["utils"], sys.modules["utils.inner"]) == (utils, utils.inner)  # afterwards all is as it was


def test_a_folder_of_other_things_hides_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as wandb/, with the runs of a tracker, or the checkout of a package that is installed from it."""
    write(tmp_path / "site-packages", {"utils/__init__.py": "WHO = 'installed'\n"})
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    files = {"registry.yaml": 'models: {mine: "blocks:Net"}\n', "utils/runs/1.txt": "", "utils/setup.py": ""}
    code = "import utils\n" + NET + FLAT + "        self.who = utils.WHO\n" + FORWARD
    folder = write(tmp_path / "mine", files | {"blocks.py": code})
    assert build(registry(folder).resolve("mine")).who == "installed"


def test_python_and_the_libraries_are_never_put_aside(tmp_path: Path) -> None:
    files = {"registry.yaml": 'models: {a: "random:Net", b: "torch:Net"}\n', "random.py": NET, "torch.py": NET}
    loaded = registry(write(tmp_path, files))
    for name, module in (("a", "random"), ("b", "torch")):
        entry = loaded.models[name]
        with pytest.raises(RegistryError, match=rf"{module}\.py is hidden by '{module}' from .*; rename it"):
            load_builder(entry.builder, "it", entry.origin)
    assert sys.modules["torch"] is torch


# What is hashed is what was imported


def test_a_norms_file_edited_twice_within_a_second_at_the_same_length(tmp_path: Path) -> None:
    """The byte code beside it is that of the first, and looks like that of the second."""
    code = "from torch import nn\n\n\ndef mine(num_channels):\n    return nn.GroupNorm({}, num_channels)\n"
    folder = write(tmp_path, {"registry.yaml": 'norms: {mine: "quick_norm:mine"}\n'})
    file, made = folder / "quick_norm.py", []
    for groups in (1, 4):
        file.write_text(code.format(groups))
        os.utime(file, (1_000_000_000, 1_000_000_000))
        if groups == 1:
            py_compile.compile(str(file))
        sys.modules.pop("quick_norm", None)
        model = registry(folder).resolve("resnet20_mine")
        made.append((build(model).norm1.num_groups, definition(model)["code"]["quick_norm.py"]))
    assert [groups for groups, _ in made] == [1, 4]
    assert made[0][1] != made[1][1]


def test_a_module_that_is_edited_after_it_was_imported(tmp_path: Path) -> None:
    """What runs is what was imported, and so is its hash; a module that is reloaded runs as it is now."""
    code = "from torch import nn\n\n\ndef mine(num_channels):\n    return nn.GroupNorm({}, num_channels)\n"
    folder = write(tmp_path, {"registry.yaml": 'norms: {mine: "quick_norm:mine"}\n', "quick_norm.py": code.format(1)})
    model = registry(folder).resolve("resnet20_mine")
    before = definition(model)
    (folder / "quick_norm.py").write_text(code.format(4))
    assert build(model).norm1.num_groups == 1
    assert definition(model) == before
    import importlib

    importlib.reload(sys.modules["quick_norm"])
    assert build(model).norm1.num_groups == 4
    assert definition(model) != before


def test_a_module_that_is_imported_after_it_was_hashed(tmp_path: Path) -> None:
    code = "def mine(num_channels):\n    from late_helper import make\n\n    return make(num_channels)\n"
    late = "from torch import nn\n\n\ndef make(count):\n    return nn.GroupNorm({}, count)\n"
    files = {"registry.yaml": 'norms: {mine: "quick_norm:mine"}\n', "quick_norm.py": code}
    folder = write(tmp_path, files | {"late_helper.py": late.format(1)})
    model = registry(folder).resolve("resnet20_mine")
    before = definition(model)
    (folder / "late_helper.py").write_text(late.format(4))
    assert build(model).norm1.num_groups == 1  # as it was when it was hashed
    assert definition(model)["code"] == before["code"]


def test_numbers_that_are_drawn_on_import_are_the_same_in_each_process(tmp_path: Path) -> None:
    code = "import random\nimport numpy as np\nimport torch\nNOISE = random.random(), np.random.rand(), torch.rand(1)\n"
    write(
        tmp_path, {"late_helper.py": code + NET + FLAT + FORWARD, "registry.yaml": "models: {net: 'late_helper:Net'}\n"}
    )
    drawn = []
    for seed in (1, 2):
        seed_all(seed)
        expected = torch.rand(1), random.random()
        seed_all(seed)
        entry = registry(tmp_path).resolve("net").entry
        assert entry
        load_builder(entry.builder, "net", entry.origin)
        drawn.append(sys.modules.pop("late_helper").NOISE)
        assert (torch.rand(1), random.random()) == expected
    assert drawn[0] == drawn[1]
