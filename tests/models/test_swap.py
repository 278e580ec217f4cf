"""``NAME@NORM`` for models that have a builder of their own."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from printed_tables import of_text
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import register_parametrization

from zoo.builder import notes
from zoo.builder.construct import build, load_norm
from zoo.builder.norm import Norm
from zoo.builder.weights import find
from zoo.errors import RegistryError, UnknownNameError
from zoo.models.swap import swap
from zoo.registry.fingerprint import definition
from zoo.registry.merge import Registry, load_registry
from zoo.registry.model import starting_from

# A small network of each of a stranger's habits; `{module}` is a name that no other test uses.
NET = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, num_classes, in_channels, width=8):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return self.fc(F.relu(self.norm2(self.conv2(x))).mean((2, 3)))
"""


@pytest.fixture
def strangers(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """A registry of `models` (lines of YAML) over a module with :data:`NET` and `code`."""

    def make(code: str = "", builder: str = "Net", more: str = "") -> Registry:
        name = "net_" + "".join(character for character in request.node.name if character.isalnum())
        (tmp_path / f"{name}.py").write_text(NET + textwrap.dedent(code))
        (tmp_path / "registry.yaml").write_text(f'models: {{mine: {{builder: "{name}:{builder}"{more}}}}}\n')
        return load_registry(folder=tmp_path)

    return make


def make(registry: Registry, name: str, size: tuple[int, int] = (32, 32)) -> nn.Module:
    torch.manual_seed(0)
    return build(registry.resolve(name), 4, image_size=size)


def test_name_at_norm_works_for_a_model_with_a_builder_of_its_own(strangers: Any) -> None:
    registry = strangers(more=", kwargs: {width: 16}, label: Mine")
    model = registry.resolve("mine@ln")
    module, own = make(registry, "mine@ln"), make(registry, "mine")
    assert notes.of(module) == ["norms: ln instead of 2 BatchNorm2d"]
    assert [type(part).__name__ for part in module.children()] == [
        "Conv2d",
        "GroupNorm",
        "Conv2d",
        "GroupNorm",
        "Linear",
    ]
    assert torch.equal(module.conv2.weight, own.conv2.weight)
    assert (model.name, model.label, model.norm.name) == ("mine@ln", "Mine, LayerNorm (GroupNorm, 1 group)", "ln")
    swapped, plain = definition(model), definition(registry.resolve("mine"))
    assert swapped["architecture"] == plain["model"]
    assert swapped["norm"]["builder"] == "zoo.norms:layer_norm"


def test_a_model_is_swapped_at_the_size_of_the_images(strangers: Any) -> None:
    registry = strangers(
        """
        class Fixed(Net):
            def forward(self, x):
                assert x.shape[2:] == (24, 20)
                return super().forward(x)
        """,
        builder="Fixed",
    )
    assert notes.of(make(registry, "mine@gn", (24, 20))) == ["norms: gn instead of 2 BatchNorm2d"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("resnet18_bn@ln", "resnet18_bn@ln: resnet18_bn is architecture resnet18 with norm bn; write resnet18_ln"),
        ("resnet18@ln", "resnet18@ln: resnet18 is an architecture, which takes any norm: write resnet18_ln"),
        ("mine@gn@ln", "mine@gn@ln: norms are swapped for one norm; write mine@ln"),
        ("mine@lnn", "unknown norm 'lnn'.*did you mean 'ln'"),
        ("mime@ln", "unknown model 'mime'.*did you mean 'mine'"),
    ],
)
def test_what_has_no_norm_to_swap_names_what_does(strangers: Any, name: str, problem: str) -> None:
    with pytest.raises((RegistryError, UnknownNameError), match=problem):
        strangers().resolve(name)


def test_a_pattern_with_an_at_chooses_among_swapped_models(strangers: Any) -> None:
    assert [model.name for model in strangers().match(["m*@l*"])] == ["mine@ln", "mine@ln2d"]


def test_commands_take_a_swapped_model(inline_cli: Any, tiny: tuple[str, ...]) -> None:
    (inline_cli.folder / "swapped_net.py").write_text(NET)
    (inline_cli.folder / "registry.yaml").write_text('models: {mine: "swapped_net:Net"}\n')
    assert "norms: ln instead of 2 BatchNorm2d" in inline_cli.ok("show", "mine@ln").stdout
    assert "norms: ln instead of 2 BatchNorm2d" in inline_cli.ok("bench", "mine", "mine@ln", *tiny).stderr
    rows = of_text(inline_cli.ok("compare", "--columns", "norm").stdout)
    assert sorted((row["model"], row["norm"]) for row in rows) == [("mine", "-"), ("mine@ln", "ln")]
    (folder,) = (inline_cli.folder / "runs").glob("*/*/mine-ln-*/seed0")
    assert " yes " in inline_cli.ok("evaluate", folder).stdout  # the accuracy that is stored


SWAPPED = "norms: ln instead of 2 BatchNorm2d"
# What a stranger's network does with its norms, what `@ln` then reports, and the norms that it leaves.
HABITS = {
    "called by forward()": (
        """
        class Mine(Net):
            def forward(self, x):
                x = self.norm2.forward(self.conv2(F.relu(self.norm1(self.conv1(x)))))
                return self.fc(x.mean((2, 3)))
        """,
        SWAPPED,
    ),
    "kept in a list": (
        """
        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.steps = [self.conv1, self.norm1, self.conv2, self.norm2]

            def forward(self, x):
                for step in self.steps:
                    x = step(x)
                return self.fc(x.mean((2, 3)))
        """,
        SWAPPED,
    ),
    "run in training only": (
        """
        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.extra = nn.BatchNorm2d(16)

            def forward(self, x):
                x = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
                x = self.extra(x) if self.training else x
                return self.fc(F.dropout(x, 0.1, self.training).mean((2, 3)))
        """,
        "norms: ln instead of 3 BatchNorm2d",
    ),
    "inside torch's encoder layers": (
        """
        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
                self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

            def forward(self, x):
                x = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
                return self.fc(self.encoder(F.avg_pool2d(x, 4).flatten(2).transpose(1, 2)).mean(1))
        """,
        "norms: ln instead of 2 BatchNorm2d, 4 LayerNorm",
    ),
    "beside a ScriptModule and an expanded buffer": (
        """
        class Branch(nn.Module):
            def __init__(self):
                super().__init__()
                self.steps = nn.ModuleList([nn.Conv2d(16, 16, 1), nn.ReLU()])

            def forward(self, x):
                for step in self.steps:
                    x = step(x)
                return x

        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.branch, self.lazy = torch.jit.script(Branch()), nn.LazyLinear(4)
                self.register_buffer("places", torch.arange(4).expand(3, 4))

            def forward(self, x):
                x = self.branch(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))
                return self.fc(x.mean((2, 3)))
        """,
        SWAPPED,
    ),
    "never called": (
        """
        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.extra = nn.BatchNorm2d(16)
        """,
        f"{SWAPPED}; 1 stay, never used",
    ),
    "shared": (
        """
        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.again = self.norm2

            def forward(self, x):
                x = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
                return self.fc(self.again(x).mean((2, 3)))
        """,
        SWAPPED,
    ),
    "of its own class": (
        """
        class Scale(nn.BatchNorm2d):
            def forward(self, x):
                return super().forward(x)

        class L2Norm(nn.Module):
            def forward(self, x):
                return F.normalize(x, dim=1)

        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.norm1, self.l2 = Scale(8), L2Norm()

            def forward(self, x):
                return super().forward(self.l2(x))
        """,
        "norms: ln instead of 1 BatchNorm2d, 1 Scale; 1 stay, of a type that zoo does not support (L2Norm)",
    ),
    "written by hand": (
        """
        class LayerNorm(nn.Module):
            def __init__(self, width, first):
                super().__init__()
                self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
                self.first = first

            def forward(self, x):
                if not self.first:
                    return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-6)
                x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-6).sqrt()
                return self.weight[:, None, None] * x + self.bias[:, None, None]

        class ActiveNorm(LayerNorm):
            def forward(self, x):
                return F.relu(super().forward(x))

        class ScaleNorm(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.ones(1))

            def forward(self, x):
                return self.scale * x

        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.norm1, self.last, self.norm2 = LayerNorm(8, True), LayerNorm(16, False), ActiveNorm(16, True)
                self.scaled = ScaleNorm()

            def forward(self, x):
                x = self.conv2(F.relu(self.norm1(self.conv1(x))))
                x = self.scaled(self.norm2(self.last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)))
                return self.fc(x.mean((2, 3)))
        """,
        "norms: ln instead of 2 LayerNorm; 1 stay, of a type that zoo does not support (ActiveNorm); "
        "1 stay, of a type that zoo does not support (ScaleNorm)",
    ),
}


@pytest.mark.parametrize("habit", HABITS)
def test_every_norm_that_runs_is_swapped(strangers: Any, habit: str) -> None:
    code, reported = HABITS[habit]
    module = make(strangers(code, builder="Mine"), "mine@ln")
    assert notes.of(module) == [reported]
    left = sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert left == ("never" in reported)
    with torch.no_grad():
        module.train()(torch.rand(2, 3, 32, 32))
        module.eval()(torch.rand(2, 3, 32, 32))
    assert all(part.num_batches_tracked == 0 for part in module.modules() if isinstance(part, nn.BatchNorm2d))


REFUSED = {
    "norms inside a ScriptModule": (
        """
        def Mine(**sizes):
            net = Net(**sizes)
            net.norm2 = torch.jit.script(nn.Sequential(nn.BatchNorm2d(16), nn.ReLU()))
            return net
        """,
        r"'norm2' is a ScriptModule with batch_norm in it, which is compiled; set PYTORCH_JIT=0 in the environment, ",
    ),
    "a function of torch": (
        """
        class Mine(Net):
            def forward(self, x):
                return super().forward(F.layer_norm(x, x.shape[1:]))
        """,
        r"it calls torch's layer_norm in Mine, which is no norm layer; make it one",
    ),
    "values without the layer": (
        """
        class Mine(Net):
            def forward(self, x):
                x = self.conv1(x)
                x = x * self.norm1.weight.view(1, -1, 1, 1)
                return self.fc(self.norm2(self.conv2(x)).mean((2, 3)))
        """,
        r"'norm1': are not called, but their values are read; call the layers",
    ),
    "the class' own forward": (
        """
        class Mine(Net):
            def forward(self, x):
                x = nn.BatchNorm2d.forward(self.norm1, self.conv1(x))
                return self.fc(self.norm2(self.conv2(x)).mean((2, 3)))
        """,
        r"it calls torch's batch_norm in BatchNorm2d",
    ),
    "a closure": (
        """
        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                norm = self.norm1
                self.step = lambda x: norm(self.conv1(x))

            def forward(self, x):
                return self.fc(self.norm2(self.conv2(self.step(x))).mean((2, 3)))
        """,
        r"are used otherwise than called as parts of the model",
    ),
    "a norm that activates": (
        """
        class Active(nn.BatchNorm2d):
            def forward(self, x):
                return F.relu(super().forward(x))

        class Mine(Net):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.norm1 = Active(8)
        """,
        r"'norm1' \(Active\) does more than BatchNorm2d, which would be lost",
    ),
    "a forward pass that fails": (
        """
        class Mine(Net):
            def forward(self, x):
                raise KeyError("no such image")
        """,
        r"fails on images of shape \(3, 32, 32\): KeyError: 'no such image'",
    ),
}


@pytest.mark.parametrize("habit", REFUSED)
def test_what_a_swap_would_not_reach_is_refused_in_one_line(strangers: Any, habit: str) -> None:
    code, problem = REFUSED[habit]
    with pytest.raises(RegistryError, match=problem) as caught:
        make(strangers(code, builder="Mine"), "mine@ln")
    assert str(caught.value).startswith("mine@ln: ")
    assert "\n" not in str(caught.value)


def test_norms_of_a_script_module_are_swapped_without_torch_jit(
    strangers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.jit._state._enabled, "enabled", False)  # what PYTORCH_JIT=0 does
    module = make(strangers(REFUSED["norms inside a ScriptModule"][0], builder="Mine"), "mine@ln")
    assert notes.of(module) == ["norms: ln instead of 2 BatchNorm2d"]


class Attention(nn.Module):
    """(N, 3, H, W) to logits, through a norm over windows of 16 tokens in the batch."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.embed, self.norm, self.fc = nn.Conv2d(in_channels, 8, 1), nn.LayerNorm(8), nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        windows = self.norm(self.embed(x).flatten(2).transpose(1, 2).reshape(-1, 16, 8))
        return self.fc(windows.reshape(len(x), -1, 8).mean(1))


class Rows(Attention):
    """The same with every token a row of the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.norm(self.embed(x).flatten(2).transpose(1, 2).reshape(-1, 8))
        return self.fc(rows.reshape(len(x), -1, 8).mean(1))


def registered(name: str) -> Norm:
    return load_norm(load_registry().norms[name])


@pytest.mark.parametrize("kind", [Attention, Rows])
def test_norms_of_pixels_are_allowed_on_windows_of_tokens(kind: type[Attention]) -> None:
    images = torch.rand(2, 3, 8, 8)
    model = kind(4, 3)
    nn.init.uniform_(model.norm.weight)
    before = model(images)
    assert swap("it", model, registered("ln2d"), (3, 8, 8)) == "ln2d instead of 1 LayerNorm"
    assert not isinstance(model.norm, nn.LayerNorm)
    assert torch.allclose(model(images), before, atol=1e-3)  # LayerNorm per pixel is what it was, but for eps
    for name in ("bn", "gn", "ln", "in"):
        with pytest.raises(RegistryError, match=r"parts of images .* choose a norm over single pixels, such as ln2d"):
            swap("it", kind(4, 3), registered(name), (3, 8, 8))


class Signed(nn.GroupNorm):
    """A norm whose scale is the square of what is learnt."""

    def __init__(self, num_channels: int) -> None:
        super().__init__(1, num_channels)
        register_parametrization(self, "weight", Square())


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.square()


def test_the_note_is_true_where_a_swap_throws_scales_away() -> None:
    def trained() -> nn.Sequential:
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        nn.init.uniform_(model[1].weight)
        return model

    kept = trained()
    assert swap("it", kept, registered("gn"), (3, 8, 8)) == "gn instead of 2 BatchNorm2d"
    assert not torch.equal(kept[1].weight, torch.ones(4))
    lost = swap("it", trained(), Norm("squared", Signed), (3, 8, 8))
    assert lost == "squared instead of 2 BatchNorm2d; the scale and bias of 1 start anew"


def test_a_swap_to_a_norm_with_a_parametrized_convolution() -> None:
    """A checkpoint's weights stay what they were, since such a norm is refused; a model's own such layers are kept."""

    def conv(*sizes: int, **kwargs: Any) -> nn.Module:
        return weight_norm(nn.Conv2d(*sizes, **kwargs))

    model = nn.Sequential(conv(3, 4, 1), nn.BatchNorm2d(4))
    before = {name: tensor.clone() for name, tensor in model[0].state_dict().items()}
    with pytest.raises(RegistryError, match="has its own convolution, but a swap keeps the model's convolutions"):
        swap("it", model, Norm("weighted", registered("gn").builder, {"group_size": 4}, conv=conv), (3, 8, 8))
    swap("it", model, registered("ln"), (3, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model[0].state_dict().items())


def test_a_checkpoint_of_the_model_before_the_swap_is_loaded_before_it(strangers: Any, tmp_path: Path) -> None:
    registry = strangers()
    own = make(registry, "mine")
    nn.init.uniform_(own.norm1.weight)
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    model = starting_from(registry.resolve("mine@ln"), find(tmp_path / "own.safetensors"))
    module = build(model, 4)
    assert torch.equal(module.conv2.weight, own.conv2.weight)
    assert torch.equal(module.norm1.weight, own.norm1.weight)
    assert [line.partition(":")[0][:7] for line in notes.of(module)] == ["weights", "norms"]
    save_file(module.state_dict(), tmp_path / "swapped.safetensors")
    again = build(starting_from(registry.resolve("mine@ln"), find(tmp_path / "swapped.safetensors")), 4)
    assert torch.equal(again.norm1.weight, own.norm1.weight)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(RegistryError, match="it belongs to another model"):
        build(starting_from(registry.resolve("mine@ln"), find(tmp_path / "other.safetensors")), 4)
