"""Names of models that other libraries define: ``timm:NAME``, ``torchvision:NAME``, ``hub-folder:PATH``.

``LIBRARY:NAME`` is that model with its own norms; ``LIBRARY:NAME@NORM`` has each of them swapped for a norm of the
registry (:mod:`zoo.models.swap`). No registry name has a colon, so no such name hides another. Nothing here ever
downloads, and the libraries are imported only when such a name is resolved.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import RegistryError, unknown
from zoo.registry.entries import Entry, ModelEntry, NormEntry, Origin
from zoo.registry.model import BUILT_IN, Model, with_norm
from zoo.utils.files import read_file, sha256

# How a stem is made fit for small images, docs/external-models.md; part of each model's definition. Raise it when the
# rule changes what is built.
STEM_RULE = 1
_PLAIN = re.compile(r"[A-Za-z0-9_]+\Z")
_OURS = frozenset({"num_classes", "in_chans", "img_size"})  # of a config.json's model_args: what the data decides
# What a config.json may not ask of timm: weights from elsewhere, and a model that gives no logits.
_REFUSED = frozenset({
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only",
})  # fmt: skip


class LibraryOrigin(Origin):
    """The library that a model comes from, which is no line of a file."""

    def __str__(self) -> str:
        return str(self.layer)


def resolve(name: str, norms: Mapping[str, NormEntry], where: str) -> Model:
    """The model called `name`, which has a colon; `norms` are those of the registry and `where` its files.

    Raises :class:`zoo.errors.UnknownNameError` for an unknown library, model or norm, and :class:`RegistryError` for a
    folder that holds no checkpoint.
    """
    library, _, rest = name.partition(":")
    if library not in LIBRARIES:
        names = ", ".join(LIBRARIES)
        raise unknown("source of models", library, LIBRARIES, names, f"sources: {names}")
    plain, at, norm = rest.rpartition("@")
    if not at or (library == "hub-folder" and Path(rest).expanduser().is_dir()):
        plain, at, norm = rest, "", ""
    if at and norm not in norms:
        raise unknown("norm", norm, norms, where, f"norms: {', '.join(norms)}")
    model, entry = LIBRARIES[library](plain)
    if not at:
        return Model(model, entry.origin, None, None, ModelEntry(**vars(entry)))
    return with_norm(f"{model}@{norm}", entry, norms[norm])


def _timm(name: str) -> tuple[str, Entry]:
    import timm

    return _named("timm", name, timm.list_models(), timm.__version__)


def _torchvision(name: str) -> tuple[str, Entry]:
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    return _named("torchvision", name, names, torchvision.__version__)


def _named(library: str, name: str, names: list[str], version: str) -> tuple[str, Entry]:
    """The model `name` of a `library` that has those `names`."""
    if not name:
        raise RegistryError(f"{library}: is no model; name one, as in {library}:resnet18")
    if any(character in "*?[" for character in name):
        example = next((other for other in names if other.startswith(name.split("*")[0])), names[0])
        raise RegistryError(
            f"{library}:{name}: patterns name models of the registry only; write each model's name, as in "
            f"{library}:{example}"
        )
    plain, dot, _ = name.partition(".")
    if dot and plain in names:
        raise RegistryError(
            f"{library}:{name}: what follows the dot names pretrained weights, and none are ever fetched; write "
            f"{library}:{plain}, or hub-folder:PATH for weights in a local folder"
        )
    if not _PLAIN.match(name) or name not in names:
        raise unknown(f"{library} model", name, names, f"{library} {version}")
    builder, kwargs = f"zoo.models.{library}_model:{library}_model", {"name": name, "stem_rule": STEM_RULE}
    entry = Entry(f"{library}:{name}", LibraryOrigin(library, BUILT_IN, 0), builder, kwargs, f"{library} {name}")
    return entry.name, entry


LARGEST = 2**20  # bytes of a config.json


def _hub_folder(text: str) -> tuple[str, Entry]:
    folder = Path(os.path.normpath(Path(text).expanduser())) if text else None
    if folder is None or not folder.is_dir():
        raise RegistryError(
            f"hub-folder:{text}: no such folder; give the path of one that has config.json and model.safetensors"
        )
    config, weights = folder / "config.json", folder / "model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise RegistryError(f"hub-folder:{text}: has no {file.name}{_instead(folder) if file == weights else ''}")
    content = _read(config)
    architecture, arguments = content.get("architecture"), content.get("model_args") or {}
    if not isinstance(architecture, str) or not isinstance(arguments, dict):
        raise RegistryError(
            f"{config}: expected 'architecture', a name of timm, and 'model_args', a mapping or nothing"
        )
    if refused := sorted(_REFUSED.intersection(arguments)):
        raise RegistryError(f"{config}: model_args: {refused[0]!r} cannot be set here; take it out")
    arguments = {key: value for key, value in arguments.items() if key not in _OURS}
    _timm(architecture)
    # A path is where something lies, so it is no part of the definition; the hash is.
    kwargs = {"folder": folder.absolute(), "sha256": sha256(weights), "architecture": architecture}
    kwargs |= {"arguments": arguments, "stem_rule": STEM_RULE}
    origin, label = LibraryOrigin("hub-folder", BUILT_IN, 0), f"timm {architecture} from {folder.name or folder}"
    entry = Entry(f"timm:{architecture}", origin, "zoo.models.hub_folder:hub_folder", kwargs, label)
    return f"hub-folder:{folder.as_posix()}", entry


def _read(config: Path) -> dict[str, Any]:
    from pydantic_core import from_json

    try:
        content: object = from_json(read_file(config, LARGEST), allow_inf_nan=False)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise RegistryError(f"{config}: cannot be read as JSON ({reason})") from problem
    if not isinstance(content, dict):
        raise RegistryError(f"{config}: expected a mapping, found {type(content).__name__}")
    return content


def _instead(folder: Path) -> str:
    pickles = [file.name for ending in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in sorted(folder.glob(ending))]
    if not pickles:
        return ""
    return f", and {pickles[0]} is a pickle, which can carry code and is never loaded; save the weights as safetensors"


# For each library, from a name in it to the name in zoo and the entry, which has the name that definitions give.
LIBRARIES: dict[str, Callable[[str], tuple[str, Entry]]] = {
    "timm": _timm, "torchvision": _torchvision, "hub-folder": _hub_folder,
}  # fmt: skip
