"""Whether a model would be trained otherwise than its rivals: under one recipe for all, or a table says nothing.

It finds what an author does in good faith, and is no defence against one who hides it.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.lr_scheduler import LRScheduler

from zoo.builder.torchstate import Snapshot
from zoo.errors import Option, RegistryError, Words
from zoo.utils.distributed import unsynchronised

# The harness uses none of these, so their author would believe in a training that did not take place.
OWN_TRAINING = (
    "configure_optimizers", "training_step", "optimizer_step", "make_optimizer",
    "optimizer", "optimizers", "lr_scheduler", "lr_schedulers",
)  # fmt: skip
_ONE_RECIPE: tuple[Words, ...] = (
    "a model cannot bring its own training, all models of a table share one recipe; "
    "take it out, or write what it does into a recipe file, for all models, and give that with ",
    Option("recipe"),
)


@contextlib.contextmanager
def untouched(where: str, doing: str) -> Iterator[None]:
    """Put torch's global state back where the block leaves it changed, and raise :class:`RegistryError`.

    `where` names the model and `doing` says what the block does with it.
    """
    before, problem = Snapshot(), None
    try:
        yield
    except Exception as caught:  # a forward pass that has turned gradients off fails too; that is what is reported
        problem = caught
    if changes := before.changes():
        before.put_back()
        raise RegistryError(
            f"{where}: {doing} it changes {', '.join(changes)}: every other model would be trained so too; "
            "take that out of the model's code"
        ) from problem
    if problem is not None:
        raise problem


def check_module(where: str, module: nn.Module) -> None:
    """Raise :class:`RegistryError` where `module` has a training of its own, or hooks on its gradients."""
    if isinstance(module, torch.jit.ScriptModule):
        raise RegistryError(f"{where}: is a ScriptModule, which takes no hooks; return the module that was compiled")
    for path, part in module.named_modules():
        has = sorted(set(OWN_TRAINING) & set(dir(part)))
        has += [name for name, own in vars(part).items() if isinstance(own, torch.optim.Optimizer | LRScheduler)]
        if has:
            raise RegistryError(f"{where}: {_named(path, part)} has {has[0]!r}: ", *_ONE_RECIPE)
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            raise RegistryError(
                f"{where}: parameter {name!r} is on the device meta, without numbers; build it on the default device"
            )
        if is_lazy(parameter):
            raise RegistryError(
                f"{where}: parameter {name!r} has no size before the first image, but the optimizer is made before; "
                "give its size when the model is built"
            )
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise RegistryError(
                f"{where}: parameter {name!r} has a gradient hook, which changes how fast it learns; "
                "take it out: how parameters are updated is the recipe's, one for all models"
            )


def check_step(where: str, module: nn.Module, images: Tensor) -> tuple[nn.Module, object]:
    """Train a copy of `module` for one step on (N, C, H, W) `images`: the copy, in eval mode, and its output for them.

    Raises :class:`RegistryError`, `where` first, for what no model may do: have a training of its own, change torch's
    global state, or do more to the copy than a step and an evaluation may. What the model raises passes through.
    """
    check_module(where, module)
    with untouched(where, "running"):
        twin = unsynchronised(copy.deepcopy(module))
        parameters = Parameters(where, twin)
        torch.autograd.backward(twin.train()(images).sum())
        with torch.no_grad():
            output = twin.eval()(images)
    parameters.check()
    check_evaluating(where, twin)
    return twin, output


class Parameters:
    """The parameters of `module` as they were when this was made."""

    def __init__(self, where: str, module: nn.Module) -> None:
        self.where, self.module = where, module
        self.before = dict(module.named_parameters())
        self.unset = set_by_first_batch(module)
        self.values = {name: (part.detach().clone(), part.requires_grad) for name, part in self.before.items()}

    def check(self) -> None:
        """Raise :class:`RegistryError` for what only the recipe's optimizer may do to them; buffers may differ."""
        check_module(self.where, self.module)
        after = dict(self.module.named_parameters())
        for name in self.before | after:
            if self.before.get(name) is not after.get(name):
                raise RegistryError(
                    f"{self.where}: its forward pass makes or replaces parameter {name!r}, which the optimizer does "
                    "not have; make it in __init__"
                )
        was_set = self.unset - set_by_first_batch(self.module)
        for name, (value, requires_grad) in self.values.items():
            if name in was_set:
                continue
            if not same(value, after[name].detach()):
                raise RegistryError(
                    f"{self.where}: its forward pass changes the values of parameter {name!r}; only the recipe's "
                    "optimizer may: compute a new tensor from it, or make what forward updates a buffer "
                    "(register_buffer); a module that sets itself by its first batch has a buffer 'initialized'"
                )
            if requires_grad != after[name].requires_grad:
                raise RegistryError(
                    f"{self.where}: its forward pass changes requires_grad of parameter {name!r}; freeze it in "
                    "__init__ or not"
                )


def same(one: Tensor, other: Tensor) -> bool:
    """Equal in every bit, but for the kind of a NaN: a parameter may be left empty."""
    return torch.equal(one, other) or (one.shape == other.shape and torch.allclose(one, other, 0, 0, equal_nan=True))


def distance(one: Tensor, other: Tensor) -> float:
    """The largest difference of two numbers at one place."""
    return float((one - other).abs().max())


def largest(*tensors: Tensor) -> float:
    """The largest magnitude in `tensors`, and never 0, for a share of it."""
    return max(1e-30, *(float(tensor.abs().max()) for tensor in tensors))


def check_evaluating(where: str, module: nn.Module) -> None:
    """Raise :class:`RegistryError` where a part of `module`, on which eval() was called, is in training mode."""
    for path, part in module.named_modules():
        if part.training:
            raise RegistryError(
                f"{where}: {_named(path, part)} is in training mode after eval(), so it would treat test images as "
                "training images; leave train() and eval() as torch has them"
            )


def set_by_first_batch(module: nn.Module) -> set[str]:
    """Names of the parameters that the first training batch may set: those of parts that wait for it, as ActNorm does.

    Such a part has a buffer ``initialized``, which is zero until then.
    """
    waiting: set[str] = set()
    for path, part in module.named_modules():
        initialized = dict(part.named_buffers(recurse=False)).get("initialized")
        if initialized is not None and not initialized.any():
            waiting |= {f"{path}.{name}".lstrip(".") for name, _ in part.named_parameters()}
    return waiting


def _named(path: str, part: nn.Module) -> str:
    return f"its module {path!r} ({type(part).__name__})" if path else f"its {type(part).__name__}"
