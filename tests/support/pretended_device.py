"""A device that is no CPU and computed by one, for torch and zoo alike: torch's PrivateUse1 as a backend in Python.

torch can have it once in a process and never forgets it, so this is a script that carries out ``zoo``:
``pretended_device.py KIND ... -- bench resnet20_bn ++ KIND ... -- list``, started by :func:`zoo_on_it`. What a KIND
changes:

- ``trial``: ``--device auto`` has it on trial, as an Apple GPU; ``nchw``: it is for NCHW only, as that is;
- ``wrong``: BatchNorm's gradients are wrong; ``wrong_channels_last``: only where its images lie channels-last;
- ``single``: no float64; ``shared``: no memory of its own; ``no_bf16``: bf16 not in hardware.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME, END = "pretend", "exit code "
BACKWARD = torch.ops.aten.native_batch_norm_backward.default
kinds: set[str] = set()


class Memory:
    """Bytes of the storages that live on the device, each counted once."""

    def __init__(self) -> None:
        self.users: Counter[int] = Counter()
        self.now = self.peak = 0

    def add(self, tensor: Pretended) -> None:
        storage = tensor.held.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if not self.users[key]:
            self.now += size
            self.peak = max(self.peak, self.now)
        self.users[key] += 1
        weakref.finalize(tensor, self.drop, key, size)

    def drop(self, key: int, size: int) -> None:
        self.users[key] -= 1
        if not self.users[key]:
            self.now -= size


memory = Memory()
library = torch.library.Library("_", "IMPL")


class Pretended(Tensor):
    """A tensor that says it is on the device; `held` is its content, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        if "single" in kinds and held.dtype == torch.float64:
            raise TypeError(f"Cannot convert a {NAME} tensor to float64, which the backend does not support")
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=torch.device(NAME, 0), requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held
        memory.add(made)
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carry_out(function, args, kwargs or {})

    def __getitem__(self, key: Any) -> Tensor:
        """A list is a tensor on the device, which torch would make past the mode."""
        return super().__getitem__(torch.tensor(key).to(self.device) if isinstance(key, list) else key)

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)


class Device(TorchDispatchMode):
    """Under it new tensors are on the device where they are asked to be."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carry_out(function, args, kwargs or {})


def carry_out(function: Any, args: Any, kwargs: Any) -> Any:
    wrappers = {id(part.held): part for part in tree_leaves((args, kwargs)) if isinstance(part, Pretended)}
    target = kwargs.get("device")
    there = torch.device(target).type == NAME if target is not None else bool(wrappers)

    def held(part: Any) -> Any:
        if isinstance(part, torch.device) and part.type == NAME:
            return torch.device("cpu")
        return part.held if isinstance(part, Pretended) else part

    answer = function(*tree_map(held, args), **tree_map(held, kwargs))
    if function is BACKWARD and there and is_wrong(held(args[1])):
        answer = (answer[0] * 3, answer[1] * 5 if answer[1] is not None else None, answer[2])
    if not there:
        return answer
    return tree_map(lambda part: wrapped(part, wrappers) if isinstance(part, Tensor) else part, answer)


def wrapped(part: Tensor, wrappers: dict[int, Pretended]) -> Pretended:
    return wrappers[id(part)] if id(part) in wrappers else Pretended(part)


def is_wrong(images: Tensor) -> bool:
    nchw = images.is_contiguous()
    return "wrong" in kinds or ("wrong_channels_last" in kinds and not nchw)


class Backend:
    """What torch asks of ``torch.pretend``."""

    def __init__(self) -> None:
        self.state = torch.zeros(8, dtype=torch.uint8)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        numbers = {
            "mem_get_info": lambda: (2**34, 2**34),
            "memory_allocated": lambda: memory.now,
            "max_memory_allocated": lambda: memory.peak,
        }
        if name not in numbers or "shared" in kinds:
            raise AttributeError(name)
        return lambda device=None: numbers[name]()

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        self.state = torch.full((8,), seed % 251, dtype=torch.uint8)

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.state

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.state = state

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_device_name(self, device: Any = None) -> str:
        return "Pretended P1"

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        return including_emulation or "no_bf16" not in kinds

    @contextlib.contextmanager
    def device(self, device: Any) -> Iterator[None]:
        yield

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        memory.peak = memory.now


def register() -> None:
    from torch.utils import backend_registration

    # Newer than the oldest torch that zoo runs with.
    backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else `held` stays what it was
    library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # mixed precision casts nothing
    torch.accelerator.synchronize = lambda device=None: None
    Tensor.pin_memory = lambda self, device=None: self  # type: ignore[method-assign]


def zoo_on_it(folder: Path, *commands: str) -> tuple[str, list[str]]:
    """What `commands`, each ``KIND ... -- bench MODEL ...``, print: on stdout all together, on stderr each by itself.

    The latter ends with the exit code. `folder` is the working directory.
    """
    words = [word for command in commands for word in (*command.split(), "++")][:-1]
    done = subprocess.run([sys.executable, __file__, *words], cwd=folder, capture_output=True, text=True, timeout=900)
    texts = re.split(rf"(?<={END}\d)\n", done.stderr)
    assert (len(texts), texts[-1]) == (len(commands) + 1, ""), done.stderr
    return done.stdout, texts[:-1]


def main() -> None:
    register()

    from zoo.cli.main import main as zoo_main
    from zoo.engine import machine, speed, throughput

    # A CPU in a GPU's place takes minutes for a GPU's sizes.
    speed.INFERENCE_BATCHES_ON_ACCELERATORS, speed.SECONDS, speed.LATENCY_SECONDS = (8,), 0.05, 0.1
    throughput.PEAK_SIDE_ON_ACCELERATORS = 512
    machine.ACCELERATORS += (NAME,)
    machine.NAMES[NAME] = "pretended GPU"
    words = sys.argv[1:]
    while words:
        end = words.index("++") if "++" in words else len(words)
        mark = words.index("--")
        kinds.clear()
        kinds.update(words[:mark])
        machine.ON_TRIAL = (NAME,) if "trial" in kinds else ()
        machine.NCHW_ONLY = (NAME,) if "nchw" in kinds else ()
        sys.argv = ["zoo", *words[mark + 1 : end]]
        words, code = words[end + 1 :], 0
        try:
            with Device():
                zoo_main()
        except SystemExit as problem:
            code = problem.code
        print(f"{END}{code}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
