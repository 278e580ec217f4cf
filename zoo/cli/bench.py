"""`zoo bench`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from zoo.cli import options
from zoo.cli.options import INTERRUPTED


@click.command()
@options.models
@click.option(
    "--recipe", default="standard", show_default=True, metavar="NAME|FILE",
    shell_complete=options.complete_recipes, help="How all models are trained; `zoo list` shows the names.",
)  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.1 ...")
@click.option("--dataset", metavar="NAME|DIR", help="What to train on.  [default: the recipe's own]")
@options.data_dir
@click.option("--seeds", type=click.IntRange(min=1), help="Run seeds 0 to N-1.  [default: 1]")
@click.option(
    "--seed", "only_seeds", type=click.IntRange(min=0), multiple=True, help="Run just this seed (repeatable)."
)
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), default=options.RUNS, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--layout", type=click.Choice(["auto", "nchw", "channels_last"]), default="auto", show_default=True)
@click.option(
    "--executor", type=click.Choice(["auto", "batched", "albumentations"]), default="auto", show_default=True,
    help="Who augments: batched tensor operations on the device, or albumentations in worker processes.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Of the albumentations executor."
)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the model; needs a C++ compiler on the CPU.")
@click.option(
    "--deterministic", is_flag=True,
    help="The same bits each time on a GPU too: slower, and an error where an operation cannot.",
)  # fmt: skip
@click.option("--restart", is_flag=True, help="Throw away what these runs have stored and start again.")
@options.registry
def bench(
    models: tuple[str, ...],
    recipe: str,
    overrides: tuple[str, ...],
    dataset: str | None,
    data_dir: str | None,
    seeds: int | None,
    only_seeds: tuple[int, ...],
    runs: Path,
    device: str,
    layout: str,
    executor: str,
    workers: int,
    compiled: bool,
    deterministic: bool,
    restart: bool,
    registry: str | None,
) -> None:
    """Train, evaluate and measure every MODEL under one recipe, then compare them.

    MODEL is a name or a pattern ('resnet18_*'). What is done is kept, and what was stopped goes on: give the same
    command again.
    """
    if seeds and only_seeds:
        raise click.UsageError("--seeds and --seed cannot go together; give --seeds N or each --seed K")

    from zoo.registry import load_registry

    found = load_registry(registry).match(models)

    from zoo.recipe import load_recipe

    wanted = load_recipe(recipe, overrides)

    from zoo.data.datasets import load

    data = load(dataset or wanted.dataset, data_dir)

    from zoo import bench as engine
    from zoo.cli.progress import make_reporter
    from zoo.compare import compare
    from zoo.engine.machine import check_compiler, choose_device, settle_precision
    from zoo.report.tables import render

    target = choose_device(device)
    if compiled:
        check_compiler(target)
    wanted = wanted.with_precision(settle_precision(target))
    settings = engine.Settings(target, layout, executor, workers, compiled, deterministic)
    todo = engine.plan(found, dict.fromkeys(only_seeds) or range(seeds or 1), wanted, data.name, runs)
    engine.check(todo, wanted, data, settings)
    with make_reporter() as reporter:
        reporter.say(
            f"recipe {wanted.slug} ({wanted.precision}) on {data.name}: "
            f"{len(found)} models x {len(todo) // len(found)} seeds, {wanted.epochs} epochs, runs in {runs}"
        )
        try:
            results = engine.bench(todo, wanted, data, settings, reporter, restart)
        except KeyboardInterrupt:
            again = shlex.join(["zoo", *(argument for argument in sys.argv[1:] if argument != "--restart")])
            reporter.say(f"zoo: interrupted; every finished epoch is saved. To go on: {again}")
            raise SystemExit(INTERRUPTED) from None
    click.echo(render(compare(results), "text"), nl=False)
