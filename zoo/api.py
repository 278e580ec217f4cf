"""zoo in Python: build a model, stored runs as a DataFrame, the comparison of them. docs/api.md shows it.

``import zoo`` gives :func:`build`, :func:`load_model`, :func:`load_results` and :func:`compare` directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from zoo.errors import ResultError, unknown
from zoo.render.shown import VIEWS, Shown

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from zoo.comparison.groups import Group
    from zoo.results.begun import Begun
    from zoo.results.folder import Stored
    from zoo.results.reading import Roots
    from zoo.trained.model import TrainedModel

# Columns of :func:`load_results` that may be missing, by the pandas type that holds them.
INTEGERS = (
    "batch_dependent", "diverged_epoch", "selected_epoch", "epochs_to_90_percent_of_final", "activation_bytes",
    "inference_batch_size", "peak_memory_bytes", "cores", "threads",
)  # fmt: skip
FLOATS = (
    "accuracy", "top5_accuracy", "loss", "ece", "brier", "balanced_accuracy", "largest_class_share", "holdout_accuracy",
    "train_accuracy",
    "train_images_per_second", "inference_images_per_second", "latency_p50", "latency_p90", "latency_p99",
    "train_images_per_second_low", "train_images_per_second_high", "inference_images_per_second_low",
    "inference_images_per_second_high", "latency_p50_low", "latency_p50_high",
)  # fmt: skip


def build(
    name: str,
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    image_size: tuple[int, int] = (32, 32),
    registry: str | Path | None = None,
) -> nn.Module:
    """The model called `name` (``resnet18_ln``, any ``<architecture>_<norm>``), freshly initialised, on the CPU.

    It maps (N, `in_channels`, H, W) images to (N, `num_classes`) logits, unless its own builder takes neither number.
    `image_size` is (H, W), for models that have to be shown an image to be built, such as ``NAME@NORM``. `registry`: a
    ``registry.yaml`` above all others, as ``--registry`` is. Initial weights come from torch's own generator, which
    ``torch.manual_seed`` sets.

    Raises :class:`zoo.errors.UnknownNameError` with the nearest names, and :class:`zoo.errors.RegistryError` for a
    registry or a builder that is wrong, and for no classes or channels.
    """
    from zoo.builder.construct import build as make
    from zoo.registry.merge import load_registry

    return make(load_registry(registry).resolve(name), num_classes, in_channels, (image_size[0], image_size[1]))


def load_model(run: str | Path, *, device: str = "cpu", registry: str | Path | None = None) -> TrainedModel:
    """The trained model of one finished `run`: its folder, or ``published:NAME`` for weights that come with zoo.

    Of the result, ``.module`` is the ``nn.Module`` with its weights, ``.preprocess(images)`` makes its input,
    ``.classes`` names its outputs; called with images it gives the logits as the run's test computed them.
    `device` and `registry` are those of the commands.

    Raises :class:`zoo.errors.ResultError` for runs without weights or with another definition of the model, and
    :class:`zoo.errors.UnknownNameError` for a model of which no weights are published.
    """
    from zoo.engine.machine import choose_device
    from zoo.registry.merge import load_registry
    from zoo.results.published import located
    from zoo.trained.load import open_run
    from zoo.trained.model import TrainedModel

    trained, chosen = open_run(located(run), load_registry(registry)), choose_device(device)
    return TrainedModel(trained, trained.load(chosen), chosen)


def load_results(
    runs: Roots, *, dataset: str | None = None, recipe: str | None = None, model: str | Sequence[str] = ()
) -> pd.DataFrame:
    """One row per stored run under `runs` (a folder, a ``result.json``, or several), diverged ones too.

    `dataset`, `recipe` (a name, or name-fingerprint as tables show it) and `model` (patterns) choose among them. The
    columns are those of docs/columns.md: accuracies and shares from 0 to 1, losses in nats, latencies in seconds, and
    memory in bytes. What a run does not have is missing (NaN, <NA> or None), never 0. Copies of one run count once.

    The rows may differ in recipe, dataset, definition of the model and machine. Group by ``dataset_fingerprint``,
    ``fingerprint``, ``model`` and ``definition`` before you compare accuracies, or use :func:`compare`, which does.

    Raises :class:`zoo.errors.ResultError` for no or damaged runs, :class:`zoo.errors.UnknownNameError` for a choice
    that no run meets.
    """
    import pandas as pd

    from zoo.results.reading import read_runs

    rows: dict[str, dict[str, Any]] = {}
    for stored in read_runs(runs, dataset, recipe, model):
        rows.setdefault(stored.result.model_dump_json(), _flat(stored))
    frame = pd.DataFrame(list(rows.values()))
    return frame.astype(dict.fromkeys(INTEGERS, "Int64") | dict.fromkeys(FLOATS, "float64"))


class Comparison(list["Group"]):
    """The groups of :func:`zoo.comparison.groups.compare`. Shows itself as ``zoo compare`` does, in a notebook in HTML.

    So does a slice of it: ``comparison[:1]``.

    `left_out` is a line with the number of runs that :func:`compare` left out with `tuned`, empty where there are none.
    `begun`: the runs beside those compared that are not finished.
    """

    left_out: str = ""
    begun: Sequence[Begun] = ()
    _shown: Shown = Shown()

    def select(
        self, view: str | None = None, columns: Iterable[str] | None = None, sort: str | None = None
    ) -> Comparison:
        """The same comparison with other columns or in another order.

        `view` is ``"cost"``, ``"quality"``, ``"differences"`` or ``"all"``; `columns` are names as in CSV, in place of
        a view. `sort` is a column's name, best first; with a minus in front, worst first. A column that there is not
        raises :class:`zoo.errors.UnknownNameError` where the tables are made.
        """
        if view is not None and view not in VIEWS:
            raise unknown("view", view, VIEWS, "the comparison", f"there are: {', '.join(VIEWS)}")
        selected = self[:]
        selected.left_out, selected.begun = self.left_out, self.begun
        selected._shown = Shown(view, (columns,) if isinstance(columns, str) else tuple(columns or ()), sort)
        return selected

    def format(self, style: str = "text") -> str:
        """The tables as ``"text"``, ``"markdown"``, ``"csv"``, ``"latex"`` or ``"json"``, ending in a newline."""
        from zoo.render.comparison import render
        from zoo.render.document import FORMATS

        if style not in FORMATS:
            raise unknown("format", style, FORMATS, "the comparison", f"there are: {', '.join(FORMATS)}")
        return render(self, style, self._shown)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Group: ...

    @overload
    def __getitem__(self, index: slice) -> Comparison: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Group | Comparison:
        if isinstance(index, slice):
            part = Comparison(super().__getitem__(index))
            part._shown = self._shown
            return part
        return super().__getitem__(index)

    def __repr__(self) -> str:
        return "".join([self.format(), *(f"{line}\n" for line in self.lines)])

    def _repr_html_(self) -> str:
        from zoo.render.comparison import groups_html

        return "\n".join(
            [groups_html(self, self._shown), *(f"<p><small>{escape(line)}</small></p>" for line in self.lines)]
        )

    @property
    def lines(self) -> list[str]:
        """What is said below the tables of runs that are not in them."""
        from zoo.results.begun import lines

        return [*filter(None, [self.left_out]), *lines(self.begun)]


def compare(
    runs: Roots,
    baseline: str | None = None,
    *,
    dataset: str | None = None,
    recipe: str | None = None,
    model: str | Sequence[str] = (),
    mixed: bool = False,
    tuned: bool = False,
    seconds_to: float | None = None,
    margin: float | None = None,
    allow_dirty: bool = False,
) -> Comparison:
    """The stored runs under `runs` as ``zoo compare`` shows them: one group per data set and recipe, one row per model.

    `baseline` tests every other model against that one. `dataset` and `recipe` choose as in :func:`load_results`;
    `model` hides other rows, whose seeds still count in the tests. `tuned` shows only runs of recipes that ``zoo tune``
    made for their model, one group per budget. `mixed`, `seconds_to` (an accuracy, 0 to 1), `margin` (of accuracy) and
    `allow_dirty` are those of :func:`zoo.comparison.groups.compare`.

    Raises :class:`zoo.errors.ResultError` for no or damaged runs, for `baseline` or `tuned` with `mixed`, and for a
    `seconds_to` that is no accuracy. Raises :class:`zoo.errors.UnknownNameError` for a choice or baseline that no run
    meets, and otherwise as :func:`zoo.comparison.groups.compare`.
    """
    from zoo.comparison.groups import compare as group
    from zoo.comparison.groups import is_tuned, only
    from zoo.results.reading import named, read_runs

    if seconds_to is not None and not 0 < seconds_to <= 1:
        raise ResultError(f"seconds_to {seconds_to}: is an accuracy, above 0 and at most 1; 80 % is 0.8")
    if mixed and baseline is not None:
        raise ResultError("baseline cannot go with mixed: unlike runs cannot be tested against each other")
    if mixed and tuned:
        raise ResultError("tuned cannot go with mixed: it compares recipes of one budget")
    stored = read_runs(runs, dataset, recipe)
    shown = named(stored, model)
    tables = group(
        stored, baseline, mixed=mixed, tuned=tuned, seconds_to=seconds_to, margin=margin, allow_dirty=allow_dirty
    )
    groups = Comparison(only(tables, shown))
    if tuned and (others := sum(not is_tuned(run.result) for run in stored)):
        groups.left_out = f"left out: {others} runs under recipes that were not tuned for their model"
    groups.begun = [run for run in stored.begun if shown(run.model)]
    return groups


def _flat(stored: Stored) -> dict[str, Any]:
    """The columns of :func:`load_results`, in their order."""
    from zoo.recipes.recipe import fingerprint_of
    from zoo.results.disturbed import QUARTILED

    result = stored.result
    test, speed, environment = result.test, result.speed, result.environment
    return {
        "dataset": result.dataset.name,
        "dataset_fingerprint": result.dataset.fingerprint,
        "unusual": "; ".join(result.dataset.unusual),
        "recipe": result.recipe.name,
        "fingerprint": result.recipe.fingerprint,
        "precision": result.recipe.precision,
        "selection": result.selection.split,
        "selection_rule": result.selection.rule,
        "model": result.model.name,
        "label": result.model.label,
        "norm": result.model.norm,
        "batch_dependent": result.model.batch_dependent,
        "architecture": result.model.definition.get("architecture", {}).get("name"),
        "definition": fingerprint_of(result.model.definition)[:8],
        "seed": result.seed,
        "status": result.status,
        "diverged_epoch": result.diverged_epoch,
        **{name: getattr(test, name, None) for name in ("accuracy", "top5_accuracy", "loss", "ece", "brier")},
        "balanced_accuracy": test.balance.accuracy if test and test.balance else None,
        "largest_class_share": test.balance.largest_class if test and test.balance else None,
        "holdout_accuracy": result.holdout.accuracy if result.holdout else None,
        "train_accuracy": result.train.accuracy if result.train else None,
        "epochs": result.epochs_trained,
        "selected_epoch": result.selection.epoch,
        "epochs_to_90_percent_of_final": result.epochs_to_90_percent_of_final,
        "parameters": result.model.parameters,
        "macs": result.model.macs,
        "activation_bytes": result.model.activation_bytes,
        "train_images_per_second": speed.train_images_per_second,
        "inference_images_per_second": speed.inference_images_per_second,
        "inference_batch_size": speed.inference_batch_size,
        "latency_p50": speed.latency_p50,
        "latency_p90": speed.latency_p90,
        "latency_p99": speed.latency_p99,
        **{
            f"{name}_{end}": quartile
            for name in QUARTILED
            for end, quartile in zip(("low", "high"), speed.quartiles.get(name, (None, None)), strict=True)
        },
        "disturbed": " ".join(speed.disturbed),
        "peak_memory_bytes": speed.peak_memory_bytes,
        "wall_seconds": result.wall_seconds,
        "device": result.settings.device,
        "hardware": environment.get("gpu") or environment.get("cpu"),
        **{name: environment.get(name) for name in ("cores", "threads", "torch", "malloc")},
        "executor": result.settings.executor,
        "compiled": result.settings.compiled,
        "zoo": environment.get("zoo"),
        "commit": result.commit,
        "uncommitted": result.uncommitted,
        "started": result.started,
        "folder": str(stored.folder.path),
    }
