"""Results to rows: one group per data set and recipe fingerprint, one row per model, seeds pooled."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from zoo.errors import ResultError, unknown
from zoo.results import Result
from zoo.stats import holm, paired_difference, student_interval, verdict, wilson_interval


@dataclass(frozen=True)
class Difference:
    """Accuracy minus the baseline's, paired by seed: mean, 95 % interval, p-value corrected by Holm over the table."""

    baseline: str
    pairs: int
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    verdict: str


@dataclass(frozen=True)
class Row:
    """One model under one recipe. Accuracy and its 95 % interval are fractions of the test set; speeds are medians.

    `interval_kind` is ``student`` over seeds, or ``binomial`` of the test set where there is one seed. Everything is
    None where no run gives it.
    """

    model: str
    label: str
    norm: str | None
    seeds: list[int]
    accuracies: list[float | None]  # by seed; None where it diverged
    accuracy: float | None
    interval: tuple[float, float] | None
    interval_kind: str | None
    diverged: dict[int, int]  # seed -> epoch
    parameters: int
    macs: int
    train_images_per_second: float | None
    inference_images_per_second: float | None
    latency_p50: float | None
    latency_p99: float | None
    peak_memory_bytes: int | None
    machine: str  # equal letters: one machine and software stack, so that speeds may be compared
    against: Difference | None = None  # None for the baseline itself, and where none was asked for


@dataclass(frozen=True)
class Group:
    """Runs that may be ranked together. `machines` maps the rows' letters to what they stand for."""

    dataset: str
    dataset_fingerprint: str
    recipe: str
    recipe_fingerprint: str
    selection: str
    precision: str
    rows: list[Row]
    machines: dict[str, str]


def compare(results: Iterable[Result], baseline: str | None = None) -> list[Group]:
    """Group `results` and sort each group's rows by accuracy, best first, models of which a seed diverged last.

    Copies of one result count once. Raises :class:`ResultError` for two different results of one seed of one model, and
    :class:`zoo.errors.UnknownNameError` when no group has the model `baseline`.
    """
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in _once(results):
        groups[result.dataset.fingerprint, result.recipe.fingerprint].append(result)
    found = [_group(members) for _, members in sorted(groups.items(), key=lambda item: _group_name(item[1][0]))]
    if baseline is None:
        return found
    names = [row.model for group in found for row in group.rows]
    if baseline not in names:
        raise unknown(
            "baseline", baseline, names, "the compared results", f"there are: {', '.join(dict.fromkeys(names))}"
        )
    return [_against(group, baseline, 1 / groups[_key(group)][0].dataset.test_images) for group in found]


def _key(group: Group) -> tuple[str, str]:
    return group.dataset_fingerprint, group.recipe_fingerprint


def _against(group: Group, baseline: str, resolution: float) -> Group:
    """`group` with every other row's difference from `baseline`; as it is where the baseline is not in it."""
    bases = [row for row in group.rows if row.model == baseline]
    others = [row for row in group.rows if row.model != baseline]
    if not bases:
        return group
    if len(bases) > 1:
        raise ResultError(
            f"baseline {baseline} stands in {len(bases)} rows of {group.recipe} on {group.dataset} (machines or "
            "definitions differ); name the folder of one of them"
        )
    theirs = _known(bases[0])
    paired = {id(row): paired_difference(_known(row), theirs, resolution) for row in others}
    tested = [row for row in others if paired[id(row)] is not None]
    corrected = dict(zip(map(id, tested), holm([paired[id(row)].p_value for row in tested]), strict=True))

    def told(row: Row) -> Row:
        if row.model == baseline:
            return row
        found, p_value = paired[id(row)], corrected.get(id(row))
        difference = Difference(
            baseline=baseline,
            pairs=found.n if found else len(_known(row).keys() & theirs.keys()),
            difference=found.difference if found else None,
            interval=found.interval if found else None,
            p_value=p_value,
            verdict="a seed diverged" if row.diverged else verdict(found, p_value),
        )
        return replace(row, against=difference)

    return replace(group, rows=[told(row) for row in group.rows])


def _known(row: Row) -> dict[int, float]:
    return {seed: value for seed, value in zip(row.seeds, row.accuracies, strict=True) if value is not None}


def _once(results: Iterable[Result]) -> list[Result]:
    """One run told twice would look like two seeds that agree."""
    kept: dict[tuple[str, ...], Result] = {}
    for result in results:
        who = (result.dataset.fingerprint, result.recipe.fingerprint, result.model.name, _definition(result))
        known = kept.setdefault((*who, _machine(result), str(result.seed)), result)
        if known != result:
            raise ResultError(
                f"two different runs of {result.model.name} seed {result.seed} under recipe {result.recipe.name} "
                f"(started {known.started} and {result.started}); compare their folders one at a time"
            )
    return list(kept.values())


def _definition(result: Result) -> str:
    return json.dumps(result.model.definition, sort_keys=True)


def _group_name(result: Result) -> tuple[str, ...]:
    return (result.dataset.name, result.recipe.name, result.recipe.fingerprint, result.dataset.fingerprint)


def _group(results: Sequence[Result]) -> Group:
    first = results[0]
    # Not merged by name alone: an edited norm is another model, and another machine has other speeds.
    by_row: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    letters: dict[str, str] = {}
    for result in sorted(results, key=lambda item: (item.model.name, item.seed)):
        machine = letters.setdefault(_machine(result), _letter(len(letters)))
        by_row[result.model.name, _definition(result), machine].append(result)
    rows = [_row(members, machine) for (_, _, machine), members in by_row.items()]
    rows.sort(key=lambda row: (bool(row.diverged), -(row.accuracy if row.accuracy is not None else -1.0), row.model))
    return Group(
        dataset=first.dataset.name,
        dataset_fingerprint=first.dataset.fingerprint,
        recipe=first.recipe.name,
        recipe_fingerprint=first.recipe.fingerprint,
        selection=first.selection.split,
        precision=first.recipe.content["precision"],
        rows=rows,
        machines={letter: machine for machine, letter in letters.items()},
    )


def _letter(number: int) -> str:
    """a to z, then aa, ab, ..."""
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("a") + last)


def _row(results: Sequence[Result], machine: str) -> Row:
    first = results[0]
    tested = [result for result in results if result.test is not None]
    accuracies = [result.test.accuracy for result in tested]
    interval = kind = None
    if len(accuracies) > 1:
        interval, kind = student_interval(accuracies), "student"
    elif accuracies:
        interval, kind = wilson_interval(tested[0].test.correct, tested[0].test.images), "binomial"

    def median(value: Callable[[Result], float | None]) -> float | None:
        values = [value(result) for result in results]
        known = [item for item in values if item is not None]
        return statistics.median(known) if known else None

    memory = median(lambda result: result.speed.peak_memory_bytes)
    return Row(
        model=first.model.name,
        label=first.model.label,
        norm=first.model.norm,
        seeds=[result.seed for result in results],
        accuracies=[result.test.accuracy if result.test else None for result in results],
        accuracy=statistics.fmean(accuracies) if accuracies else None,
        interval=interval,
        interval_kind=kind,
        diverged={result.seed: result.diverged_epoch for result in results if result.status == "diverged"},
        parameters=first.model.parameters,
        macs=first.model.macs,
        train_images_per_second=median(lambda result: result.speed.train_images_per_second),
        inference_images_per_second=median(lambda result: result.speed.inference_images_per_second),
        latency_p50=median(lambda result: result.speed.latency_p50),
        latency_p99=median(lambda result: result.speed.latency_p99),
        peak_memory_bytes=None if memory is None else round(memory),
        machine=machine,
    )


def _machine(result: Result) -> str:
    """The hardware and software that a speed depends on, in words."""
    told = result.environment
    hardware = told.get("gpu") or f"{told.get('cpu')}, {told.get('cores')} cores, {told.get('threads')} threads"
    software = f"torch {told.get('torch')}" + (f" with CUDA {told['cuda']}" if told.get("cuda") else "")
    how = ", compiled" if result.settings.compiled else ""
    return f"{hardware}; {software}, Python {told.get('python')}, {result.settings.executor} augmentation{how}"
