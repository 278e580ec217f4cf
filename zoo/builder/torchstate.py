"""torch's global state: dtype, threads, precision, hooks, seed. What one model sets there, all others train with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from types import ModuleType
from typing import Any

import torch
from torch.nn.modules import module as module_hooks
from torch.optim import optimizer as optimizer_hooks


@dataclass(frozen=True)
class Setting:
    """One part of the state: what a message calls it, how it is read and set."""

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], Any]


class Snapshot:
    """The state as it was when this was made."""

    def __init__(self) -> None:
        self._known = [(setting, setting.read()) for setting in _settings()]
        self._seed, self._generator = torch.initial_seed(), torch.get_rng_state()

    def changes(self) -> list[str]:
        """What is otherwise now, in words. Drawing random numbers is no change, seeding the generator is."""
        told = [
            f"{setting.name} from {_told(old)} to {_told(new)}"
            for setting, old in self._known
            if not _same(old, new := setting.read())
        ]
        seeded = torch.initial_seed() != self._seed
        return told + ["the seed of all random numbers (torch.manual_seed)"] * seeded

    def put_back(self) -> None:
        """Make the state what it was."""
        for setting, old in reversed(self._known):  # newer words of a flag come later, and torch rejects a mixture
            if not _same(old, setting.read()):
                setting.put_back(old)
        if torch.initial_seed() != self._seed:
            torch.set_rng_state(self._generator)


def _settings() -> list[Setting]:
    settings = [
        Setting("the default dtype (torch.set_default_dtype)", torch.get_default_dtype, torch.set_default_dtype),
        Setting("the default device (torch.set_default_device)", _default_device, _set_default_device),
        Setting("whether gradients are computed (torch.set_grad_enabled)", torch.is_grad_enabled, _set_grad),
        Setting("the number of threads (torch.set_num_threads)", torch.get_num_threads, torch.set_num_threads),
        Setting("torch.set_flush_denormal", _flushes_denormals, torch.set_flush_denormal),
        Setting("torch.use_deterministic_algorithms", _deterministic, _set_deterministic),
        Setting("anomaly detection (torch.autograd.set_detect_anomaly)", torch.is_anomaly_enabled, _set_anomaly),
        # With one left open torch goes on with the weights that it once cast, whatever the optimizer makes of them.
        Setting("the number of open torch.autocast contexts", _open_autocasts, _close_autocasts),
        Setting("autocast on the CPU", lambda: torch.is_autocast_enabled("cpu"), _autocast_setter("cpu")),
        Setting("autocast on the GPU", lambda: torch.is_autocast_enabled("cuda"), _autocast_setter("cuda")),
        Setting(
            "the float32 matmul precision (torch.set_float32_matmul_precision)",
            lambda: _unless_mixed(torch.get_float32_matmul_precision),
            torch.set_float32_matmul_precision,
        ),
    ]
    for path in (
        "backends.cuda.matmul.allow_tf32",
        "backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
        "backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
        "backends.cudnn.enabled",
        "backends.cudnn.allow_tf32",
        "backends.cudnn.benchmark",
        "backends.cudnn.deterministic",
        "backends.mkldnn.enabled",
        "utils.deterministic.fill_uninitialized_memory",
        "backends.mkldnn.conv.fp32_precision",
        "backends.mkldnn.matmul.fp32_precision",
        "backends.fp32_precision",
    ):
        with contextlib.suppress(AttributeError):  # not every torch has all of them
            settings.append(_flag(path))
    for holder in (module_hooks, optimizer_hooks):
        settings += [_hooks(holder, name) for name, value in vars(holder).items() if _is_hooks(name, value)]
    return settings


def _flag(path: str) -> Setting:
    owner, _, name = path.rpartition(".")
    holder = attrgetter(owner)(torch)
    _unless_mixed(lambda: getattr(holder, name))  # AttributeError where there is none
    return Setting(
        f"torch.{path}", lambda: _unless_mixed(lambda: getattr(holder, name)), lambda old: setattr(holder, name, old)
    )


def _is_hooks(name: str, value: Any) -> bool:
    return name.startswith("_global_") and name.endswith("_hooks") and isinstance(value, dict)


def _hooks(holder: ModuleType, name: str) -> Setting:
    """Hooks on every module or every optimizer; torch's ``register_module_forward_hook`` adds such."""
    kind = "optimizer" if holder is optimizer_hooks else "module"
    words = name.removeprefix("_global_").removeprefix("optimizer_").replace("_", " ")

    def put_back(old: dict) -> None:
        current = getattr(holder, name)
        current.clear()
        current.update(old)

    return Setting(f"the {words} of every {kind}", lambda: dict(getattr(holder, name)), put_back)


def _unless_mixed(read: Callable[[], Any]) -> Any:
    """torch refuses to tell a flag in its old words once it was set in the new ones."""
    try:
        return read()
    except RuntimeError:
        return "set through fp32_precision"


def _same(old: Any, new: Any) -> bool:
    # "none" is what a precision is before anyone asks for "ieee", which means the same.
    return ("ieee" if old == "none" else old) == ("ieee" if new == "none" else new)


def _told(value: Any) -> str:
    return str(len(value)) if isinstance(value, dict) else str(value)


def _default_device() -> str:
    return str(torch.get_default_device())


def _set_default_device(old: str) -> None:
    torch.set_default_device(None if old == "cpu" else old)  # None leaves no mode behind that each call passes through


def _set_grad(old: bool) -> None:
    torch.set_grad_enabled(old)


def _flushes_denormals() -> bool:
    return (torch.tensor(5e-324, dtype=torch.float64, device="cpu") * 1).item() == 0.0


def _deterministic() -> str:
    if not torch.are_deterministic_algorithms_enabled():
        return "off"
    return "warn only" if torch.is_deterministic_algorithms_warn_only_enabled() else "on"


def _set_deterministic(old: str) -> None:
    torch.use_deterministic_algorithms(old != "off", warn_only=old == "warn only")


def _set_anomaly(old: bool) -> None:
    torch.autograd.set_detect_anomaly(old)


def _open_autocasts() -> int:
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def _close_autocasts(old: int) -> None:
    while _open_autocasts() > old:
        torch.autocast_decrement_nesting()
    while _open_autocasts() < old:
        torch.autocast_increment_nesting()
    torch.clear_autocast_cache()


def _autocast_setter(device: str) -> Callable[[bool], None]:
    return lambda old: torch.set_autocast_enabled(device, old)
