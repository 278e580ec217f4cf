"""Each norm of the built-in registry against its definition, and the properties that every norm must have."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from norm_definitions import DEFINITIONS
from norm_layers import CHANNELS, LAYERS, NORMS, REGISTRY, SHAPE, close, images, make, norm_of, parts
from torch import Tensor, nn
from torch.func import functional_call

from zoo.errors import RegistryError
from zoo.norms import BatchRenorm2d, EvoNormB0, EvoNormS0, FilterResponseNorm, GhostBatchNorm2d, group_norm
from zoo.norms.group import largest_divisor
from zoo.testing import check_norm


def test_every_norm_has_a_definition() -> None:
    assert set(DEFINITIONS) == set(NORMS)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("name", "apply_act"), LAYERS)
@pytest.mark.parametrize("batch", [SHAPE[0], 1])
def test_output_gradient_and_buffers_match_the_definition(name: str, apply_act: bool, training: bool, batch: int):
    layer = make(name, apply_act).train(training)
    p = parts(layer)
    x = images(batch, *SHAPE[1:]).requires_grad_()
    x_again = x.detach().clone().requires_grad_()
    expected, buffers = DEFINITIONS[name](x_again, p, training)
    y = layer(x)
    close(y, expected)
    weights = images(*y.shape, seed=3)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    close(x.grad, x_again.grad, 1e-9)
    for key, parameter in layer.named_parameters():
        close(parameter.grad, p[key].grad, 1e-9)
    for key, buffer in layer.named_buffers():
        close(buffer, buffers.get(key, p[key]))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("name", "apply_act"), LAYERS)
def test_gradcheck(name: str, apply_act: bool, training: bool) -> None:
    # fresh: batch renorm is BatchNorm, no part is detached
    layer = norm_of(name)(4, apply_act=apply_act).double().train(training)
    buffers = dict(layer.named_buffers())
    keys = [key for key, _ in layer.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in layer.parameters()]

    def forward(x: Tensor, *parameters: Tensor) -> Tensor:
        own = dict(zip(keys, parameters, strict=True))
        return functional_call(layer, {**own, **{k: v.clone() for k, v in buffers.items()}}, (x,))

    x = images(3, 4, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(forward, (x, *values))


@pytest.mark.parametrize("whole", [True, False], ids=["layer-too", "input-only"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize(("name", "apply_act"), LAYERS)
def test_half_precision(name: str, apply_act: bool, dtype: torch.dtype, training: bool, whole: bool) -> None:
    """Within 4 roundings of the definition on the same rounded numbers, output in the input's dtype."""
    layer = make(name, apply_act, dtype=dtype if whole else torch.float32).train(training)
    x = images(*SHAPE, dtype=dtype)
    expected, _ = DEFINITIONS[name](x.double(), parts(layer), training)
    y = layer(x)
    assert y.dtype == dtype
    close(y, expected, 4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("name", "apply_act"), LAYERS)
def test_float16_beyond_the_root_of_its_range(name: str, apply_act: bool) -> None:
    """Squares of these values do not fit into float16, so the statistics cannot have been taken in it."""
    layer = make(name, apply_act, dtype=torch.float32)
    x = (1000 * images(*SHAPE)).to(torch.float16)
    expected, _ = DEFINITIONS[name](x.double(), parts(layer), True)
    torch.testing.assert_close(layer(x).double(), expected, rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize(("name", "apply_act"), LAYERS)
def test_float32_far_from_zero(name: str, apply_act: bool) -> None:
    """A mean 1,000 times the deviation: E[x^2] - E[x]^2 in float32 would leave no right digit of the variance."""
    layer = make(name, apply_act, dtype=torch.float32)
    x = images(8, *SHAPE[1:], dtype=torch.float32) + 1000
    expected, _ = DEFINITIONS[name](x.double(), parts(layer), True)
    torch.testing.assert_close(layer(x).double(), expected, rtol=2e-3, atol=2e-3)


LAYOUTS = {
    "channels-last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every-second": lambda x: torch.stack([x, x + 1], -1).flatten(3)[..., ::2],
    "expanded-batch": lambda x: x[:1].expand(x.shape),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "apply_act"), LAYERS)
def test_memory_layout_changes_nothing(name: str, apply_act: bool, layout: str, training: bool) -> None:
    x = LAYOUTS[layout](images(*SHAPE)).detach()
    assert not x.is_contiguous()
    layer = make(name, apply_act).train(training)
    plain = copy.deepcopy(layer)
    x.requires_grad_()
    x_plain = x.detach().contiguous().requires_grad_()
    y, y_plain = layer(x), plain(x_plain)
    close(y, y_plain)
    if layout == "channels-last":
        assert y.is_contiguous(memory_format=torch.channels_last)
    weights = images(*y.shape, seed=3)
    (y * weights).sum().backward()
    (y_plain * weights).sum().backward()
    close(x.grad, x_plain.grad, 1e-9)
    for a, b in zip(layer.buffers(), plain.buffers(), strict=True):
        close(a, b)


@pytest.mark.parametrize("name", NORMS)
def test_conforms(name: str) -> None:
    """What zoo asks of anybody's norm: gradients, evaluation, stored weights, copies, memory layouts, one graph."""
    check_norm(name, dtype=torch.float64, compiled=True)


def test_batch_renorms_ramp_goes_on_with_stored_weights(tmp_path: Path) -> None:
    layer = make("brn")  # in the middle of the ramp
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    again = norm_of("brn")(CHANNELS).double()
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x = images(*SHAPE, seed=9)
    assert torch.equal(layer(x), again(x))


DEPENDENT = [name for name in NORMS if not REGISTRY.norms[name].batch_independent]


@pytest.mark.parametrize(("name", "apply_act"), [layer for layer in LAYERS if layer[0] in DEPENDENT])
def test_a_norm_that_does_not_claim_batch_independence_has_none(name: str, apply_act: bool) -> None:
    layer = make(name, apply_act)
    x = images(*SHAPE)
    alone = torch.cat([copy.deepcopy(layer)(image[None]) for image in x])
    assert (copy.deepcopy(layer)(x) - alone).abs().max() > 0.1


@pytest.mark.parametrize("name", NORMS)
def test_a_fresh_norm_keeps_the_scale_of_its_input(name: str) -> None:
    """Parameters start at neutral values: standard normal input comes out within a factor of 2."""
    layer = norm_of(name)(CHANNELS, apply_act=False)
    g = torch.Generator().manual_seed(0)
    y = layer(torch.randn(64, CHANNELS, 8, 8, generator=g))
    assert 0.5 < y.std() < 2
    assert y.mean().abs() < 0.5


@pytest.mark.parametrize(
    ("channels", "at_most", "size"), [(24, 16, 12), (16, 16, 16), (8, 16, 8), (64, 16, 16), (7, 4, 1)]
)
def test_group_size_is_the_largest_divisor(channels: int, at_most: int, size: int) -> None:
    assert largest_divisor(channels, at_most) == size
    assert group_norm(channels, at_most).num_groups == channels // size


@pytest.mark.parametrize(
    "build",
    [
        lambda: group_norm(8, 0),
        lambda: EvoNormS0(8, group_size=-1),
        lambda: GhostBatchNorm2d(8, ghost_size=0),
        lambda: BatchRenorm2d(8, r_max=0.5),
        lambda: BatchRenorm2d(8, start=1000),
    ],
)
def test_a_wrong_size_is_the_users_mistake(build) -> None:
    with pytest.raises(RegistryError):
        build()


@pytest.mark.parametrize("name", ["bn", "bn_ghost", "brn", "evob0"])
def test_one_value_per_channel_has_no_batch_statistics(name: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)expected more than 1 value per channel"):
        make(name)(images(1, CHANNELS, 1, 1))


def test_batch_renorm_ramp() -> None:
    layer = BatchRenorm2d(8)
    told = {}
    for step in (0, 200, 600, 900, 1000, 1600, 9999):
        layer.num_batches_tracked.fill_(step)
        told[step] = tuple(round(float(limit), 4) for limit in layer.limits())
    assert told == {
        0: (1, 0),
        200: (1, 0),
        600: (1.5714, 2.5),
        900: (2, 4.375),
        1000: (2.1429, 5),
        1600: (3, 5),
        9999: (3, 5),
    }


def test_batch_renorm_starts_as_batch_norm() -> None:
    x = images(*SHAPE, dtype=torch.float32)
    close(BatchRenorm2d(CHANNELS)(x), nn.BatchNorm2d(CHANNELS)(x), 1e-6)


def test_batch_renorm_clips_in_the_definition_test() -> None:
    """The comparison above has channels on both sides of each limit; else it would not see a missing clip."""
    layer, x = make("brn"), images(*SHAPE)
    r_max, d_max = layer.limits()
    std = (layer.running_var + 1e-5).sqrt()
    r = x.var((0, 2, 3), unbiased=False).sqrt() / std
    d = ((x.mean((0, 2, 3)) - layer.running_mean) / std).abs()
    assert 0 < (r > r_max).sum() < CHANNELS
    assert 0 < (d > d_max).sum() < CHANNELS


def test_ghost_batches_of_the_whole_batch_are_batch_norm() -> None:
    x = images(*SHAPE, dtype=torch.float32)
    ghost, plain = GhostBatchNorm2d(CHANNELS, ghost_size=SHAPE[0]), nn.BatchNorm2d(CHANNELS)
    close(ghost(x), plain(x), 1e-6)
    close(ghost.running_var, plain.running_var, 1e-6)
    assert (GhostBatchNorm2d(CHANNELS, ghost_size=32)(x) - plain(x)).abs().max() > 0.1


def test_instance_norm_is_torchs() -> None:
    x = images(*SHAPE)
    close(norm_of("in")(CHANNELS).double()(x), nn.InstanceNorm2d(CHANNELS, affine=True).double()(x))


@pytest.mark.parametrize(
    ("ours", "theirs", "kwargs"),
    [
        (EvoNormS0(32), "EvoNorm2dS0", {"group_size": 16}),
        (EvoNormB0(32), "EvoNorm2dB0", {}),
        (FilterResponseNorm(32), "FilterResponseNormTlu2d", {"eps": 1e-6}),
    ],
)
def test_agrees_with_timm_where_timm_has_the_layer(ours: nn.Module, theirs: str, kwargs: dict) -> None:
    import timm.layers

    other = getattr(timm.layers, theirs)(32, **kwargs)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter += 0.3
    other.load_state_dict(ours.state_dict())
    x = images(9, 32, 5, 4, dtype=torch.float32)
    close(ours(x), other(x), 1e-5)
    close(ours.eval()(x), other.eval()(x), 1e-5)


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0), (3, 1, 0)])
def test_weight_standardised_convolution(kernel_size: int, stride: int, padding: int) -> None:
    conv = norm_of("ws_gn").conv2d(5, 7, kernel_size, stride=stride, padding=padding).double()
    w = conv.weight
    dims = (1, 2, 3)
    deviation = w - w.mean(dims, keepdim=True)
    standardised = deviation / ((deviation**2).mean(dims, keepdim=True) + 1e-6) ** 0.5
    x = images(2, 5, 8, 8)
    assert conv.bias is None
    close(conv(x), F.conv2d(x, standardised, None, stride, padding))


def test_skip_init_is_zero_only_at_the_end_of_a_branch() -> None:
    none = norm_of("none")
    x = images(2, CHANNELS, 3, 3, dtype=torch.float32)
    assert not none(CHANNELS, apply_act=False, branch_end=True)(x).any()
    assert torch.equal(none(CHANNELS)(x), x)


def test_importing_the_norms_does_not_import_timm() -> None:
    code = "import sys, zoo.norms; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
