"""Installed packages that add to zoo: how they are found, what a broken one does, whose names clash."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from zoo.builder.construct import build
from zoo.errors import RecipeError, RegistryError, UnknownNameError
from zoo.recipes.catalogue import recipe_files, recipe_names, recipe_plugins
from zoo.recipes.load import load_recipe
from zoo.registry import plugins
from zoo.registry.fingerprint import definition
from zoo.registry.merge import Registry, load_registry, registry_plugins

Install = Callable[..., Path]
NORM = 'norms:\n  mine: {builder: "plug_mine:mine", label: Mine}\n'
CODE = "from torch import nn\n\n\ndef mine(num_channels):\n    return nn.GroupNorm(4, num_channels)\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package where an installer would: its files, and what its metadata say. Gives the folder of both."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(plugins, "_said", set())
    before = set(sys.modules)

    def installer(name: str, points: dict[str, str], files: dict[str, str], group: str = "zoo.registry") -> Path:
        info = site / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        told = "".join(f"{key} = {value}\n" for key, value in points.items())
        (info / "entry_points.txt").write_text(f"[console_scripts]\nx = y:z\n\n[{group}]\n{told}")
        for file, text in files.items():
            (site / file).parent.mkdir(exist_ok=True)
            (site / file).write_text(text)
        return site

    yield installer
    for module in set(sys.modules) - before:
        if module.startswith("plug_"):
            del sys.modules[module]


@pytest.fixture
def mine(install: Install) -> Path:
    """The package of a norm called mine."""
    files = {"plug_mine/__init__.py": CODE, "plug_mine/registry.yaml": NORM}
    return install("zoo-norm-mine", {"mine": "plug_mine:registry.yaml"}, files)


def load(tmp_path: Path) -> Registry:
    return load_registry(folder=tmp_path)


# What a plugin adds


def test_a_norm_is_there_and_nothing_is_imported(mine: Path, tmp_path: Path) -> None:
    model = load(tmp_path).resolve("resnet20_mine")
    assert "plug_mine" not in sys.modules
    origin = model.norm.origin
    assert (origin.layer, origin.path, origin.line) == ("plugin", mine / "plug_mine" / "registry.yaml", 2)
    assert str(origin) == f"{origin.path}:2 of zoo-norm-mine 1.2"
    assert build(model)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert str(mine / "plug_mine") not in sys.path  # a package's folder is no place to import from


def test_gone_when_uninstalled(mine: Path, tmp_path: Path) -> None:
    assert "mine" in load(tmp_path).norms
    (mine / "zoo_norm_mine-1.2.dist-info").rename(tmp_path / "gone")
    assert "mine" not in load(tmp_path).norms


def test_working_folder_is_above(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text('norms:\n  mine: {builder: "torch.nn:BatchNorm2d", override: true}\n')
    assert load(tmp_path).norms["mine"].origin.layer == "working folder"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plug_map:REGISTRY", "REGISTRY = {'norms': {'mapped': 'torch.nn:BatchNorm2d'}}\n"),
        (
            "plug_map:Here.inner",
            "class Here:\n    inner = {'norms': {'mapped': {'builder': 'torch.nn:BatchNorm2d'}}}\n",
        ),
        ("plug_map:PATH", "from pathlib import Path\n\nPATH = Path(__file__).with_name('other.yaml')\n"),
    ],
)
def test_a_mapping_or_a_path(install: Install, tmp_path: Path, value: str, text: str) -> None:
    files = {"plug_map/__init__.py": text, "plug_map/other.yaml": 'norms:\n  mapped: "torch.nn:BatchNorm2d"\n'}
    site = install("zoo-map", {"map": value}, files)
    entry = load(tmp_path).norms["mapped"]
    assert entry.builder == "torch.nn:BatchNorm2d"
    assert entry.origin.path.parent == site / "plug_map"
    assert entry.origin.distribution == "zoo-map 1.2"


def test_a_model_of_ones_own_architecture(install: Install, tmp_path: Path) -> None:
    text = 'architectures:\n  tall: "plug_tall:tall"\nmodels:\n  tallest: {architecture: tall, norm: gn}\n'
    install(
        "zoo-tall", {"tall": "plug_tall:registry.yaml"}, {"plug_tall/__init__.py": "", "plug_tall/registry.yaml": text}
    )
    registry = load(tmp_path)
    assert registry.resolve("tallest").architecture.name == "tall"
    assert registry.resolve("tall_ws_gn").origin.distribution == "zoo-tall 1.2"


def test_the_definition_is_the_code_and_not_its_place(mine: Path, tmp_path: Path) -> None:
    def told() -> str:
        for module in ("plug_mine", "plug_mine.helper"):
            sys.modules.pop(module, None)
        return definition(load(tmp_path).resolve("resnet20_mine"))["norm"]["source_sha256"]

    first = told()
    assert told() == first
    (mine / "plug_mine" / "helper.py").write_text("SIZE = 4\n")  # not named by the registry, but part of the package
    assert told() != first


def test_the_code_of_a_local_norm_is_all_that_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        "registry.yaml": 'norms:\n  local: "local_norm:mine"\n',
        "local_norm.py": "import local_ops\nfrom local_parts.sizes import SIZE\n\n\ndef mine(num_channels):\n"
        "    return local_ops.make(num_channels)\n",
        "local_ops.py": "import torch\nfrom torch import nn\n\n\ndef make(count):\n    return nn.BatchNorm2d(count)\n",
        "local_parts/__init__.py": "",
        "local_parts/sizes.py": "from .deep import SIZE\n",
        "local_parts/deep.py": "SIZE = 3\n",
        "local_other.py": "SIZE = 3\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def told() -> str:
        for module in [name for name in sys.modules if name.startswith("local_")]:
            sys.modules.pop(module)
        return definition(load(tmp_path).resolve("resnet20_local"))["norm"]["source_sha256"]

    seen = [told()]
    for name in ("local_ops.py", "local_parts/sizes.py", "local_parts/deep.py", "local_parts/__init__.py"):
        (tmp_path / name).write_text(files[name] + "# edited\n")
        seen.append(told())
    assert len(set(seen)) == len(seen) == 5
    (tmp_path / "local_other.py").write_text("SIZE = 4\n")  # nobody imports it
    assert told() == seen[-1]
    (tmp_path / "local_ops.py").write_text("def (\n")  # while it is loaded, which is not what runs
    assert definition(load(tmp_path).resolve("resnet20_local"))["norm"]["source_sha256"] == seen[-1]


def test_the_code_of_a_local_norm_is_the_same_whatever_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that is imported when the norm is called, and one in a package of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "registry.yaml").write_text('norms:\n  late: "late_norm:mine"\n')
    (tmp_path / "late_norm.py").write_text(
        "def mine(num_channels):\n    from late_parts.ops import make\n\n    return make(num_channels)\n"
    )
    (tmp_path / "late_parts").mkdir()
    ops = tmp_path / "late_parts" / "ops.py"
    ops.write_text("from torch import nn\n\n\ndef make(count):\n    return nn.BatchNorm2d(count)\n")

    def told() -> str:
        return definition(load(tmp_path).resolve("resnet20_late"))["norm"]["source_sha256"]

    before = told()
    build(load(tmp_path).resolve("resnet20_late"))
    assert "late_parts.ops" in sys.modules
    assert told() == before
    ops.write_text(ops.read_text() + "# edited\n")
    assert told() == before  # what is imported is what runs
    for module in [name for name in sys.modules if name.startswith("late_")]:
        sys.modules.pop(module)
    assert told() != before


def test_a_package_that_only_a_registry_names_is_known_by_its_code(install: Install, tmp_path: Path) -> None:
    site = install("zoo-plain", {}, {"plug_plain/__init__.py": "from .ops import mine\n", "plug_plain/ops.py": CODE})
    (tmp_path / "registry.yaml").write_text('norms:\n  plain: "plug_plain:mine"\n  torchs: "torch.nn:BatchNorm2d"\n')

    def told(norm: str) -> str | None:
        for module in [name for name in sys.modules if name.startswith("plug_plain")]:
            sys.modules.pop(module)
        return definition(load(tmp_path).resolve(f"resnet20_{norm}"))["norm"].get("source_sha256")

    first = told("plain")
    (site / "plug_plain" / "ops.py").write_text(CODE + "# the next version\n")
    assert None not in (first, told("plain"))
    assert told("plain") != first
    assert told("torchs") is None  # its version is in the result


# Recipes


RECIPE = "extends: laptop\ndescription: shorter\nepochs: 3\n"


def recipe(install: Install, text: str = RECIPE, name: str = "short", **more: str) -> Path:
    files = {"plug_recipes/__init__.py": "", "plug_recipes/short.yaml": text, **more}
    return install("zoo-recipe-short", {name: "plug_recipes:short.yaml"}, files, "zoo.recipes")


def test_a_recipe_by_name(install: Install, inline_cli) -> None:
    site = recipe(install)
    loaded = load_recipe("short", ["batch_size=32"])
    assert (loaded.name, loaded.epochs, loaded.batch_size) == ("short", 3, 32)
    assert load_recipe("short").fingerprint == load_recipe("laptop", ["epochs=3"]).fingerprint
    assert {"smoke", "short"} <= set(recipe_names())
    lines = inline_cli.ok("list", "--origin", COLUMNS="1000").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("  short ")]
    assert line.endswith(f"plugin: {site / 'plug_recipes' / 'short.yaml'}:1 of zoo-recipe-short 1.2")
    assert "epochs: 3" in inline_cli.ok("recipe", "show", "short").stdout


def test_a_recipe_that_reads_the_test_set_is_marked(install: Install, inline_cli) -> None:
    more = {"plug_recipes/base.yaml": "extends: eva6s8\ndescription: x\n"}
    recipe(install, "extends: base.yaml\ndescription: peeks\n", **more)
    assert "peeks †" in inline_cli.ok("list").stdout
    assert load_recipe("short").selection.split == "test"


def test_two_recipes_of_one_name(install: Install, inline_cli) -> None:
    site = install(
        "zoo-a", {"smoke": "plug_a:smoke.yaml"}, {"plug_a/__init__.py": "", "plug_a/smoke.yaml": RECIPE}, "zoo.recipes"
    )
    with pytest.raises(RecipeError, match="recipe 'smoke' is there twice") as caught:
        recipe_files()
    assert f"{site / 'plug_a' / 'smoke.yaml'}:1 of zoo-a 1.2; uninstall zoo-a 1.2," in str(caught.value)
    assert inline_cli("bench", "resnet20_bn", "--recipe", "smoke").returncode == 2


# Broken ones

BROKEN = [
    ("plug_none:registry.yaml", {}, "package 'plug_none' is not installed"),
    ("plug_x:registry.yaml", {}, "there is no registry.yaml in "),
    ("plug_one:registry.yaml", {"plug_one.py": ""}, "'plug_one' is a module, not a package"),
    ("plug_x:registry.yaml", {"plug_x/registry.yaml": "norms: [\n"}, "registry.yaml:2: not valid YAML"),
    ("plug_x:registry.yaml", {"plug_x/registry.yaml": "norm:\n"}, "did you mean 'norms'?"),
    ("plug_x:registry.yaml", {"plug_x/registry.yaml": "builtin: true\n"}, "builtin: true is for zoo's own registry"),
    (
        "plug_x:registry.yaml",
        {"plug_x/registry.yaml": "models:\n  m: {architecture: resnet18, norm: bnn}\n"},
        "unknown norm 'bnn'",
    ),
    ("plug_x:THERE", {}, "plug_x:THERE: AttributeError"),
    ("plug_x.sub:IT", {}, "plug_x.sub:IT: ModuleNotFoundError"),
    ("plug_bad:IT", {"plug_bad.py": "import sys\n\nsys.exit('no')\n"}, "plug_bad:IT: SystemExit: no"),
    ("plug_bad:IT", {"plug_bad.py": "IT = 3\n"}, "expected a mapping of sections or a Path, found a number"),
    ("plug_bad:IT", {"plug_bad.py": "IT = {'norms': {1: 'a:b'}}\n"}, "a key must be text, found 1"),
    ("plug_bad:IT", {"plug_bad.py": "IT = {'norms': {'x': print}}\n"}, "norm 'x': expected \"module:function\""),
]


@pytest.mark.parametrize(("value", "files", "told"), BROKEN, ids=[told for *_, told in BROKEN])
def test_a_broken_one_is_named_and_skipped(
    mine: Path, install: Install, inline_cli, value: str, files: dict[str, str], told: str
) -> None:
    install("zoo-broken", {"odd": value}, {"plug_x/__init__.py": "", **files})
    output = inline_cli.ok("list")
    (line,) = output.lines
    assert line.startswith("warning: plugin 'odd' of zoo-broken 1.2 is skipped: ")
    assert told in line
    assert {"mine", "bn"} <= {words[0] for words in map(str.split, output.stdout.splitlines()) if words}
    (shown,) = [
        line for line in inline_cli.ok("plugins", COLUMNS="1000").stdout.splitlines() if line.startswith("odd ")
    ]
    assert told in shown


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        (RECIPE, "other", "call the entry point 'short'"),
        ("epochs: [\n", "short", "not valid YAML"),
        ("extends: laptop\n", "short", "description: expected text, found nothing"),
        ("description: x\nextends: short\n", "short", "'extends' goes round in a circle"),
        ("description: x\nextends: nowhere\n", "short", "extends: 'nowhere' is no recipe's name"),
        ("description: x\n", "short", "selection.split is missing"),
    ],
)
def test_a_broken_recipe_is_named_and_skipped(install: Install, inline_cli, text: str, name: str, told: str) -> None:
    recipe(install, text, name)
    (line,) = inline_cli.ok("list").lines
    assert line.startswith(f"warning: plugin {name!r} of zoo-recipe-short 1.2 is skipped: ")
    assert told in line
    assert [told in str(plugin.problem) for plugin in recipe_plugins()] == [True]
    with pytest.raises(UnknownNameError, match=f"unknown recipe '{name}'"):
        load_recipe(name)


def test_metadata_that_no_installer_wrote(mine: Path, install: Install, inline_cli) -> None:
    site = install("zoo-odd", {"odd": "plug_x:registry.yaml"}, {})
    (site / "zoo_odd-1.2.dist-info" / "METADATA").unlink()
    output = inline_cli.ok("list")
    assert str(site) in output.stderr
    assert "Mine" in output.stdout


def test_a_shell_that_completes_is_told_nothing(install: Install, zoo_cli) -> None:
    """Names come from the sound plugins; a warning would stand in the middle of the command line."""
    install("zoo-broken", {"odd": "plug_none:registry.yaml"}, {})
    site = install(
        "zoo-norm-mine",
        {"mine": "plug_mine:registry.yaml"},
        {"plug_mine/__init__.py": "", "plug_mine/registry.yaml": NORM},
    )
    done = zoo_cli(
        PYTHONPATH=str(site), _ZOO_COMPLETE="bash_complete", COMP_WORDS="zoo bench resnet20_mi", COMP_CWORD="2"
    )
    assert (done.stdout.split(), done.stderr) == (["plain,resnet20_mine"], "")


# Clashes


OTHER = {"plug_b/__init__.py": "", "plug_b/registry.yaml": '\nnorms:\n  mine: "torch.nn:BatchNorm2d"\n'}


def test_two_packages_with_one_norm(mine: Path, install: Install, inline_cli, tmp_path: Path) -> None:
    """It matters only to who uses that name, and `package:name` tells them apart."""
    install("zoo-norm-other", {"other": "plug_b:registry.yaml"}, OTHER)
    listed = [line.split()[0] for line in inline_cli.ok("list").stdout.splitlines() if line.startswith("  ")]
    assert {"zoo-norm-mine:mine", "zoo-norm-other:mine", "bn"} <= set(listed)
    assert "mine" not in listed
    shown = inline_cli.ok("plugins", COLUMNS="1000").stdout.splitlines()
    assert shown[-1] == (
        "norm mine is in zoo-norm-mine 1.2 and zoo-norm-other 1.2; for a model NAME that uses it write "
        "zoo-norm-mine:NAME or zoo-norm-other:NAME."
    )
    output = inline_cli("show", "resnet20_mine")
    assert (output.returncode, output.lines) == (2, [
        f"zoo: norm 'mine' is defined twice: {mine / 'plug_mine' / 'registry.yaml'}:2 of zoo-norm-mine 1.2 and "
        f"{mine / 'plug_b' / 'registry.yaml'}:3 of zoo-norm-other 1.2; "
        "write zoo-norm-mine:resnet20_mine or zoo-norm-other:resnet20_mine"
    ])  # fmt: skip
    registry = load(tmp_path)
    assert registry.resolve("resnet20_bn").norm.name == "bn"
    names = set(registry.names())
    assert {"zoo-norm-mine:resnet20_mine", "zoo-norm-other:resnet20_mine"} <= names
    assert "resnet20_mine" not in names
    assert [model.name for model in registry.match(["*resnet20_mine"])] == [
        "zoo-norm-mine:resnet20_mine", "zoo-norm-other:resnet20_mine",
    ]  # fmt: skip
    kinds = {name: type(build(registry.resolve(name)).norm1).__name__ for name in sorted(names) if "20_mine" in name}
    assert kinds == {"zoo-norm-mine:resnet20_mine": "GroupNorm", "zoo-norm-other:resnet20_mine": "BatchNorm2d"}


def test_a_name_of_two_packages_in_other_places(mine: Path, install: Install, tmp_path: Path) -> None:
    """As a norm that is swapped in, in a registry file, and in a package's own models."""
    models = "models:\n  small: {architecture: resnet20, norm: mine}\n"
    install("zoo-norm-other", {"other": "plug_b:registry.yaml"}, {**OTHER, "plug_b/registry.yaml": NORM + models})
    (tmp_path / "registry.yaml").write_text(
        'models:\n  own: {architecture: resnet20, norm: "zoo-norm-other:mine"}\n  net: "torch.nn:Linear"\n'
    )
    registry = load(tmp_path)
    swapped = ("timm:resnet18@zoo-norm-other:mine", "net@zoo-norm-other:mine")
    for name in ("own", "small", "zoo-norm-other:small", *swapped):
        model = registry.resolve(name)
        assert (model.name, model.norm.origin.package) == (name, "zoo-norm-other")
    for name in ("timm:resnet18@mine", "net@mine"):
        with pytest.raises(RegistryError, match=f"norm 'mine' is defined twice: .*; write zoo-norm-mine:{name} or "):
            registry.resolve(name)
        assert registry.resolve(f"zoo-norm-mine:{name}").norm.origin.package == "zoo-norm-mine"
    (tmp_path / "registry.yaml").write_text('norms: {mine: {builder: "torch.nn:BatchNorm2d", override: true}}\n')
    assert load(tmp_path).resolve("resnet20_mine").norm.origin.layer == "working folder"


def test_a_package_with_a_built_in_norm(install: Install, inline_cli, tmp_path: Path) -> None:
    """Without `override: true` it is skipped with a line, and nothing else stops."""
    text = 'norms:\n  bn: "plug_bn:bn"\n'
    install("zoo-norm-bn", {"bn": "plug_bn:registry.yaml"}, {"plug_bn/__init__.py": "", "plug_bn/registry.yaml": text})
    line = inline_cli.ok("list").stderr.rstrip()
    assert "plugin 'bn' of zoo-norm-bn 1.2 is skipped: norm 'bn' is defined twice: " in line
    assert line.endswith("of zoo-norm-bn 1.2; uninstall zoo-norm-bn 1.2, or ask its author to rename it")
    assert load(tmp_path).norms["bn"].origin.distribution == ""


def test_an_installed_package_with_override_true(install: Install, inline_cli, tiny) -> None:
    """What is in place of a built-in norm says so: in `zoo plugins`, as a bench starts, and below every table."""
    text = 'norms:\n  bn: {builder: "plug_bn:bn", override: true}\n'
    code = "from torch import nn\n\n\ndef bn(num_channels):\n    return nn.GroupNorm(2, num_channels)\n"
    files = {"plug_bn/__init__.py": code, "plug_bn/registry.yaml": text}
    install("zoo-norm-bn", {"bn": "plug_bn:registry.yaml"}, files)
    told = "norm bn is that of zoo-norm-bn 1.2, which replaces the built-in one."
    assert inline_cli.ok("plugins", COLUMNS="1000").stdout.splitlines()[-1] == told
    output = inline_cli.ok("bench", "resnet20_bn", *tiny)
    assert output.stderr.splitlines().count(told) == 1
    assert told in output.stdout
    assert told in inline_cli.ok("compare", "--format", "json").stdout


# `zoo plugins`


def test_plugins_shows_what_each_adds(mine: Path, install: Install, inline_cli) -> None:
    norms = "".join(f'  many{number}: "a.b:c"\n' for number in range(7))
    files = {"plug_many/__init__.py": "", "plug_many/registry.yaml": f'architectures:\n  tall: "a:b"\nnorms:\n{norms}'}
    install("zoo-many", {"many": "plug_many:registry.yaml"}, files)
    recipe(install)
    shown = [line for line in inline_cli.ok("plugins", COLUMNS="1000").stdout.splitlines(True) if "---" not in line]
    assert "".join(shown) == (
        "plugin  package           version  adds\n"
        "many    zoo-many          1.2      norms many0, many1, many2, many3, many4 and 2 more; architecture tall\n"
        "mine    zoo-norm-mine     1.2      norm mine\n"
        "short   zoo-recipe-short  1.2      recipe short\n\n"
    )


def test_no_plugin(inline_cli) -> None:
    if registry_plugins() or recipe_plugins():
        pytest.skip("a plugin is installed here")
    assert inline_cli.ok("plugins").stdout == "No plugin is installed. `zoo new norm NAME` creates one.\n"
