"""What a wrong ``key=value`` may have meant: a key without its section, an optimizer's name, a switch alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from zoo.errors import Message, Option, closest
from zoo.recipes import schema
from zoo.recipes.recipe import Recipe

# The kinds of sections that have several: pydantic counts a kind among the keys that lead to an error, a file does not.
TAGGED: dict[str, type[schema.Section]] = {
    "sgd": schema.SGD, "adamw": schema.AdamW, "muon": schema.Muon, "constant": schema.Constant,
    "cosine": schema.Cosine, "one_cycle": schema.OneCycle, "step": schema.Step, "plateau": schema.Plateau,
}  # fmt: skip
SECTIONS: dict[str, type[schema.Section]] = TAGGED | {
    "split": schema.Split, "augment": schema.Augment, "loss": schema.Loss, "ema": schema.Ema,
    "lookahead": schema.Lookahead, "selection": schema.Selection, "pruner": schema.Median, "tuned": schema.Tuned,
}  # fmt: skip
# Sections that are usual, each as a whole, by the word that stands for it. Those of one kind exclude each other.
USUAL = {
    "sgd": "optimizer={name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.0005, "
    "decay_norm_and_bias: false}",
    "adamw": "optimizer={name: adamw, lr: 0.001, betas: [0.9, 0.999], weight_decay: 0.05, decay_norm_and_bias: false}",
    "muon": "optimizer={name: muon, lr: 0.05, momentum: 0.9, nesterov: true, adamw_lr_scale: 0.15, "
    "betas: [0.9, 0.95], weight_decay: 0.08, decay_norm_and_bias: false}",
    "constant": "schedule={name: constant, warmup_epochs: 0.5}",
    "cosine": "schedule={name: cosine, warmup_epochs: 0.5, final_factor: 0}",
    "one_cycle": "schedule={name: one_cycle, peak_epoch: 0.5, initial_factor: 0.1, final_factor: 0}",
    "step": "schedule={name: step, warmup_epochs: 0.5, milestones: [1, 2], factor: 0.1}",
    "plateau": "schedule={name: plateau, warmup_epochs: 0.5, factor: 0.2, patience: 2, threshold: 0.0001}",
    "ema": "ema={decay: 0.999}",
    "lookahead": "lookahead={every: 5, decay: 0.95, power: 3}",
}
# What is off in most recipes, with a usual value.
OFF = {
    "split.train": "10000", "clip_grad_norm": "1.0", "mirror_evaluation": "true", "shifted_evaluation": "1",
    "image_size": "[32, 32]", "other_evaluation_size": "true", "ema.decay": "0.999",
}  # fmt: skip
ELSEWHERE = {  # what other libraries and papers call a key or a kind, in small letters alone
    "adam": "adamw", "cos": "cosine", "cosineannealing": "cosine", "cosineannealinglr": "cosine", "cosinelr": "cosine",
    "onecyclelr": "one_cycle", "steplr": "step", "multistep": "step", "multisteplr": "step",
    "reducelronplateau": "plateau", "constantlr": "constant", "opt": "optimizer", "optim": "optimizer",
    "scheduler": "schedule", "lrschedule": "schedule", "lrscheduler": "schedule", "learningrate": "lr",
    "wd": "weight_decay", "l2": "weight_decay", "bs": "batch_size", "batch": "batch_size",
    "smoothing": "label_smoothing", "warmup": "warmup_epochs", "numepochs": "epochs", "maxepochs": "epochs",
    "nepochs": "epochs", "amp": "precision", "dtype": "precision", "gradclip": "clip_grad_norm",
    "clip": "clip_grad_norm", "clipgrad": "clip_grad_norm", "flip": "mirror_evaluation", "tta": "mirror_evaluation",
    "resize": "image_size", "imgsize": "image_size",
}  # fmt: skip
KINDS = ("optimizer", "schedule")


def keys_of(content: Mapping[str, Any]) -> list[str]:
    """The dotted keys that a recipe with the sections of `content` may have."""
    return [name for name in Recipe.model_fields if name != "name"] + [
        f"{name}.{field}" for name, fields in _sections(content) for field in fields if field != "name"
    ]


def hint(override: str, content: Mapping[str, Any]) -> Message:
    """Words to follow the message about an `override` that a recipe with this `content` does not take; () for none."""
    options = [Option("set", meant) for meant in _meant(override, content) if meant != override]
    return ("; did you mean ", *[part for option in options for part in (" or ", option)][1:], "?") if options else ()


def _meant(override: str, content: Mapping[str, Any]) -> list[str]:
    words = re.fullmatch(r"\s*(?P<key>[^=:\s]+)\s*[=:]?\s*(?P<value>.*?)\s*", override, re.DOTALL)
    if words is None:
        return []
    key, text = words["key"], words["value"]
    *sections, last = [_usual_word(part) for part in key.split(".")]
    section = last if last != "name" else (sections or [""])[-1]
    if section in KINDS:
        kinds = [meant for meant in USUAL.values() if meant.startswith(f"{section}=")]
        name = _usual_word(re.sub(r"^\{.*?\bname: *(\w+).*", r"\1", text))
        return [USUAL[name]] if USUAL.get(name) in kinds else kinds[:2]
    if last in USUAL:
        return [f"{last}.{next(iter(SECTIONS[last].model_fields))}={text}" if last == "ema" and text else USUAL[last]]
    keys = keys_of(content)
    near = [name for name in keys if name.rpartition(".")[2] == last]
    kind = next((kind for kind, cls in TAGGED.items() if last in cls.model_fields and last != "name"), None)
    if not near and kind:
        usual = re.compile(rf"(?<= ){last}: (\[.*?\]|[^,}}]*)")
        return [usual.sub(lambda match: f"{last}: {text}" if text else match[0], USUAL[kind])]
    leaves = {name.rpartition(".")[2]: name for name in reversed(keys)}
    near = near or [leaves[leaf] for leaf in closest(last, leaves, 1)]
    if len(near) > 1 and sections:
        near = [name for name in near if name.startswith(f"{sections[-1]}.")] or near
    return [f"{name}={text or _example(name, content)}" for name in near if name not in SECTIONS][:2]


def _usual_word(text: str) -> str:
    """What zoo calls the key or the kind `text`."""
    small = re.sub(r"[^a-z0-9]", "", text.lower())
    names = {re.sub(r"[^a-z0-9]", "", name): name for name in [*USUAL, *KINDS]} | ELSEWHERE
    return names.get(small, text.lower())


def _sections(content: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name in Recipe.model_fields:
        section = content.get(name)
        kind = section.get("name") if isinstance(section, dict) else None
        cls = SECTIONS.get(str(kind)) or SECTIONS.get(name)
        if cls and (name not in ("lookahead", "tuned") or section):  # no key of those makes the section alone
            yield name, list(cls.model_fields)


def _example(key: str, content: Mapping[str, Any]) -> str:
    """A value for `key`: that of the `content`, or a usual one; a switch is turned on."""
    setting: Any = content
    for part in key.split("."):
        setting = setting.get(part) if isinstance(setting, dict) else None
    if isinstance(setting, bool):
        return "true"
    return OFF.get(key, "null") if setting is None else json.dumps(setting)
