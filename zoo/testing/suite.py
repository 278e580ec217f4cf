"""What the checks of norms and of architectures share: how they run, what they ask of any module, how near is equal."""

from __future__ import annotations

import contextlib
import copy
import io
import random
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from zoo.builder.torchstate import Snapshot
from zoo.engine.independence import dependence_on_batch
from zoo.errors import ZooError
from zoo.utils.seeding import same_random_numbers

Check = tuple[str, Callable[[], None]]


class ConformanceError(AssertionError):
    """What was checked does not do what zoo expects of it; one line for each check that failed."""


def run(what: str, checks: Iterable[Check]) -> None:
    """Run all `checks`, each with torch's settings and generator put back; if the first fails, the others are left out.

    Raises :class:`ConformanceError` that names those which failed.
    """
    failed, problems = [], []
    checks = list(checks)
    for number, (name, check) in enumerate(checks):
        try:
            with torch_unchanged():
                seed(0)
                check()
        except Exception as problem:
            text = " ".join(str(problem).split())
            kind = "" if text and isinstance(problem, AssertionError | ZooError) else f"{type(problem).__name__}: "
            failed.append(f"{name}: {kind}{text}")
            problems.append(problem)
            if number == 0:
                break
    if failed:
        count = f"{len(failed)} of {len(checks)} checks" if len(failed) > 1 else "a check"
        raise ConformanceError("\n  ".join([f"{what} fails {count}", *failed])) from problems[0]


@contextlib.contextmanager
def torch_unchanged() -> Iterator[None]:
    """Torch's settings and the generators as they are put back, so that each check finds what it changes itself."""
    before = Snapshot()
    try:
        with same_random_numbers():
            yield
    finally:
        before.put_back()


def seed(number: int) -> None:
    """Seed the generators of the CPU; torch.manual_seed would keep a traceback for each device that is not there."""
    torch.default_generator.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002 the global one
    random.seed(number)


def same(actual: Tensor | None, expected: Tensor, what: str, tolerance: float) -> None:
    """Equal within `tolerance` of the largest value."""
    if actual is None or actual.shape != expected.shape:
        shape = "nothing" if actual is None else f"shape {tuple(actual.shape)}"
        raise AssertionError(f"{what}: {shape}, expected {tuple(expected.shape)}")
    scale = max(1.0, float(expected.detach().abs().max()) if expected.numel() else 1.0)
    difference = float((actual.detach().double() - expected.detach().double()).abs().max()) if expected.numel() else 0.0
    if not difference <= tolerance * scale:  # also where it is not a number
        raise AssertionError(f"{what} (largest difference {difference:.3g}, allowed {tolerance * scale:.3g})")


def finite(values: Tensor | None, what: str) -> None:
    """There are values, and no infinity or NaN among them."""
    if values is None or not bool(values.isfinite().all()):
        raise AssertionError(f"{what} is not finite")


def forward(module: nn.Module, x: Tensor, numbers: int = 1) -> Tensor:
    """The answer to a copy of `x`, random layers drawing the same each time; the images may not be written over."""
    images = x.clone(memory_format=torch.preserve_format)
    seed(numbers)
    y = module(images)
    if not isinstance(y, Tensor):
        raise AssertionError(f"the output is a {type(y).__name__}, expected a tensor")
    if not torch.equal(images, x):
        raise AssertionError("the forward pass writes over its input")
    return y


def is_random(module: nn.Module, x: Tensor) -> bool:
    """Whether two passes differ, as with dropout; then training is meant to answer otherwise than eval mode."""
    y = forward(copy.deepcopy(module), x)
    return not all(torch.equal(y, forward(copy.deepcopy(module), x, numbers)) for numbers in (2, 3))


def alone(module: nn.Module, x: Tensor) -> Tensor:
    """The answers to the images of `x`, each in a batch of its own, each by a copy of `module` as it is."""
    return torch.cat([forward(copy.deepcopy(module), image[None]) for image in x])


def without_gradient(module: nn.Module) -> list[str]:
    """Trainable parameters that the last backward pass has given no gradient but zero.

    Raises :class:`AssertionError` for a gradient that is not finite, or one where none belongs.
    """
    dead = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            if parameter.grad is not None:
                raise AssertionError(f"{name} is frozen and has a gradient")
            continue
        if parameter.grad is None or not bool(parameter.grad.any()):
            dead.append(name)
        else:
            finite(parameter.grad, f"the gradient of {name}")
    return dead


def check_evaluation(module: nn.Module, x: Tensor, tolerance: float, *, as_in_training: bool) -> None:
    """In eval mode an image's answer depends on nothing but the image, and nothing changes.

    With `as_in_training` it is also the answer in training.
    """
    before = copy.deepcopy(module.state_dict())
    in_training = forward(copy.deepcopy(module).train(), x)
    module.eval()
    y = forward(module, x)
    finite(y, "the output in eval mode")
    for other, numbers in ((x.flip(0) + 1, 1), (x, 2)):  # another batch between, and other random numbers
        again = forward(module, other, numbers)
    same(again, y, "in eval mode the outputs of two passes over the same images differ", tolerance)
    if share := dependence_on_batch(copy.deepcopy(module), x):
        raise AssertionError(
            "in eval mode the output for an image depends on the others of its batch (largest difference "
            f"{share:.2g} of the largest value)"
        )
    changed = [name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])]
    if changed:
        raise AssertionError(f"a forward pass in eval mode changes {', '.join(changed)}")
    if as_in_training:
        same(y, in_training, "declared batch-independent, but train() and eval() outputs differ", tolerance)


def check_stored(module: nn.Module, fresh: nn.Module, x: Tensor) -> None:
    """State dict to bytes and back into `fresh`: the same answers, in training and in eval mode, to the last bit."""
    stored = io.BytesIO()
    torch.save(module.state_dict(), stored)
    stored.seek(0)
    fresh.load_state_dict(torch.load(stored, weights_only=True))
    for training in (False, True):  # eval mode first: training may bring the fresh one to where the other is
        y, again = forward(module.train(training), x), forward(fresh.train(training), x)
        if not torch.equal(y, again):
            mode = "training" if training else "eval mode"
            raise AssertionError(f"with the stored weights the output in {mode} differs: some state is not stored")


def check_copy(module: nn.Module, x: Tensor) -> None:
    """A deep copy answers the same and shares no memory with the original."""
    twin = copy.deepcopy(module)
    pairs = zip(module.state_dict().items(), twin.state_dict().values(), strict=True)
    shared = [name for (name, a), b in pairs if a.numel() and a.data_ptr() == b.data_ptr()]
    if shared:
        raise AssertionError(f"a deep copy shares {', '.join(shared)} with its original")
    if not torch.equal(forward(twin, x), forward(module, x)):
        raise AssertionError("the output of a deep copy differs from that of its original")


def gradient(x: Tensor) -> Tensor:
    """That of the images after a backward pass. Raises :class:`AssertionError` if there is none or it is not finite."""
    if x.grad is None or not bool(x.grad.any()):
        raise AssertionError("the images get no gradient")
    finite(x.grad, "the gradient of the images")
    return x.grad


def check_layout(module: nn.Module, x: Tensor, tolerance: float) -> None:
    """Images in channels-last memory give the same answer, gradients and buffers."""
    twin = copy.deepcopy(module).to(memory_format=torch.channels_last)
    plain, moved = x.detach().requires_grad_(), x.detach().to(memory_format=torch.channels_last).requires_grad_()
    seed(1)
    y = module(plain)
    seed(1)
    z = twin(moved)
    same(z, y, "the output for channels-last images differs", tolerance)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    torch.autograd.backward([(y * weights).sum(), (z * weights).sum()])
    same(gradient(moved), gradient(plain), "channels-last images give another gradient of the images", tolerance)
    for (name, parameter), twins in zip(module.named_parameters(), twin.parameters(), strict=True):
        if parameter.grad is not None:
            same(twins.grad, parameter.grad, f"channels-last images give another gradient of {name}", tolerance)
    for (name, buffer), other in zip(module.named_buffers(), twin.buffers(), strict=True):
        same(other.double(), buffer.double(), f"channels-last images leave another {name}", tolerance)


def check_compiled(module: nn.Module, x: Tensor, tolerance: float) -> None:
    """One graph for torch.compile, whose forward and backward passes compute the same. No C++ compiler is needed."""
    twin = copy.deepcopy(module)
    compiled = torch.compile(twin.forward, backend="aot_eager", fullgraph=True)
    plain, traced = x.detach().requires_grad_(), x.detach().clone().requires_grad_()
    y, z = module(plain), compiled(traced)
    same(z, y, "the compiled output differs", tolerance)
    y.square().sum().backward()
    z.square().sum().backward()
    same(gradient(traced), gradient(plain), "compiled it gives another gradient of the images", 10 * tolerance)
