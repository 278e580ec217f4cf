"""From registry entries to an ``nn.Module``: the only place that calls a builder."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from zoo.errors import RegistryError, did_you_mean
from zoo.registry.entries import Origin
from zoo.registry.merge import BUILT_IN, Model

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("torch", "torchvision", "albumentations", "timm", "numpy")  # a result tells their versions
# Of code as it was loaded: a module that is imported again is another key.
_hashes: weakref.WeakKeyDictionary[ModuleType, dict[tuple, str | None]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Norm:
    """What an architecture builder receives as ``norm``: makes one normalisation layer per call.

    An architecture uses it so::

        self.conv1 = norm.conv2d(in_channels, 64, 3, padding=1)
        self.norm1 = norm(64)                     # an activation follows
        self.act1 = norm.act()                    # nn.ReLU, or nn.Identity where the norm includes the activation
        self.norm2 = norm(64, apply_act=False, branch_end=True)   # last layer of a residual branch

    and every norm of the registry works in it.
    """

    name: str
    builder: Callable[..., nn.Module]
    kwargs: dict[str, Any] = field(default_factory=dict)
    activation_included: bool = False
    conv: Callable[..., nn.Module] | None = None
    where: str = ""  # for messages

    def __call__(self, num_channels: int, *, apply_act: bool = True, branch_end: bool = False) -> nn.Module:
        """A layer for (N, `num_channels`, H, W).

        `apply_act`: whether an activation belongs here; passed on only to a norm that includes the activation.
        `branch_end`: True on the last norm of a residual branch; passed on only to a builder that names it
        (SkipInit starts such a branch at zero).
        """
        optional: dict[str, Any] = {}
        if self.activation_included:
            optional["apply_act"] = apply_act
        if self._names_branch_end:
            optional["branch_end"] = branch_end
        return _call(self.builder, self.where, num_channels, **self.kwargs, **optional)

    def branch_scale(self, num_channels: int) -> nn.Module:
        """The layer after the last convolution of a pre-activation branch: Identity for all but norms like SkipInit.

        Such a branch has no norm at its end, so a builder that names `branch_end` gets a layer of its own there. A zero
        scale before the branch's last ReLU would never leave zero, since its gradient is zero too.
        """
        from torch import nn

        return self(num_channels, apply_act=False, branch_end=True) if self._names_branch_end else nn.Identity()

    @property
    def _names_branch_end(self) -> bool:
        return "branch_end" in inspect.signature(self.builder).parameters

    def act(self, layer: Callable[..., nn.Module] | None = None) -> nn.Module:
        """The activation after a norm: `layer()` (ReLU unless given), or Identity where the norm includes its own."""
        from torch import nn

        return nn.Identity() if self.activation_included else (layer or nn.ReLU)()

    def conv2d(self, in_channels: int, out_channels: int, kernel_size: int, **kwargs: Any) -> nn.Module:
        """A convolution without bias, of the kind that the norm asks for (weight standardisation has its own)."""
        from torch import nn

        return (self.conv or nn.Conv2d)(in_channels, out_channels, kernel_size, bias=False, **kwargs)


def build(model: Model, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """The module for (N, `in_channels`, H, W) images, answering (N, `num_classes`) logits.

    Raises :class:`RegistryError`, in one line, when a builder's module or function does not exist, its module fails
    on import, it does not accept the arguments that its entry gives, or it changes torch's global state.
    """
    from zoo.builder.fairness import untouched

    for what, number in (("num_classes", num_classes), ("in_channels", in_channels)):
        if number < 1:
            raise RegistryError(f"model {model.name!r}: {what} is {number}; it is at least 1")
    with untouched(_where(model), "building"):
        module = _build(model, num_classes, in_channels)
    if model.pretrained and model.pretrained.path:
        from zoo.builder import notes
        from zoo.builder.weights import load

        path, digest = model.pretrained.path, model.pretrained.sha256
        notes.add(module, *(f"weights {digest[:8]}: {line}" for line in load(module, path, digest, num_classes)))
    return module


def _build(model: Model, num_classes: int, in_channels: int) -> nn.Module:
    size = {"num_classes": num_classes, "in_channels": in_channels}
    own = model.entry.kwargs if model.entry else {}
    if model.entry and model.entry.builder:
        builder = load_builder(model.entry.builder, f"model {model.name!r}", model.origin)
        where = f"model {model.name!r} ({model.origin}): {model.entry.builder}"
        _check_signature(builder, where, **own, **size)
        return _call(builder, where, **own, **size)
    architecture = model.architecture
    builder = load_builder(architecture.builder, f"architecture {architecture.name!r}", architecture.origin)
    where = f"architecture {architecture.name!r} ({architecture.origin}): {architecture.builder}"
    arguments = {"norm": load_norm(model), **size, **architecture.kwargs, **own}
    _check_signature(builder, where, **arguments)
    return _call(builder, where, **arguments)


def try_on(
    model: Model, module: nn.Module, image_shape: tuple[int, int, int], num_classes: int, smallest_batch: int = 2
) -> None:
    """A step of training and answers from a copy of `module`, built from `model`; (C, H, W) is `image_shape`.

    It trains on two images, and on one where that is the `smallest_batch` to come, and answers two and one alone.
    Raises :class:`RegistryError`, in one line, when that fails, does not give (2, `num_classes`), or shows that the
    model would be trained otherwise than the recipe says (:mod:`zoo.builder.fairness`).
    """
    import torch

    from zoo.builder import fairness

    where = _where(model)
    fairness.check_module(where, module)
    images = torch.rand(2, *image_shape)

    def attempt(doing: Callable[[], Any], what: str, advice: str = "") -> Any:
        try:
            return doing()
        except Exception as problem:
            line = " ".join(f"{type(problem).__name__}: {problem}".split())
            raise RegistryError(f"{where}: {what} of shape {image_shape}: {line}{advice}") from problem

    def check_shape(answer: Any, count: int) -> None:
        if tuple(getattr(answer, "shape", ())) != (count, num_classes):
            given = tuple(getattr(answer, "shape", ())) or type(answer).__name__
            asked = "two images" if count == 2 else "one image"
            raise RegistryError(f"{where}: answers {given} to {asked}, expected ({count}, {num_classes})")

    with fairness.untouched(where, "running"):
        twin, before, answer = attempt(lambda: fairness.step(module, images), "fails on images")
    check_shape(answer, 2)
    fairness.check_after(where, module, twin, before)
    with fairness.untouched(where, "running"), torch.no_grad():
        advice = "; its latency could not be measured"
        check_shape(attempt(lambda: twin(images[:1]), "answers two images, but fails on one", advice), 1)
    if smallest_batch == 1:
        with fairness.untouched(where, "running"):
            advice = "; a batch of one image comes up: set drop_last=true or another batch_size"
            attempt(lambda: fairness.step(module, images[:1]), "cannot be trained on one image", advice)


def _where(model: Model) -> str:
    return f"model {model.name!r} ({model.origin}): {model.label}"


def load_norm(model: Model) -> Norm:
    """The :class:`Norm` of `model`, its builder imported and its arguments checked against the builder's signature."""
    entry = model.norm
    what = f"norm {entry.name!r}"
    where = f"{what} ({entry.origin}): {entry.builder}"
    builder = load_builder(entry.builder, what, entry.origin)
    included = entry.activation == "included"
    optional = {"apply_act": True} if included else {}
    _check_signature(builder, where, 64, **entry.kwargs, **optional)
    conv = load_builder(entry.conv, what, entry.origin) if entry.conv else None
    return Norm(entry.name, builder, entry.kwargs, included, conv, where)


def load_builder(builder: str, what: str, origin: Origin) -> Callable[..., Any]:
    """Import ``module:function``. The folder of the registry file that says so is searched first, but for a plugin's:
    what is installed is found as any import finds it, and a package's folder is no place to import from.

    Raises :class:`RegistryError` for a module or function that is not there, fails on import or is hidden by another.
    """
    module_name, _, path = builder.partition(":")
    # In zoo's source tree its registry is a link, so its entries are of either folder.
    zoos_own = origin.path.parent in (BUILT_IN.parent, BUILT_IN.resolve().parent)
    folder = None if origin.distribution or zoos_own else origin.path.parent
    if folder and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name is None or not (module_name == problem.name or module_name.startswith(problem.name + ".")):
            raise RegistryError(
                f"{what} ({origin}): importing {module_name!r} failed: {problem}; install it"
            ) from problem
        near = did_you_mean(module_name, [file.stem for file in folder.glob("*.py")] if folder else [])
        where = f"in {folder} or installed" if folder else "installed"
        raise RegistryError(f"{what} ({origin}): no module {module_name!r} {where}{near}") from problem
    except Exception as problem:
        line = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise RegistryError(f"{what} ({origin}): importing {module_name!r} failed: {line}") from problem
    beside = folder / module_name.replace(".", "/") if folder else None
    if beside and (beside.with_suffix(".py").is_file() or (beside / "__init__.py").is_file()):
        found = getattr(target, "__file__", None)
        if not found or not Path(found).resolve().is_relative_to(folder.resolve()):
            raise RegistryError(f"{what} ({origin}): {beside}.py is hidden by {module_name!r} from {found}; rename it")
    for part in path.split("."):
        if not hasattr(target, part):
            near = did_you_mean(part, [name for name in dir(target) if not name.startswith("_")])
            raise RegistryError(f"{what} ({origin}): {module_name!r} has no {part!r}{near}")
        target = getattr(target, part)
    if not callable(target):
        raise RegistryError(f"{what} ({origin}): {builder} is not a function or class but {type(target).__name__}")
    return target


def definition(model: Model) -> dict[str, Any]:
    """What makes up `model`, for the result: builders, arguments and the hash of the builders' own code and of the
    local code that it imports; the versions of :data:`LIBRARIES`, Python and zoo are in the result.

    Two runs of one name are the same model only where this is equal; editing a local ``my_norm.py`` changes it. Code
    that was imported is told as it was when this was first asked: a file that is edited since is not what runs.
    """
    parts = {"architecture": model.architecture, "norm": model.norm, "model": model.entry}
    told = {
        role: {"name": part.name, "builder": part.builder, "kwargs": _without_places(part.kwargs)}
        | ({"conv": part.conv, "activation": part.activation} if role == "norm" else {})
        for role, part in parts.items()
        if part and (part.builder or part.kwargs)
    }
    for role, part in parts.items():
        if role in told:
            builders = [text for text in (part.builder, getattr(part, "conv", "")) if text]
            if builders and (digest := _hash_of_loaded(builders, part.name, part.origin)):
                told[role]["source_sha256"] = digest
    if model.pretrained:
        told["pretrained"] = {"sha256": model.pretrained.sha256}
    return told


def _without_places(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A path, which no registry file can give, is where something lies and not what it is."""
    return {key: value for key, value in kwargs.items() if not isinstance(value, Path)}


def _hash_of_loaded(builders: list[str], name: str, origin: Origin) -> str | None:
    targets = [load_builder(builder, repr(name), origin) for builder in builders]
    modules = [builder.partition(":")[0] for builder in builders]
    modules += [module for target in targets if (module := getattr(target, "__module__", None)) in sys.modules]
    known = _hashes.setdefault(sys.modules[modules[0]], {})
    key = (*modules, origin.path, origin.distribution)
    if key not in known:
        known[key] = _source_hash(modules, origin)
    return known[key]


def _source_hash(modules: list[str], origin: Origin) -> str | None:
    """Over the files of `modules`, which are loaded, and those that they import; None where none is to be hashed."""
    packages = {module.partition(".")[0] for module in modules}
    files: set[Path] = set()
    own: set[Path] = set()
    waiting = [(module, getattr(sys.modules[module], "__file__", None)) for module in modules]
    while waiting:
        module, place = waiting.pop()
        if place is None or (file := Path(place)) in files:
            continue
        files.add(file)
        if _is_own(module, file, packages):
            own.add(file)
            package = module if file.stem == "__init__" else module.rpartition(".")[0]
            waiting += [(name, _place(name)) for name in _imports(file, package)]
    if origin.distribution:
        # A plugin can be installed again with other code and one version, so it is known by its code: its package's
        # files, if the builder is in it at all. A module that is no package has itself alone.
        packed = [folder for folder in origin.path.parents if (folder / "__init__.py").is_file()]
        root = packed[-1] if packed else origin.path
        if any(file.is_relative_to(root) for file in files):
            own |= {root} if root.is_file() else set(root.rglob("*.py"))
    if not own:
        return None
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in sorted(own))).hexdigest()


def _is_own(module: str, file: Path, packages: set[str]) -> bool:
    """Whether `module` is code that no version in a result tells: of what is installed, only of the builders' own
    `packages`.
    """
    package = module.partition(".")[0]
    if package in (*LIBRARIES, "zoo"):
        return False
    if {"site-packages", "dist-packages"}.intersection(file.parts):
        return package in packages
    return not file.is_relative_to(sysconfig.get_path("stdlib"))


def _place(module: str) -> str | None:
    """The file of `module`, found without importing it: what is loaded already must make no difference."""
    first, *others = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):  # loaded, but from no file
        return None
    for count, _ in enumerate(others, 2):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(module.split(".")[:count]), spec.submodule_search_locations)
    return spec.origin if spec is not None and spec.has_location else None


def _imports(file: Path, package: str) -> list[str]:
    """What may be the modules that `file` of `package` imports, by their full names, and the packages around them."""
    try:
        parsed = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # compiled, or edited since into what cannot be imported
        return []
    found = []
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, (*above, node.module)))
            found += [f"{base}.{alias.name}" for alias in node.names]
    dotted = [name.split(".") for name in found]
    return [".".join(parts[:count]) for parts in dotted for count in range(1, len(parts) + 1)]


def _check_signature(builder: Callable[..., Any], where: str, *args: Any, **kwargs: Any) -> None:
    try:
        signature = inspect.signature(builder)
    except (TypeError, ValueError):  # a builtin without a signature: the call itself will tell
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as problem:
        given = ", ".join([*("num_channels" for _ in args), *kwargs])
        raise RegistryError(f"{where}{signature} cannot be called with ({given}): {problem}") from problem


def _call(builder: Callable[..., Any], where: str, *args: Any, **kwargs: Any) -> nn.Module:
    from torch import nn

    try:
        module = builder(*args, **kwargs)
    except RegistryError:
        raise
    except Exception as problem:
        given = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items() if key != "norm")])
        line = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise RegistryError(f"{where}({given}) failed: {line}") from problem
    if not isinstance(module, nn.Module):
        raise RegistryError(f"{where} returned {type(module).__name__}, expected a torch.nn.Module")
    return module
