"""The options of commands that train, and what they were given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from zoo.cli import options
from zoo.data.choice import Choice

if TYPE_CHECKING:
    from zoo.recipes.recipe import Recipe

    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # not generic in click 8.1

COMPILED = "yes"  # the value of `--compile` without one, where it takes one
MOST = 1024  # threads, or runs at a time


class _Layout(_Choice):
    """The layouts of a command whose results must not depend on the clock."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises ``click.BadParameter``."""
        if value == "auto":
            self.fail("auto is for `zoo speed` only; leave it out, or give 'nchw' or 'channels_last'", param, ctx)
        return super().convert(value, param, ctx)


class CompileOrBoth(click.Command):
    """A command whose ``--compile`` may have the value ``both``; any other word behind it is an argument."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, which would take any word for the value."""
        pairs = zip(args, [*args, ""][1:], strict=True)
        flags = {"--compile": f"--compile={COMPILED}"}
        return super().parse_args(ctx, [word if after == "both" else flags.get(word, word) for word, after in pairs])


def _count_or_auto(ctx: click.Context, param: click.Parameter, text: str | None) -> int | str | None:
    """Raises ``click.BadParameter``."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise click.BadParameter(f"{text!r} is neither a number from 1 to {MOST} nor auto")
    return int(text)


def _trackers(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...]:
    """``tensorboard,mlflow``. Raises :class:`zoo.errors.UnknownNameError`."""
    from zoo.track.trackers import parse

    return () if text is None else parse(text)


def _overrides(ctx: click.Context, param: click.Parameter, changes: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ``click.UsageError`` for an option of the command itself, such as ``seed=1``."""
    for change in changes:
        key, _, text = (part.strip() for part in change.partition("="))
        word = f"--{key.lstrip('-').replace('_', '-')}"
        if option := next((option for option in ctx.command.params if word in option.opts), None):
            from zoo.recipes.recipe import Recipe

            if key not in Recipe.model_fields:
                is_flag = isinstance(option, click.Option) and option.is_flag
                meant = word if is_flag else f"{word} {text or option.make_metavar(ctx)}"
                raise click.UsageError(f"--set {change}: no key of a recipe, but an option of its own; give {meant}")
    return changes


def _workers(ctx: click.Context, param: click.Parameter, count: int) -> int:
    """Each is a process. Raises ``click.BadParameter``."""
    from zoo.utils.cpu import usable_cores

    if count > (most := max(64, 2 * usable_cores())):
        raise click.BadParameter(f"{count} processes are too many for this machine; give at most {most}")
    return count


CLUSTER = (
    click.option(
        "--jobs",
        callback=_count_or_auto,
        default="1",
        show_default=True,
        metavar="N|auto",
        help="Number of runs at a time on this machine; auto: one, or several with fewer threads, whichever is faster.",
    ),
    click.option(
        "--cluster", metavar="ENGINE", help="Distribute the runs: ray (on this machine), ray:ADDRESS or slurm."
    ),
    click.option(
        "--resources",
        metavar="NAME=N,...",
        help="Resources of each run on a cluster.  [default: cpu=1, with a GPU gpu=1]",
    ),
    click.option(
        "--slurm",
        multiple=True,
        metavar="KEY=VALUE",
        help="Options of Slurm jobs: partition=gpu, time=60 (minutes) ...",
    ),
    click.option("--dry-run", is_flag=True, help="Print the runs with estimated times; create and train nothing."),
)
WHAT = (
    click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=options.complete_models),
    click.option(
        "--recipe", default="standard", show_default=True, metavar="NAME|FILE",
        shell_complete=options.complete_recipes, help="Training recipe of all models; `zoo list` shows the names.",
    ),
)  # fmt: skip
LAYOUT = click.option(
    "--layout", type=_Layout(["nchw", "channels_last"]),
    help="Memory layout of images.  [default: the registry's for the model, else channels_last]",
)  # fmt: skip
ANY_LAYOUT = click.option(
    "--layout", type=click.Choice(["auto", "nchw", "channels_last"]),
    help="Memory layout of images; auto: whichever trains faster.  [default: as `zoo bench`]",
)  # fmt: skip
COMPILE = click.option(
    "--compile", "compiled", is_flag=True, help="Compile the models (torch.compile); a CPU needs a C++ compiler."
)  # fmt: skip
COMPILE_OR_BOTH = click.option(
    "--compile", "compiled", is_flag=False, flag_value=COMPILED, type=click.Choice([COMPILED, "both"]),
    metavar="[both]", callback=lambda ctx, param, how: how if how == "both" else how is not None,
    help="Compile the models; both: measure without and with it, and after how many epochs compiling pays off.",
)  # fmt: skip
HOW = (  # for whatever runs a training step
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", callback=_overrides,
        help="Change the recipe, for example optimizer.lr=0.1 (repeatable).",
    ),
    click.option("--dataset", metavar="NAME|DIR", help="Dataset to train on.  [default: the recipe's]"),
    options.data_dir,
    *options.CHOICE,
    options.device,
    click.option(
        "--threads", callback=_count_or_auto, metavar="N|auto",
        help="CPU threads of torch; auto: as many as are idle.  [default: one per core]",
    ),
    LAYOUT,
    click.option(
        "--executor", type=click.Choice(["auto", "batched", "albumentations"]), default="auto", show_default=True,
        help="Augmentation backend: batched tensor operations on the device, or albumentations in worker processes.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=0), default=2, show_default=True, callback=_workers,
        help="Worker processes of the albumentations backend.",
    ),
    COMPILE,
    click.option(
        "--deterministic", is_flag=True,
        help="Bit-for-bit reproducible on a GPU too: slower; operations that have no such form raise an error.",
    ),
    click.option(
        "--allow-batch-dependent", is_flag=True,
        help="Allow models whose prediction depends on the other images of the batch; tables mark them.",
    ),
    options.registry,
)  # fmt: skip
KEPT = (  # for what keeps its runs
    click.option("--seeds", type=click.IntRange(1, 10_000), help="Number of seeds: run seeds 0 to N-1.  [default: 1]"),
    click.option(
        "--seed", "only_seeds", type=click.IntRange(0, options.LAST_SEED), multiple=True,
        help="Run only this seed (repeatable).",
    ),
    options.runs_folder,
    click.option(
        "--pretrained", type=options.Place(), metavar="FILE|RUN",
        help="Initial weights of every model: a .safetensors file or the folder of a finished run.",
    ),
    click.option("--restart", is_flag=True, help="Delete what these runs have stored and start again."),
    click.option(
        "--track", callback=_trackers, metavar="NAME,...",
        help="Also log to tensorboard, mlflow or wandb (offline); one or several.",
    ),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Training:
    """The options of a command that trains. What a command does not offer keeps its default."""

    overrides: tuple[str, ...]
    dataset: str | None
    data_dir: str | None
    device: str
    threads: int | Literal["auto"] | None
    layout: Literal["auto", "nchw", "channels_last"] | None
    executor: Literal["auto", "batched", "albumentations"]
    workers: int
    compiled: bool | Literal["both"]
    deterministic: bool
    allow_batch_dependent: bool
    registry: str | None
    choice: Choice
    models: tuple[str, ...] = ()
    recipe: str = ""
    seeds: int | None = None
    only_seeds: tuple[int, ...] = ()
    runs: Path = options.RUNS
    pretrained: Path | None = None
    restart: bool = False
    track: tuple[str, ...] = ()
    cluster: str | None = None
    resources: str | None = None
    slurm: tuple[str, ...] = ()
    jobs: int | Literal["auto"] = 1
    dry_run: bool = False

    def load_recipe(self) -> Recipe:
        """The recipe with its overrides. Raises as :func:`zoo.recipes.load.load_recipe` does."""
        from zoo.recipes.load import load_recipe

        return load_recipe(self.recipe, self.overrides)


def _training(offered: Sequence[options.Decorator]) -> options.Decorator:
    """Gives a command that trains the options `offered`, as its parameter `training`."""
    return lambda command: options.gather("choice", Choice, ())(options.gather("training", Training, offered)(command))


training_options = _training(WHAT + HOW + KEPT + CLUSTER)
study_options = _training(HOW + KEPT + CLUSTER)  # for a command that sets models and recipe itself
step_options = _training(WHAT + HOW)  # for a command that keeps no runs
speed_options = _training(
    WHAT + tuple({LAYOUT: ANY_LAYOUT, COMPILE: COMPILE_OR_BOTH}.get(option, option) for option in HOW)
)
