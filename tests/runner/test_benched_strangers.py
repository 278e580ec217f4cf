"""Networks and norms that no one here wrote: each kind gives its right result, or one line before it is trained."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from strangers import benched, inputs, planned, stranger
from tiny_training import Silent
from torch import Tensor, nn

from zoo.engine import speed
from zoo.engine.checkpoint import load_weights
from zoo.engine.evaluate import evaluation_batch
from zoo.errors import RegistryError
from zoo.runner.checks import check
from zoo.runner.inputs import Inputs
from zoo.runner.sweep import bench


@pytest.fixture(autouse=True)
def quick_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_REGISTRY", raising=False)
    monkeypatch.setattr(speed, "INFERENCE_BATCHES", (8,))
    monkeypatch.setattr(speed, "LATENCIES", 50)


CONSTANTS = {
    "mask in a buffer": 'self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))',
    "frozen parameter": 'self.mask = nn.Parameter(torch.full((4, 4), float("-inf")).triu(1), requires_grad=False)',
    "parameter left empty": "self.mask, self.unused = torch.zeros(4, 4), nn.Parameter(torch.full((3,), torch.nan))",
}
AVERAGES = {
    "no average": (),
    "ema": ("ema={decay: 0.9}",),
    "lookahead": ("lookahead={every: 2, decay: 0.9, power: 2}",),
}


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("constant", CONSTANTS)
def test_case_02_an_infinite_constant_is_no_divergence(tmp_path: Path, constant: str, average: str) -> None:
    code = f"""
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                {CONSTANTS[constant]}
            def forward(self, x):
                rows = self.maps(x).mean(3).transpose(1, 2)
                return self.fc(((rows @ rows.transpose(1, 2) / 6 + self.mask).softmax(-1) @ rows).mean(1))
    """
    _, result = benched(tmp_path, stranger(tmp_path, code, "gn"), *AVERAGES[average])
    assert result.status == "finished"


@pytest.mark.parametrize("average", AVERAGES)
def test_case_02_a_range_that_starts_at_infinity(tmp_path: Path, average: str) -> None:
    code = """
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                self.register_buffer("low", torch.tensor(float("inf")))
            def maps(self, x):
                x = super().maps(x)
                if self.training:
                    self.low.copy_(torch.minimum(self.low, x.detach().min().float()))
                return x
    """
    run, result = benched(tmp_path, stranger(tmp_path, code, "gn"), *AVERAGES[average])
    assert result.status == "finished"
    assert load_weights(run.folder.weights)["low"].isfinite()


def test_a_weight_that_training_makes_infinite_diverges(tmp_path: Path) -> None:
    _, result = benched(tmp_path, stranger(tmp_path, "", "gn"), "optimizer.lr=1e30")
    assert result.status == "diverged"


DRAWS = {
    "initial weights": """
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                with torch.no_grad():
                    self.fc.weight.copy_(torch.from_numpy(np.random.randn(*self.fc.weight.shape) * random.random()))
    """,
    "noise in training": """
        class net(Net):
            def maps(self, x):
                x = super().maps(x)
                return x * float(np.random.uniform(0.5, 1.5)) * random.uniform(0.5, 1.5) if self.training else x
    """,
}


@pytest.mark.parametrize("draws", DRAWS)
def test_case_10_numpy_and_python_draw_the_same_for_a_seed(tmp_path: Path, draws: str) -> None:
    weights = []
    for name in ("first", "second"):
        run, _ = benched(tmp_path / name, stranger(tmp_path / name, DRAWS[draws]))
        weights.append(load_weights(run.folder.weights))
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


LEAKS = {
    "statistics of the test batch": """
        def mine(num_channels):
            return nn.BatchNorm2d(num_channels, track_running_stats=False)
    """,
    "a little of it": """
        class mine(nn.BatchNorm2d):
            def forward(self, x):
                mean = x.mean((0, 2, 3), keepdim=True) if not self.training else 0
                return super().forward(x) + 1e-3 * mean
    """,
    "through a buffer": """
        class mine(nn.BatchNorm2d):
            def forward(self, x):
                with torch.no_grad():
                    self.running_mean.lerp_(x.mean((0, 2, 3)).float(), 0.01)
                return super().forward(x)
    """,
    "in float32 only": """
        class mine(nn.BatchNorm2d):
            def forward(self, x):
                assert x.dtype != torch.float64
                return super().forward(x) + (0 if self.training else 0.1 * x.mean((0, 2, 3), keepdim=True))
    """,
    "from its neighbour": """
        class mine(nn.BatchNorm2d):
            def forward(self, x):
                return super().forward(x) + (0 if self.training else 0.01 * x.roll(1, 0))
    """,
    "from what was evaluated before": """
        class mine(nn.BatchNorm2d):
            last = 0
            def forward(self, x):
                y = super().forward(x)
                if not self.training:
                    y, self.last = y + 0.1 * self.last, x.mean().item()
                return y
    """,
}


@pytest.mark.parametrize("leak", LEAKS)
def test_case_01_an_answer_that_depends_on_its_batch(tmp_path: Path, leak: str) -> None:
    with pytest.raises(RegistryError, match=r"net_mine'.*in evaluation .*allow_batch_dependent"):
        benched(tmp_path, stranger(tmp_path, LEAKS[leak], "mine"))


def test_case_01_is_marked_where_it_is_allowed(tmp_path: Path) -> None:
    model = stranger(tmp_path, LEAKS["statistics of the test batch"], "mine")
    _, result = benched(tmp_path, model, allow_batch_dependent=True)
    assert result.model.batch_dependent == evaluation_batch(torch.device("cpu"))
    _, result = benched(tmp_path, stranger(tmp_path, ""), allow_batch_dependent=True)
    assert result.model.batch_dependent is None


VIEWER = """
    class net(nn.Module):
        def __init__(self, norm, num_classes, in_channels):
            super().__init__()
            self.conv, self.norm, self.act = norm.conv2d(in_channels, 8, 3, padding=1), norm(8), norm.act()
            self.fc = nn.Linear(8 * 8 * 8, num_classes)
        def forward(self, x):
            x = self.act(self.norm(self.conv(x)))
            return self.fc(x.view(x.size(0), -1))
"""
MISREAD = """
    class mine(nn.BatchNorm2d):
        def forward(self, x):
            n, c, h, w = x.shape
            return super().forward(torch.as_strided(x, x.shape, (c * h * w, h * w, w, 1)))
"""


@pytest.mark.parametrize(
    ("code", "norm", "words"), [(VIEWER, "bn", "view size"), (MISREAD, "mine", "differs from that in NCHW")]
)
def test_case_03_a_layout_in_which_it_fails_is_not_taken(tmp_path: Path, code: str, norm: str, words: str) -> None:
    model, given = stranger(tmp_path, code, norm), inputs()
    (run,) = planned(tmp_path, model, given)
    (note,) = check([run], given)[model.name]
    assert note.startswith("is trained in NCHW, since ")
    assert words in note
    (result,) = bench([run], given, Silent())
    assert (result.settings.layout, result.model.layout) == ("nchw", "channels_last")


@pytest.mark.parametrize(("asked", "registry"), [("channels_last", ""), (None, "layout: channels_last")])
def test_case_03_a_layout_that_was_asked_for_is_refused(tmp_path: Path, asked: str | None, registry: str) -> None:
    model = stranger(tmp_path, VIEWER, registry=registry)
    with pytest.raises(RegistryError, match=r"fails in the first training step .*view size.*layout nchw$"):
        benched(tmp_path, model, layout=asked)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_case_04_complex_weights(tmp_path: Path, optimizer: str) -> None:
    code = """
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                self.filter = nn.Parameter(torch.ones(8, 4, 3, dtype=torch.cfloat))
            def maps(self, x):
                x = super().maps(x)
                return torch.fft.irfft2(torch.fft.rfft2(x.float()) * self.filter, s=x.shape[2:])
    """
    adamw = "optimizer={name: adamw, lr: 0.01, betas: [0.9, 0.99], weight_decay: 0.1, decay_norm_and_bias: false}"
    settings = [adamw] if optimizer == "adamw" else ["optimizer.weight_decay=0.1"]
    run, result = benched(tmp_path, stranger(tmp_path, code, "gn"), *settings, "clip_grad_norm=1", "ema={decay: 0.5}")
    assert result.status == "finished"
    filters = load_weights(run.folder.weights)["filter"]
    assert filters.is_complex()
    assert not torch.equal(filters, torch.ones_like(filters))


HOOKS = {
    "keeps its maps": "self.conv2.register_forward_hook(lambda layer, inputs, output: self.kept.append(output))",
    "keeps its weights": "self.kept.append(self.conv1.weight * 2)",
    "holds a lock": "self.kept.append(__import__('threading').Lock())",
}


@pytest.mark.parametrize("hook", HOOKS)
def test_case_06_what_cannot_be_copied_is_not_copied(tmp_path: Path, hook: str) -> None:
    code = f"""
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                self.kept = []
                {HOOKS[hook]}
    """
    model = stranger(tmp_path, code)
    assert benched(tmp_path, model)[1].status == "finished"
    if hook != "keeps its maps":  # an average needs a copy, which is made before the first map
        with pytest.raises(RegistryError, match=r"fails in making its optimizer and a copy for the average "):
            benched(tmp_path, model, "ema={decay: 0.5}")


def test_case_08_what_fails_under_autocast_is_one_line(tmp_path: Path) -> None:
    code = """
        class net(Net):
            def maps(self, x):
                y = self.norm2(self.conv2(self.norm1(self.conv1(x))))
                return torch.zeros(y.shape).index_add(0, torch.arange(len(y)), y)
    """
    with pytest.raises(RegistryError) as caught:
        benched(tmp_path, stranger(tmp_path, code), "precision=bf16", layout="nchw")
    line = str(caught.value)
    assert "fails in the first training step on images of shape (3, 8, 8) (bf16, NCHW): RuntimeError: " in line
    assert line.endswith("; in fp32 it passes: give set precision=fp32")
    assert "\n" not in line


HIDDEN = """
    class mine(nn.Module):
        def __init__(self, num_channels):
            super().__init__()
            self.weight, self.bias = (nn.Parameter(make(num_channels, 1, 1)) for make in (torch.ones, torch.zeros))
            {state}
        def forward(self, x):
            mean, var = self.mean, self.var
            if self.training:
                var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True)
                self.mean, self.var = 0.9 * self.mean + 0.1 * mean.detach(), 0.9 * self.var + 0.1 * var.detach()
            return (x - mean) * (var + 1e-5).rsqrt() * self.weight + self.bias
"""
STATES = {
    "in an attribute": HIDDEN.format(state="self.mean, self.var = torch.zeros(1), torch.ones(1)"),
    "in a buffer that is not stored": HIDDEN.format(
        state="self.register_buffer('mean', torch.zeros(1), False); self.register_buffer('var', torch.ones(1), False)"
    ),
    "in a counter": """
        class mine(nn.BatchNorm2d):
            steps = 0
            def forward(self, x):
                self.steps += self.training
                return super().forward(x) * (1 + 0.1 * self.steps)
    """,
    "in a counter that training alone reads": """
        class mine(nn.BatchNorm2d):
            steps = 0
            def forward(self, x):
                self.steps += self.training
                return super().forward(x) * (1 / self.steps if self.training else 1)
    """,
    "in a generator": """
        class mine(nn.BatchNorm2d):
            def __init__(self, num_channels):
                super().__init__(num_channels)
                self.random = np.random.default_rng(0)
            def forward(self, x):
                return super().forward(x) * (self.random.uniform(0.5, 1.5) if self.training else 1)
    """,
}


@pytest.mark.parametrize("state", STATES)
def test_case_09_state_outside_of_the_state_dict(tmp_path: Path, state: str) -> None:
    with pytest.raises(RegistryError, match=r"net_mine'.*(stored weights|saved state).*register_buffer"):
        benched(tmp_path, stranger(tmp_path, STATES[state], "mine"))


def test_case_09_is_found_at_the_latest_before_the_result_is_stored(tmp_path: Path) -> None:
    code = """
        class net(Net):
            steps = 0
            def forward(self, x):
                self.steps += self.training
                return super().forward(x) * (2 if self.steps > 2 else 1)
    """
    model, given = stranger(tmp_path, code), inputs()
    (run,) = planned(tmp_path, model, given)
    check([run], given)
    with pytest.raises(RegistryError, match=r"stored weights .*; its steps is not; the run is not stored$"):
        bench([run], given, Silent())
    assert not run.folder.result.exists()


@pytest.mark.parametrize(
    ("where", "draw"),
    [
        ("building", "self.scale.data.fill_(np.random.default_rng().uniform(1, 2))"),
        ("building", "self.scale.data.fill_(1 + os.urandom(1)[0] / 256 + random.Random().random())"),
        ("training", "self.noise = np.random.default_rng()"),
    ],
)
def test_case_10_other_generators_are_noticed(tmp_path: Path, where: str, draw: str) -> None:
    code = f"""
        class net(Net):
            noise = None
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                self.scale = nn.Parameter(torch.ones(()))
                {draw}
            def forward(self, x):
                noise = self.noise.uniform(0.5, 1.5) if self.training and self.noise else 1.0
                return super().forward(x) * self.scale * noise
    """
    with pytest.raises(RegistryError, match=rf"{where} it draws random numbers that zoo does not seed"):
        benched(tmp_path, stranger(tmp_path, code))


ANSWERS = {
    "a pair in training": ("(y, y) if self.training else y", "returns a tuple of 2, expected", "return self.net(x)[0]"),
    "a dict": ("{'logits': y}", "returns a dict with 'logits', expected", "return self.net(x)['logits']"),
    "an object": ("type('Output', (), {})()", "returns a Output, expected", "returns the logits alone"),
    "nothing": ("None", "returns a NoneType, expected", "returns the logits alone"),
    "other classes": ("y[:, :2]", "returns (2, 2) for two images, expected (2, 4)", ""),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_case_14_answers_that_are_no_logits(tmp_path: Path, answer: str) -> None:
    returned, *words = ANSWERS[answer]
    code = f"""
        class net(Net):
            def forward(self, x):
                y = super().forward(x)
                return {returned}
    """
    with pytest.raises(RegistryError) as caught:
        benched(tmp_path, stranger(tmp_path, code))
    line = str(caught.value)
    assert "model 'net_bn'" in line
    assert all(word in line for word in words), line
    assert "\n" not in line


UNREACHED = {
    "a dead parameter": """
        class mine(nn.BatchNorm2d):
            def __init__(self, num_channels):
                super().__init__(num_channels)
                self.dead = nn.Parameter(torch.ones(num_channels))
    """,
    "no gradient": """
        class mine(nn.BatchNorm2d):
            def forward(self, x):
                return super().forward(x.detach())
    """,
}


@pytest.mark.parametrize("fault", UNREACHED)
def test_a_norm_that_passes_no_gradient(tmp_path: Path, fault: str) -> None:
    with pytest.raises(RegistryError, match="no gradient reaches"):
        benched(tmp_path, stranger(tmp_path, UNREACHED[fault], "mine"))


WRONG_SHAPES = """
    library = torch.library.Library("stranger_{unique}", "DEF")
    library.define("double(Tensor x) -> Tensor")
    library.impl("double", lambda x: x * 2, "CPU")
    library.impl("double", lambda x: x[:, :3] * 2, "Meta")  # what torch.compile believes
    class net(Net):
        def maps(self, x):
            y = super().maps(x)
            return y * torch.ops.stranger_{unique}.double(y.detach())
"""


def compiling(given: Inputs) -> Inputs:
    given.settings = dataclasses.replace(given.settings, compiled=True)
    return given


@pytest.mark.slow
def test_a_model_that_fails_only_under_torch_compile_is_one_line(tmp_path: Path) -> None:
    code = WRONG_SHAPES.replace("{unique}", uuid.uuid4().hex)
    model, given = stranger(tmp_path, code), compiling(inputs(layout="nchw"))
    benched(tmp_path, model, layout="nchw")
    with pytest.raises(RegistryError) as caught:
        check(planned(tmp_path / "compiled", model, given), given)
    line = str(caught.value)
    assert "net_bn" in line
    assert "fails in a training step under torch.compile (fp32, NCHW): TorchRuntimeError: " in line
    assert line.endswith("; leave out compile")
    assert "\n" not in line


@pytest.mark.slow
def test_a_sound_model_passes_the_trial_under_torch_compile(tmp_path: Path) -> None:
    model, given = stranger(tmp_path, ""), compiling(inputs())
    assert not check(planned(tmp_path, model, given), given)["net_bn"]


class Compiler:
    """In place of torch.compile: what it makes fails in a `backend`."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def __call__(self, module: nn.Module, backend: str = "inductor") -> Callable[[Tensor], Tensor]:
        failure = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})

        def forward(images: Tensor) -> Tensor:
            if backend == self.backend:
                raise failure("no such\nkernel")
            answer: Tensor = module(images)
            return answer

        return forward


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiler_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """In the trial, or in the run where it makes machine code."""
    monkeypatch.setattr(torch, "compile", Compiler(backend))
    model, given = stranger(tmp_path, ""), compiling(inputs())
    runs = planned(tmp_path, model, given)
    step = "a training step under torch.compile (fp32, NCHW)" if backend == "aot_eager" else "training"
    words = re.escape(f"fails in {step}: InductorError: no such kernel")
    if backend == "inductor":
        check(runs, given)
    with pytest.raises(RegistryError, match=f"net_bn.*{words}.*; leave out compile$"):
        check(runs, given) if backend == "aot_eager" else bench(runs, given, Silent())


def test_a_bench_of_one_model_calls_its_builder_five_times(tmp_path: Path) -> None:
    """Two builds for the trial, one to be counted, one to be trained, one for the weights that are stored."""
    code = """
        class net(Net):
            def __init__(self, norm, num_classes, in_channels):
                super().__init__(norm, num_classes, in_channels)
                with open(os.environ["ZOO_TEST_BUILDS"], "a") as file:
                    file.write("one ")
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_TEST_BUILDS", str(tmp_path / "builds"))
        benched(tmp_path, stranger(tmp_path, code))
    assert (tmp_path / "builds").read_text().split() == ["one"] * 5
