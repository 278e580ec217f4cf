"""zoo.testing, as the author of a norm uses it: each wrong module is refused, by the check that is about it.

That the built-in norms pass is tested in tests/norms, that architectures do below.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from zoo.errors import UnknownNameError
from zoo.registry.merge import load_registry
from zoo.registry.model import BUILT_IN
from zoo.testing import ConformanceError, check_architecture, check_norm, check_recipe


class Affine(nn.Module):
    """The sound one that the wrong ones differ from by a line."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, num_channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).to(x.dtype)


class AnotherShape(Affine):
    def forward(self, x):
        return super().forward(x)[:, :, 1:]


class WritesOver(Affine):
    def forward(self, x):
        return super().forward(x.mul_(2))


class Float64(Affine):
    def forward(self, x):
        return (x * self.weight).double()


class OneSizeOnly(Affine):
    def __init__(self, num_channels):
        super().__init__(16)


class Unused(Affine):
    def __init__(self, num_channels):
        super().__init__(num_channels)
        self.bias = nn.Parameter(torch.zeros(num_channels))


class Cut(Affine):
    """No gradient to the images."""

    def forward(self, x):
        return super().forward(x.detach())


class DividesByZero(Affine):
    def forward(self, x):
        return super().forward(x / (x - x.mean((2, 3), keepdim=True)).square().mean((2, 3), keepdim=True).sqrt())


class OfTheBatch(Affine):
    def forward(self, x):
        return super().forward(x - x.mean((0, 2, 3), keepdim=True))


class OtherInEval(Affine):
    def forward(self, x):
        return super().forward(x if self.training else 2 * x)


class CountsInEval(Affine):
    def __init__(self, num_channels):
        super().__init__(num_channels)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return super().forward(x)


class NotStored(Affine):
    def __init__(self, num_channels):
        super().__init__(num_channels)
        self.register_buffer("mean", torch.zeros(num_channels), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3)).to(self.mean)
        return super().forward(x - self.mean.view(1, -1, 1, 1).to(x))


class NotCopied(Affine):
    def __deepcopy__(self, memo):
        return self


class ByMemory(Affine):
    def forward(self, x):
        y = super().forward(x)
        return 2 * y if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous() else y


class OwnOptimizer(Affine):
    def configure_optimizers(self):
        return None


class ChangesSettings(Affine):
    def forward(self, x):
        torch.set_float32_matmul_precision("medium")
        return super().forward(x)


class Rounds(Affine):
    """A variance of squares, in the images' own type."""

    def forward(self, x):
        variance = x.square().mean((2, 3), keepdim=True) - x.mean((2, 3), keepdim=True).square()
        return super().forward(x / variance.clamp(min=0.01).sqrt())


class TwoGraphs(Affine):
    def forward(self, x):
        return super().forward(x if float(x.mean()) > -9 else -x)


WRONG = [
    (AnotherShape, "shape", "becomes"),
    (WritesOver, "shape", "writes over its input"),
    (Float64, "shape", "torch.float64; both have to stay"),
    (OneSizeOnly, "shape", "RuntimeError"),
    (Unused, "gradients", "no gradient reaches bias"),
    (Cut, "gradients", "the images get no gradient"),
    (DividesByZero, "bfloat16", "images of one colour in bfloat16 is not finite"),
    (Rounds, "bfloat16", "the output for bfloat16 images differs"),
    (OfTheBatch, "evaluation", "in eval mode the output for an image depends on the others of its batch"),
    (OfTheBatch, "batch independence", "in training an image's output depends on the others"),
    (OtherInEval, "evaluation", r"train\(\) and eval\(\) outputs differ"),
    (CountsInEval, "evaluation", "a forward pass in eval mode changes seen"),
    (NotStored, "state dict", "some state is not stored"),
    (NotCopied, "deep copy", "shares weight"),
    (ByMemory, "channels-last", "the output for channels-last images differs"),
    (OwnOptimizer, "one recipe", "configure_optimizers"),
    (ChangesSettings, "one recipe", "it changes"),
    (TwoGraphs, "torch.compile", ""),
]


def test_the_sound_one_passes() -> None:
    check_norm(Affine, batch_independent=True, compiled=True)


@pytest.mark.parametrize(("norm", "check", "told"), WRONG, ids=[f"{norm.__name__}-{check}" for norm, check, _ in WRONG])
def test_a_wrong_norm_is_named_with_what_is_wrong(norm: type[nn.Module], check: str, told: str) -> None:
    state, precision = torch.get_rng_state(), torch.get_float32_matmul_precision()
    with pytest.raises(ConformanceError) as caught:
        check_norm(norm, batch_independent=True, compiled=check == "torch.compile")
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"norm {norm.__name__!r} fails ")
    (line,) = [line for line in lines if line.startswith(f"  {check}: ")]
    assert re.search(told, line)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_float32_matmul_precision() == precision


def test_only_what_is_claimed_is_asked() -> None:
    """A norm of the batch is no mistake, where its eval mode has statistics of its own."""
    check_norm(nn.BatchNorm2d)
    with pytest.raises(ConformanceError, match="batch independence") as caught:
        check_norm(nn.BatchNorm2d, batch_independent=True)
    assert "train() and eval() outputs differ" in str(caught.value)


def test_a_norm_with_arguments_and_its_activation() -> None:
    class Gated(nn.Module):
        def __init__(self, num_channels, groups, apply_act=True):
            super().__init__()
            self.norm, self.act = nn.GroupNorm(groups, num_channels), nn.SiLU() if apply_act else nn.Identity()

        def forward(self, x):
            return self.act(self.norm(x))

    check_norm(Gated, kwargs={"groups": 4}, activation_included=True, batch_independent=True)
    with pytest.raises(ConformanceError, match=r"shape: .*groups"):
        check_norm(Gated, activation_included=True)


def test_a_norm_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments and claims are those of the registry, here of a working folder."""
    (tmp_path / "registry.yaml").write_text('norms:\n  b: {builder: "torch.nn:BatchNorm2d", batch_independent: true}\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConformanceError, match=rf"norm 'b' \({re.escape(str(tmp_path))}/registry.yaml:2\): torch.nn:"):
        check_norm("b")
    with pytest.raises(UnknownNameError, match="unknown norm 'bnn'"):
        check_norm("bnn")
    with pytest.raises(TypeError, match="are the registry's"):
        check_norm("b", batch_independent=True)


# Architectures


class Net(nn.Module):
    """A sound one: what the wrong ones differ from."""

    def __init__(self, norm, num_classes, in_channels, width=8):
        super().__init__()
        self.body = nn.Sequential(norm.conv2d(in_channels, width, 3, stride=2), norm(width), norm.act())
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class IgnoresNorm(nn.Module):
    def __init__(self, norm, num_classes, in_channels):
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8)), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class OnlyPlain(nn.Module):
    def __init__(self, norm, num_classes, in_channels, conv=nn.Conv2d, act=nn.ReLU):
        super().__init__()
        self.body = nn.Sequential((conv or norm.conv2d)(in_channels, 8, 3), norm(8), (act or norm.act)())
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class TenClasses(Net):
    def __init__(self, norm, num_classes, in_channels):
        super().__init__(norm, 10, in_channels)


class DeadLayer(Net):
    def __init__(self, norm, num_classes, in_channels):
        super().__init__(norm, num_classes, in_channels)
        self.spare = nn.Linear(3, 3)


class CentresTheBatch(Net):
    def forward(self, x):
        return super().forward(x - x.mean(0) if self.training else x)


class Drops(Net):
    """Dropout is no mistake: training is meant to answer otherwise."""

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


def test_sound_architectures_pass() -> None:
    check_architecture(Net, kwargs={"width": 12}, compiled=True)
    check_architecture(Drops)


@pytest.mark.parametrize(
    ("architecture", "told"),
    [
        (IgnoresNorm, "shape: no layer is made by `norm`"),
        (partial(OnlyPlain, act=None), "shape: norm.conv2d is never called"),
        (partial(OnlyPlain, conv=None), "shape: norm.act is never called, .* activate twice"),
        (TenClasses, r"classes and channels: two grey images of 100 classes give \(2, 10\)"),
        (DeadLayer, "gradients with norm ln: no gradient reaches spare.weight, spare.bias"),
        (CentresTheBatch, "evaluation with norm ln: the norm is batch-independent, yet in training"),
        (lambda norm, num_classes, in_channels: None, "shape: the builder gives NoneType"),
    ],
)
def test_a_wrong_architecture_is_named_with_what_is_wrong(architecture, told: str) -> None:
    with pytest.raises(ConformanceError, match=told):
        check_architecture(architecture)


def test_an_architecture_by_name_and_a_norm_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        check_architecture("resnet81")
    with pytest.raises(UnknownNameError, match="unknown norm 'bnn'"):
        check_architecture("resnet20", norms=["bnn"])


ONE_PER_BUILDER = {
    entry.builder: name for name, entry in reversed(load_registry(folder=BUILT_IN.parent).architectures.items())
}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ONE_PER_BUILDER.values())
def test_built_in_architectures_conform(architecture: str) -> None:
    check_architecture(architecture, compiled=True)


# Recipes


def test_recipes(tmp_path: Path) -> None:
    check_recipe("smoke")
    path = tmp_path / "mine.yaml"
    path.write_text("extends: smoke\ndescription: x\naugment: {train: [Blurr: {}]}\nepochs: 0\n")
    with pytest.raises(ConformanceError, match="epochs"):
        check_recipe(str(path))
    path.write_text("extends: smoke\ndescription: x\naugment: {train: [Blurr: {}]}\n")
    with pytest.raises(ConformanceError, match=r"transforms: unknown transform 'Blurr'"):
        check_recipe(str(path))
    path.write_text("extends: smoke\ndescription: ''\n")
    with pytest.raises(ConformanceError, match="description: expected one line of text"):
        check_recipe(str(path))
