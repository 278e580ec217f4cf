"""What a model may not do, under one recipe for all: each way is refused by name, and what is innocent is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from strangers import try_on
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations

from zoo.builder.construct import build
from zoo.builder.fairness import untouched
from zoo.builder.torchstate import Snapshot
from zoo.errors import RegistryError
from zoo.recipes.recipe import Recipe
from zoo.registry.entries import RECIPE_KEYS
from zoo.registry.merge import load_registry

REGISTRY = load_registry()
MODEL = REGISTRY.resolve("resnet20_bn")
QUICK = {"resnet20", "mobilenetv2", "resnet9"}  # architectures; the trial of the others takes longer


@pytest.fixture(autouse=True)
def state() -> Iterator[Snapshot]:
    """torch's state before the test; what a failing test leaves is put back."""
    torch.manual_seed(987_654_321)  # a seed that no test sets: to set it again would be no change
    before = Snapshot()
    yield before
    before.put_back()


class Net(nn.Module):
    """An honest model."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.conv(x))).mean((2, 3)))


def tried(module: nn.Module) -> None:
    try_on(MODEL, module, (3, 8, 8), 10)


def refused(module: nn.Module) -> str:
    """The one line that refuses `module`."""
    with pytest.raises(RegistryError) as caught:
        tried(module)
    message = str(caught.value)
    assert message.startswith(f"model 'resnet20_bn' ({MODEL.origin}): ")
    assert "\n" not in message
    return message


def toggle(holder: object, name: str):
    """Another value than it has when the test runs."""
    return pytest.param(lambda: setattr(holder, name, not getattr(holder, name)), f".{name} from ", id=name)


CHANGES = [
    (lambda: torch.set_default_dtype(torch.float64), "set_default_dtype) from torch.float32 to torch.float64"),
    (lambda: torch.set_default_device("meta"), "set_default_device) from cpu to meta"),
    (lambda: torch.set_grad_enabled(False), "set_grad_enabled) from True to False"),
    (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "set_num_threads) from "),
    (lambda: torch.use_deterministic_algorithms(True), "use_deterministic_algorithms from off to on"),
    (lambda: torch.use_deterministic_algorithms(True, warn_only=True), "from off to warn only"),
    (lambda: torch.autocast("cpu", torch.bfloat16).__enter__(), "autocast on the CPU from False to True"),
    (lambda: torch.autocast("cpu", enabled=False).__enter__(), "open torch.autocast contexts from 0 to 1"),
    (lambda: torch.set_autocast_enabled("cuda", True), "autocast on the GPU"),
    (lambda: torch.set_float32_matmul_precision("high"), "set_float32_matmul_precision) from highest to high"),
    (lambda: torch.set_float32_matmul_precision("medium"), "from highest to medium"),
    (lambda: register_module_forward_hook(lambda *_: None), "the forward hooks of every module from 0 to 1"),
    (lambda: torch.manual_seed(0), "the seed of all random numbers (torch.manual_seed)"),
    (lambda: torch.seed(), "the seed of all random numbers (torch.manual_seed)"),
    toggle(torch.backends.cuda.matmul, "allow_tf32"),
    toggle(torch.backends.cudnn, "allow_tf32"),
    toggle(torch.backends.cudnn, "benchmark"),
    toggle(torch.backends.cudnn, "deterministic"),
    toggle(torch.backends.cudnn, "enabled"),
]
if hasattr(torch.backends, "fp32_precision"):
    CHANGES += [
        (lambda: setattr(torch.backends, "fp32_precision", "tf32"), "torch.backends.fp32_precision from "),
    ]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_global_state_is_named_and_put_back(state: Snapshot, change, words: str) -> None:
    with pytest.raises(RegistryError) as caught, untouched("model 'm'", "building"):
        change()
    message = str(caught.value)
    assert message.startswith("model 'm': building it changes ")
    assert words in message
    assert "\n" not in message
    assert state.changes() == []


def test_after_an_autocast_that_was_left_open_training_sees_new_weights() -> None:
    with pytest.raises(RegistryError), untouched("m", "building"):
        torch.autocast("cpu", torch.bfloat16).__enter__()
    layer, answers = torch.nn.Linear(2, 2), []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            answers.append(layer(torch.ones(1, 2)))
        layer.weight.data.mul_(2)
    assert not torch.equal(*answers)


def test_several_changes_are_all_named(state: Snapshot) -> None:
    def change() -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(3)

    with pytest.raises(RegistryError, match=r"set_default_dtype.*set_grad_enabled.*manual_seed"), untouched("m", "x"):
        change()
    assert state.changes() == []


def test_the_random_numbers_go_on_as_if_nothing_had_been_seeded() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with pytest.raises(RegistryError), untouched("m", "x"):
        torch.manual_seed(8)
    assert torch.equal(torch.rand(3), expected)


def test_what_leaves_no_change_is_allowed() -> None:
    with untouched("m", "x"):
        torch.rand(3)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
        register_module_forward_hook(lambda *_: None).remove()
        torch.set_float32_matmul_precision(torch.get_float32_matmul_precision())
        torch.set_num_threads(torch.get_num_threads())


def test_an_error_that_changed_nothing_is_that_error() -> None:
    with pytest.raises(KeyError, match="mine"), untouched("m", "x"):
        raise KeyError("mine")


def test_an_interruption_is_one() -> None:
    with pytest.raises(KeyboardInterrupt), untouched("m", "x"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", sorted(REGISTRY.norms))
def test_every_norm_passes_the_trial(name: str) -> None:
    model = REGISTRY.resolve(f"resnet20_{name}")
    try_on(model, build(model), (3, 32, 32), 10)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(REGISTRY.architectures)],
)
def test_every_architecture_passes_the_trial(name: str) -> None:
    model = REGISTRY.resolve(f"{name}_bn")
    try_on(model, build(model), (3, 32, 32), 10)


class LightningStyle(Net):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class WithStep(nn.BatchNorm2d):
    def training_step(self, batch): ...


def with_attribute(name: str, value: object, part: str = "") -> Net:
    net = Net()
    setattr(net.get_submodule(part), name, value)
    return net


def with_norm(norm: nn.Module) -> Net:
    net = Net()
    net.norm = norm
    return net


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (LightningStyle(), "its LightningStyle has 'configure_optimizers'"),
        (with_norm(WithStep(4)), "its module 'norm' (WithStep) has 'training_step'"),
        (with_attribute("make_optimizer", torch.optim.SGD), "its Net has 'make_optimizer'"),
        (with_attribute("lr_scheduler", {"gamma": 0.1}, "norm"), "its module 'norm' (BatchNorm2d) has 'lr_scheduler'"),
        (with_attribute("mine", torch.optim.SGD([torch.zeros(1)], lr=1), "head"), "(Linear) has 'mine'"),
        (with_attribute("optimizer", nn.Identity()), "has 'optimizer'"),
    ],
)
def test_its_own_training(module: nn.Module, words: str) -> None:
    message = refused(module)
    assert words in message
    assert "cannot bring its own training" in message
    assert message.endswith("give that with recipe")


def test_hooks_on_parameters() -> None:
    net = Net()
    net.norm.weight.register_hook(lambda grad: 10 * grad)
    assert "parameter 'norm.weight' has a gradient hook" in refused(net)
    net = Net()
    net.head.bias.register_post_accumulate_grad_hook(lambda parameter: None)
    assert "parameter 'head.bias' has a gradient hook" in refused(net)
    net = Net()
    net.head.bias.register_hook(lambda grad: grad).remove()
    tried(net)


class HooksWhenRun(Net):
    def forward(self, x):
        self.conv.weight.register_hook(lambda grad: 2 * grad)
        return super().forward(x)


def test_hooks_that_forward_adds() -> None:
    net = HooksWhenRun()
    assert "parameter 'conv.weight' has a gradient hook" in refused(net)
    assert not net.conv.weight._backward_hooks, "only the copy was run"


class Standardises(Net):
    """Weight standardisation in place, instead of on a new tensor."""

    def forward(self, x):
        weight = self.conv.weight.data
        self.conv.weight.data = (weight - weight.mean()) / weight.std()
        return super().forward(x)


class Clamps(Net):
    def forward(self, x):
        with torch.no_grad():
            self.head.weight.clamp_(-0.1, 0.1)
        return super().forward(x)


class ChangesInEval(Net):
    def forward(self, x):
        if not self.training:
            self.norm.weight.data.mul_(2)
        return super().forward(x)


class Grows(Net):
    def forward(self, x):
        if not hasattr(self, "extra"):
            self.extra = nn.Parameter(torch.ones(10))
        return super().forward(x) * self.extra


class Replaces(Net):
    def forward(self, x):
        self.head.bias = nn.Parameter(self.head.bias.detach().clone())
        return super().forward(x)


class Freezes(Net):
    def forward(self, x):
        answer = super().forward(x)
        self.conv.weight.requires_grad_(False)
        return answer


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Standardises(), "changes the values of parameter 'conv.weight'"),
        (Clamps(), "changes the values of parameter 'head.weight'"),
        (ChangesInEval(), "changes the values of parameter 'norm.weight'"),
        (Grows(), "makes or replaces parameter 'extra'"),
        (Replaces(), "makes or replaces parameter 'head.bias'"),
        (Freezes(), "changes requires_grad of parameter 'conv.weight'"),
        (with_norm(nn.LazyBatchNorm2d()), "parameter 'norm.weight' has no size before the first image"),
    ],
)
def test_parameters_that_forward_changes(module: nn.Module, words: str) -> None:
    assert words in refused(module)


class SeedsInForward(Net):
    def forward(self, x):
        torch.manual_seed(0)
        return super().forward(F.dropout(x, 0.5, self.training))


class TurnsGradientsOff(Net):
    def forward(self, x):
        torch.set_grad_enabled(False)
        return super().forward(x)


@pytest.mark.parametrize(
    ("module", "words"),
    [(SeedsInForward(), "manual_seed"), (TurnsGradientsOff(), "set_grad_enabled) from True to False")],
)
def test_state_that_forward_changes(state: Snapshot, module: nn.Module, words: str) -> None:
    message = refused(module)
    assert "running it changes " in message
    assert words in message
    assert state.changes() == []


class NeverEvaluates(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(True)


class TrainsInForward(Net):
    def forward(self, x):
        self.norm.train()
        return super().forward(x)


def test_training_mode_after_eval() -> None:
    assert "its module 'norm' (NeverEvaluates) is in training mode after eval()" in refused(
        with_norm(NeverEvaluates(4))
    )
    assert "its module 'norm' (BatchNorm2d) is in training mode after eval()" in refused(TrainsInForward())


class Frozen(nn.BatchNorm2d):
    """As for fine-tuning: never in training mode."""

    def train(self, mode=True):
        return super().train(False)


class CountsInABuffer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += len(x)
        return super().forward(x)


class LeftEmpty(Net):
    """NaN is not equal to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.full((3,), torch.nan))


def with_conv(wrap) -> Net:
    net = Net()
    wrap(net.conv)
    return net


def frozen_head() -> Net:
    net = Net()
    net.head.weight.requires_grad_(False)
    return net


class SinglePixel(nn.Module):
    """Normalises over one pixel: torch refuses that for one image, and lets it pass for two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 8), nn.GroupNorm(4, 4), nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).flatten(1))


def test_one_image_alone() -> None:
    words = refused(SinglePixel())
    assert (
        "fails in evaluation on one image of shape (3, 8, 8) (fp32, NCHW): ValueError: Expected more than 1 value"
        in words
    )
    assert words.endswith("; its latency could not be measured")


class Squeezed(Net):
    """Loses the first dimension of one image."""

    def forward(self, x):
        return super().forward(x).squeeze()


def test_the_shape_of_one_answer() -> None:
    assert "returns (10,) for one image, expected (1, 10)" in refused(Squeezed())


def test_a_last_batch_of_one() -> None:
    """BatchNorm over one value cannot be trained, but answers: it counts only where such a batch will come."""
    net = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 10))
    tried(net)
    with pytest.raises(
        RegistryError, match=r"fails in a training step on one image of shape .* set drop_last=true or another"
    ):
        try_on(MODEL, net, (3, 8, 8), 10, smallest_batch=1)
    try_on(MODEL, Net(), (3, 8, 8), 10, smallest_batch=1)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "module",
    [
        Net(),
        nn.Sequential(nn.Dropout(0.5), Net()),
        with_conv(parametrizations.spectral_norm),
        with_conv(parametrizations.weight_norm),
        with_conv(lambda conv: nn.utils.spectral_norm(conv)),
        with_norm(Frozen(4)),
        frozen_head(),
        CountsInABuffer(),
        LeftEmpty(),
    ],
)
def test_what_stays_allowed(module: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    tried(module)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num()), f"{name}: the model itself was run"


def test_every_key_of_a_recipe_is_known_as_one() -> None:
    assert set(Recipe.model_fields) - {"name", "description"} <= RECIPE_KEYS


@pytest.mark.parametrize("key", ["optimizer", "lr", "recipe", "epochs", "augment", "loss"])
@pytest.mark.parametrize(
    "text",
    ["norms:\n  m: {{builder: 'm:f', {}: 3}}\n", "architectures:\n  m: {{builder: 'm:f', {}: 3}}\n",
     "models:\n  m: {{builder: 'm:f', {}: 3}}\n", "norms:\n{}: {{}}\n"],
)  # fmt: skip
def test_a_registry_holds_no_recipe(tmp_path, text: str, key: str) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text(text.format(key))
    with pytest.raises(RegistryError) as caught:
        load_registry(file)
    message = str(caught.value)
    assert message.startswith(f"{file}:2: ")
    assert f"{key!r}: a model cannot bring its own recipe" in message
    assert "recipe ./mine.yaml" in message
