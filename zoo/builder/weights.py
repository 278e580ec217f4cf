"""Initial weights from a file: ``--pretrained FILE`` and ``hub-folder:PATH``. Safetensors only, which carry no code."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import Option, RegistryError
from zoo.registry.model import Pretrained
from zoo.utils.files import reachable, sha256

if TYPE_CHECKING:
    from torch import Tensor, nn


WEIGHTS = "model.safetensors"
_VERSIONS = "_metadata"  # where torch keeps the versions of a state dict's layers


def find(place: Path) -> Pretrained:
    """The weights in `place`, a safetensors file or a folder (such as a run's) that has ``model.safetensors``.

    Raises :class:`RegistryError` where there are none.
    """
    where = Option("pretrained", str(place))
    with reachable(place, RegistryError):
        path = place / WEIGHTS if place.is_dir() else place
        if not path.is_file():
            what = f"has no {WEIGHTS}" if place.is_dir() else "no such file"
            raise RegistryError(where, f": {what}; give a .safetensors file or the folder of a finished run")
    if path.suffix != ".safetensors":
        raise RegistryError(where, ": is no .safetensors file; other kinds can carry code and are never loaded")
    return Pretrained(sha256(path), path)


def load(module: nn.Module, path: Path, digest: str, num_classes: int) -> list[str]:
    """Put the weights of the safetensors file `path` into `module`; what was left out, in words.

    The rule: only the classifier head may disagree in shape, and then keeps its initial values. The head is the last
    linear layer or convolution with `num_classes` outputs; where timm names the head itself, that one. Batch norm's
    ``num_batches_tracked`` may be missing, since older files have none.
    Raises :class:`RegistryError` for a file that is damaged or no longer has the SHA-256 `digest`, and for every other
    name or shape that differs.
    """
    from safetensors.torch import load as parse

    try:
        content = path.read_bytes()
        tensors = parse(content)
    except Exception as problem:  # a border: whatever the library makes of what the file holds
        raise RegistryError(f"{path}: cannot be read as safetensors ({' '.join(str(problem).split())})") from problem
    if hashlib.sha256(content).hexdigest() != digest:
        raise RegistryError(f"{path}: has changed since this command began; give the command again")
    wanted = module.state_dict()
    head = set(_head(module, num_classes))
    missing = {name for name in wanted.keys() - tensors.keys() if not name.endswith("num_batches_tracked")}
    for verb, names in (("has no", missing), ("has an unknown", tensors.keys() - wanted.keys())):
        if names:
            more = f" and {len(names) - 1} more" * (len(names) > 1)
            advice = " or of one with other norms (to swap norms after loading, use hub-folder:PATH@NORM)"
            advice *= any("running_" in name or ".norm." in name for name in names)
            raise RegistryError(f"{path}: {verb} {min(names)!r}{more}; it belongs to another model{advice}")
    left = [name for name, tensor in wanted.items() if name in tensors and tensor.shape != tensors[name].shape]
    if wrong := sorted(set(left) - head):
        there, here = tuple(tensors[wrong[0]].shape), tuple(wanted[wrong[0]].shape)
        more = f", and {len(wrong) - 1} more differ" * (len(wrong) > 1)
        raise RegistryError(
            f"{path}: {wrong[0]!r} is {there}, but {here} in this model{more}; only the classifier head may differ"
        )
    module.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in left}, strict=False)
    if not left:
        return ["all of its values"]
    shapes = f"{tuple(tensors[left[0]].shape)} in the file, {tuple(wanted[left[0]].shape)} here"
    return [f"all but the classifier head, which keeps its initial values: {', '.join(left)} ({shapes})"]


def _head(module: nn.Module, num_classes: int) -> Iterable[str]:
    """Names of the parameters of the classifier head."""
    from torch import nn

    def last(part: object) -> list[nn.Module]:
        layers = part.modules() if isinstance(part, nn.Module) else ()
        fits = [x for x in layers if getattr(x, "out_features", getattr(x, "out_channels", None)) == num_classes]
        return fits[-1:]

    get_classifier = getattr(module, "get_classifier", None)  # timm's
    named = get_classifier() if get_classifier else module
    parts = named if isinstance(named, list | tuple | nn.ModuleList) else [named]  # a distilled model has two
    heads = {id(layer) for part in parts for layer in last(part)} or {id(layer) for layer in last(module)}
    for path, part in module.named_modules():
        if id(part) in heads:
            yield from (f"{path}.{name}" for name, _ in part.named_parameters())


def with_versions(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The `tensors` of a file as a state dict of `module`: with its layers' versions, which some of them ask for."""
    state = OrderedDict(tensors)
    setattr(state, _VERSIONS, getattr(module.state_dict(), _VERSIONS, None))
    return state
