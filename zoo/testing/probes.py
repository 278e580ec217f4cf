"""Checks of a layer that need more than one look at it: other devices and dtypes, hidden state."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from zoo.runner.answers import hidden_state
from zoo.testing import suite

LARGE = 10_000  # what a counter may come to


def check_dtypes(module: nn.Module, x: Tensor) -> None:
    """In float64, weights and images, the answer has that dtype too; in bfloat16 also, where torch computes in it."""

    def check(dtype: torch.dtype) -> None:
        for training in (True, False):
            y = suite.forward(copy.deepcopy(module).to(dtype).train(training), x.to(dtype))
            if y.dtype != dtype:
                raise AssertionError(f"{dtype} images become {y.dtype}; the dtype has to stay")

    check(torch.float64)
    # An operation without a kernel for bfloat16 is one that autocast would leave out.
    with contextlib.suppress(RuntimeError):
        check(torch.bfloat16)


def check_device(module: nn.Module, x: Tensor) -> None:
    """Weights, buffers and images on another device than the CPU: all that it computes is there too.

    Nothing is computed: the device is torch's ``meta``, with fake tensors. A layer that looks at values, which do not
    exist there, is not judged.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    for training in (True, False):
        twin = copy.deepcopy(module).train(training)
        with FakeTensorMode(allow_non_fake_inputs=True), _only_devices_matter():
            images = torch.empty(x.shape, dtype=x.dtype, device="meta", requires_grad=True)
            y = _on_meta(twin)(images)
            if y.device.type != "meta":
                raise AssertionError(f"images on another device become {y.device.type}; give tensors device=x.device")
            torch.autograd.backward(y.sum())


@contextlib.contextmanager
def _only_devices_matter() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # torch logs what it then raises
    try:
        yield
    except AssertionError:
        raise
    except Exception as problem:
        if "same device" in str(problem) or "Device Propagation" in str(problem):
            raise AssertionError(
                "on another device it mixes tensors of that one and of cpu: give tensors device=x.device, or make them "
                "buffers (register_buffer)"
            ) from problem
    finally:
        logging.disable(before)


def _on_meta(module: nn.Module) -> nn.Module:
    """`module` with weights and buffers moved, what it has besides left where it is."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.to("meta")
    return module


def check_nothing_hidden(module: nn.Module, fresh: nn.Module, x: Tensor) -> None:
    """Numbers that training has changed and that the state dict lacks, such as a counter, do not change the answer."""

    def answers(path: str, name: str, number: object) -> Tensor:
        twin = copy.deepcopy(module)
        setattr(twin.get_submodule(path), name, number)
        return torch.cat([suite.forward(copy.deepcopy(twin).train(training), x) for training in (True, False)])

    for path, name, after, before in hidden_state(module, fresh):
        if not isinstance(after, int | float):
            continue
        with contextlib.suppress(AttributeError, ArithmeticError, IndexError, TypeError, ValueError):
            now, later = answers(path, name, after), answers(path, name, type(after)(LARGE))
            if not torch.equal(now, later) or not torch.equal(now, answers(path, name, before)):
                raise AssertionError(
                    f"{'.'.join(filter(None, (path, name)))} changes in training and the output with it, but it is "
                    "not stored; make it a buffer (register_buffer)"
                )
