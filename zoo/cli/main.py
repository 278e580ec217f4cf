"""The command line: the only place that exits. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Any, NoReturn

import click

from zoo.cli import (
    bench,
    compare,
    completion,
    data,
    evaluate,
    explain,
    export,
    listing,
    lr_find,
    new,
    options,
    plot,
    plugins,
    predict,
    push,
    recipe,
    report,
    serve,
    show,
    speed,
    study,
    tune,
)
from zoo.cli.options import INTERRUPTED
from zoo.errors import Words, ZooError, out_of_memory, unknown
from zoo.registry.foreign import described
from zoo.utils import waiting
from zoo.utils.text import visible
from zoo.utils.version import __version__

GRACE = 5.0  # seconds in which torchrun ends the processes of one that failed


class Commands(click.Group):
    """A click group that names the command nearest to a mistyped one, and lists its commands by section."""

    def __init__(self, *arguments: Any, sections: Mapping[str, Mapping[str, str]] | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.sections = sections

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A whole line for each command; click would cut it."""
        own = {name: command.get_short_help_str(limit=1000) for name, command in self.commands.items()}
        width = max(map(len, own)) + 2
        for title, lines in (self.sections or {"Commands": own}).items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width - 2), lines[name]) for name in lines])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises :class:`zoo.errors.UnknownNameError`."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            there = f"there are: {', '.join(self.commands)}"
            raise unknown("command", name, self.commands, f"{ctx.command_path} --help", there)
        return super().resolve_command(ctx, args)


SECTIONS = {
    "Train": {
        "bench": "Train, evaluate and measure models under one recipe.",
        "tune": "Find each model's best hyperparameters under one budget.",
        "lr-find": "Run a learning rate range test for each model.",
        "study": "Vary one part of a recipe, for all models alike.",
        "speed": "Measure training and inference throughput.",
    },
    "Compare": {
        "compare": "Show stored results as tables, with verdicts.",
        "evaluate": "Evaluate finished runs on other or corrupted images.",
        "report": "Write the stored results as a web page.",
        "serve": "Serve that page, updated while a bench runs.",
        "plot": "Draw figures for papers.",
    },
    "Look": {
        "list": "List norms, architectures, models and recipes.",
        "show": "Show the layers and sizes of a model.",
        "recipe": "Show a recipe, or how two recipes differ.",
        "data": "Find, fetch, check and view datasets.",
        "explain": "Visualise what a trained model gets right and wrong.",
        "predict": "Classify image files with a trained model.",
    },
    "Extend": {
        "new": "Create a package with a norm, an architecture or a recipe.",
        "plugins": "List installed packages that add such parts.",
        "completion": "Print the completion script of a shell.",
    },
    "Share": {
        "export": "Export a trained model as safetensors, a program or ONNX.",
        "push": "Upload a trained model to the Hugging Face Hub.",
    },
}


@click.group(
    cls=Commands,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="zoo")
def cli() -> None:
    """Benchmark CIFAR-10 classifiers and normalisation layers under one fixed training recipe.

    \b
    zoo bench resnet18_bn resnet18_ln --recipe smoke   # 2-4 minutes on a laptop
    zoo compare                                        # the table again
    zoo list                                           # what can be benched
    """


for command in (
    bench.bench,
    compare.compare,
    evaluate.evaluate,
    explain.explain,
    predict.predict,
    export.export,
    push.push,
    report.report,
    serve.serve,
    listing.list_,
    show.show,
    speed.speed,
    tune.tune,
    lr_find.lr_find,
    plugins.plugins,
    completion.completion,
):
    cli.add_command(command)
for name, group in {"data": data, "new": new, "plot": plot, "recipe": recipe, "study": study}.items():
    cli.add_command(Commands(name=name, commands=group.commands, help=group.HELP))
for command in (  # that may take long
    bench.bench,
    compare.compare,
    evaluate.evaluate,
    report.report,
    serve.serve,
    speed.speed,
    tune.tune,
    lr_find.lr_find,
    data.commands["fetch"],
    *plot.commands.values(),
    *study.commands.values(),
):
    options.progress(command)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 a mistake of the user in one line on stderr, 130 interrupted.

    ``ZOO_TRACEBACK=1`` shows where a mistake was noticed, for authors of plugins.
    """
    signal.signal(signal.SIGTERM, _terminated)
    logging.getLogger("zoo").addFilter(_worded)
    if isinstance(sys.stdout, io.TextIOWrapper):  # as Python's stderr is: a name that is not UTF-8 ends no table
        sys.stdout.reconfigure(errors="backslashreplace")
    waiting.show(None)
    try:
        words = sys.argv[1:] if arguments is None else arguments
        code = cli.main(args=list(words), prog_name="zoo", standalone_mode=False, obj=words)
    except ZooError as problem:
        if os.environ.get("ZOO_TRACEBACK"):
            raise
        if _told_by_the_first():
            sys.exit(problem.exit_code)
        _fail(problem.exit_code, *problem.parts)
    except click.exceptions.NoArgsIsHelpError as problem:  # bare `zoo`, `zoo data`: the help, as it is
        click.echo(problem.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as problem:
        _fail(2, problem.format_message())
    except (click.Abort, KeyboardInterrupt):
        _fail(INTERRUPTED, "interrupted")
    except BaseException as problem:
        _caught(problem)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _caught(problem: BaseException) -> None:
    """The net under all readers and guards: exit with one line for what is no bug; a bug keeps its traceback."""
    if os.environ.get("ZOO_TRACEBACK") or "_ZOO_COMPLETE" in os.environ:
        return
    *_, (frame, _) = traceback.walk_tb(problem.__traceback__)
    module = str(frame.f_globals.get("__name__"))
    if isinstance(problem, SystemExit) and module.startswith("zoo."):  # of a process beside the first
        return
    if isinstance(problem, SystemExit) and module == "click.core":  # of `zoo list | head`
        _write_no_more()
        sys.exit(0)
    if full := out_of_memory(problem):
        _fail(full.exit_code, *full.parts)
    if isinstance(problem, OSError) and problem.filename is not None:
        _fail(2, f"{problem.filename}: {problem.strerror or problem}; check that it is there, and its permissions")
    # Every file has a name; what has none is where the tables go, as in `zoo compare > table.txt` on a full disk.
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        _write_no_more()
        _fail(2, f"the output cannot be written ({problem.strerror}); what is finished is stored")
    if isinstance(problem, UnicodeEncodeError):
        text = problem.object[problem.start : problem.end]
        _fail(2, f"the output cannot be written: {problem.encoding} has no {text!a}; set PYTHONUTF8=1")
    if isinstance(problem, RecursionError):
        _fail(2, f"something is nested too deeply: {described(problem)}; flatten it")
    if not isinstance(problem, Exception):
        _fail(2, f"code outside zoo ended the command: {described(problem)}; remove that call")


def _write_no_more() -> None:
    """What is left to print would fail again as Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(code: int, *message: Words) -> NoReturn:
    click.echo(f"zoo: {options.line(message)}", err=True)
    sys.exit(code)


def _worded(record: logging.LogRecord) -> bool:
    """Put the errors inside a warning into the words of the command line, on one line; every warning passes."""
    if isinstance(record.args, tuple):
        record.args = tuple(options.line(part.parts) if isinstance(part, ZooError) else part for part in record.args)
    record.msg, record.args = visible(record.getMessage()), ()
    return True


def _told_by_the_first() -> bool:
    """Under torchrun every process makes the same mistake, and the first tells it: then torchrun ends the others here.

    A mistake of one process alone, or one that the first is not yet at, is told by the process that makes it.
    """
    if os.environ.get("RANK", "0") == "0":
        return False
    try:
        time.sleep(GRACE)
    except KeyboardInterrupt:
        return True
    return False


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
