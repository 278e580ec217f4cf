"""What tells tables apart, in words: the settings that their headings name."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from zoo.comparison.groups import Group
from zoo.recipes.diff import flatten
from zoo.utils.text import cut

LONGEST = 40  # characters of a setting that is no number
# How the settings that people ask for first are written, in that order; any other is written with its key.
WORDS = {
    "optimizer.lr": "learning rate {}",
    "epochs": "{} epochs",
    "images": "{} images",
    "batch_size": "batch size {}",
    "optimizer.weight_decay": "weight decay {}",
    "optimizer.name": "{}",
    "precision": "{}",
}


def headings(groups: Sequence[Group]) -> list[str]:
    """For each of `groups` the settings that tell it from the others of its dataset and recipe name.

    As few as do: empty where there is no other. The last resort is the dataset's fingerprint.
    """
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        alike[group.dataset, group.recipe].append(place)
    words = [""] * len(groups)
    for places in alike.values():
        for place, text in zip(places, _apart([groups[place] for place in places]), strict=True):
            words[place] = text
    return words


def _apart(groups: Sequence[Group]) -> list[str]:
    settings = [_settings(group) for group in groups] if len(groups) > 1 else []
    parts: list[list[str]] = [[] for _ in groups]
    for key in dict.fromkeys([*WORDS, *(key for content in settings for key in content)]):
        if len(kinds := set(map(tuple, parts))) == len(groups):
            break
        longer = [[*words, _words(key, content)] for words, content in zip(parts, settings, strict=True)]
        if len(set(map(tuple, longer))) > len(kinds):
            parts = longer
    return [", ".join(words) for words in parts]


def _settings(group: Group) -> dict[str, str]:
    """The settings of all runs of `group` as text, by their keys."""
    first = group.rows[0].runs[0].result
    content = flatten(first.recipe.content) if group.budget is None else dict(group.budget)
    settings = {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}
    return settings | {"images": f"{first.dataset.train_images:,}", "data": group.dataset_fingerprint[:8]}


def _words(key: str, settings: dict[str, str]) -> str:
    if key not in settings:
        return f"no {key}"
    text = settings[key]
    return WORDS.get(key, f"{key} {{}}").format(cut(text, LONGEST))
