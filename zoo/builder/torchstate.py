"""torch's global state: dtype, threads, precision, hooks, seed. What one model sets there, all others train with.

Covered is what the code of a model sets in good faith; debugging aids and rare switches of a backend are not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules import module as module_hooks

from zoo.utils.device import accelerator

_FLAGS = (
    "backends.cuda.matmul.allow_tf32",
    "backends.cudnn.enabled",
    "backends.cudnn.allow_tf32",
    "backends.cudnn.benchmark",
    "backends.cudnn.deterministic",
    "backends.fp32_precision",  # last, since torch rejects the older words for TF32 while this one is set
)


@dataclass(frozen=True)
class Setting:
    """One part of the state: what a message calls it, how it is read and set."""

    name: str
    read: Callable[[], object]
    put_back: Callable[[Any], object]


class Snapshot:
    """The state as it was when this was made."""

    def __init__(self) -> None:
        self._before = [(setting, setting.read()) for setting in _settings()]
        self._seed, self._generator = torch.initial_seed(), torch.get_rng_state()

    def changes(self) -> list[str]:
        """What differs now, in words. Drawing random numbers is no change, seeding the generator is."""
        changes = [
            f"{setting.name} from {_worded(old)} to {_worded(new)}"
            for setting, old in self._before
            if not _same(old, new := setting.read())
        ]
        seeded = torch.initial_seed() != self._seed
        return changes + ["the seed of all random numbers (torch.manual_seed)"] * seeded

    def put_back(self) -> None:
        """Make the state what it was."""
        for setting, old in reversed(self._before):
            if not _same(old, setting.read()):
                setting.put_back(old)
        if torch.initial_seed() != self._seed:
            torch.set_rng_state(self._generator)


def _settings() -> list[Setting]:
    gpu = accelerator()
    settings = [
        Setting("the default dtype (torch.set_default_dtype)", torch.get_default_dtype, torch.set_default_dtype),
        Setting(
            "the default device (torch.set_default_device)",
            lambda: str(torch.empty(0).device),  # torch.get_default_device fails in torch 2.8 once it was set to None
            # None leaves no mode behind that each call passes through.
            lambda old: torch.set_default_device(None if old == "cpu" else old),
        ),
        Setting(
            "whether gradients are computed (torch.set_grad_enabled)", torch.is_grad_enabled, torch.set_grad_enabled
        ),
        Setting("the number of threads (torch.set_num_threads)", torch.get_num_threads, torch.set_num_threads),
        Setting("the working directory (os.chdir)", _working_directory, os.chdir),
        Setting("torch.use_deterministic_algorithms", _deterministic, _set_deterministic),
        # With one left open torch goes on with the weights that it once cast, whatever the optimizer makes of them.
        Setting("the number of open torch.autocast contexts", _open_autocasts, _close_autocasts),
        *(
            Setting(text, partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device))
            for text, device in (("autocast on the CPU", "cpu"), ("autocast on the GPU", gpu.type if gpu else "cuda"))
        ),
        Setting(
            "the float32 matmul precision (torch.set_float32_matmul_precision)",
            lambda: _unless_mixed(torch.get_float32_matmul_precision),
            torch.set_float32_matmul_precision,
        ),
    ]
    settings += [_flag(path) for path in _FLAGS]
    names = [name for name, hooks in vars(module_hooks).items() if isinstance(hooks, dict)]
    return settings + [_hooks(name) for name in names if name.startswith("_global_") and name.endswith("_hooks")]


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return ""


def _flag(path: str) -> Setting:
    owner, _, name = path.rpartition(".")
    holder = attrgetter(owner)(torch)
    return Setting(
        f"torch.{path}",
        lambda: _unless_mixed(lambda: getattr(holder, name, None)),  # older versions of torch lack fp32_precision
        lambda old: setattr(holder, name, old),
    )


def _hooks(name: str) -> Setting:
    """Hooks on every module; torch's ``register_module_forward_hook`` adds such."""
    hooks: dict[int, object] = getattr(module_hooks, name)

    def put_back(old: dict[int, object]) -> None:
        hooks.clear()
        hooks.update(old)

    return Setting(f"the {name.removeprefix('_global_').replace('_', ' ')} of every module", hooks.copy, put_back)


def _unless_mixed(read: Callable[[], object]) -> object:
    """torch refuses to report a flag in its old words once it was set in the new ones."""
    try:
        return read()
    except RuntimeError:
        return "set through fp32_precision"


def _same(old: object, new: object) -> bool:
    # "none" is what a precision is before anyone asks for "ieee", which means the same.
    return ("ieee" if old == "none" else old) == ("ieee" if new == "none" else new)


def _worded(state: object) -> str:
    return str(len(state)) if isinstance(state, dict) else str(state)


def _deterministic() -> str:
    if not torch.are_deterministic_algorithms_enabled():
        return "off"
    return "warn only" if torch.is_deterministic_algorithms_warn_only_enabled() else "on"


def _set_deterministic(old: str) -> None:
    torch.use_deterministic_algorithms(old != "off", warn_only=old == "warn only")


def _open_autocasts() -> int:
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def _close_autocasts(old: int) -> None:
    while _open_autocasts() > old:
        torch.autocast_decrement_nesting()
    while _open_autocasts() < old:
        torch.autocast_increment_nesting()
    torch.clear_autocast_cache()
