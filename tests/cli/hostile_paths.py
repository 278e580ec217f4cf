"""Gives every option that names a path what no path is, of every command, with the net of ``main()`` switched off.

A program of its own, run by ``test_hostile_paths.py`` in an empty folder: where it is root, without the right to enter
what is closed. It prints what was no line of zoo's, then how many were tried.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import click

from zoo.cli import options
from zoo.cli.main import cli
from zoo.errors import ZooError

TEXTS = {"dataset", "data_dir", "registry", "recipe", "a", "b"}  # options that may be a path or a name
TINY = ("--recipe", "smoke", "--set", "split.train=64", "--set", "split.holdout=32", "--set", "epochs=2")
NEEDED = {"models": ("resnet20_bn",), "model": ("resnet20_bn",), "dataset": ("shapes10",), "recipe": ("smoke",),
          "a": ("smoke",), "b": ("smoke",), "name": ("mine",), "repo_id": ("me/mine",), "values": ("--values", "2,4"),
          "trials": ("--trials", "1"), "to": ("--to", "safetensors"), "images": ("a.png",)}  # fmt: skip


def hostile(here: Path) -> dict[str, str]:
    """Paths that something is wrong with, by what it is; files and folders of them are made in `here`."""
    closed, loop, pipe, file = here / "closed", here / "loop", here / "pipe", here / "file"
    closed.mkdir()
    closed.chmod(0)
    loop.symlink_to("loop")
    os.mkfifo(pipe)
    file.write_text("text")
    wrong = {
        "a name of 300 bytes": "./" + "x" * 300, "a path of 5,000 bytes": "x/" * 2500, "no such user": "~nouser/x",
        "no such user's home": "~nouser", "a closed folder": str(closed),
        "in a closed folder": str(closed / "in" / "x"),
        "a link to itself": str(loop), "in a link to itself": str(loop / "x"), "not UTF-8": "./caf\udce9",
        "in a file": str(file / "x"), "control characters": "./a\x1b[31m\nb", "nothing": "",
    }  # fmt: skip
    return wrong | {f"{what}, a YAML": f"{path}.yaml" for what, path in wrong.items() if path and "file" not in what}


def commands(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


def cases(run: str) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    """Words of a command, and the parameter that names a path."""
    for words, command in commands(cli):
        for parameter in command.params:
            if isinstance(parameter.type, click.Path) or parameter.name in TEXTS:
                rest: list[str] = []
                for other in command.params:
                    if other is not parameter and other.required:
                        rest += (run,) if other.name in ("run", "runs") else NEEDED[str(other.name)]
                offered = {name for other in command.params for name in other.opts}
                if "--dry-run" in offered and parameter.name != "runs":
                    rest.append("--dry-run")
                if parameter.name == "data_dir" and "--dataset" in offered:
                    rest += ("--dataset", "cifar10-jpeg")
                elif words[0] in ("speed", "tune", "lr-find"):  # which would work where the path may be what it is
                    rest += ("--device", "none")
                if "--set" in offered and "--recipe" in offered and parameter.name != "recipe":
                    rest += TINY
                yield (*words, *rest), parameter


class Late(BaseException):
    """A command that takes too long."""


def late(number: int, frame: object) -> None:
    raise Late


def ended(*arguments: str) -> str | None:
    """Why the end of a command is none that zoo plans; None where it is."""
    sys.argv = ["zoo", *arguments]
    out, err = io.StringIO(), io.StringIO()
    signal.alarm(90)  # an explanation works here, and takes its time on a busy machine
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main(list(arguments), prog_name="zoo", standalone_mode=False)
        return "Traceback" if "Traceback" in err.getvalue() else None
    except ZooError as problem:
        return None if options.line(problem.parts).isprintable() else f"unprintable: {options.line(problem.parts)!r}"
    except click.ClickException:
        return None
    except BaseException as problem:
        frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if "/zoo/" in frame.filename]
        at = f"{frames[-1].filename.rpartition('/zoo/')[2]}:{frames[-1].lineno}" if frames else ""
        return f"{type(problem).__name__}: {str(problem)[:120]!r} at {at}"
    finally:
        signal.alarm(0)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
    signal.signal(signal.SIGALRM, late)
    whole, tried, held, random_of = "whole" in sys.argv, 0, 0, random.Random(25)
    run = "runs/none"
    if whole:
        with contextlib.redirect_stdout(sys.stderr):
            cli.main(["bench", "resnet20_bn", *TINY], prog_name="zoo", standalone_mode=False)
        run = str(next(Path("runs").rglob("result.json")).parent)
    values = hostile(Path("hostile").resolve()) if not Path("hostile").mkdir() else {}
    for words, parameter in cases(run):
        trains = parameter.name == "runs" and words[0] in ("bench", "study", "tune")
        if (trains and not whole) or words[0] == "serve":
            continue
        for what, value in values.items():
            if not whole and random_of.random() > 0.04:
                continue
            named = (value,) if isinstance(parameter, click.Argument) else (parameter.opts[0], value)
            # An argument goes before the others that are its like.
            arguments = (*words[:1], *named, *words[1:]) if isinstance(parameter, click.Argument) else (*words, *named)
            if words[0] in ("data", "new", "plot", "recipe", "study") and isinstance(parameter, click.Argument):
                arguments = (*words[:2], *named, *words[2:])
            tried += 1
            if (wrong := ended(*arguments)) is None:
                held += 1
            else:
                print(f"wrong: {' '.join(words)} {parameter.opts[0]}: {what}: {wrong}", flush=True)
    print(f"tried {tried}, held {held}")


if __name__ == "__main__":
    main()
