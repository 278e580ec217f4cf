"""The norm layers of a model that is not zoo's: which there are, which run, and what would not see them swapped."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from zoo.errors import RegistryError
from zoo.models.observe import Observed, in_mode, observe
from zoo.utils.seeding import same_random_numbers
from zoo.utils.text import named

IMAGES = 2  # so that a layer that reads parts of images as if they were images differs from one that reads images
Shape = tuple[int, int, int, int]
_IN_GRAPH = re.compile(r"aten::(\w+_norm)\(")
_NAMED_NORM = re.compile(r"norm(alization|alisation|\d|_|$)|^(BN|LN|GN|IN|FRN)\d?d?$", re.IGNORECASE)
_LIBRARIES = ("torch", "timm", "torchvision")
_ALIKE = ("RmsNorm", "SimpleNorm")  # timm's


def norms_of(where: str, module: nn.Module, shape: Shape) -> tuple[list[Observed], Counter[str]]:
    """The norms of `module` that run on images of `shape`; why others stay, and how many. Raises where one has to go.

    A norm that evaluation does not reach is looked for in training: an auxiliary head may have some.
    """
    for path, part in module.named_modules():
        graph = getattr(part, "inlined_graph", "") if isinstance(part, torch.jit.ScriptModule) else ""
        if norms := _IN_GRAPH.findall(str(graph)):
            raise RegistryError(
                f"{where}: cannot be swapped: {path or type(part).__name__!r} is a ScriptModule with {norms[0]} in it, "
                "which is compiled; set PYTORCH_JIT=0 in the environment, which builds it without torch.jit"
            )
    functions: list[str] = []
    layers = _run(where, module, shape, False, functions)
    rest = {path: part for path, part in module.named_modules() if channels(part) is not None}
    for layer in layers:
        del rest[layer.path]
    if rest:
        with _put_back(module), contextlib.suppress(RegistryError):  # whatever it makes of two images in training
            layers += [layer for layer in _run(where, module, shape, True, functions) if rest.pop(layer.path, None)]
    if functions:
        raise RegistryError(
            f"{where}: cannot be swapped: it calls torch's {functions[0]}, which is no norm layer; make it one"
        )
    unused = [Observed(path, part) for path, part in rest.items() if not is_by_hand(part)]
    check_without(where, module, unused, shape, "are not called, but their values are read; call the layers")
    norms = [old for old in layers if not is_by_hand(old.layer) or axis_by_hand(old.layer, old.inputs[0])]
    stay = Counter({"never used": len(unused)})
    swappable = {id(old.layer) for old in norms}
    for part in module.modules():
        unknown = _is_norm_by_name(part) and (channels(part) is None or is_by_hand(part))
        if unknown and swappable.isdisjoint(map(id, part.modules())):
            stay[f"of a type that zoo does not support ({type(part).__name__})"] += 1
    return norms, +stay


def _run(
    where: str,
    module: nn.Module,
    shape: Shape,
    training: bool = False,
    functions: list[str] | None = None,
) -> list[Observed]:
    try:
        return observe(module, lambda layer: channels(layer) is not None, shape, training, functions)[0]
    except Exception as problem:  # whatever a model makes of images
        raise RegistryError(f"{where}: fails on images of shape {shape[1:]}: {named(problem)}") from problem


@contextlib.contextmanager
def _put_back(module: nn.Module) -> Iterator[None]:
    """What the block does to the values of `module` and to torch's generator, undone."""
    tensors = [(part, part.clone()) for part in (*module.parameters(), *module.buffers()) if not is_lazy(part)]
    with same_random_numbers(), torch.no_grad():
        try:
            yield
        finally:
            for tensor, before in tensors:
                if not torch.equal(tensor, before):  # an expanded buffer cannot be written
                    tensor.copy_(before)


def check_without(where: str, module: nn.Module, layers: list[Observed], shape: Shape, advice: str) -> None:
    """Raise where `module` does not run on images while the `layers` have no values: something still reads them."""
    taken = [
        (vars(old.layer)[kind], dict(vars(old.layer)[kind])) for old in layers for kind in ("_parameters", "_buffers")
    ]
    for tensors, _ in taken:
        tensors.clear()
    try:
        with _put_back(module):  # a new norm may set itself by the first image that it is shown
            _run(where, module, shape, False)
    except RegistryError as problem:
        if not isinstance(problem.__cause__, AttributeError):
            raise
        paths = ", ".join(repr(old.path) for old in layers[:3]) + ", ..." * (len(layers) > 3)
        raise RegistryError(f"{where}: cannot be swapped: {paths}: {advice}") from problem
    finally:
        for tensors, before in taken:
            tensors.update(before)


def _is_norm_by_name(layer: nn.Module) -> bool:
    kind = type(layer)
    return bool(_NAMED_NORM.search(kind.__name__)) and not kind.__module__.startswith("torch.nn.utils")


def channels(layer: nn.Module) -> int | None:
    """The channels that the norm `layer` has; None for what is no norm that can be swapped. -1: over several axes."""
    from timm.layers import evo_norm, filter_response_norm
    from timm.layers.norm_act import FrozenBatchNormAct2d
    from torchvision.ops import FrozenBatchNorm2d

    if isinstance(layer, nn.modules.batchnorm._NormBase):  # instance norms too
        return layer.num_features
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    kinds, shape = (nn.LayerNorm, nn.RMSNorm), vars(layer).get("normalized_shape")
    if isinstance(shape, tuple) and (isinstance(layer, kinds) or type(layer).__name__.startswith(_ALIKE)):
        return int(shape[0]) if len(shape) == 1 else -1
    modules = (evo_norm.__name__, filter_response_norm.__name__)
    if isinstance(layer, FrozenBatchNormAct2d | FrozenBatchNorm2d) or type(layer).__module__ in modules:
        return int(layer.state_dict()["weight"].numel())
    return next(layer.parameters()).numel() if is_by_hand(layer) else None


def is_by_hand(layer: nn.Module) -> bool:
    """Whether `layer` may be a norm that a model's author wrote, such as ConvNeXt's ``LayerNorm``; its values tell."""
    known = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    ours = isinstance(layer, known) or type(layer).__module__.split(".")[0] in _LIBRARIES
    if ours or not _is_norm_by_name(layer) or any(layer.children()) or any(map(is_lazy, layer.parameters())):
        return False
    return len({tensor.numel() for tensor in layer.parameters()}) == 1


def axis_by_hand(layer: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Over which axis of images of `shape` a norm written by hand has its channels; None where it is no plain norm.

    A norm gives the same for images four times as bright, and the opposite for negatives (but for its bias).
    """
    with _put_back(layer), in_mode(layer, True):
        parameter = next(layer.parameters())
        x, other = (parameter.new_empty(shape).normal_() for _ in range(2))
        try:
            y, bias, again = layer(x), layer(x) + layer(-x), layer(other) + layer(-other)
            same = y.shape == x.shape and torch.allclose(layer(4 * x), y, 0.01, 1e-3)
            parameter.view(-1)[0] += 1
            changed = (layer(x) - y).abs() > 1e-6
        except Exception:  # whatever it makes of such images
            return None
    if not same or not torch.allclose(bias, again, 0.01, 1e-3):
        return None
    axes = [axis for axis in (1, len(shape) - 1) if shape[axis] == parameter.numel()]
    return next((axis for axis in axes if not changed.narrow(axis, 1, shape[axis] - 1).any()), None)


def check_whole(where: str, layer: nn.Module, path: str, shape: tuple[int, ...]) -> None:
    """Raise where `layer` does more than the norm of torch that it is derived from, which would be lost."""
    bases = [kind for kind in type(layer).__mro__ if issubclass(kind, nn.Module)]
    plain = next(kind for kind in bases if kind.__module__.startswith("torch.nn."))
    more = bool(layer._forward_hooks or layer._forward_pre_hooks)
    if type(layer).__module__.split(".")[0] not in _LIBRARIES and plain is not nn.Module:
        with _put_back(layer):
            x = next((tensor for tensor in layer.parameters()), torch.empty(0)).new_empty(shape).normal_()
            try:
                own, base = (forward(layer, x) for forward in (type(layer).forward, plain.forward))
                more |= own.shape != base.shape or not torch.allclose(own, base)
            except Exception:  # whatever it makes of random images
                more = True
    if more:
        raise RegistryError(
            f"{where}: cannot be swapped: {path!r} ({type(layer).__name__}) does more than {plain.__name__}, which "
            "would be lost"
        )
