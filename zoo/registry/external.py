"""Names of models that other libraries define: ``timm:NAME``, ``torchvision:NAME``, ``hub-folder:PATH``.

``SOURCE:NAME`` is that model with its own norms; ``SOURCE:NAME@NORM`` has each of them swapped for a norm of the
registry (:mod:`zoo.models.swap`). No registry name has a colon, so no such name hides another. Nothing here ever
downloads, and the libraries are imported only when such a name is asked for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import RegistryError, unknown
from zoo.registry.entries import ArchitectureEntry, ModelEntry, NormEntry, Origin
from zoo.registry.model import BUILT_IN, Model

# How a stem is made fit for small images, docs/external-models.md; part of each model's definition. Raise it when the
# rule changes what is built.
STEM_RULE = 1
_PLAIN = re.compile(r"[A-Za-z0-9_]+\Z")
_OURS = frozenset({"num_classes", "in_chans", "img_size"})  # of a config.json's model_args: what the data decides
# What a config.json may not ask of timm: weights from elsewhere, and a model that gives no logits.
_REFUSED = frozenset({
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only",
})  # fmt: skip


class Source(Origin):
    """Where a model of another library comes from, which is no line of a file."""

    def __str__(self) -> str:
        return self.layer


@dataclass(frozen=True)
class _Found:
    """A model of a source: its name as zoo writes it, what its definition and tables call it, builder and arguments."""

    name: str
    known_as: str
    label: str
    builder: str
    kwargs: dict[str, Any]


def resolve(name: str, norms: Mapping[str, NormEntry], where: str) -> Model:
    """The model called `name`, which has a colon; `norms` are those of the registry and `where` its files.

    Raises :class:`zoo.errors.UnknownNameError` for an unknown source, model or norm, and :class:`RegistryError` for a
    folder that is none of a checkpoint.
    """
    source, _, rest = name.partition(":")
    if source not in SOURCES:
        raise unknown("source of models", source, SOURCES, ", ".join(SOURCES), f"sources: {', '.join(SOURCES)}")
    plain, at, norm = rest.rpartition("@")
    if not at or (source == "hub-folder" and Path(rest).expanduser().is_dir()):
        plain, at, norm = rest, "", ""
    if at and norm not in norms:
        raise unknown("norm", norm, norms, where, f"norms: {', '.join(norms)}")
    found = SOURCES[source](plain)
    origin = Source(source, BUILT_IN, 0)
    if not at:
        entry = ModelEntry(found.known_as, origin, builder=found.builder, kwargs=found.kwargs, label=found.label)
        return Model(found.name, origin, None, None, entry)
    architecture = ArchitectureEntry(found.known_as, origin, found.builder, found.kwargs, found.label)
    return Model(f"{found.name}@{norm}", origin, architecture, norms[norm])


def _timm(name: str) -> _Found:
    import timm

    _check(name, timm.list_models(), "timm", f"timm {timm.__version__}")
    return _Found(
        f"timm:{name}",
        f"timm:{name}",
        f"timm {name}",
        "zoo.models.timm_model:timm_model",
        {"name": name, "stem_rule": STEM_RULE},
    )


def _torchvision(name: str) -> _Found:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    _check(name, known, "torchvision", f"torchvision {torchvision.__version__}")
    builder = "zoo.models.torchvision_model:torchvision_model"
    return _Found(
        f"torchvision:{name}",
        f"torchvision:{name}",
        f"torchvision {name}",
        builder,
        {"name": name, "stem_rule": STEM_RULE},
    )


def _check(name: str, known: list[str], source: str, where: str) -> None:
    if not name:
        raise RegistryError(f"{source}: is no model; name one, as in {source}:resnet18")
    if any(character in "*?[" for character in name):
        raise RegistryError(
            f"{source}:{name}: patterns name models of the registry only; write each model's name, as in "
            f"{source}:{next((one for one in known if one.startswith(name.split('*')[0])), known[0])}"
        )
    plain, dot, _ = name.partition(".")
    if dot and plain in known:
        raise RegistryError(
            f"{source}:{name}: what follows the dot names pretrained weights, and none are ever fetched; write "
            f"{source}:{plain}, or hub-folder:PATH for weights in a local folder"
        )
    if not _PLAIN.match(name) or name not in known:
        raise unknown(f"{source} model", name, known, where)


def _hub_folder(text: str) -> _Found:
    folder = Path(os.path.normpath(Path(text).expanduser())) if text else None
    if folder is None or not folder.is_dir():
        raise RegistryError(
            f"hub-folder:{text}: no such folder; give the path of one that has config.json and model.safetensors"
        )
    config, weights = folder / "config.json", folder / "model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise RegistryError(f"hub-folder:{text}: has no {file.name}{_instead(folder) if file == weights else ''}")
    told = _read(config)
    architecture, arguments = told.get("architecture"), told.get("model_args") or {}
    if not isinstance(architecture, str) or not isinstance(arguments, dict):
        raise RegistryError(
            f"{config}: expected 'architecture', a name of timm, and 'model_args', a mapping or nothing"
        )
    if refused := sorted(_REFUSED.intersection(arguments)):
        raise RegistryError(f"{config}: model_args: {refused[0]!r} cannot be set here; take it out")
    arguments = {key: value for key, value in arguments.items() if key not in _OURS}
    _timm(architecture)
    from zoo.utils.files import sha256

    return _Found(
        f"hub-folder:{folder.as_posix()}",
        f"timm:{architecture}",
        f"timm {architecture} from {folder.name or folder}",
        "zoo.models.hub_folder:hub_folder",
        # A path is where something lies, so it is no part of the definition; the hash is.
        {"folder": folder.absolute(), "sha256": sha256(weights), "architecture": architecture}
        | {"arguments": arguments, "stem_rule": STEM_RULE},
    )


def _read(config: Path) -> dict[str, Any]:
    try:
        told = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RegistryError(f"{config}: cannot be read as JSON ({problem})") from problem
    if not isinstance(told, dict):
        raise RegistryError(f"{config}: expected a mapping, found {type(told).__name__}")
    return told


def _instead(folder: Path) -> str:
    pickles = [file.name for ending in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in sorted(folder.glob(ending))]
    if not pickles:
        return ""
    return f", and {pickles[0]} is a pickle, which can carry code and is never loaded; save the weights as safetensors"


SOURCES: dict[str, Callable[[str], _Found]] = {
    "timm": _timm, "torchvision": _torchvision, "hub-folder": _hub_folder,
}  # fmt: skip
