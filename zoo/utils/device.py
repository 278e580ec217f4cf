"""What torch computes on beside the CPU, asked of torch's backend for it and not of its name: cuda, mps, xpu."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


def accelerator() -> torch.device | None:
    """The kind of device that torch has here beside the CPU, without a number; None where there is none."""
    return torch.accelerator.current_accelerator(check_available=True)


def is_here(device: torch.device) -> bool:
    """Whether torch has the kind of `device` here; any number will do."""
    here = accelerator()
    return device.type == (here.type if here else "cpu") or device.type == "cpu"


def is_accelerator(device: torch.device) -> bool:
    """Whether work on `device` is queued, and its numbers lie elsewhere than those of the CPU."""
    return device.type not in ("cpu", "meta")


def backend(device: torch.device) -> Any:
    """torch's module for the accelerator `device`, such as ``torch.cuda``. Each has what its hardware has."""
    return torch.get_device_module(device.type)


def synchronize(device: torch.device) -> None:
    """Wait for the work queued on `device`; on the CPU nothing is queued."""
    if is_accelerator(device):
        torch.accelerator.synchronize(device)


def has_own_memory(device: torch.device) -> bool:
    """Whether `device` has memory of its own, which copies from pinned memory reach without a wait.

    An Apple GPU shares the machine's.
    """
    return is_accelerator(device) and hasattr(backend(device), "mem_get_info")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` of the CPU on `device`, without a wait for what is queued there."""
    return (tensor.pin_memory() if has_own_memory(device) else tensor).to(device, non_blocking=True)


def in_float64(tensor: Tensor) -> Tensor:
    """`tensor` in float64, on the CPU where its own device computes in no such type."""
    return (tensor if has_float64(tensor.device) else tensor.cpu()).double()


@functools.cache
def has_float64(device: torch.device) -> bool:
    """Whether `device` computes in float64: an Apple GPU does not, nor do some of Intel's."""
    try:
        torch.ones(1, dtype=torch.float64, device=device).add_(1)
    except (RuntimeError, TypeError):
        return False
    return True
