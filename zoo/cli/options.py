"""Options and completions that several commands share."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.data.choice import COLUMNS, NAMES, Choice
from zoo.errors import Option, Words, ZooError, sentence
from zoo.registry.merge import load_registry
from zoo.utils import waiting
from zoo.utils.files import RUNS as RUNS
from zoo.utils.text import visible

if TYPE_CHECKING:
    from zoo.results.folder import Stored

LAST_SEED = 2**32 - 1  # that NumPy takes
Decorator = Callable[[Callable[..., None]], Callable[..., None]]
COLOURS = {"better": "green", "worse": "red"}  # of verdicts
VERDICT = re.compile(rf"\b({'|'.join(COLOURS)}) \(n=\d+\)")
INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells expect


class Real(click.FloatRange):
    """A range of numbers, of which ``nan`` and ``inf`` are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises ``click.BadParameter``."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


class Place(click.Path):
    """Where stored runs are: a path, or ``published``, or ``published:NAME``."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises as :func:`zoo.results.published.located` does."""
        if isinstance(value, str) and value.startswith("published"):  # else nothing of results is imported
            from zoo.results.published import located

            return located(value)
        return super().convert(value, param, ctx)


def resuming(*start: str) -> list[str]:
    """The words of this command line, after `start` (``zoo``, say), that resume what was interrupted."""
    context = click.get_current_context(silent=True)
    arguments = (context.find_root().obj if context else None) or sys.argv[1:]
    return [*start, *(argument for argument in arguments if argument != "--restart")]


def again(*start: str) -> str:
    """:func:`resuming` as one types it."""
    return shlex.join(resuming(*start))


@contextlib.contextmanager
def resumable(say: Callable[[str], None], what: str, *start: str) -> Iterator[None]:
    """Where the block is interrupted, `say` what is saved of it and the command that resumes it, and exit."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"zoo: interrupted; every finished {what} is saved. To resume: {again(*start)}")
        raise click.exceptions.Exit(INTERRUPTED) from None


def launcher(processes: int) -> list[str]:
    """What zoo is started with in so many processes."""
    return ["zoo"] if processes == 1 else ["torchrun", f"--nproc-per-node={processes}", "-m", "zoo"]


def worded(option: Option) -> str:
    """`option` of a message as it is typed: ``--data-dir``, ``--set batch_size=64``."""
    return shlex.join(option.arguments)


def line(parts: Iterable[Words]) -> str:
    """A message as the command line words it, on one line."""
    return visible(" ".join(sentence(parts, worded).split()))


def echo_tables(text: str, style: str = "text") -> None:
    """Print `text`; on a terminal the verdicts of ``text`` have a colour, unless ``NO_COLOR`` is set."""
    if style == "text" and not os.environ.get("NO_COLOR"):
        text = VERDICT.sub(lambda match: click.style(match[0], fg=COLOURS[match[1]]), text)
    click.echo(text, nl=False)


def formats(*names: str) -> Decorator:
    """The option ``--format`` of a command that writes text, unless another of these formats is asked for."""
    return click.option("--format", "style", type=click.Choice(names), default="text", show_default=True)


def picture(default: str) -> Decorator:
    """The option ``--out`` of a command that draws one image, by default into the file `default`."""
    return click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path(default), show_default=True,
        help="File of the plot: .png, .svg or .pdf.",
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
    "--registry", metavar="FILE", help="A registry.yaml that overrides $ZOO_REGISTRY and the working directory's."
)
data_dir = click.option(
    "--data-dir",
    metavar="DIR",
    help="Search only this directory for datasets.  [default: $ZOO_DATA, then the user cache]",
)
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N, mps or xpu.")
baseline = click.option("--baseline", metavar="MODEL", help="Test every other model against this one.")
margin = click.option(
    "--margin", type=Real(0, 100, min_open=True), metavar="POINTS",
    help="A difference that is significantly smaller than this counts as none.  [default: 1]",
)  # fmt: skip
allow_dirty = click.option(
    "--allow-dirty", is_flag=True, help="Also give verdicts for runs of uncommitted changes to zoo's code."
)
table_format = formats("text", "markdown", "csv", "latex", "json")
run_argument = click.argument("run", metavar="RUN", type=Place())
runs_argument = click.argument("runs", nargs=-1, type=Place())
runs_folder = click.option("--runs", type=click.Path(file_okay=False, path_type=Path), default=RUNS, show_default=True)


progress = click.option(
    "--progress", type=click.Choice(waiting.STYLES), expose_value=False,
    callback=lambda ctx, param, style: waiting.show(style),
    help="Show progress as a bar, as plain lines, or not.  [default: bar on a terminal; plain in notebooks and logs]",
)  # fmt: skip


def show_progress(text: str) -> None:
    """A line of progress on stderr, unless none is wanted."""
    if waiting.style != "none":
        click.echo(text, err=True)


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list with commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def listed(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """The value of an option that is a list of names with commas."""
    if value is None:
        return None
    if not (names := names_in(value)):
        raise click.BadParameter("expected names with commas between them")
    return names


CHOICE = (  # of what a dataset leaves open: the fields of Choice
    click.option(
        "--test-split", type=click.Choice(NAMES[1:]), default="test", show_default=True, help="Split to test on."
    ),
    click.option(
        "--split", type=Real(0, 1, min_open=True, max_open=True), metavar="SHARE",
        help="For class folders without train and test: the share of each class to train on; the rest is the test set.",
    ),
    *(
        click.option(f"--{kind}-column", metavar="NAME", help=f"Column of {kind}s, if a Parquet file has several.")
        for kind in COLUMNS
    ),
)  # fmt: skip
SELECTION = (
    runs_argument,
    click.option("--dataset", help="Only runs on this dataset."),
    click.option("--recipe", help="Only runs of this recipe: its name, or name-hash as tables show it."),
    click.option(
        "--model",
        "patterns",
        multiple=True,
        metavar="PATTERN",
        help="Only models that match this pattern (repeatable).",
    ),
)


@dataclasses.dataclass(frozen=True)
class Selection:
    """The options of a command that reads stored runs: where, and which of them."""

    runs: tuple[Path, ...]
    dataset: str | None
    recipe: str | None
    patterns: tuple[str, ...]

    def read(self) -> list[Stored]:
        """The stored runs. Raises as :func:`zoo.results.reading.read_runs` does."""
        from zoo.results.reading import read_runs

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


choice_options = gather("choice", Choice, CHOICE)
selection_options = gather("selection", Selection, SELECTION)
