"""The identity of a model is the code that it runs: what of it is noticed, and what is not."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.builder.construct import build, definition_of
from zoo.registry.fingerprint import core, difference, is_same
from zoo.registry.merge import load_registry

Files = dict[str, str]
Define = Callable[..., dict[str, Any]]
ROOTS = ("mine", "resnet", "parts", "third", "other_acts", "unused")

NET = """import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 8, 3)
        self.fc = nn.Linear(8, num_classes)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.fc(self.act(self.conv(x)).mean((2, 3)))
"""
EDITED = NET.replace("nn.ReLU()", "nn.LeakyReLU()")
REGISTRY = 'models: {mine: "mine:net"}\n'


@pytest.fixture
def define(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Define]:
    """The definition of ``mine``, as by a new process, after `files` are written; a third-party package goes to
    site-packages.
    """
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "registry.yaml").write_text(REGISTRY)

    def clear() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] in ROOTS]:
            del sys.modules[name]

    def definer(files: Files | None = None, name: str = "mine") -> dict[str, Any]:
        clear()
        for file, text in (files or {}).items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
        return definition_of(load_registry(folder=tmp_path).resolve(name), 10)

    monkeypatch.chdir(tmp_path)
    yield definer
    clear()


def installed(version: str, code: str = NET) -> Files:
    """A package ``third-party`` in site-packages, as an installer writes it."""
    info = "site-packages/third_party-{}.dist-info"
    return {
        "site-packages/third/__init__.py": "from third.nets import Net\n",
        "site-packages/third/nets.py": code,
        "site-packages/third/ops.py": "from torch.nn.functional import relu\n\n\ndef act(x):\n    return relu(x)\n",
        f"{info.format(version)}/METADATA": f"Metadata-Version: 2.1\nName: third-party\nVersion: {version}\n",
        f"{info.format(version)}/RECORD": "third/__init__.py,,\nthird/nets.py,,\nthird/ops.py,,\n",
    }


ADAPTERS = {
    "a function": "import resnet\n\n\ndef net(**kwargs):\n    return resnet.Net(**kwargs)\n",
    "functools.partial": "import functools\n\nimport resnet\n\nnet = functools.partial(resnet.Net)\n",
    "importlib": "from importlib import import_module\n\n\ndef net(**kwargs):\n"
    "    return import_module('resnet').Net(**kwargs)\n",
    "a subclass": "import importlib\n\nBase = importlib.import_module('resnet').Net\n\n\nclass net(Base):\n    pass\n",
}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_code_behind_an_adapter(define: Define, adapter: str) -> None:
    """ReLU made LeakyReLU in resnet.py is another model, whatever the adapter does to get there."""
    first = define({"mine.py": ADAPTERS[adapter], "resnet.py": NET})
    assert define() == first
    assert set(first["code"]) == {"mine.py", "resnet.py"}
    second = define({"resnet.py": EDITED})
    assert not is_same(first, second)
    assert difference(first, second) == "resnet.py has changed"
    assert define({"resnet.py": NET}) == first


def test_classes_made_by_a_factory(define: Define) -> None:
    factory = (
        "from parts.acts import ACTS\n\n\ndef make(base):\n    return type('Made', (base,), {'act': ACTS['first']})\n"
    )
    acts = "def first(x):\n    return x.relu()\n\n\nACTS = {'first': first}\n"
    net = NET.replace("        self.act = nn.ReLU()\n", "")
    mine = "import importlib\n\n\ndef net(**kwargs):\n    make = importlib.import_module('parts.factory').make\n"
    mine += "    return make(importlib.import_module('resnet').Net)(**kwargs)\n"
    first = define({"mine.py": mine, "resnet.py": net, "parts/factory.py": factory, "parts/acts.py": acts})
    assert {"parts/acts.py", "resnet.py"} <= set(first["code"])
    assert difference(first, define({"parts/acts.py": acts + "# edited\n"})) == "parts/acts.py has changed"


def test_a_function_that_is_imported_by_its_name(define: Define) -> None:
    """No class of the network is local, and no import statement names the file."""
    mine = "from importlib import import_module\n\n\ndef net(**kwargs):\n"
    mine += "    return import_module('resnet').make(**kwargs)\n"
    make = "from torch import nn\n\n\ndef make(**kwargs):\n    return nn.Sequential(nn.ReLU(), nn.Flatten())\n"
    first = define({"mine.py": mine, "resnet.py": make})
    second = define({"resnet.py": make.replace("nn.ReLU", "nn.LeakyReLU")})
    assert difference(first, second) == "resnet.py has changed"


@pytest.mark.parametrize("inits", [True, False], ids=["nested-packages", "namespace-packages"])
def test_nested_packages(define: Define, inits: bool) -> None:
    files = {
        "mine.py": "def net(**kwargs):\n    from parts.deep.nets import Net\n\n    return Net(**kwargs)\n",
        "parts/deep/nets.py": NET.replace("self.act = nn.ReLU()", "self.act = act") + "\n\nfrom ..ops import act\n",
        "parts/ops.py": "def act(x):\n    return x.relu()\n",
    }
    files |= {"parts/__init__.py": "", "parts/deep/__init__.py": ""} if inits else {}
    first = define(files)
    assert {"mine.py", "parts/deep/nets.py", "parts/ops.py"} <= set(first["code"])
    second = define({"parts/ops.py": "def act(x):\n    return x.tanh()\n"})
    assert difference(first, second) == "parts/ops.py has changed"


def test_an_upgraded_library_behind_a_local_adapter(define: Define, tmp_path: Path) -> None:
    adapter = "from third import Net\n\n\ndef net(**kwargs):\n    return Net(**kwargs)\n"
    first = define({"mine.py": adapter, **installed("1.0")})
    assert first["packages"] == {"third-party": "1.0"}
    assert set(first["code"]) == {"mine.py", "third/nets.py"}
    assert str(tmp_path) not in json.dumps(first)
    (tmp_path / "site-packages/third_party-1.0.dist-info").rename(tmp_path / "gone")
    assert difference(first, define(installed("1.1"))) == "third-party was 1.0 and is 1.1"
    (tmp_path / "site-packages/third_party-1.1.dist-info").rename(tmp_path / "gone too")
    both = define(installed("1.1", EDITED))
    assert difference(first, both) == "third/nets.py has changed, and 1 more"


def test_a_library_that_was_installed_to_the_folder_of_the_registry(define: Define, tmp_path: Path) -> None:
    adapter = "from third import Net\n\n\ndef net(**kwargs):\n    return Net(**kwargs)\n"
    beside = {file.removeprefix("site-packages/"): text for file, text in installed("1.0").items()}
    first = define({"mine.py": adapter, **beside})
    assert first["packages"] == {"third-party": "1.0"}
    assert set(first["code"]) == {"mine.py", "third/__init__.py", "third/nets.py"}


@pytest.mark.parametrize(
    "use",
    ["from third.ops import act", "import third.ops\nact = third.ops.act", "import third.ops as ops\nact = ops.act"],
)
def test_a_function_of_a_library_that_forward_calls(define: Define, tmp_path: Path, use: str) -> None:
    code = NET.replace("import torch\n", f"import torch\n{use}\n", 1).replace("self.act(", "act(")
    files = {"mine.py": code.replace("class Net", "class net"), **installed("1.0")}
    assert define(files)["packages"] == {"third-party": "1.0"}
    inside = NET.replace("        return", f"        {use.replace(chr(10), chr(10) + '        ')}\n\n        return")
    assert define({"mine.py": inside.replace("class Net", "class net")})["packages"] == {"third-party": "1.0"}


def test_a_library_that_the_model_does_not_run(define: Define) -> None:
    """Its upgrade stops nothing; nor does torch's, whose version is in the result."""
    script = "\n\ndef main():\n    third.Net(1, 1)\n"
    first = define({"mine.py": "import third\n" + NET.replace("class Net", "class net") + script, **installed("1.0")})
    assert "packages" not in first
    assert set(first["code"]) == {"mine.py"}


def test_what_is_built_in_is_as_it_was(define: Define) -> None:
    """No code, nothing built; a user's entry for a norm of torch has no code either."""
    assert set(define(name="resnet20_bn")) == {"architecture", "norm"}
    registry = 'norms: {plain: "torch.nn:BatchNorm2d"}\n'
    assert set(define({"registry.yaml": registry}, "resnet20_plain")) == {"architecture", "norm"}


def test_a_script_module(define: Define) -> None:
    mine = (
        "import torch\n\nfrom resnet import Net\n\n\ndef net(**kwargs):\n    return torch.jit.script(Net(**kwargs))\n"
    )
    first = define({"mine.py": mine, "resnet.py": NET})
    assert difference(first, define({"resnet.py": EDITED})) == "resnet.py has changed"


def test_another_data_file_named_in_kwargs(define: Define, tmp_path: Path) -> None:
    """Relative to the working folder or the registry, absolute, or inside a list; the path is no part of it."""
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "sizes.json").write_text("[2]")
    registry = "models: {{mine: {{builder: 'mine:net', kwargs: {{width: 'data/width.txt', more: [{{a: '{}'}}]}}}}}}\n"
    code = "from torch import nn\n\n\ndef net(num_classes, in_channels, width, more):\n    return nn.Linear(3, 3)\n"
    files = {"registry.yaml": registry.format(outside / "sizes.json"), "mine.py": code, "data/width.txt": "8"}
    first = define(files)
    assert set(first["data"]) == {"data/width.txt", "sizes.json"}
    assert difference(first, define({"data/width.txt": "9"})) == "data/width.txt has changed"
    (outside / "sizes.json").write_text("[3]")
    assert difference(first, define({"data/width.txt": "8"})) == "sizes.json has changed"
    os.chdir(outside)
    assert set(define()["data"]) == {"data/width.txt", "sizes.json"}  # that beside the registry


def test_an_older_definition_of_the_same_code(define: Define) -> None:
    """One that knows no code beyond the builders' imports is the same as far as it goes."""
    now = define({"mine.py": ADAPTERS["a function"], "resnet.py": NET})
    older = core(now)
    assert set(older) == {"model"}
    assert is_same(older, now)
    edited = define({"resnet.py": EDITED})
    assert not is_same(older, edited)
    assert difference(older, edited) == "the code of its model has changed (mine.py, resnet.py)"


def test_a_definition_draws_no_random_number(define: Define) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    define({"mine.py": NET.replace("class Net", "class net")})
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_that_of_the_run_whatever_was_built_before(define: Define, tmp_path: Path) -> None:
    """A process that evaluates has not run the model; one that trained has."""
    first = define({"mine.py": ADAPTERS["importlib"], "resnet.py": NET, **installed("1.0")})
    model = load_registry(folder=tmp_path).resolve("mine")
    build(model)(torch.zeros(2, 3, 8, 8))
    assert definition_of(model, 10) == first


def test_objects_that_raise_when_they_are_looked_at(define: Define) -> None:
    hostile = (
        "\n\nclass Hostile:\n    def __getattr__(self, name):\n        raise RuntimeError(name)\n\n"
        "    def __len__(self):\n        raise RuntimeError\n\n"
        "    @property\n    def __class__(self):\n        raise RuntimeError\n"
    )
    held = "self.act = nn.ReLU()\n        self.held = [Hostile(), {'a': Hostile}]\n        self.chain = link(25_000)"
    chain = (
        "\n\nclass Link:\n    next = None\n\n\ndef link(count):\n    first = last = Link()\n"
        "    for _ in range(count):\n"
        "        last.next = Link()\n        last = last.next\n    return first\n"
    )
    code = NET.replace("self.act = nn.ReLU()", held).replace("class Net", "class net") + hostile + chain
    assert set(define({"mine.py": code})["code"]) == {"mine.py"}


def test_a_module_that_forward_names_to_importlib(define: Define) -> None:
    helper = "from torch.nn import functional as F\n\n\ndef act(x):\n    return F.relu(x)\n"
    code = NET.replace("self.act(", "importlib.import_module('parts').act(").replace("class Net", "class net")
    first = define({"mine.py": f"import importlib\n{code}", "parts.py": helper})
    assert difference(first, define({"parts.py": helper.replace("relu", "silu")})) == "parts.py has changed"


def test_a_module_in_an_archive(define: Define, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def packed(name: str, code: str) -> None:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("resnet.py", code)
        monkeypatch.setattr(sys, "path", [str(tmp_path / name), *sys.path])

    packed("first.zip", NET)
    first = define({"mine.py": ADAPTERS["a function"]})
    packed("second.zip", EDITED)
    assert difference(first, define()) == "resnet.py has changed"


def test_a_module_that_is_a_link(define: Define, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "network.py").write_text(NET.replace("class Net", "class net"))
    (tmp_path / "mine.py").symlink_to("real/network.py")
    first = define()
    (tmp_path / "real" / "network.py").write_text(EDITED.replace("class Net", "class net"))
    assert difference(first, define()) == "mine.py has changed"


def test_crlf_hashes(define: Define, tmp_path: Path) -> None:
    """A checkout with core.autocrlf is the same model; in a binary file, 13 and 10 are bytes like all others."""
    registry = 'models: {mine: {builder: "mine:net", kwargs: {width: width.txt, table: table.bin}}}\n'
    code = NET.replace("class Net", "class net").replace("num_classes, in_channels", "num_classes, in_channels, **_")
    files = {
        "registry.yaml": registry,
        "mine.py": f"import parts\n{code}",
        "parts.py": "A = 1\n\nB = 2",
        "width.txt": "8\n9\n",
    }
    (tmp_path / "table.bin").write_bytes(b"\0\n")
    first = define(files)
    for name in files:
        content = (tmp_path / name).read_bytes()
        assert first["code" if name.endswith(".py") else "data"].get(name) in (None, sha256(content).hexdigest()[:16])
        (tmp_path / name).write_bytes(content.replace(b"\n", b"\r\n"))
    assert define() == first
    (tmp_path / "table.bin").write_bytes(b"\0\r\n")
    assert difference(first, define()) == "table.bin has changed"
