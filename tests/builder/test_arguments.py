"""A builder is called with what its entry says and with what it names of the rest."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from strangers import try_on
from torch import nn

from zoo.builder.arguments import arguments_for
from zoo.builder.construct import build
from zoo.errors import RegistryError
from zoo.registry.fingerprint import definition
from zoo.registry.merge import load_registry
from zoo.testing import check_architecture

SIZES = {"num_classes": 7, "in_channels": 3}


def call(builder: Callable[..., Any], kwargs: dict[str, Any] | None = None, **names: str) -> Any:
    certain, optional = arguments_for(builder, "here", kwargs or {}, names, SIZES)
    return certain | {f"?{name}": argument for name, argument in optional.items()}


def test_sizes_go_to_builders_that_name_them_only() -> None:
    assert call(lambda: None) == {}
    assert call(lambda num_classes: None) == {"num_classes": 7}
    assert call(lambda num_classes=10, in_channels=3: None) == SIZES
    assert call(lambda n_class, c_in: None, num_classes="n_class", in_channels="c_in") == {"n_class": 7, "c_in": 3}
    assert call(functools.partial(lambda width, num_classes: None, width=4)) == {"num_classes": 7}
    assert call(lambda in_channels=1: None) == {"in_channels": 3}
    assert call(lambda in_channels=64: None) == {}  # a width, not the images' channels
    assert call(lambda in_channels=64: None, in_channels="in_channels") == {"in_channels": 3}
    assert call(lambda **kwargs: None) == {"?num_classes": 7, "?in_channels": 3}
    assert call(lambda **kwargs: None, num_classes="classes") == {"classes": 7, "?in_channels": 3}


def test_kwargs_of_an_entry_go_before_what_zoo_offers() -> None:
    assert call(lambda num_classes, in_channels: None, {"in_channels": 16}) == {"num_classes": 7, "in_channels": 16}
    assert call(lambda **kwargs: None, {"num_classes": 5}) == {"num_classes": 5, "?in_channels": 3}


@pytest.mark.parametrize(
    ("kwargs", "names", "line"),
    [
        ({}, {"num_classes": "clas_num"}, "here: arguments: num_classes: it has no parameter 'clas_num'; did you mean"),
        ({}, {"num_classes": "xyz"}, "here: arguments: num_classes: it has no parameter 'xyz' (it has class_num)"),
        ({"class_num": 1}, {"num_classes": "class_num"}, "here: 'class_num' is given twice, under kwargs and under"),
    ],
)
def test_names_that_a_builder_does_not_have(kwargs: dict[str, Any], names: dict[str, str], line: str) -> None:
    with pytest.raises(RegistryError) as caught:
        call(lambda class_num: None, kwargs, **names)
    assert str(caught.value).startswith(line)


def annotated(
    a: tuple[int, int],
    b: Optional[tuple[int, ...]] = None,  # noqa: UP045
    c: int | tuple[int, int] = 3,
    d: Any = (1, 2),
    e: list[int] | tuple[int, ...] = (),
    f: tuple[tuple[int, int], ...] = ((1, 2),),
    g: list[int] | tuple[int, ...] | None = None,
    h: Any = None,
    i: tuple[list[int], ...] | None = None,
) -> None:
    pass


def test_lists_are_tuples_where_one_is_annotated_or_the_default() -> None:
    given = {name: [5, 6] for name in "abcdegh"} | {"f": [[1, 2], [3, 4]], "i": [[1], [2]]}
    called = call(annotated, given)
    assert {name for name, argument in called.items() if isinstance(argument, tuple)} == set("abcdefi")
    assert (called["f"], called["i"], called["g"]) == (((1, 2), (3, 4)), ([1], [2]), [5, 6])


def test_a_mapping_says_that_a_list_is_a_tuple() -> None:
    kwargs = {"h": {"tuple": [1, {"tuple": [2, 3]}]}, "g": [{"tuple": [1, 2]}]}
    assert call(lambda g, h: None, kwargs) == {"h": (1, (2, 3)), "g": [(1, 2)]}


Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes ``registry.yaml`` and ``my_code.py``; gives the former."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_code", raising=False)

    def writer(registry: str, code: str) -> Path:
        (tmp_path / "my_code.py").write_text("import torch\nfrom torch import nn\n\n\n" + code)
        (tmp_path / "registry.yaml").write_text(registry)
        return tmp_path / "registry.yaml"

    yield writer
    sys.modules.pop("my_code", None)


def line_of(doing: Callable[[], object]) -> str:
    with pytest.raises(RegistryError) as caught:
        doing()
    assert "\n" not in str(caught.value)
    return str(caught.value)


FLAT = """class Flat(nn.Sequential):
    def __init__(self, {0}):
        super().__init__(nn.Flatten(), nn.Linear(192, {1}))
"""


def trial_of(path: Path, classes: int = 10) -> None:
    model = load_registry(path, folder=path.parent).resolve("mine")
    try_on(model, build(model, classes), (3, 8, 8), classes)


def test_third_party_builders_by_a_line_of_yaml(write: Write) -> None:
    """A class or function as published, with num_classes, with another name for it, with none, or with **kwargs."""
    one_line = 'models: {mine: "my_code:Flat"}\n'
    trial_of(write(one_line, FLAT.format("num_classes=100", "num_classes")), 5)


@pytest.mark.parametrize(
    ("signature", "size", "entry"),
    [
        ("class_num=100", "class_num", '{builder: "my_code:Flat", arguments: {num_classes: class_num}}'),
        ("width=3, **kwargs", "kwargs['num_classes']", '"my_code:Flat"'),
        ("", "5", '"my_code:Flat"'),
        ("n", "n", '{builder: "my_code:Flat", kwargs: {n: 5}}'),
    ],
)
def test_third_party_builders_by_a_line_of_yaml_whatever_they_name(
    write: Write, signature: str, size: str, entry: str
) -> None:
    trial_of(write(f"models: {{mine: {entry}}}\n", FLAT.format(signature, size)), 5)


def test_code_behind_kwargs_takes_what_it_takes(write: Write) -> None:
    code = FLAT.format("num_classes=100", "num_classes") + "\n\ndef flat(pretrained=False, **kwargs):\n"
    trial_of(write('models: {mine: "my_code:flat"}\n', code + "    return Flat(**kwargs)\n"), 5)


def test_code_behind_kwargs_that_has_an_argument_already(write: Write) -> None:
    code = FLAT.format("num_classes, in_channels", "num_classes") + "\n\ndef flat(**kwargs):\n"
    trial_of(write('models: {mine: "my_code:flat"}\n', code + "    return Flat(in_channels=3, **kwargs)\n"), 5)


def test_a_network_that_is_built_on_import(write: Write) -> None:
    path = write('models: {mine: "my_code:net"}\n', FLAT.format("n=10", "n") + "\n\nnet = Flat()\n")
    line = line_of(lambda: trial_of(path))
    assert "my_code:net is an instance of Flat, built when its file was imported, so seeds would share it; " in line
    assert line.endswith("name its class, my_code:Flat, or a function that builds it")


def test_an_error_of_its_own_is_not_taken_for_a_refused_argument(write: Write) -> None:
    code = "def flat(**kwargs):\n    return nn.Linear(3, 4, **kwargs, n=1)\n"
    path = write('models: {mine: "my_code:flat"}\n', code)
    assert "failed: TypeError: " in line_of(lambda: trial_of(path))


@pytest.mark.parametrize(
    ("signature", "size", "entry", "advice"),
    [
        ("", "100", "", "its builder has no parameter for the number of classes; choose a dataset with 100 classes"),
        ("width=3", "100", "", "has no parameter 'num_classes' (it has width); write `arguments: {num_classes: NAME}"),
        ("n_classes=100", "n_classes", "", "`arguments: {num_classes: n_classes}` in its entry, or choose a dataset"),
        ("num_classes=10", "100", "", "was built with num_classes=10, so its code does not use that for its last"),
        ("num_classes=10", "num_classes", ", kwargs: {num_classes: 100}", "its kwargs set 'num_classes'"),
    ],
)  # fmt: skip
def test_a_head_with_another_number_of_classes(
    write: Write, signature: str, size: str, entry: str, advice: str
) -> None:
    path = write(f'models: {{mine: {{builder: "my_code:Flat"{entry}}}}}\n', FLAT.format(signature, size))
    line = line_of(lambda: trial_of(path))
    assert "returns (2, 100) for two images, expected (2, 10); " in line
    assert advice in line


def test_an_architecture_with_another_name_for_the_norm(write: Write) -> None:
    code = (
        "def flat(norm_layer, num_classes):\n"
        "    return nn.Sequential(norm_layer(3), nn.Flatten(), nn.Linear(192, num_classes))\n"
    )
    path = write('architectures: {flat: {builder: "my_code:flat", arguments: {norm: norm_layer}}}\n', code)
    model = load_registry(path, folder=path.parent).resolve("flat_gn")
    assert isinstance(build(model, 5)[0], nn.GroupNorm)
    assert definition(model)["architecture"]["arguments"] == {"norm": "norm_layer"}


def test_zoo_testing_passes_arguments_by_their_names(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "def flat(norm_layer, n, c):\n"
        "    layers = [norm_layer.conv2d(c, 8, 3), norm_layer(8), norm_layer.act()]\n"
        "    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(288, n))\n"
    )
    entry = '{builder: "my_code:flat", arguments: {norm: norm_layer, num_classes: n, in_channels: c}}'
    monkeypatch.chdir(write(f"architectures: {{flat: {entry}}}\n", code).parent)
    check_architecture("flat", norms=["gn"], image_size=8)


def test_definition_has_arguments_and_tuples_as_json_and_only_where_there_are_any(write: Write) -> None:
    code = FLAT.format("n=100, size=None", "n")
    path = write('models: {mine: {builder: "my_code:Flat", kwargs: {size: {tuple: [1, 2]}}}}\n', code)
    before = definition(load_registry(path, folder=path.parent).resolve("mine"))
    assert json.loads(json.dumps(before)) == before
    assert before["model"]["kwargs"] == {"size": {"tuple": [1, 2]}}
    assert "arguments" not in before["model"]
    path.write_text('models: {mine: {builder: "my_code:Flat", arguments: {num_classes: n}}}\n')
    assert definition(load_registry(path, folder=path.parent).resolve("mine"))["model"]["arguments"] == {
        "num_classes": "n"
    }


# Norms


def norm_of(path: Path) -> nn.Module:
    return build(load_registry(path, folder=path.parent).resolve("resnet20_mine"), 5)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ('{builder: "torch.nn:GroupNorm", kwargs: {num_groups: 4}}', ""),
        ('{builder: "torch.nn:BatchNorm2d", kwargs: {eps: 1e-3}}', ""),
        (
            '{builder: "my_code:Late", kwargs: {eps: 1e-5}, arguments: {num_channels: channels}}',
            "class Late(nn.GroupNorm):\n    def __init__(self, eps, channels):\n"
            "        super().__init__(1, channels, eps)\n",
        ),
        (
            '{builder: "my_code:Acts", activation: included, arguments: {apply_act: act}}',
            "class Acts(nn.Sequential):\n    def __init__(self, dim, act):\n        assert act in (True, False)\n"
            "        super().__init__(nn.GroupNorm(1, dim), *([nn.ReLU()] if act else []))\n",
        ),
        (
            '{builder: "my_code:Axes", kwargs: {axes: [2, 3]}}',
            "class Axes(nn.Module):\n    def __init__(self, dim, axes=(1, 2, 3)):\n        super().__init__()\n"
            "        self.axes = axes\n        hash(axes)\n\n    def forward(self, x):\n"
            "        return x - x.mean(self.axes, keepdim=True)\n",
        ),
    ],
)
def test_norms_by_yaml(write: Write, entry: str, code: str) -> None:
    assert norm_of(write(f"norms: {{mine: {entry}}}\n", code))(torch.rand(2, 3, 16, 16)).shape == (2, 5)


@pytest.mark.parametrize(
    ("entry", "code", "line"),
    [
        ('"torch.nn:GroupNorm"', "", "missing a required argument: 'num_groups'; write `kwargs: {num_groups: ...}`"),
        ('"my_code:mine"', "def mine(c):\n    return torch.relu\n", "returned builtin_function_or_method, expected"),
        ('"my_code:mine"', "def mine(c):\n    raise SystemExit(3)\n", "(16) failed: SystemExit: 3"),
        ('"my_code:mine"', "def mine(*, dim):\n    pass\n", "write `arguments: {num_channels: dim}` in its entry"),
        (
            '{builder: "my_code:mine", kwargs: {groups: 4}}',
            "def mine(groups, width):\n    pass\n",
            "multiple values for argument 'groups'; write `arguments: {num_channels: width}` in its entry",
        ),
        ('"my_code:mine"', "def mine(c, *, size):\n    pass\n", "write `kwargs: {size: ...}` in its entry"),
        ('"my_code:mine"', "mine = nn.Identity()\n", "is an instance of Identity, built when its file was imported"),
        (
            '{builder: "my_code:mine", activation: included}',
            "def mine(dim, act=True):\n    pass\n",
            "write `arguments: {apply_act: act}` in its entry",
        ),
    ],
)
def test_norms_by_yaml_that_cannot_be_built(write: Write, entry: str, code: str, line: str) -> None:
    path = write(f"norms: {{mine: {entry}}}\n", code)
    assert line in line_of(lambda: norm_of(path))


def test_a_norm_beside_a_builder_is_refused(write: Write) -> None:
    """It was ignored, and the table said LayerNorm over a network with BatchNorm."""
    path = write('models: {mine: {builder: "my_code:Flat", norm: ln}}\n', FLAT.format("num_classes", "num_classes"))
    line = line_of(lambda: load_registry(path, folder=path.parent))
    assert line == f"{path}:1: model 'mine': 'norm' is not read beside 'builder'; take it out (bench mine@ln)"
