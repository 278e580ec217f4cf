"""Progress of a bench: live bars on a terminal, plain lines elsewhere. Goes to stderr, so that stdout is the table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.engine.reporter import Reporter
from zoo.render.marks import marks_of, percent
from zoo.results.history import EpochRow
from zoo.results.run import Run
from zoo.results.schema import Result, SettingsPart


class Lines(Reporter):
    """Plain lines: one per epoch. The base of :class:`Bars`, which adds what moves."""

    def __init__(self, quiet: bool) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False)

    def run(self, run: Run, number: int, total: int) -> None:
        """The run's number, name and label."""
        self.say(f"[{number}/{total}] {run.name}: {run.model.label}")

    def resolved(self, run: Run, settings: SettingsPart) -> None:
        """Where it trains and how."""
        workers = f", {settings.workers} workers" if settings.workers else ""
        compiled = ", compiled" if settings.compiled else ""
        self.say(f"  {settings.device}, {settings.layout}{compiled}, augmentation: {settings.executor}{workers}")

    def moved(self, changed: Sequence[str]) -> None:
        """What is another machine's."""
        self.say(
            f"  begun with another {', '.join(changed)}: what comes out may differ from a run that was not moved, and "
            "only the speed from here on counts"
        )

    def resumed(self, epoch: int, epochs: int) -> None:
        """After which epoch."""
        self.say(f"  goes on after epoch {epoch} of {epochs}")

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """The epoch's metrics, the time that is left and whether it is the best so far."""
        parts = [*_metrics(row, epochs), _time_left(row, epochs), _saved(row, rose_from) if saved else ""]
        self.say(f"  {'  '.join(filter(None, parts))}")

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """The result and where it is stored."""
        how = "was done before" if was_done else f"{result.wall_seconds:.0f} s"
        self.say(f"  {_outcome(result)} ({how}), {run.folder.path}")

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Bars(Lines):
    """Lines, and under them a bar over the steps of the current epoch."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self.bars = Progress(
            TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(), console=self.console, transient=True,
        )  # fmt: skip
        self.task = self.bars.add_task("", total=None, metrics="", visible=False)

    def run(self, run: Run, number: int, total: int) -> None:
        """A new run has no bar yet."""
        self.bars.update(self.task, visible=False)
        super().run(run, number, total)

    def window(self, epoch: int, epochs: int, step: int, steps: int, loss: float, accuracy: float, rate: float) -> None:
        """The bar advances."""
        self.bars.update(
            self.task,
            visible=True,
            description=f"epoch {epoch}/{epochs}",
            total=steps,
            completed=step,
            metrics=f"loss {loss:.3f} acc {100 * accuracy:.2f} % {rate:,.0f} img/s",
        )

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """The bar starts again."""
        self.bars.reset(self.task, visible=False)
        super().epoch(row, epochs, rose_from, saved)

    def __enter__(self) -> Bars:
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
        self.say(f"{run.name}: begun on {node}" + (f" again, attempt {times}" if times > 1 else ""))

    def advanced(self, run: Run, row: EpochRow, epochs: int) -> None:
        """The epoch's metrics."""
        self.say(f"{run.name}: {'  '.join(_metrics(row, epochs))}")

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """The result and where it is stored."""
        how = "was done before" if was_done else f"{result.wall_seconds:.1f} s, resumes: {result.resumes}"
        self.say(f"{self._place} {run.name}: {_outcome(result)} ({how}), {run.folder.path}")


def make_reporter(quiet: bool) -> Lines:
    """Bars where stderr is a terminal, lines elsewhere; nothing at all where `quiet`."""
    reporter = Lines(quiet)
    return Bars(quiet) if reporter.console.is_terminal and not quiet else reporter


def _metrics(row: EpochRow, epochs: int) -> list[str]:
    parts = [
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}",
        f"lr {row.lr:.4f}",
        f"running train loss {row.running_train_loss:.3f} acc {100 * row.running_train_accuracy:5.2f} %",
    ]
    if row.eval_split and row.eval_loss is not None and row.eval_accuracy is not None:
        parts.append(f"{row.eval_split} loss {row.eval_loss:.3f} acc {100 * row.eval_accuracy:5.2f} %")
    return [*parts, f"{row.train_images_per_second:,.0f} img/s"]


def _time_left(row: EpochRow, epochs: int) -> str:
    """At the pace of the last epoch."""
    minutes, seconds = divmod(round((row.train_seconds + row.eval_seconds) * (epochs - row.epoch)), 60)
    return f"{minutes}:{seconds:02d} left" if row.epoch < epochs else ""


def _outcome(result: Result) -> str:
    if result.status == "diverged":
        return f"diverged at epoch {result.diverged_epoch}, step {result.diverged_step}"
    selected = " selection: test" * (result.selection.split == "test")
    beside, balance = "", result.test.balance
    if balance:
        beside = f", balanced {percent(balance.accuracy)} %, largest class {percent(balance.largest_class)} %"
    return f"test accuracy {percent(result.test.accuracy)} %{marks_of(result.caveats)}{beside}{selected}"


def _saved(row: EpochRow, rose_from: float | None) -> str:
    # `rose_from` is the selection value: an accuracy, or a loss with its sign turned.
    if rose_from is None:
        return "saved, the first"
    if rose_from < 0:
        return f"saved, loss fell from {-rose_from:.4f} to {row.eval_loss:.4f}"
    return f"saved, accuracy rose from {percent(rose_from)} to {percent(row.eval_accuracy)} %"
