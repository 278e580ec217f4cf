"""Learning rate range tests as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.render.document import as_csv, as_json, document
from zoo.render.figures import COLOURS, figure
from zoo.tuning.lr_find import BEGINNING, DIVERGED, SHARE, SMOOTHING, RangeTest


def render(found: Sequence[RangeTest], style: str, title: str) -> str:
    """One row per model: both suggestions, and what to add to a command for each. JSON has the curves too."""
    if style == "json":
        return as_json([_record(one) | {"rates": one.rates, "losses": one.losses} for one in found])
    if style == "csv":
        return as_csv([_record(one) for one in found])
    cells = [
        {
            "model": one.model,
            "first loss": f"{one.losses[0]:.3f}",
            "lowest loss": f"{min(one.losses):.3f}",
            "lr at lowest": f"{one.rates[one.losses.index(min(one.losses))]:.3g}",
            "lr at divergence": _rate(one.diverged),
            "steepest descent": _rate(one.steepest),
            f"{SHARE:g} of divergence": _rate(one.share),
        }
        for one in found
    ]
    lines = [
        f"{one.model}, {rule}: --set optimizer.lr={rate:.3g}"
        for one in found
        for rule, rate in (("steepest descent", one.steepest), (f"{SHARE:g} of divergence", one.share))
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


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _record(one: RangeTest) -> dict[str, object]:
    return {
        "model": one.model, "steps": len(one.losses), "first_loss": one.losses[0], "lowest_loss": min(one.losses),
        "lr_at_lowest": one.rates[one.losses.index(min(one.losses))], "lr_at_divergence": one.diverged,
        "steepest_descent": one.steepest, "share_of_divergence": one.share,
    }  # fmt: skip


def draw(found: Sequence[RangeTest], title: str, path: Path) -> None:
    """Smoothed loss against the learning rate, a dot at the steepest descent and a cross at the share of divergence."""
    with figure(path, width=6.5, height=3.8) as made:
        axes = made.subplots()
        for number, one in enumerate(found):
            colour = COLOURS[number % len(COLOURS)]
            style = "-" if number < len(COLOURS) else "--"
            axes.plot(one.rates, one.losses, style, color=colour, linewidth=1.3, label=one.model)
            for rate, mark in ((one.steepest, "o"), (one.share, "x")):
                if rate is not None:
                    near = min(range(len(one.rates)), key=lambda step, rate=rate: abs(one.rates[step] - rate))
                    axes.plot(rate, one.losses[near], mark, color=colour, markersize=6)
        # A rise beyond says no more than that it diverged.
        axes.set_ylim(top=1.5 * max(max(one.losses[: one.beginning]) for one in found))
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss, smoothed")
        axes.plot([], [], "o", color="#777777", label="steepest descent")
        axes.plot([], [], "x", color="#777777", label=f"{SHARE:g} of divergence")
        axes.legend(fontsize=8)
        axes.set_title(title, fontsize=8)
