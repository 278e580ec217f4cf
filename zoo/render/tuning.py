"""What tuning found, one row per model, as a table, as CSV or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.recipes.diff import flatten
from zoo.registry.model import Model
from zoo.render.document import as_csv, as_json, document
from zoo.render.marks import percent
from zoo.tuning.study import Trial, TuningReporter

if TYPE_CHECKING:
    from zoo.tuning.outcome import Tuning


def render(tunings: Sequence[Tuning], style: str, title: str) -> str:
    """All of `tunings` in a style of `zoo compare`, ending in a newline."""
    records = [_record(tuning) for tuning in tunings]
    if style == "json":
        return as_json(records)
    if style == "csv":
        return as_csv([flatten({key: value for key, value in record.items() if key != "all"}) for record in records])
    notes = [
        f"The same budget for each model: {words_of(tunings[0].budget.model_dump())}",
        "Held out: validation accuracy of the best trial, optimistically biased by selection; in parentheses that of "
        "the recipe's own values. Test images were not read.",
    ]
    cells = [_cells(tuning, record) for tuning, record in zip(tunings, records, strict=True)]
    return document(title, cells, notes, style)


def words_of(budget: Mapping[str, Any]) -> str:
    """A :class:`zoo.recipes.schema.Tuned` as a mapping in one sentence, but for the model."""
    over = ", ".join(
        f"{key} from {span['low']:g} to {span['high']:g}{' (log)' if span['log'] else ''}"
        for key, span in budget["over"].items()
    )
    startup, trials = budget["startup_trials"], budget["trials"]
    ways = ["the first has the recipe's own values"]
    if trials > 1:
        ways.append(f"{min(startup, trials) - 1} are spread evenly (Halton)")
    if trials > startup:
        ways.append(f"{trials - startup} are drawn by TPE")
    pruned = "none pruned"
    if pruner := budget.get("pruner"):
        pruned = f"median pruner after epoch {pruner['warmup_epochs']} and {startup} whole trials"
    return f"{trials} trials over {over}; {', '.join(ways)}, seed {budget['seed']}, {pruned}."


def _cells(tuning: Tuning, record: Mapping[str, object]) -> dict[str, str]:
    best = tuning.best
    own = "diverged" if tuning.own.diverged else percent(tuning.own.accuracy)
    return {
        "model": tuning.model,
        **{key: "-" if best is None else f"{best.values[key]:g}" for key in tuning.budget.over},
        "held out %": "every trial diverged" if best is None else f"{percent(best.accuracy)} ({own})",
        "best trial": str(record["best_trial"] or "-"),
        **{name: str(record[name]) for name in ("trials", "pruned", "diverged", "epochs")},
        "recipe": str(record["recipe"] or "-"),
    }


def _record(tuning: Tuning) -> dict[str, object]:
    best = tuning.best
    return {
        "model": tuning.model,
        "values": None if best is None else best.values,
        "holdout_accuracy": None if best is None else best.accuracy,
        "own_holdout_accuracy": None if tuning.own.diverged else tuning.own.accuracy,
        "best_trial": None if best is None else best.number + 1,
        "trials": len(tuning.trials),
        "pruned": sum(trial.pruned for trial in tuning.trials),
        "diverged": sum(trial.diverged for trial in tuning.trials),
        "epochs": tuning.epochs,
        "recipe": None if tuning.recipe is None else tuning.recipe.slug,
        "path": None if tuning.path is None else str(tuning.path),
        "budget": tuning.budget.model_dump(mode="json"),
        "all": [
            {
                "values": trial.values,
                "holdout_accuracy": trial.accuracy,
                "epochs": trial.accuracies,
                "diverged": trial.diverged,
            }
            for trial in tuning.trials
        ],
    }


class TrialLines(TuningReporter):
    """What a bench shows, and lines for studies and trials."""

    def starts(self, model: Model, trials: int, done: int, path: Path) -> None:
        """The number of trials that are done."""
        self.say(f"{model.name}: {done} of {trials} trials done, {path}")

    def tries(self, values: dict[str, float | int]) -> None:
        """The values."""
        self.say("  " + ", ".join(f"{key} {value:g}" for key, value in values.items()))

    def ended(self, trial: Trial) -> None:
        """The held-out accuracy."""
        if trial.diverged:
            self.say("  diverged: counted as 0 %")
        elif trial.accuracy is None:
            self.say(f"  pruned after epoch {len(trial.accuracies)}")
        else:
            self.say(f"  held-out accuracy {100 * trial.accuracy:.2f} %")
