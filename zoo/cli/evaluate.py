"""`zoo evaluate`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from zoo.cli import options
from zoo.data.choice import Choice


def _numbers(low: int, high: int | None = None) -> Callable[..., tuple[int, ...] | None]:
    """The same of whole numbers from `low` to `high`."""

    def parse(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
        numbers = []
        for word in options.listed(ctx, param, value) or ():
            if not word.isascii() or not word.isdigit() or not low <= int(word) <= (high or int(word)):
                bounds = f"{low} to {high}" if high else f"{low} or more"
                raise click.BadParameter(f"{word!r} is not a whole number, {bounds}; give them with commas, as in 1,3")
            numbers.append(int(word))
        return tuple(dict.fromkeys(numbers)) if value is not None else None

    return parse


@dataclass(frozen=True)
class Conditions:
    """The options that say under what the runs are evaluated."""

    dataset: str | None
    data_dir: str | None
    corrupt: tuple[str, ...] | None
    severity: tuple[int, ...] | None
    batch_sizes: tuple[int, ...] | None
    limit: int | None


CONDITIONS = (
    click.option(
        "--dataset", metavar="NAME|DIR",
        help="Other test images with the same classes: cifar10.1, cifar10-c, cifar100-c, or any dataset's test split. "
        " [default: the run's own]",
    ),
    options.data_dir,
    click.option(
        "--corrupt", callback=options.listed, metavar="NAME,...|all",
        help="Corrupt the images: noise, shot, impulse, blur, defocus, motion, zoom, jpeg, pixelate, contrast, "
        "brightness, dark, saturation, fog, elastic, rotate. For cifar10-c: its own corruptions.",
    ),
    click.option("--severity", callback=_numbers(1, 5), metavar="1,...,5", help="Severities.  [default: all five]"),
    click.option(
        "--batch-sizes", callback=_numbers(1), metavar="N,...",
        help="Test batch sizes to compare, in evaluation mode and with each batch's own statistics.",
    ),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N images, balanced over classes."),
)  # fmt: skip


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=options.Place())
@options.gather("under", Conditions, CONDITIONS)
@options.choice_options
@options.baseline
@options.allow_dirty
@options.margin
@options.formats("text", "markdown", "csv", "json")
@options.device
@options.registry
def evaluate(
    runs: tuple[Path, ...],
    under: Conditions,
    choice: Choice,
    baseline: str | None,
    allow_dirty: bool,
    margin: float | None,
    style: str,
    device: str,
    registry: str | None,
) -> None:
    """Evaluate finished runs again: on other images, on corrupted images, or at other batch sizes.

    RUN is the folder of a run, or a folder of runs. Without options, each run's own test images are evaluated again,
    and the table shows whether the stored accuracy is reproduced. Stored files do not change.
    """
    from zoo.comparison.verdict import MARGIN
    from zoo.data import test_sets
    from zoo.data.augment import corrupt as corruption
    from zoo.data.open import test_only
    from zoo.errors import unknown
    from zoo.registry.merge import load_registry

    dataset, corrupt = under.dataset, under.corrupt
    comes_corrupted = dataset is not None and test_only(dataset) in ("cifar10-c", "cifar100-c")
    if under.severity and not corrupt and not comes_corrupted:
        raise click.UsageError("--severity needs --corrupt NAME,..., or a corrupted dataset: --dataset cifar10-c")
    if corrupt and not comes_corrupted:
        corrupt = tuple(corruption.choose(corrupt))
    if baseline and not (dataset or corrupt or under.batch_sizes):
        raise click.UsageError(
            "--baseline needs other images or batch sizes: --dataset, --corrupt or --batch-sizes; `zoo compare "
            "--baseline MODEL` tests the accuracies on the runs' own test images"
        )

    from zoo.engine.machine import choose_device, configure_threads
    from zoo.render.code import model_code_notes
    from zoo.render.robustness import render
    from zoo.trained import robustness, tables
    from zoo.trained.load import open_runs, open_test

    say = functools.partial(click.echo, err=True)
    configure_threads()
    target = choose_device(device)
    opened, diverged = open_runs(runs, load_registry(registry))
    names = list(dict.fromkeys(run.model.name for run in opened))
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names, "the evaluated runs", f"there are: {', '.join(names)}")
    modes = (robustness.RUNNING, robustness.BATCH)
    passes = [robustness.Pass(size, mode) for size in under.batch_sizes or () for mode in modes] or [robustness.Pass()]
    work = []
    images = [run.result.recipe.image_size if dataset else run.result.dataset.fingerprint for run in opened]
    for same in dict.fromkeys(images):
        members = [run for run, of in zip(opened, images, strict=True) if of == same]
        data = open_test(members, dataset, under.data_dir, choice)
        for run in members:
            run.load(target)  # weights that do not fit are noticed before the first long evaluation
        own = data.corruptions if isinstance(data, test_sets.ShiftedSet) else ()
        chosen = corruption.choose(corrupt or ["all"], own, data.source) if own else (corrupt or ())
        severities = under.severity or corruption.SEVERITIES
        work.append((members, robustness.conditions(data, chosen, severities, under.limit)))

    records = [
        record for members, todo in work for record in robustness.evaluate_runs(members, todo, passes, target, say)
    ]
    margin = MARGIN if margin is None else margin / 100
    contrasts = [] if baseline is None else tables.contrasts(records, baseline, diverged, margin, allow_dirty)
    notes = model_code_notes([run.result for run in opened]) + [
        f"{result.model.name} seed {result.seed} diverged at epoch {result.diverged_epoch}: no weights to evaluate."
        for result in diverged
    ]
    if baseline is not None and not contrasts:
        notes.append(f"Nothing to test against {baseline}: no other model of its recipe was evaluated on other images.")
    if style in ("csv", "json"):
        for note in notes:
            say(note)
    options.echo_tables(render(records, style, notes, contrasts), style)
