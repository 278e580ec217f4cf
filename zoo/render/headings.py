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
    return [", ".join(words) for words in _headings(groups)]


def titles(groups: Sequence[Group]) -> list[str]:
    """The line above the table of each of `groups`: dataset, recipe, the usual settings and those that tell it apart.

    The recipe's hash comes last.
    """
    return [_title(group, apart) for group, apart in zip(groups, _headings(groups), strict=True)]


def _title(group: Group, apart: Sequence[str]) -> str:
    if group.mixed:
        return "MIXED: these runs differ in more than their model, so that the order ranks nothing"
    first = group.rows[0].runs[0].result
    settings = {"images": f"{first.dataset.train_images:,}", **first.recipe.content}
    usual = [_words(key, {key: str(settings[key])}) for key in ("epochs", "images", "batch_size") if key in settings]
    words = [word for word in dict.fromkeys([*usual, *apart]) if word != group.precision]
    views = f", logits the {group.views}" if group.views else ""
    whose = ", for each model" if group.budget else ""
    return (
        f"{group.dataset}, recipe {group.recipe}{whose}: {', '.join(words)}, {group.precision}, {group.chosen}{views} "
        f"({group.slug})"
    )


def _headings(groups: Sequence[Group]) -> list[list[str]]:
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        alike[group.dataset, group.recipe].append(place)
    words: list[list[str]] = [[] for _ in groups]
    for places in alike.values():
        for place, parts in zip(places, _apart([groups[place] for place in places]), strict=True):
            words[place] = parts
    return words


def _apart(groups: Sequence[Group]) -> list[list[str]]:
    settings = [_settings(group) for group in groups] if len(groups) > 1 else []
    parts: list[list[str]] = [[] for _ in groups]
    for key in dict.fromkeys([*WORDS, *(key for content in settings for key in content)]):
        if len(kinds := set(map(tuple, parts))) == len(groups):
            break
        longer = [[*words, _words(key, content)] for words, content in zip(parts, settings, strict=True)]
        if len(set(map(tuple, longer))) > len(kinds):
            parts = longer
    return parts


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
    words = WORDS.get(key, f"{key} {{}}").format(cut(text, LONGEST))
    return words.removesuffix("s") if text == "1" and words.startswith("1 ") else words
