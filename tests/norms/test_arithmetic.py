"""The norms' arithmetic in the dtypes and sizes of a training: precision of gradients, blocks, memory, compilers."""

from __future__ import annotations

import pytest
import torch
from norm_definitions import DEFINITIONS
from norm_layers import CHANNELS, INCLUDED, LAYERS, SHAPE, close, images, in_midlife, norm_of, parts
from torch import Tensor, nn
from torch.func import functional_call

from zoo.norms import LayerNorm2d, stats
from zoo.norms.none import ChannelAffine

# Norms with a backward pass of zoo's own; `in` has it in channels-last only, `ln2d` in NCHW and in half precision.
OWN = [layer for layer in LAYERS if layer[0] in (*INCLUDED, "in", "ln2d", "rms2d")]
# torch's own: BatchNorm in channels-last adds up the gradients of its parameters one pixel after the other.
TOLERANCE = {"bn": 1e-3, "syncbn": 1e-3, "bn_ghost": 1e-3, "brn": 1e-3}
FORMATS = {"nchw": torch.contiguous_format, "channels-last": torch.channels_last}
LARGE = (64, CHANNELS, 16, 16)  # more than one block

layouts = pytest.mark.parametrize("layout", FORMATS)
modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def make(name: str, apply_act: bool, dtype: torch.dtype = torch.float64) -> nn.Module:
    """`ln2d` is zoo's layer, whichever of the two that there are the registry names."""
    layer = LayerNorm2d(CHANNELS) if name == "ln2d" else norm_of(name)(CHANNELS, apply_act=apply_act)
    return in_midlife(layer.to(dtype))


def run(layer: nn.Module, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Output, and gradients of the input and the parameters."""
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(gradient)
    return {"y": y.detach(), "x": x.grad, **{name: parameter.grad for name, parameter in layer.named_parameters()}}


def defined(name: str, layer: nn.Module, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """The same by the definition in float64, on the same rounded numbers, and the buffers that must be left."""
    p = parts(layer)
    x = x.detach().double().requires_grad_()
    y, buffers = DEFINITIONS[name](x, p, layer.training)
    y.backward(gradient.double())
    gradients = {key: p[key].grad for key, _ in layer.named_parameters()}
    return {"y": y.detach(), "x": x.grad, **gradients, **buffers}


def within(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Every value within `tolerance` of itself or of the tensor's largest, whichever is more."""
    expected = expected.double()
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def in_format(layout: str, *shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return images(*shape, seed=seed, dtype=dtype).contiguous(memory_format=FORMATS[layout])


@modes
@layouts
@pytest.mark.parametrize("shape", [SHAPE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("name", "apply_act"), LAYERS)
def test_float32_is_the_definition_to_1e5(
    name: str, apply_act: bool, shape: tuple[int, ...], layout: str, training: bool
) -> None:
    layer = make(name, apply_act, dtype=torch.float32).train(training)
    x, gradient = (in_format(layout, *shape, dtype=torch.float32, seed=seed) for seed in (0, 3))
    expected = defined(name, layer, x, gradient)
    found = run(layer, x, gradient) | dict(layer.named_buffers())
    for key, value in expected.items():
        within(found[key], value, TOLERANCE.get(name, 1e-5))


@modes
@layouts
@pytest.mark.parametrize(("name", "apply_act"), LAYERS)
def test_autocast_to_bfloat16_is_the_definition_within_its_rounding(
    name: str, apply_act: bool, layout: str, training: bool
) -> None:
    """bfloat16 images and gradients, float32 parameters, as in a training: statistics and sums are not rounded."""
    layer = make(name, apply_act, dtype=torch.float32).train(training)
    x, gradient = (in_format(layout, *LARGE, dtype=torch.bfloat16, seed=seed) for seed in (0, 3))
    expected = defined(name, layer, x, gradient)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(layer, x, gradient)
    assert (found["y"].dtype, found["x"].dtype) == (torch.bfloat16, torch.bfloat16)
    rounding = torch.finfo(torch.bfloat16).eps / 2  # of a number, at most; the sums before it are in float32
    for key in ("y", "x"):
        largest = float(expected[key].abs().max())
        torch.testing.assert_close(found[key].double(), expected[key], rtol=1.01 * rounding, atol=1e-5 * largest)
    for key, _ in layer.named_parameters():
        assert found[key].dtype == torch.float32
        within(found[key], expected[key], TOLERANCE.get(name, 1e-5))


@modes
@layouts
@pytest.mark.parametrize(("name", "apply_act"), OWN)
def test_gradcheck_in_both_layouts(name: str, apply_act: bool, layout: str, training: bool) -> None:
    layer = make(name, apply_act).train(training)
    state = dict(layer.named_parameters())
    values = [value[:4].detach().clone().requires_grad_() for value in state.values()]
    buffers = {key: value[:4] for key, value in layer.named_buffers()}
    small = (LayerNorm2d(4) if name == "ln2d" else norm_of(name)(4, apply_act=apply_act)).double().train(training)

    def forward(x: Tensor, *parameters: Tensor) -> Tensor:
        fresh = {key: value.clone() for key, value in buffers.items()}
        return functional_call(small, dict(zip(state, parameters, strict=True)) | fresh, (x,))

    x = in_format(layout, 3, 4, 3, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(forward, (x, *values))


@modes
@layouts
@pytest.mark.parametrize("images_at_once", [1, 7, 64])
@pytest.mark.parametrize(("name", "apply_act"), OWN)
def test_blocks_change_nothing(
    name: str, apply_act: bool, images_at_once: int, layout: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "BLOCK", images_at_once * CHANNELS * SHAPE[2] * SHAPE[3])
    layer = make(name, apply_act).train(training)
    x, gradient = (in_format(layout, *SHAPE, dtype=torch.float64, seed=seed) for seed in (0, 3))
    expected = defined(name, layer, x, gradient)
    found = run(layer, x, gradient) | dict(layer.named_buffers())
    for key, value in expected.items():
        close(found[key], value, 1e-9)


@layouts
@pytest.mark.parametrize("size", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("name", "apply_act"), OWN)
def test_output_and_gradient_keep_the_memory_format(name: str, apply_act: bool, size: torch.dtype, layout: str) -> None:
    """Also where the gradient comes in the other one."""
    layer = make(name, apply_act, dtype=torch.float32)
    x = in_format(layout, *SHAPE, dtype=size)
    other = next(FORMATS[key] for key in FORMATS if key != layout)
    found = run(layer, x, images(*SHAPE, seed=3, dtype=size).contiguous(memory_format=other))
    assert found["y"].is_contiguous(memory_format=FORMATS[layout])
    if (name, layout) != ("in", "nchw"):  # torch's own
        assert found["x"].is_contiguous(memory_format=FORMATS[layout])


@pytest.mark.parametrize(("name", "apply_act"), OWN)
def test_only_the_input_is_kept_for_the_backward_pass(name: str, apply_act: bool) -> None:
    layer = make(name, apply_act, dtype=torch.float32)
    x = in_format("channels-last", *LARGE, dtype=torch.bfloat16).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(x)
    assert [(t.dtype, t.data_ptr()) for t in kept if t.numel() >= x.numel()] == [(x.dtype, x.data_ptr())]


@pytest.mark.parametrize(("name", "apply_act"), OWN)
def test_input_without_gradient_and_frozen_parameters(name: str, apply_act: bool) -> None:
    """The first layer of a network, and one that is not trained."""
    x = in_format("channels-last", *SHAPE, dtype=torch.float64)
    gradient = images(*SHAPE, seed=3)
    both = run(make(name, apply_act), x, gradient)
    first = make(name, apply_act)
    first(x).backward(gradient)
    for key, parameter in first.named_parameters():
        close(parameter.grad, both[key])
    frozen = make(name, apply_act).requires_grad_(False)
    close(run(frozen, x, gradient)["x"], both["x"])
    assert all(parameter.grad is None for parameter in frozen.parameters())


@pytest.mark.parametrize(("name", "apply_act"), OWN)
def test_no_second_derivative_is_an_error_that_says_so(name: str, apply_act: bool) -> None:
    layer = make(name, apply_act, torch.float32)
    x = in_format("channels-last", *SHAPE, dtype=torch.bfloat16).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["train", "eval"])
@pytest.mark.parametrize(("name", "apply_act"), OWN)
def test_compiled_without_a_break_forward_and_backward(name: str, apply_act: bool, training: bool) -> None:
    torch.compiler.reset()
    x, gradient = (in_format("channels-last", *LARGE, dtype=torch.float64, seed=seed) for seed in (0, 3))
    plain = run(make(name, apply_act).train(training), x, gradient)
    layer = make(name, apply_act).train(training)
    found = run(_Compiled(layer), x, gradient)
    for key, value in plain.items():
        close(found[key if key in ("y", "x") else f"layer.{key}"], value, 1e-9)


class _Compiled(nn.Module):
    """`layer` through AOTAutograd, which traces its backward pass too but needs no compiler on the machine."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.compiled = torch.compile(layer.__call__, backend="aot_eager", fullgraph=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.compiled(x)


def test_where_both_sides_of_a_maximum_are_equal() -> None:
    """FRN's threshold and EvoNorm-B0's batch take the gradient, as their docstrings say; no NaN, no half."""
    frn = norm_of("frn")(2)  # bias and threshold 0, so an image of zeros is at the threshold
    found = run(frn, torch.zeros(2, 2, 3, 3), torch.ones(2, 2, 3, 3))
    assert not found["x"].any()
    assert not found["bias"].any()
    assert torch.equal(found["tau"], torch.full((2,), 18.0))
    evob0 = norm_of("evob0")(1)
    with torch.no_grad():
        evob0.v.zero_()
    x = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(2, 1, 2, 1)  # batch and images have one deviation
    assert not run(evob0, x, torch.ones_like(x))["v"].any()


@pytest.mark.parametrize(("name", "apply_act", "names"), [
    ("rms2d", True, ["weight"]),
    ("in", True, ["weight", "bias"]),
    ("none", True, ["weight", "bias"]),
    ("frn", True, ["weight", "bias", "tau"]),
    ("frn", False, ["weight", "bias"]),
    ("evos0", True, ["weight", "bias", "v"]),
    ("evos0", False, ["weight", "bias"]),
    ("evob0", True, ["weight", "bias", "v", "running_var"]),
    ("evob0", False, ["weight", "bias", "running_var"]),
])  # fmt: skip
def test_names_in_stored_weights_stay(name: str, apply_act: bool, names: list[str]) -> None:
    state = norm_of(name)(CHANNELS, apply_act=apply_act).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == dict.fromkeys(names, (CHANNELS,))


def test_a_scale_and_bias_are_exact() -> None:
    """BatchNorm's kernel with mean 0, variance 1 and eps 0 rounds nothing but the product and the sum."""
    layer = ChannelAffine(CHANNELS).double()
    with torch.no_grad():
        layer.weight.copy_(torch.arange(CHANNELS))
        layer.bias.copy_(torch.arange(CHANNELS) * 3)
    x = torch.arange(2.0 * CHANNELS * 4, dtype=torch.float64).view(2, CHANNELS, 2, 2)
    assert torch.equal(layer(x), x * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1))
