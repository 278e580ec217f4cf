"""Progress of a bench: a bar on a terminal, plain lines elsewhere. Goes to stderr, so that stdout is the table."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from zoo.engine.reporter import Reporter
from zoo.errors import RegistryError
from zoo.render.marks import marks_of, percent
from zoo.render.time_left import TimeLeft
from zoo.results.history import EpochRow
from zoo.results.run import Run
from zoo.results.schema import Result, SettingsPart
from zoo.utils import waiting
from zoo.utils.text import duration

WIDTH = 80  # columns that a line of numbers may have
OFTEN = 0.1  # seconds between two changes of the bar
BAR = 10  # columns of it at least
HEAD = 20  # epochs below one line of names


class Silent(Reporter):
    """No progress: only what is said beside it, such as why a model failed."""

    def __init__(self, quiet: bool = False) -> None:
        moves = waiting.style == "bar" or None
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet, force_terminal=moves)

    def plan(self, work: Mapping[Path, float]) -> None:
        """How much there is to do for each run, by its folder, in seconds or what is proportional to them."""

    def say(self, text: str) -> None:
        """Print one line. A terminal breaks a longer one between words, unless it may end in a command to be copied."""
        if self.console.file.isatty() and len(text) > self.console.width and not text.startswith("zoo: "):
            indent = " " * (len(text) - len(text.lstrip()) + 2)
            text = textwrap.fill(
                text, self.console.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
        self.console.print(text, markup=False)

    def moved(self, changed: Sequence[str]) -> None:
        """What is another machine's."""
        self.say(
            f"  begun with another {', '.join(changed)}: the result may differ from that of a run that was not moved, "
            "and the speed is measured from here on"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Lines(Silent):
    """Plain lines: one per epoch. The base of :class:`Bars`, which adds what moves."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.left = TimeLeft({})
        self._since_head, self._starred = HEAD, False  # epochs below the last line of names

    def plan(self, work: Mapping[Path, float]) -> None:
        """The time that is left is of these."""
        self.left = TimeLeft(work)

    def run(self, run: Run, number: int, total: int) -> None:
        """The run's number, name and label."""
        self._folder, self._since_head = run.folder.path, HEAD
        self.left.begin(self._folder)
        self.say(f"[{number}/{total}] {run.name}: {run.model.label}")

    def resolved(self, run: Run, settings: SettingsPart) -> None:
        """Where it trains and how."""
        workers = f", {settings.workers} workers" if settings.workers else ""
        compiled = ", compiled" if settings.compiled else ""
        self.say(f"  {settings.device}, {settings.layout}{compiled}, augmentation: {settings.executor}{workers}")

    def resumed(self, epoch: int, epochs: int) -> None:
        """After which epoch."""
        self.left.begin(self._folder, epoch / epochs)
        self.say(f"  resumes after epoch {epoch} of {epochs}")

    def stepped(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """The time that is left follows."""
        self.left.reach(self._folder, (epoch - 1 + step / steps) / epochs)

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """The epoch's metrics under their names, and the time that is left; a star where it is the best so far."""
        self.left.reach(self._folder, row.epoch / epochs)
        if saved and not self._starred:
            self.say(f"  *: the best epoch so far on the {row.eval_split} images; its weights are kept")
            self._starred = True
        head, line = _columns(row, epochs, saved, self.left)
        if self._since_head == HEAD:
            self.say(head)
            self._since_head = 0
        self._since_head += 1
        self.say(line)

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """The result and where it is stored."""
        self.left.end(run.folder.path, was_done)
        how = "was done before" if was_done else duration(result.wall_seconds)
        self.say(f"  {_outcome(result)} ({how}), {run.folder.path}")

    def failed(self, run: Run, problem: RegistryError) -> None:
        """No more runs of its model take time."""
        self.left.drop(run.folder.path.parent)


class _Beside(ProgressColumn):
    """Of the texts beside a bar as many as there is room for, whenever it is drawn."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def render(self, task: Task) -> Text:
        """The text."""
        return Text(fitting(task.fields["parts"], "  ", self.console.width - len(task.description) - BAR - 2))


class Bars(Lines):
    """Lines, and under them a bar over the steps of the current epoch, from before its first step on."""

    def __init__(self) -> None:
        super().__init__()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=None), _Beside(self.console))
        self.bars = Progress(*columns, console=self.console, transient=True, expand=True)
        self.task = self.bars.add_task("", total=None, parts=[""], visible=False)
        self._metrics: list[str] = []
        self._drawn = 0.0

    def run(self, run: Run, number: int, total: int) -> None:
        """A new run has no bar yet."""
        self._metrics = []
        self.bars.update(self.task, visible=False)
        super().run(run, number, total)

    def stepped(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """The bar advances, not too often."""
        super().stepped(epoch, epochs, step, steps)
        if 0 < step < steps and time.monotonic() - self._drawn < OFTEN:
            return
        self._drawn = time.monotonic()
        parts = [f"{100 * step // steps} %", *self.left.words, *self._metrics]
        name = f"  epoch {epoch}/{epochs}"
        self.bars.update(self.task, visible=True, description=name, total=steps, completed=step, parts=parts)

    def window(self, epoch: int, epochs: int, step: int, steps: int, loss: float, accuracy: float, rate: float) -> None:
        """What the bar shows beside itself."""
        self._metrics = [f"{_rate(rate)} img/s", f"acc {100 * accuracy:.2f} %", f"loss {loss:.3f}"]

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """The bar starts again."""
        self.bars.reset(self.task, visible=False)
        super().epoch(row, epochs, rose_from, saved)

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()


class Gathered(Lines):
    """Lines of runs that go on at the same time elsewhere: each names its run."""

    def run(self, run: Run, number: int, total: int) -> None:
        """Called when the run has ended."""
        self._place = f"[{number}/{total}]"

    def resolved(self, run: Run, settings: SettingsPart) -> None:
        """Not shown."""

    def began(self, run: Run, node: str, times: int) -> None:
        """A worker took the run up."""
        self.left.start()
        self.say(f"{run.name}: begun on {node}" + (f" again, attempt {times}" if times > 1 else ""))

    def advanced(self, run: Run, row: EpochRow, epochs: int) -> None:
        """The epoch's metrics, and the time that is left for all runs."""
        self.left.reach(run.folder.path, row.epoch / epochs, (row.epoch - 1) / epochs)
        accuracy, split = row.eval_accuracy, row.eval_split
        parts = [
            f"{run.name}: epoch {row.epoch:>{len(str(epochs))}}/{epochs}",
            f"train loss {row.running_train_loss:.3f}" if accuracy is None else f"{split} {100 * accuracy:.2f} %",
            f"{_rate(row.train_images_per_second)} img/s",
            *self.left.words_of_all,
        ]
        self.say(fitting(parts, "  ", WIDTH))

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """The result and where it is stored."""
        self.left.end(run.folder.path, was_done)
        how = "was done before" if was_done else f"{duration(result.wall_seconds)}, resumes: {result.resumes}"
        self.say(f"{self._place} {run.name}: {_outcome(result)} ({how}), {run.folder.path}")


def make_reporter(quiet: bool, together: bool = False) -> Silent:
    """What :data:`zoo.utils.waiting.style` asks for; nothing at all where `quiet`. `together`: runs go on at once."""
    if quiet:
        return Lines(quiet=True)
    if waiting.style == "none":
        return Silent()
    if together:
        return Gathered()
    return Bars() if waiting.style == "bar" else Lines()


def fitting(parts: Sequence[str], between: str, width: int) -> str:
    """The first `parts`, as many as there is room for; the first in any case."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + len(between) + len(part) > width:
            break
        text += between + part
    return text


def _columns(row: EpochRow, epochs: int, saved: bool, left: TimeLeft) -> tuple[str, str]:
    """The names of an epoch's numbers, and below them the numbers."""
    cells = [
        ("epoch", f"{row.epoch}/{epochs}", 2 * len(str(epochs)) + 1),
        ("train loss", f"{row.running_train_loss:.3f}", 6),
        ("acc %", f"{100 * row.running_train_accuracy:.2f}", 6),
    ]
    if row.eval_split and row.eval_loss is not None and row.eval_accuracy is not None:
        cells += [
            (f"{row.eval_split} loss", f"{row.eval_loss:.3f}", 6),
            ("acc %", f"{100 * row.eval_accuracy:.2f}{'*' if saved else ' '}", 7),
        ]
    cells += [("img/s", _rate(row.train_images_per_second), 6), *((name, text, 8) for name, text in left.columns)]
    lines: list[str] = []
    for short in ("", " loss"):  # of two names, where the long ones need too much room
        named = [(name.removesuffix(short), text, width) for name, text, width in cells]
        widths = [max(len(name), width) for name, _, width in named]
        lines = [
            "  " + "  ".join(f"{cell[kind]:>{width}}" for cell, width in zip(named, widths, strict=True))
            for kind in (0, 1)
        ]
        if len(lines[1]) <= WIDTH:
            break
    return lines[0].rstrip(), lines[1].rstrip()


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.1f}"


def _outcome(result: Result) -> str:
    if result.status == "diverged":
        return f"diverged at epoch {result.diverged_epoch}, step {result.diverged_step}"
    selected = " selection: test" * (result.selection.split == "test")
    beside, balance = "", result.test.balance
    if balance:
        beside = f", balanced {percent(balance.accuracy)} %, largest class {percent(balance.largest_class)} %"
    return f"test accuracy {percent(result.test.accuracy)} %{marks_of(result.caveats)}{beside}{selected}"
