"""The description of an export: ``config.json`` for programs, the model card for people and the hub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from tabulate import tabulate

from zoo.comparison.origin import Code
from zoo.data.datasets import DESCRIPTIONS
from zoo.errors import Option
from zoo.export.check import Check
from zoo.export.formats import Format
from zoo.export.graph import Preparation, Resized
from zoo.registry.model import registry_name
from zoo.render import marks
from zoo.render.marks import ends, mark_notes, marks_of, percent
from zoo.results.again import options_of
from zoo.results.schema import Result
from zoo.trained.load import TrainedRun
from zoo.utils.stats import wilson_interval

RECIPE = "recipe.yaml"  # the recipe's file in an export, whatever the recipe is called


def config(
    run: TrainedRun, constants: Preparation, size: tuple[int, int], resize: Resized | None = None
) -> dict[str, Any]:
    """What a program needs to use the model; `size` is (height, width). All values are plain data.

    `resize` has the arguments of torch's ``interpolate``, where the recipe resizes.
    """
    result, model = run.result, run.model
    return {
        "model": registry_name(result.model.name),  # zoo.build's name of it
        "architecture": model.architecture.name if model.architecture else None,
        "norm": result.model.norm,
        "num_classes": len(result.dataset.classes),
        "classes": result.dataset.classes,
        "input_size": list(size),
        "input_range": [0, 1],
        "resize": {"size": list(resize.size), "mode": resize.mode} if resize else None,
        "mean": list(constants.mean),
        "std": list(constants.std),
        "mirror_evaluation": run.tta.mirror,
        "shifted_evaluation": run.tta.shift,
        "dataset": result.dataset.name,
        "dataset_fingerprint": result.dataset.fingerprint,
        "recipe": result.recipe.name,
        "recipe_fingerprint": result.recipe.fingerprint,
        "seed": result.seed,
        "zoo_version": result.environment.get("zoo"),
    }


def card(run: TrainedRun, facts: Mapping[str, Any], chosen: Format, check: Check, licence: str) -> str:
    """The model card of `run` in the `chosen` format, whose logits `check` compared: the hub's YAML header, Markdown.

    `facts` is :func:`config`; `licence` is named as the hub names it.
    """
    header = yaml.safe_dump(_header(run, licence), sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n" + "\n\n".join(_sections(run, facts, chosen, check)) + "\n"


def _header(run: TrainedRun, licence: str) -> dict[str, Any]:
    """The hub's model card metadata, https://huggingface.co/docs/hub/model-cards."""
    result = run.result
    name = result.dataset.name
    how = f"test accuracy{f', {augmented}' if (augmented := run.tta.words) else ''}{_mark(result)}"
    metric = {"type": "accuracy", "value": result.test.accuracy, "name": how, "verified": False}
    return {
        "license": licence,
        "library_name": "norm-zoo",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "norm-zoo", *([result.model.norm] if result.model.norm else [])],
        "datasets": [name],
        "metrics": ["accuracy"],
        "model-index": [{
            "name": f"{result.model.name} seed {result.seed}",
            "results": [{
                "task": {"type": "image-classification", "name": "Image classification"},
                "dataset": {"type": name, "name": name, "split": "test"},
                "metrics": [metric],
            }],
        }],
    }  # fmt: skip


def _sections(run: TrainedRun, facts: Mapping[str, Any], chosen: Format, check: Check) -> Iterator[str]:
    result = run.result
    height, width = facts["input_size"]
    stretched = result.recipe.image_size and " Images of another size were stretched to it by Pillow's bilinear filter."
    yield f"# {_text(result.model.name)}, {_text(result.dataset.name)}"
    yield (
        f"{_text(result.model.label)}: {result.model.parameters:,} parameters, trained by zoo "
        f"{_text(str(facts['zoo_version']))} on {_text(result.dataset.name)}. It takes images of {width}x{height} "
        f"pixels, float32 (N, 3, {height}, {width}) from 0 to 1, and answers the logits of {facts['num_classes']} "
        f"classes: {', '.join(_code(name) for name in result.dataset.classes)}.{stretched or ''}"
    )
    yield "## Use"
    yield f"```python\n{chosen.usage}```"
    if chosen.file.endswith(".safetensors"):
        yield "The file has the weights alone; `resize`, `mean` and `std` of `config.json` prepare the images."
    else:
        what = "resizing and normalisation are" if facts["resize"] else "normalisation is"
        yield f"The recipe's {what} part of `{chosen.file}`; the batch may have any size."
    yield f"This file was {check.line}."
    yield "## Measured"
    yield tabulate(_figures(run), headers=["", "figure"], tablefmt="github", disable_numparse=True)
    yield "\n".join(f"- {line}" for line in _conditions(run))
    yield "## Reproduce"
    yield f"```\n{_command(result)}\n```"
    yield f"`{RECIPE}` is beside this card; its fingerprint is {result.recipe.fingerprint}."
    yield "## Limitations"
    yield "\n".join(f"- {line}" for line in _limitations(run))


def _figures(run: TrainedRun) -> Iterator[tuple[str, str]]:
    result, test = run.result, run.result.test
    interval = ends(wilson_interval(test.correct, test.images))
    accuracy = f"{percent(test.accuracy)} %{_mark(result)} of {test.images:,} images (95 % Wilson interval {interval})"
    yield f"test accuracy{f' ({augmented})' if (augmented := run.tta.words) else ''}", accuracy
    if test.balance:
        yield "balanced accuracy (mean over classes)", f"{percent(test.balance.accuracy)} %"
        yield "accuracy of always predicting the largest class", f"{percent(test.balance.largest_class)} %"
    if test.top5_accuracy is not None:
        yield "top-5 accuracy", f"{percent(test.top5_accuracy)} %"
    yield "cross-entropy", f"{test.loss:.4f} nats"
    yield "expected calibration error, 15 bins", f"{test.ece:.4f}"
    if test.brier is not None:
        yield "Brier score", f"{test.brier:.4f}"
    if result.holdout:
        yield "held-out accuracy", f"{percent(result.holdout.accuracy)} % of {result.holdout.images:,} images"
    yield "multiply-accumulates of an image", f"{result.model.macs:,}"
    speed = result.speed
    names = {
        "train_images_per_second": ("training", "{:,.0f}", 1.0, "images/s"),
        "inference_images_per_second": (
            "inference", "{:,.0f}", 1.0, f"images/s in batches of {speed.inference_batch_size}",
        ),
        "latency_p50": ("latency of one image", "{:.2f}", 1e3, "ms"),
    }  # fmt: skip
    for name, (title, shape, factor, unit) in names.items():
        if (median := getattr(speed, name)) is not None:
            figure = marks.speed(median, speed.quartiles.get(name), name in speed.disturbed, shape, factor)
            yield title, f"{figure} {unit}"


def _conditions(run: TrainedRun) -> Iterator[str]:
    result = run.result
    yield f"Hardware: {_text(result.machine)}, {run.precision}."
    if result.speed.quartiles:
        yield " ".join([marks.QUARTILES_NOTE, *marks.disturbed_notes(result.speed.disturbed)])
    data = result.dataset
    yield (
        f"Data: {_text(data.name)}, {data.train_images:,} images trained on, {data.holdout_images:,} held out, "
        f"{data.test_images:,} test images; fingerprint {data.fingerprint[:16]}."
    )
    yield f"Seed: {result.seed}, one run. Another seed gives another figure; the interval above does not cover that."
    chosen = result.selection
    best = f"the epoch with the best {chosen.metric} on the {chosen.split} images"
    how = "the last epoch's weights" if chosen.rule == "last" else best
    yield f"Selection: {how} ({chosen.epoch} of {result.epochs_trained})."
    yield from mark_notes(result.caveats)
    yield f"Code: {_text(Code.of(result).words(['zoo']))}."


def _limitations(run: TrainedRun) -> Iterator[str]:
    result = run.result
    if augmented := run.tta.words:
        yield (
            f"The figures are of logits that are the {augmented}. That is not in this export, which answers to the "
            "image alone; its accuracy was not measured."
        )
    if run.precision != "fp32":
        yield f"The figures were measured in {run.precision}; this export computes in fp32, so near ties may differ."
    if description := DESCRIPTIONS.get(result.dataset.name):
        yield f"Dataset: {description}. The figures hold for exactly these images."
    yield "Every picture gets one of the classes above, also a picture of something else."
    yield "Accuracy on corrupted images or images from elsewhere is not part of this card; `zoo evaluate` measures it."
    definition = result.model.definition
    if any("source_sha256" in part for part in definition.values() if isinstance(part, dict)):
        yield "A builder of this model is in no package of zoo: its own file is needed to build it anew."
    if started := definition.get("pretrained"):
        yield f"Training started from weights with SHA-256 {started['sha256']}, which are not part of this export."
    yield "The licence above is that of the weights as their author names it; the dataset has its own terms."


def _command(result: Result) -> str:
    """What trains the run again; the recipe's file is in the export."""
    used = result.settings
    options = [
        Option("recipe", f"./{RECIPE}"), *options_of(result), Option("layout", used.layout),
        Option("executor", used.executor),
    ]  # fmt: skip
    words = [word for option in options for word in option.arguments]
    return shlex.join(["zoo", "bench", registry_name(result.model.name), *words])


def _mark(result: Result) -> str:
    return f" {marks_of(result.caveats)}".rstrip()


def _text(text: str) -> str:
    """`text` as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|&])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """`text` as a code span, whatever it holds."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"
