"""A device that is not there: tensors without content on `meta`, under a mode that reports what slows a GPU down."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CPU, META = torch.device("cpu"), torch.device("meta")
COPIES = {"_to_copy", "to", "copy_"}
READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim"}


def tensors_in(parts: Iterable[Any]) -> Iterator[Tensor]:
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, list | tuple):
            yield from tensors_in(part)


class Watched(TorchDispatchMode):
    """Counts, by torch's names: `operations` on the device; `waits`, in which the host reads a tensor of the device or
    copies to it at once; `transfers` to it that nobody waits for; `faults`, in which an array of the CPU or a number of
    64 bits takes part. A count of one number on the CPU, such as an optimizer's of its steps, is no fault.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.waits, self.transfers, self.faults = (Counter[str]() for _ in range(4))
        self.made = _Made(self.waits)

    def __enter__(self) -> Watched:
        self.made.__enter__()
        return super().__enter__()

    def __exit__(self, *problem: Any) -> None:
        super().__exit__(*problem)
        self.made.__exit__(*problem)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        named = {}
        if name in COPIES:
            named = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
        tensors = list(tensors_in((*args, *kwargs.values())))
        used = META in {tensor.device for tensor in tensors}
        if used and (name in READS or named.get("device") == CPU):
            self.waits[name] += 1
            return self._content(name, args[0], named)
        # A fused optimizer changes what it is given, and has no form for this device.
        result = None if name.startswith("_fused_") else func(*args, **kwargs)
        results = list(tensors_in((result,)))
        if not used and META not in {tensor.device for tensor in results}:
            return result
        self.operations[name] += 1
        arrays = [tensor for tensor in tensors + results if tensor.device != META and tensor.ndim]
        if name in COPIES and arrays:
            (self.transfers if named.get("non_blocking") else self.waits)[name] += 1
        elif arrays:
            self.faults[f"{name}: an array of the CPU"] += 1
        if any(tensor.dtype in (torch.float64, torch.complex128) for tensor in tensors + results):
            self.faults[f"{name}: 64 bits"] += 1
        return result

    def _content(self, name: str, tensor: Tensor, named: dict[str, Any]) -> Any:
        """What is read of a tensor without content: ones."""
        if name == "_local_scalar_dense":
            return torch.ones((), dtype=tensor.dtype).item()
        assert name in COPIES, f"{name} reads {tuple(tensor.shape)} of {tensor.dtype}"
        return torch.ones(tensor.shape, dtype=named.get("dtype") or tensor.dtype)


class _Made(TorchFunctionMode):
    """Counts tensors of the device that are made of what Python has: a copy that this device leaves out."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and result.device == META:
            self.waits[func.__name__] += 1
        return result


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's fused optimizers take the device for one of theirs."""
    for module in ("torch.optim.optimizer", "torch.utils._foreach_utils"):
        monkeypatch.setattr(
            sys.modules[module], "_get_fused_kernels_supported_devices", lambda: ["cpu", "cuda", "meta"]
        )
