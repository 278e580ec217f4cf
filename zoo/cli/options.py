"""Options and completions that several commands share."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from zoo.data.choice import COLUMNS, NAMES, Choice
from zoo.errors import Option, Words, ZooError, sentence
from zoo.registry.merge import load_registry
from zoo.utils.text import visible

if TYPE_CHECKING:
    from zoo.recipes.recipe import Recipe
    from zoo.results.folder import Stored

    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # not generic in click 8.1

RUNS = Path("runs")
LAST_SEED = 2**32 - 1  # that NumPy takes
Decorator = Callable[[Callable[..., None]], Callable[..., None]]
INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells expect


class Real(click.FloatRange):
    """A range of numbers, of which ``nan`` and ``inf`` are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises ``click.BadParameter``."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


def again(*start: str) -> str:
    """The command line of this process, after `start` (``zoo``, say), that resumes what was interrupted."""
    return shlex.join([*start, *(argument for argument in sys.argv[1:] if argument != "--restart")])


def worded(option: Option) -> str:
    """`option` of a message as it is typed: ``--data-dir``, ``--set batch_size=64``."""
    return " ".join(filter(None, [f"--{option.name.replace('_', '-')}", option.value]))


def line(parts: Iterable[Words]) -> str:
    """A message as the command line words it, on one line."""
    return visible(" ".join(sentence(parts, worded).split()))


def formats(*names: str) -> Decorator:
    """The option ``--format`` of a command that writes text, unless another of these formats is asked for."""
    return click.option("--format", "style", type=click.Choice(names), default="text", show_default=True)


def picture(default: str) -> Decorator:
    """The option ``--out`` of a command that draws one image, by default into the file `default`."""
    return click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path(default), show_default=True,
        help="The picture: .png, .svg or .pdf.",
    )  # fmt: skip


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Model names for the shell; a broken registry completes to nothing."""
    with contextlib.suppress(ZooError):
        return [name for name in load_registry(ctx.params.get("registry")).names() if name.startswith(incomplete)]
    return []


def complete_recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of recipes for the shell; where two clash there are none."""
    from zoo.recipes.catalogue import recipe_names

    with contextlib.suppress(ZooError):
        return [name for name in recipe_names() if name.startswith(incomplete)]
    return []


registry = click.option(
    "--registry", metavar="FILE", help="A registry.yaml above all others (after $ZOO_REGISTRY and the folder's own)."
)
data_dir = click.option(
    "--data-dir", metavar="DIR", help="Where data sets are; only there.  [default: $ZOO_DATA, then the user cache]"
)
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
baseline = click.option("--baseline", metavar="MODEL", help="Test every other model against this one.")
margin = click.option(
    "--margin", type=Real(0, 100, min_open=True), metavar="POINTS",
    help="Models that differ by less, with the certainty of a verdict, are equal.  [default: 1]",
)  # fmt: skip
allow_dirty = click.option(
    "--allow-dirty", is_flag=True, help="Verdicts also of runs of uncommitted changes of zoo's code."
)
table_format = formats("text", "markdown", "csv", "latex", "json")
run_argument = click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
runs_argument = click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
runs_folder = click.option("--runs", type=click.Path(file_okay=False, path_type=Path), default=RUNS, show_default=True)


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list with commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


class _Layout(_Choice):
    """The layouts of a command whose results must not depend on the clock."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises ``click.BadParameter``."""
        if value == "auto":
            self.fail("auto is for `zoo speed` only; leave it out, or choose 'nchw' or 'channels_last'", param, ctx)
        return super().convert(value, param, ctx)


def _trackers(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...]:
    """``tensorboard,mlflow``. Raises :class:`zoo.errors.UnknownNameError`."""
    from zoo.track.trackers import parse

    return () if text is None else parse(text)


def _workers(ctx: click.Context, param: click.Parameter, count: int) -> int:
    """Each is a process. Raises ``click.BadParameter``."""
    from zoo.utils.cpu import usable_cores

    if count > (most := max(64, 2 * usable_cores())):
        raise click.BadParameter(f"{count} processes are too many for this machine; give at most {most}")
    return count


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
    click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models),
    click.option(
        "--recipe", default="standard", show_default=True, metavar="NAME|FILE",
        shell_complete=complete_recipes, help="How all models are trained; `zoo list` shows the names.",
    ),
)  # fmt: skip
LAYOUT = click.option(
    "--layout", type=_Layout(["nchw", "channels_last"]),
    help="Of images in memory.  [default: what the registry asks for, else channels_last]",
)  # fmt: skip
ANY_LAYOUT = click.option(
    "--layout", type=click.Choice(["auto", "nchw", "channels_last"]),
    help="Of images in memory; auto: whichever trains faster.  [default: zoo bench's]",
)  # fmt: skip
CHOICE = (  # of what a dataset leaves open: the fields of Choice
    click.option(
        "--test-split", type=click.Choice(NAMES[1:]), default="test", show_default=True, help="Test on this split."
    ),
    click.option(
        "--split", type=Real(0, 1, min_open=True, max_open=True), metavar="SHARE",
        help="Class folders without train and test: train on this share of each class, test on the rest.",
    ),
    *(click.option(f"--{kind}-column", metavar="NAME", help="Of parquet files with several.") for kind in COLUMNS),
)  # fmt: skip
HOW = (  # for whatever runs a training step
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.1 ..."
    ),
    click.option("--dataset", metavar="NAME|DIR", help="What to train on.  [default: the recipe's own]"),
    data_dir,
    *CHOICE,
    device,
    LAYOUT,
    click.option(
        "--executor", type=click.Choice(["auto", "batched", "albumentations"]), default="auto", show_default=True,
        help="Who augments: batched tensor operations on the device, or albumentations in worker processes.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=0), default=2, show_default=True, callback=_workers,
        help="Of the albumentations executor.",
    ),
    click.option(
        "--compile", "compiled", is_flag=True, help="torch.compile the model; needs a C++ compiler on the CPU."
    ),
    click.option(
        "--deterministic", is_flag=True,
        help="The same bits each time on a GPU too: slower, and an error where an operation cannot.",
    ),
    click.option(
        "--allow-batch-dependent", is_flag=True,
        help="Run models whose answer to a test image depends on the images beside it; tables mark them.",
    ),
    registry,
)  # fmt: skip
KEPT = (  # for what keeps its runs
    click.option("--seeds", type=click.IntRange(1, 10_000), help="Run seeds 0 to N-1.  [default: 1]"),
    click.option(
        "--seed", "only_seeds", type=click.IntRange(0, LAST_SEED), multiple=True,
        help="Run just this seed (repeatable).",
    ),
    runs_folder,
    click.option(
        "--pretrained", type=click.Path(path_type=Path), metavar="FILE|RUN",
        help="Start every model from these weights: a .safetensors file or the folder of a finished run.",
    ),
    click.option("--restart", is_flag=True, help="Throw away what these runs have stored and start again."),
    click.option(
        "--track", callback=_trackers, metavar="NAME,...",
        help="Tell tensorboard, mlflow or wandb (offline) as well; one or several.",
    ),
)  # fmt: skip
SELECTION = (
    runs_argument,
    click.option("--dataset", help="Only this data set."),
    click.option("--recipe", help="Only this recipe: a name, or name-fingerprint as the tables show it."),
    click.option("--model", "patterns", multiple=True, metavar="PATTERN", help="Only models like this (repeatable)."),
)


@dataclasses.dataclass(frozen=True)
class Training:
    """The options of a command that trains. What a command does not offer keeps its default."""

    overrides: tuple[str, ...]
    dataset: str | None
    data_dir: str | None
    device: str
    layout: Literal["auto", "nchw", "channels_last"] | None
    executor: Literal["auto", "batched", "albumentations"]
    workers: int
    compiled: bool
    deterministic: bool
    allow_batch_dependent: bool
    registry: str | None
    choice: Choice
    models: tuple[str, ...] = ()
    recipe: str = ""
    seeds: int | None = None
    only_seeds: tuple[int, ...] = ()
    runs: Path = RUNS
    pretrained: Path | None = None
    restart: bool = False
    track: tuple[str, ...] = ()
    cluster: str | None = None
    resources: str | None = None
    slurm: tuple[str, ...] = ()
    dry_run: bool = False

    def load_recipe(self) -> Recipe:
        """The recipe with its overrides. Raises as :func:`zoo.recipes.load.load_recipe` does."""
        from zoo.recipes.load import load_recipe

        return load_recipe(self.recipe, self.overrides)


@dataclasses.dataclass(frozen=True)
class Selection:
    """The options of a command that reads stored runs: where, and which of them."""

    runs: tuple[Path, ...]
    dataset: str | None
    recipe: str | None
    patterns: tuple[str, ...]

    def read(self) -> list[Stored]:
        """The stored runs. Raises as :func:`zoo.api.read_runs` does."""
        from zoo.api import read_runs

        return read_runs(self.runs or RUNS, self.dataset, self.recipe, self.patterns)


def offer(command: Callable[..., None], offered: Sequence[Decorator]) -> Callable[..., None]:
    """`command` with the options `offered`, shown in this order."""
    for option in reversed(offered):
        command = option(command)
    return command


def gather(name: str, record: type, offered: Sequence[Decorator]) -> Decorator:
    """Gives a command the options `offered`; those that are fields of `record` reach it as its parameter `name`."""
    fields = {field.name for field in dataclasses.fields(record)}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def collected(**arguments: Any) -> None:
            others = {option: chosen for option, chosen in arguments.items() if option not in fields}
            command(**others, **{name: record(**{field: arguments[field] for field in fields & arguments.keys()})})

        return offer(collected, offered)

    return decorate


def _training(offered: Sequence[Decorator]) -> Decorator:
    """Gives a command that trains the options `offered`, as its parameter `training`."""
    return lambda command: gather("choice", Choice, ())(gather("training", Training, offered)(command))


choice_options = gather("choice", Choice, CHOICE)
training_options = _training(WHAT + HOW + KEPT + CLUSTER)
study_options = _training(HOW + KEPT + CLUSTER)  # for a command that sets models and recipe itself
step_options = _training(WHAT + HOW)  # for a command that keeps no runs
speed_options = _training(WHAT + tuple(ANY_LAYOUT if option is LAYOUT else option for option in HOW))
selection_options = gather("selection", Selection, SELECTION)
