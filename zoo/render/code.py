"""What code made the runs of a table, where it differs, is in no commit or changed during a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from zoo.comparison.groups import Group
from zoo.comparison.origin import Code, codes_of, words_of
from zoo.comparison.row import Row
from zoo.results.schema import Result


def code_of(row: Row) -> str:
    """The number of the row's code in its group; of several each with its seeds: ``1 (0, 2), 2 (1)``."""
    return by_code(row, {code: code for code in row.code})


def by_code(row: Row, names: Mapping[str, str]) -> str:
    """The same with `names` for the numbers."""
    if len(set(row.code)) == 1:
        return names[row.code[0]]
    seeds: dict[str, list[int]] = defaultdict(list)
    for code, seed in zip(row.code, row.seeds, strict=True):
        seeds[code].append(seed)
    return ", ".join(f"{names[code]} ({_listed(seeds[code])})" for code in sorted(seeds, key=int))


def code_notes(group: Group) -> list[str]:
    """The note of a table whose rows have the numbers."""
    if len(group.code) > 1:
        several = " (in brackets its seeds)" * any(len(set(row.code)) > 1 for row in group.rows)
        meaning = "; ".join(f"{code}: {words}" for code, words in group.code.items())
        return [f"Different code made these runs, numbered in the column code{several}. {meaning}."]
    return _of_one_code("".join(group.code.values()), [run.result for row in group.rows for run in row.runs])


def model_code_notes(results: Sequence[Result]) -> list[str]:
    """The note of a table without numbers: the models and seeds of each code."""
    words = words_of(results)
    if len(words) == 1:
        return _of_one_code("".join(words.values()), results)
    seeds: dict[Code, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for code, result in zip(codes_of(results), results, strict=True):
        seeds[code][result.model.name].add(result.seed)
    models = {
        code: ", ".join(f"{name} ({_listed(numbers)})" for name, numbers in seeds[code].items()) for code in words
    }
    meaning = "; ".join(f"{text}: {models[code]}" for code, text in words.items())
    return [f"Different code made these runs, here with models and seeds. {meaning}."] * bool(words)


def _of_one_code(words: str, results: Iterable[Result]) -> list[str]:
    changed = any(result.uncommitted or result.moved_after is not None for result in results)
    return [f"All of these runs were made by {words}."] * changed


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
