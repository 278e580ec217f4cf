"""Learning rate range tests as a table and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from zoo.errors import Option
from zoo.render.document import as_csv, as_json, document
from zoo.render.figures import COLOURS, figure
from zoo.render.marks import better, number
from zoo.tuning.lr_find import BEGINNING, DIVERGED, SHARE, SMOOTHING, RangeTest


def render(tests: Sequence[RangeTest], style: str, title: str, word: Callable[[Option], str] = str) -> str:
    """One row per model: both suggestions, and the option that sets each as `word` puts it. JSON has the curves too."""
    if style == "json":
        return as_json([_record(test) | {"rates": test.rates, "losses": test.losses} for test in tests])
    if style == "csv":
        return as_csv([_record(test) for test in tests])
    cells = [
        {
            "model": test.model,
            "first loss": f"{test.losses[0]:.3f}",
            "lowest loss": f"{min(test.losses):.3f}",
            "lr at lowest": f"{test.rates[test.losses.index(min(test.losses))]:.3g}",
            "lr at divergence": number(test.diverged, "{:.3g}"),
            "steepest descent": number(test.steepest, "{:.3g}"),
            f"{SHARE:g} of divergence": number(test.share, "{:.3g}"),
        }
        for test in tests
    ]
    lines = [
        f"{test.model}, {rule}: {word(Option('set', f'optimizer.lr={rate:.3g}'))}"
        for test in tests
        for rule, rate in (("steepest descent", test.steepest), (f"{SHARE:g} of divergence", test.share))
        if rate is not None
    ]
    notes = [
        f"Training loss, smoothed ({SMOOTHING:g} of the past kept each step). Steepest descent: where it falls fastest "
        f"with the logarithm of the rate, before its lowest. Divergence: {DIVERGED:g} times the highest of the first "
        f"{BEGINNING:.0%} of steps, or no number.",
        "Both are first guesses of the peak rate from one seed; a rate for each model is no longer one recipe for all.",
    ]
    mark = "- " if style == "markdown" else ""  # else they would flow into one paragraph
    return document(title, cells, [mark + line for line in (*lines, *notes)], style)


def _record(test: RangeTest) -> dict[str, object]:
    return {
        "model": test.model, "steps": len(test.losses), "first_loss": test.losses[0], "lowest_loss": min(test.losses),
        "lr_at_lowest": test.rates[test.losses.index(min(test.losses))], "lr_at_divergence": test.diverged,
        "steepest_descent": test.steepest, "share_of_divergence": test.share,
    }  # fmt: skip


def draw(tests: Sequence[RangeTest], title: str, path: Path) -> None:
    """Smoothed loss by learning rate, a dot at the steepest descent and a diamond at the share of divergence."""
    with figure(path, width=6.5, height=3.8) as image:
        axes = image.subplots()
        for place, test in enumerate(tests):
            colour = COLOURS[place % len(COLOURS)]
            style = "-" if place < len(COLOURS) else "--"
            axes.plot(test.rates, test.losses, style, color=colour, linewidth=1.3, label=test.model)
            for rate, mark in ((test.steepest, "o"), (test.share, "d")):
                if rate is not None:
                    _, near = min((abs(other - rate), step) for step, other in enumerate(test.rates))
                    axes.plot(rate, test.losses[near], mark, color=colour, markersize=6)
        # A rise beyond says no more than that it diverged.
        axes.set_ylim(top=1.5 * max(max(test.losses[: test.beginning]) for test in tests))
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel(f"training loss, smoothed\n{better(smaller=True)}")
        axes.plot([], [], "o", color="#777777", label="steepest descent")
        axes.plot([], [], "d", color="#777777", label=f"{SHARE:g} of divergence")
        axes.legend(fontsize=8)
        axes.set_title(title, fontsize=8)
