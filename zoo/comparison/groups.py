"""Results to groups: one per data set and recipe fingerprint, in each a row per model, ranked."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from zoo.comparison.origin import numbered
from zoo.comparison.row import Against, Row, row_of
from zoo.comparison.verdict import MARGIN
from zoo.errors import ResultError, unknown
from zoo.recipes.diff import flatten
from zoo.recipes.recipe import slug_of
from zoo.registry.fingerprint import core
from zoo.results.folder import Stored
from zoo.results.published import is_published
from zoo.results.schema import Result
from zoo.utils.gcpause import paused_gc
from zoo.utils.waiting import watched


@dataclass(frozen=True)
class Group:
    """Runs that may be ranked together, or `mixed`: they may not. `machines` maps the rows' letters to their meaning,
    `code` the numbers of their code.

    `selection` is the split that training watched, `rule` whose weights count: the ``best`` epoch's on it, or the
    ``last`` one's.
    A mixed group has the field "mixed" for what its runs do not share. A group of tuned recipes has the fingerprint of
    the recipe that they were tuned from, and their common `budget`: :class:`zoo.recipes.schema.Tuned` but the model.
    """

    dataset: str
    dataset_fingerprint: str
    recipe: str
    recipe_fingerprint: str
    selection: str
    rule: str
    precision: str
    rows: list[Row]
    machines: dict[str, str]
    code: dict[str, str]
    mixed: bool = False
    seconds_to: float | None = None  # the accuracy that the rows' `seconds_to` is of
    budget: dict[str, Any] | None = None
    views: str | None = None  # test-time augmentation in words, if any; the key of the JSON format

    def record(self) -> dict[str, Any]:
        """The group as plain data, without the runs of its rows."""
        return asdict(replace(self, rows=[])) | {"rows": [row.record() for row in self.rows]}

    @property
    def slug(self) -> str:
        """The recipe as tables call it."""
        if self.budget:
            return f"{self.recipe} of {self.recipe_fingerprint[:8]}"
        return slug_of(self.recipe, self.recipe_fingerprint)

    @property
    def tuned(self) -> bool:
        """Whether the values of its recipes were tuned, so that what is compared is these values."""
        return any(run.result.recipe.tuned for row in self.rows for run in row.runs)

    @property
    def chosen(self) -> str:
        """Which epoch's weights count, in words."""
        if self.rule == "best":
            return f"best epoch on {self.selection}"
        return "last epoch" + ", watched on test" * (self.selection == "test")


@paused_gc()
def compare(
    runs: Iterable[Stored],
    baseline: str | None = None,
    *,
    mixed: bool = False,
    tuned: bool = False,
    once_each: bool = False,
    seconds_to: float | None = None,
    margin: float | None = None,
    allow_dirty: bool = False,
) -> list[Group]:
    """Group `runs` and sort each group's rows by accuracy, best first, models of which a seed diverged last.

    `mixed` puts all into one group, each row with what it was made with. `tuned` leaves out all but the runs that
    :func:`is_tuned` and groups them by data set, the recipe that was tuned and the budget. `seconds_to` is an accuracy,
    0 to 1. `margin` is the difference in accuracy within which models count as equal, else
    :data:`zoo.comparison.verdict.MARGIN`. `allow_dirty`: runs of uncommitted changes of zoo's code may have a verdict.
    Copies of one result count once.

    A row has a model's seeds on all machines, and the speeds of the one that most of them ran on. Where a seed ran on
    several, each machine has a row, or, with `once_each`, that is an error.

    Raises :class:`ResultError` for two different results of one seed of one model on one machine, for damaged
    predictions or histories, and where no run is tuned but should be, and :class:`zoo.errors.UnknownNameError` when no
    group has the model `baseline`.
    """
    against = Against(baseline, MARGIN if margin is None else margin, allow_dirty) if baseline is not None else None
    groups: dict[tuple[str, str], list[_Run]] = defaultdict(list)
    for run in _once((run for run in runs if not tuned or is_tuned(run.result)), once_each):
        experiment = json.dumps(_budget(run.result), sort_keys=True) if tuned else run.result.recipe.fingerprint
        groups[run.result.dataset.fingerprint, experiment].append(run)
    if tuned and not groups:
        raise ResultError("no runs of tuned recipes; `zoo tune` makes such recipes and prints the commands to run them")
    members = sorted(groups.values(), key=lambda runs: _group_name(runs[0].result))
    if mixed:
        return [_mixed(members, seconds_to)] if members else []
    if baseline is not None:
        names = [run.result.model.name for runs in members for run in runs]
        if baseline not in names:
            raise unknown(
                "baseline", baseline, names, "the compared results", f"there are: {', '.join(dict.fromkeys(names))}"
            )
    return [_group(runs, against, seconds_to, _budget(runs[0].result) if tuned else None) for runs in members]


def only(groups: Iterable[Group], shown: Callable[[str], bool]) -> list[Group]:
    """`groups` with the rows whose model is `shown`, their machines and code. What the rows say stays as it is."""
    kept = []
    for group in groups:
        rows = [row for row in group.rows if shown(row.model)]
        letters = {row.machine for row in rows}
        machines = {letter: words for letter, words in group.machines.items() if letter in letters}
        numbers = {number for row in rows for number in row.code}
        code = {number: words for number, words in group.code.items() if number in numbers}
        kept += [replace(group, rows=rows, machines=machines, code=code)] if rows else []
    return kept


def is_tuned(result: Result) -> bool:
    """Whether the recipe of `result` was tuned for its model: not for none, and not for another one."""
    return result.recipe.tuned is not None and result.recipe.tuned.model == result.model.name


def _budget(result: Result) -> dict[str, Any]:
    """What the runs of one group of tuned recipes share."""
    tuned = result.recipe.content.get("tuned")
    return {key: part for key, part in tuned.items() if key != "model"} if isinstance(tuned, dict) else {}


def _mixed(groups: Sequence[Sequence[_Run]], seconds_to: float | None) -> Group:
    """One group of all, that ranks nothing: each row says where its data set and its recipe differ from the others'."""
    letters: dict[str, str] = {}
    described = [
        {"dataset": first.dataset.name, "dataset_fingerprint": first.dataset.fingerprint[:8]}
        | {"recipe": first.recipe.slug}
        | {key: str(value) for key, value in flatten(first.recipe.content).items()}
        for first in (runs[0].result for runs in groups)
    ]
    keys = dict.fromkeys(key for fields in described for key in fields)
    unlike = [key for key in keys if len({fields.get(key, "-") for fields in described}) > 1]
    numbers, code = _numbers([run for runs in groups for run in runs])
    rows = [
        replace(row, differs={key: fields.get(key, "-") for key in unlike})
        for runs, fields in zip(groups, described, strict=True)
        for row in _rows(runs, letters, numbers, seconds_to)
    ]

    def common(key: str) -> str:
        words = {fields.get(key, "-") for fields in described}
        return words.pop() if len(words) == 1 else "mixed"

    first = groups[0][0].result
    return Group(
        dataset=common("dataset"),
        dataset_fingerprint=first.dataset.fingerprint if common("dataset_fingerprint") != "mixed" else "mixed",
        recipe=first.recipe.name if common("recipe") != "mixed" else "mixed",
        recipe_fingerprint=first.recipe.fingerprint if common("recipe") != "mixed" else "mixed",
        selection=common("selection.split"),
        rule=common("selection.rule"),
        precision=common("precision"),
        rows=_ranked(rows),
        machines={letter: machine for machine, letter in letters.items()},
        code=code,
        mixed=True,
        seconds_to=seconds_to,
    )


@dataclass(frozen=True)
class _Run(Stored):
    """A run with what it is grouped by, worked out once."""

    definition: str
    machine: str


def _once(runs: Iterable[Stored], once_each: bool) -> list[_Run]:
    """A copy of a run would look like a second seed that agrees."""
    kept: dict[tuple[str, ...], _Run] = {}
    runs, texts, machines = list(runs), dict[int, str](), dict[tuple[object, ...], str]()
    fuller: dict[tuple[str, ...], set[str]] = defaultdict(set)

    def who(result: Result) -> tuple[str, str, str, str]:
        definition = result.model.definition  # of many runs the same object
        text = texts.get(id(definition)) or texts.setdefault(id(definition), json.dumps(definition, sort_keys=True))
        return result.dataset.fingerprint, result.recipe.fingerprint, result.model.name, text

    for result in (run.result for run in runs):
        if (shorter := core(result.model.definition)) != result.model.definition:
            *others, definition = who(result)
            fuller[*others, json.dumps(shorter, sort_keys=True)].add(definition)
    for run in runs:
        result = run.result
        *others, definition = who(result)
        # An older definition says less, and is the same model's where only one that says more agrees with it.
        if len(agreeing := fuller.get((*others, definition), set[str]())) == 1:
            (definition,) = agreeing
        parts = id(result.environment), id(result.settings), result.model.layout
        machine = machines.get(parts) or machines.setdefault(parts, machine_of(result))
        if is_published(run.folder):
            machine = f"published runs, {machine}"  # which is another, however much it is like one here
        candidate = _Run(result, run.folder, definition, machine)
        where = "any machine" if once_each else machine
        first = kept.setdefault((*others, definition, where, str(result.seed)), candidate).result
        if first is not result and first != result:
            raise ResultError(
                f"two different runs of {result.model.name} seed {result.seed} under recipe {result.recipe.name} "
                f"(started {first.started} and {result.started}); compare their folders one at a time"
            )
    return list(kept.values())


def _group_name(result: Result) -> tuple[str, ...]:
    return (result.dataset.name, result.recipe.name, result.recipe.fingerprint, result.dataset.fingerprint)


def _group(
    runs: Sequence[_Run], against: Against | None, seconds_to: float | None, budget: dict[str, Any] | None
) -> Group:
    first = runs[0].result
    letters: dict[str, str] = {}
    numbers, code = _numbers(runs)
    rows = _rows(runs, letters, numbers, seconds_to, budget)
    if against is not None and any(row.model == against.baseline for row in rows):
        rows = against.tested(rows, f"{first.recipe.name} on {first.dataset.name}")
    return Group(
        dataset=first.dataset.name,
        dataset_fingerprint=first.dataset.fingerprint,
        recipe=" and ".join(sorted({run.result.recipe.name for run in runs})) if budget else first.recipe.name,
        recipe_fingerprint=budget["base"] if budget else first.recipe.fingerprint,
        selection=first.selection.split,
        rule=first.selection.rule,
        precision=first.recipe.precision,
        rows=_ranked(rows),
        machines={letter: machine for machine, letter in letters.items()},
        code=code,
        seconds_to=seconds_to,
        budget=budget,
        views=first.recipe.tta.words,
    )


def _numbers(runs: Sequence[_Run]) -> tuple[dict[int, str], dict[str, str]]:
    """The number of the code of each run, by the identity of its result, and what the numbers mean."""
    numbers, code = numbered([run.result for run in runs])
    return {id(run.result): number for run, number in zip(runs, numbers, strict=True)}, code


def _rows(
    runs: Sequence[_Run],
    letters: dict[str, str],
    numbers: Mapping[int, str],
    seconds_to: float | None,
    budget: dict[str, Any] | None = None,
) -> list[Row]:
    """The rows of a group; a machine that has no letter yet is given the next of `letters`."""
    # Not merged by name alone: an edited norm is another model, and a model may have been tuned twice.
    by_model: dict[tuple[str, str, str], list[_Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.result.model.name, run.result.seed)):
        by_model[run.result.model.name, run.definition, run.result.recipe.fingerprint].append(run)
    rows = []
    for members, machine in itertools.chain.from_iterable(map(_by_machine, watched(by_model.values(), "models"))):
        timed = [run for run in members if run.machine == machine]
        letter = letters.get(machine) or letters.setdefault(machine, _letter(len(letters)))
        row = row_of(members, timed, letter, [numbers[id(run.result)] for run in members], seconds_to)
        if budget is not None:
            content = flatten(members[0].result.recipe.content)
            row = replace(row, differs={key: f"{content[key]:g}" for key in budget["over"]})
        rows.append(row)
    return rows


def _by_machine(runs: Sequence[_Run]) -> list[tuple[Sequence[_Run], str]]:
    """`runs` of one model as rows, each with the machine whose speeds it has: one row, or one a machine where a seed
    ran on several. The machine is the one of most seeds that were tested, or of most where all diverged.
    """
    if len({run.result.seed for run in runs}) < len(runs):
        machines: dict[str, list[_Run]] = defaultdict(list)
        for run in runs:
            machines[run.machine].append(run)
        return [(there, machine) for machine, there in machines.items()]
    names = Counter([run.machine for run in runs if run.result.test] or [run.machine for run in runs])
    return [(runs, max(names, key=names.__getitem__))]


def _ranked(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (bool(row.diverged), 1.0 if row.accuracy is None else -row.accuracy, row.model))


def _letter(number: int) -> str:
    """a to z, then aa, ab, ..."""
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("a") + last)


def machine_of(result: Result) -> str:
    """All that a speed depends on, in words; the memory layout where it is not the one that the registry asks for."""
    settings = result.settings
    layout = f", {settings.layout}" if result.model.layout not in (None, settings.layout) else ""
    workers = f", {settings.workers} workers" if settings.executor == "albumentations" else ""
    how = ", compiled" * settings.compiled + ", deterministic" * settings.deterministic
    return f"{result.machine}, {settings.executor} augmentation{workers}{how}{layout}"
