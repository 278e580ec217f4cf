"""From a finished run back to its model: what is checked before stored weights are believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from zoo.builder.construct import IMAGE_SIZE, build, definition_of
from zoo.builder.weights import with_versions
from zoo.data.choice import Choice
from zoo.data.datasets import Dataset
from zoo.data.loader import EvalLoader
from zoo.data.open import open_images
from zoo.data.test_sets import ShiftedSet
from zoo.engine.checkpoint import load_weights
from zoo.engine.counts import count_macs
from zoo.engine.guard import guarded
from zoo.engine.machine import is_nchw_only
from zoo.engine.memory_format import LAYOUTS
from zoo.errors import DataError, Option, ResultError, UnknownNameError, ZooError
from zoo.recipes.tta import TestTimeAugmentation
from zoo.registry.entries import Layout
from zoo.registry.fingerprint import difference, is_same
from zoo.registry.merge import Registry
from zoo.registry.model import Model, Pretrained, registry_name, starting_from
from zoo.results.again import bench_again
from zoo.results.begun import no_results
from zoo.results.folder import RunFolder, find_results, load_result
from zoo.results.schema import Diverged, Finished, Result
from zoo.utils.text import named

# Builders of norms, and those in their place since, which compute the same of the same weights.
SUCCESSORS = {"timm.layers:LayerNorm2d": "zoo.norms:LayerNorm2d"}


@dataclass(frozen=True)
class TrainedRun:
    """A finished run with its weights, and the registry's model that they belong to."""

    folder: RunFolder
    result: Finished
    model: Model

    @property
    def tta(self) -> TestTimeAugmentation:
        """What of each image its recipe shows the model when it evaluates."""
        return self.result.recipe.tta

    @property
    def precision(self) -> str:
        """In which it was trained and evaluated, such as ``bf16``."""
        return self.result.recipe.precision

    def loader(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        device: torch.device,
        rows: Sequence[int] | np.ndarray | None = None,
    ) -> EvalLoader:
        """Batches of (N, H, W, 3) uint8 `images` (`rows` of them) as the run evaluated its own: transforms, executor,
        layout. Raises :class:`ResultError` where these transforms fail on such images.
        """

        def load(images: np.ndarray, labels: np.ndarray, rows: Sequence[int] | np.ndarray | None) -> EvalLoader:
            return EvalLoader(
                images,
                labels,
                self.result.transforms("eval"),
                batch_size=batch_size,
                device=device,
                executor=self.result.settings.executor,
                indices=rows,
                channels_last=self._layout(device) == "channels_last",
            )

        try:
            next(iter(load(images[:1], labels[:1], None)))
        except ZooError:
            raise
        except Exception as problem:  # whatever a transform makes of its arguments
            line = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
            raise ResultError(
                f"{self.folder.result}: its recipe's transforms fail on these images: {line}"
            ) from problem
        return load(images, labels, rows)

    def check_size(self, model: nn.Module, image: Tensor, dataset: str) -> None:
        """Raises :class:`ResultError` where `image` (1, C, H, W) of `dataset` is not of the size of the run's own.

        The stored result does not tell that size, but its multiply-accumulates grow with it.
        """
        shape = (image.shape[1], image.shape[2], image.shape[3])
        where = f"{self.folder.path}: {self.model.name} on {dataset}, images of shape {shape}"
        try:
            macs = count_macs(model, shape, image.device)
        except Exception as problem:  # whatever a model makes of images of another size
            raise ResultError(
                f"{where}: fails: {named(problem)}; resize the images to those of {self.result.dataset.name}"
            ) from problem
        if macs != self.result.model.macs:
            raise ResultError(
                f"{where}: {macs:,} multiply-accumulates, but {self.result.model.macs:,} when it was trained, so the "
                f"images are of another size; resize them to those of {self.result.dataset.name}"
            )

    def load(self, device: torch.device) -> nn.Module:
        """The trained module in evaluation mode, in the run's memory layout; built anew by each call.

        Raises :class:`ResultError` for weights that are damaged or do not fit the model.
        """
        with guarded(str(self.folder.path), "loading"):
            return self._load(device)

    def _load(self, device: torch.device) -> nn.Module:
        size = self.result.model.image_size or IMAGE_SIZE
        module = build(self.model, len(self.result.dataset.classes), image_size=size)
        weights, wanted = load_weights(self.folder.weights), module.state_dict()
        for problem, names in (
            ("has no", wanted.keys() - weights.keys()),
            ("has an unknown", weights.keys() - wanted.keys()),
        ):
            if names:
                raise self._misfit(f"{problem} {min(names)!r}" + (f" and {len(names) - 1} more" * (len(names) > 1)))
        for name, tensor in weights.items():
            if tensor.shape != wanted[name].shape:
                raise self._misfit(f"{name!r} is {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}")
        module.load_state_dict(with_versions(module, weights), strict=True)
        return module.to(device).to(memory_format=LAYOUTS[self._layout(device)]).eval()

    def _layout(self, device: torch.device) -> Layout:
        return "nchw" if is_nchw_only(device) else self.result.settings.layout

    def _misfit(self, what: str) -> ResultError:
        return ResultError(
            f"{self.folder.weights}: does not fit {self.model.name}: {what}; "
            "the file is of another run, or a package that builds the model has changed since"
        )


def open_runs(roots: Iterable[Path], registry: Registry) -> tuple[list[TrainedRun], list[Diverged]]:
    """The finished runs under `roots` (run folders or parents of them), and the results of those that diverged.

    Copies of one run count once. Raises :class:`ResultError` where nothing finished, where weights are missing, where
    a model's definition is no longer the registry's, and for two different runs of one seed of one model.
    """
    roots = list(roots)
    paths = find_results(roots)
    if not paths:
        raise no_results(roots)
    kept: dict[tuple[str, ...], tuple[Path, Result]] = {}
    for path in paths:
        result = load_result(path)
        key = (result.recipe.fingerprint, result.dataset.fingerprint, result.model.name, str(result.seed))
        first, same = kept.setdefault(key, (path, result))
        if same != result:
            raise ResultError(
                f"{first.parent} and {path.parent}: two different runs of {result.model.name} seed {result.seed} under "
                "one recipe; name one of them"
            )
    diverged = [(path, result) for path, result in kept.values() if isinstance(result, Diverged)]
    finished = [(path, result) for path, result in kept.values() if isinstance(result, Finished)]
    if not finished:
        path, lost = diverged[0]
        raise ResultError(
            f"{path.parent}: the run diverged at epoch {lost.diverged_epoch}, so it has no weights to evaluate; "
            "name a run that finished"
        )
    return [_open(path, result, registry) for path, result in finished], [result for _, result in diverged]


def open_run(root: Path, registry: Registry) -> TrainedRun:
    """The only run under `root`, for what is of one run. Raises :class:`ResultError` for several, and as
    :func:`open_runs` does.
    """
    runs, _ = open_runs([root], registry)
    if len(runs) > 1:
        raise ResultError(f"{root} holds {len(runs)} runs and one is wanted; name one, such as {runs[0].folder.path}")
    return runs[0]


def _open(path: Path, result: Finished, registry: Registry) -> TrainedRun:
    folder = RunFolder(path.parent)
    name = result.model.name
    if not folder.weights.is_file():
        raise ResultError(
            f"{folder.path}: has a result but no {folder.weights.name} (most committed results come without weights); "
            "train it again with ",
            *bench_again(result, folder, *registry.option),
        )
    then = result.model.definition
    try:
        model = registry.resolve(registry_name(name))
    except UnknownNameError as problem:
        hint = ("; ", Option("registry"), " names the file it was trained with")
        raise ResultError(f"{folder.path}: ", *problem.parts, *hint) from problem
    if started := then.get("pretrained"):
        model = starting_from(model, Pretrained(started["sha256"]))
    now = definition_of(model, len(result.dataset.classes))
    norm = then.get("norm", {})
    if successor := SUCCESSORS.get(norm.get("builder") or ""):
        then = {**then, "norm": {**norm, "builder": successor}}
    if not is_same(then, now):
        parts = (model.architecture, model.norm, model.entry)
        origins = ", ".join(dict.fromkeys(str(part.origin) for part in parts if part))
        raise ResultError(
            f"{folder.path}: was trained with another definition of {name} ({origins}): {difference(then, now)}; "
            "put back what it was, or name the file that has it with ",
            Option("registry"),
        )
    return TrainedRun(folder, result, model)


def open_test(
    runs: Sequence[TrainedRun], dataset: str | None, data_dir: str | None, choice: Choice
) -> Dataset | ShiftedSet:
    """The images that all `runs` were tested on, or those of another `dataset` with the same classes.

    They are resized as the recipe of the `runs` says, which must be the same for all.
    Raises as :func:`check_classes` and :func:`check_own` do.
    """
    own = runs[0].result.dataset
    if dataset is None:
        choice.refuse(f"{runs[0].folder.path}: its own images are those that it was tested on")
    opening = replace(choice if dataset else own.choice, image_size=runs[0].result.recipe.image_size)
    data = open_images(dataset or own.name, data_dir, opening)
    for run in runs:
        check_classes(run, data.name, data.classes)
        if dataset is None and isinstance(data, Dataset):
            check_own(run, data)
    return data


def check_classes(run: TrainedRun, name: str, classes: Sequence[str]) -> None:
    """Raise :class:`DataError` unless `run` was trained to tell these classes apart, in this order."""
    have = run.result.dataset.classes
    if list(classes) == have:
        return
    if len(classes) != len(have):
        how = f"{len(have)} classes, but {name} has {len(classes)}"
    else:
        number = next(i for i, pair in enumerate(zip(have, classes, strict=True)) if pair[0] != pair[1])
        how = f"other classes than {name} has: number {number} is {have[number]!r} there and {classes[number]!r} here"
    raise DataError(
        f"{run.folder.path}: was trained on {run.result.dataset.name} with {how}; "
        "evaluate it on a dataset with the same classes"
    )


def check_own(run: TrainedRun, data: Dataset) -> None:
    """Raise :class:`DataError` unless `data` is what `run` was trained and tested on."""
    if run.result.dataset.fingerprint != data.fingerprint:
        raise DataError(
            f"{run.folder.path}: was made with another {data.name} than the one found now ({data.source}); "
            "name its folder with ",
            Option("data_dir"),
            ", or give ",
            Option("dataset", data.name),
            " to evaluate on what is there",
        )
