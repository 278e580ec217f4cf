"""`zoo speed`."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace

import click

from zoo.cli import options
from zoo.cli.job import prepare_alone
from zoo.cli.share import settle, warn_of_load
from zoo.cli.training import CompileOrBoth, Training, speed_options


@click.command(cls=CompileOrBoth)
@speed_options
@click.option(
    "--seconds", type=options.Real(1, 86_400), default=10.0, show_default=True,
    help="Training time for each model: half in the training loop, half in the bare step.",
)  # fmt: skip
@options.table_format
def speed(training: Training, seconds: float, style: str) -> None:
    """Measure training and inference throughput of every MODEL, and the overhead of the training loop.

    Nothing is stored. Run on an idle machine: concurrent load can slow torch by 10x.
    """
    job = prepare_alone("zoo speed", training, training.load_recipe)

    from zoo.engine.environment import describe
    from zoo.engine.machine import configure_arithmetic
    from zoo.engine.throughput import matrix_peak
    from zoo.render.speed import pays, render, trains_at
    from zoo.runner.measure import beside_eager, faster_layout, measure

    (inputs,), device = job.inputs, job.settings.device
    eager = inputs.replaced(settings=replace(job.settings, compiled=False))
    echo = functools.partial(click.echo, err=True)
    settle(job, (), echo)
    warn_of_load(echo)
    configure_arithmetic(job.settings.deterministic)
    options.show_progress(f"measuring a large matrix product in {inputs.recipe.precision}")
    peak = matrix_peak(device, inputs.recipe.precision)
    measured, machine = [], describe(device)
    try:
        for number, model in enumerate(job.models, 1):
            options.show_progress(f"[{number}/{len(job.models)}] {model.name}")
            layout = inputs.layout(model)
            if training.layout == "auto" and not inputs.settings.layout and model.name not in inputs.only_nchw:
                faster = faster_layout(model, inputs)
                if faster is None:
                    echo(f"  timings vary too much to compare the layouts; {layout} is measured")
                else:
                    layout, ratio = faster
                    echo(f"  {layout} trains {ratio:.2f} times as fast as the other layout")
                    if layout != model.layout:
                        echo(f"  `zoo bench` uses {model.layout}; give it --layout {layout} for the faster one")
            for of in [eager, inputs] if training.compiled == "both" else [inputs]:
                measured.append(measure(model, of, layout, seconds=seconds, peak_flops=peak))
                options.show_progress(f"  {trains_at(measured[-1])}")
            if training.compiled == "both":
                measured[-1] = beside_eager(measured[-1], measured[-2], len(inputs.rows[0]))
                echo(f"  {pays(measured[-1])}")
    except BaseException:  # Ctrl-C in a long list, or a model that fails, takes nothing away from the others
        if measured:
            with contextlib.suppress(OSError):
                click.echo(render(measured, style, machine, peak), nl=False)
        raise
    click.echo(render(measured, style, machine, peak), nl=False)
