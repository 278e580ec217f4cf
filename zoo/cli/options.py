"""Options and completions that several commands share."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from zoo.errors import Option, Words, ZooError, sentence
from zoo.registry.merge import load_registry

RUNS = Path("runs")
Command = TypeVar("Command", bound=Callable[..., Any])
INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells expect


def again(*start: str) -> str:
    """The command that was given, begun with `start` (``zoo``, say), as what goes on after an interruption."""
    return shlex.join([*start, *(argument for argument in sys.argv[1:] if argument != "--restart")])


def worded(option: Option) -> str:
    """`option` of a message as it is typed: ``--data-dir``, ``--set batch_size=64``."""
    return " ".join(filter(None, [f"--{option.name.replace('_', '-')}", option.value]))


def line(parts: Iterable[Words]) -> str:
    """A message as the command line words it, on one line."""
    return " ".join(sentence(parts, worded).split())


def picture(default: str) -> Callable[[Command], Command]:
    """The option ``--out`` of a command that draws one picture, in the file `default` unless told otherwise."""
    return click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path(default), show_default=True,
        help="The picture: .png, .svg or .pdf.",
    )  # fmt: skip


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Model names for the shell; a broken registry completes to nothing."""
    try:
        return [name for name in load_registry(ctx.params.get("registry")).names() if name.startswith(incomplete)]
    except ZooError:
        return []


def complete_recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of recipes for the shell; where two clash there are none."""
    from zoo.recipes.catalogue import recipe_names

    try:
        return [name for name in recipe_names() if name.startswith(incomplete)]
    except ZooError:
        return []


registry = click.option(
    "--registry", metavar="FILE", help="A registry.yaml above all others (after $ZOO_REGISTRY and the folder's own)."
)
data_dir = click.option(
    "--data-dir", metavar="DIR", help="Where data sets are; only there.  [default: $ZOO_DATA, then the user cache]"
)
table_format = click.option(
    "--format", "style", type=click.Choice(["text", "markdown", "csv", "latex", "json"]), default="text",
    show_default=True,
)  # fmt: skip
models = click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)


class TrackerList(click.ParamType):
    """``tensorboard,mlflow``."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Raises :class:`zoo.errors.UnknownNameError`."""
        from zoo.track.trackers import parse

        return value if isinstance(value, tuple) else parse(value)


CLUSTER = (
    click.option(
        "--cluster", metavar="ENGINE", help="Spread the runs: ray (on this machine), ray:ADDRESS, slurm or slurm:local."
    ),
    click.option(
        "--resources", metavar="NAME=N,...", help="Of each run on a cluster.  [default: cpu=1, a GPU's gpu=1]"
    ),
    click.option(
        "--slurm", multiple=True, metavar="KEY=VALUE", help="For Slurm's jobs: partition=gpu, time=60 (minutes) ..."
    ),
    click.option("--dry-run", is_flag=True, help="Print the plan with estimates of time; create and train nothing."),
)
WHAT = (
    models,
    click.option(
        "--recipe", default="standard", show_default=True, metavar="NAME|FILE",
        shell_complete=complete_recipes, help="How all models are trained; `zoo list` shows the names.",
    ),
)  # fmt: skip
HOW = (  # for whatever runs a training step
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.1 ..."
    ),
    click.option("--dataset", metavar="NAME|DIR", help="What to train on.  [default: the recipe's own]"),
    data_dir,
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    click.option("--layout", type=click.Choice(["auto", "nchw", "channels_last"]), default="auto", show_default=True),
    click.option(
        "--executor", type=click.Choice(["auto", "batched", "albumentations"]), default="auto", show_default=True,
        help="Who augments: batched tensor operations on the device, or albumentations in worker processes.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Of the albumentations executor."
    ),
    click.option(
        "--compile", "compiled", is_flag=True, help="torch.compile the model; needs a C++ compiler on the CPU."
    ),
    click.option(
        "--deterministic", is_flag=True,
        help="The same bits each time on a GPU too: slower, and an error where an operation cannot.",
    ),
    registry,
)  # fmt: skip
KEPT = (  # for what keeps its runs
    click.option("--seeds", type=click.IntRange(min=1), help="Run seeds 0 to N-1.  [default: 1]"),
    click.option(
        "--seed", "only_seeds", type=click.IntRange(min=0), multiple=True, help="Run just this seed (repeatable)."
    ),
    click.option("--runs", type=click.Path(file_okay=False, path_type=Path), default=RUNS, show_default=True),
    click.option(
        "--pretrained", type=click.Path(path_type=Path), metavar="FILE|RUN",
        help="Start every model from these weights: a .safetensors file or the folder of a finished run.",
    ),
    click.option("--restart", is_flag=True, help="Throw away what these runs have stored and start again."),
    click.option(
        "--track", type=TrackerList(), default=(), metavar="NAME,...",
        help="Tell tensorboard, mlflow or wandb (offline) as well; one or several.",
    ),
)  # fmt: skip


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` all options of a training run."""
    return _with(command, WHAT + HOW + KEPT + CLUSTER)


def study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` those of a training run whose models and recipe it knows itself."""
    return _with(command, HOW + KEPT + CLUSTER)


def step_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options that say what is trained and how, but not those of runs that are kept."""
    return _with(command, WHAT + HOW)


def _with(command: Callable[..., None], chosen: Sequence[Callable[..., Any]]) -> Callable[..., None]:
    for option in reversed(chosen):
        command = option(command)
    return command
