"""What is unusual about the data of a run: in the first line of a bench, in the result and under every table."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import chain

from zoo.data.augment.spec import normalization_of
from zoo.data.datasets import Dataset
from zoo.data.listing import in_words
from zoo.recipes.schema import FROM_TRAIN
from zoo.results.metrics import is_unbalanced
from zoo.runner.inputs import Inputs
from zoo.utils.stats import half_of_draw
from zoo.utils.text import counted, listed, visible

FEW = 0.05  # a test set whose draw alone leaves more than this much of accuracy open is small
# Standard errors between two splits of a dataset: constants that are further away are not its own.
ERRORS = 4
RANGES = {0.0, 0.5}  # the means of constants that shift the range of pixels and are of no dataset


def first_line(inputs: Sequence[Inputs]) -> str:
    """Images of both splits, size, classes and what is unusual about the data, of runs of one dataset."""
    data = inputs[0].dataset
    facts = (
        f"{data.name}: {data.count('train'):,} training and {data.count('test'):,} test images of "
        f"{in_words(data.train.images.shape[1:3])}, {data.num_classes:,} classes"
    )
    return visible("; ".join([facts, *dict.fromkeys(chain.from_iterable(map(unusual, inputs)))]))


@functools.lru_cache(maxsize=4)  # it is the same for all runs of a bench
def unusual(inputs: Inputs) -> list[str]:
    """Each thing that is unusual about the dataset, and about the recipe on this dataset, in words."""
    return [visible(words) for words in (*_of_dataset(inputs.dataset), *_of_recipe(inputs))]


def _of_dataset(data: Dataset) -> Iterator[str]:
    if data.left_out:
        total = sum(data.left_out.values())
        kinds = [f"{kind} ({count:,})" for kind, count in sorted(data.left_out.items())]
        yield f"{counted(total, 'file')} left out: {listed(kinds)}"
    if data.choice.test_split != "test":
        yield f"tested on the split {data.choice.test_split}"
    if data.choice.split is not None:
        yield f"split by zoo: {100 * data.choice.split:g} % of each class are trained on, the others are test images"
    yield from data.missing_classes
    if shared := data.duplicates.shared:
        yield f"{shared:,} of the {data.count('test'):,} test images are also training images"
    for count, words in ((data.duplicates.train, "training"), (data.duplicates.test, "test")):
        if count:
            yield f"{count:,} {words} image{'s are copies' if count > 1 else ' is a copy'} of others"
    if data.resized and data.resized.count > 1:
        least, most = (in_words(size) for size in (data.resized.smallest, data.resized.largest))
        wanted = in_words(data.train.images.shape[1:3])
        yield f"images of {data.resized.count:,} sizes, {least} to {most}, resized to {wanted}"
    images = data.images_by_class("test")
    largest = max(images)
    if is_unbalanced(images):
        name = listed([data.classes[images.index(largest)]])
        yield f"unbalanced test set: {100 * largest / sum(images):.1f} % of its images are of class {name}"
    if largest and (half := half_of_draw(sum(images))) > FEW:
        yield f"few test images: their draw alone leaves up to ± {100 * half:.1f} points open (binomial, 95 %)"


def _of_recipe(inputs: Inputs) -> Iterator[str]:
    data, (small, large) = inputs.dataset, (in_words(shape[1:]) for shape in (inputs.train_shape, inputs.shape))
    if small != large:
        yield f"trained on images of {small} and evaluated on {large}; speeds are of {small}, MACs of {large}"
    own, augment = data.channels, inputs.recipe.augment
    # Times the standard error that one image leaves: that of the difference between two splits of this dataset.
    error = math.sqrt(1 / data.count("train") + 1 / data.count("test"))
    for step, spec in zip(augment.train + augment.eval, inputs.specs("train") + inputs.specs("eval"), strict=True):
        constants = normalization_of(spec)
        if own is None or constants is None or step == FROM_TRAIN or RANGES.issuperset(constants[0]):
            continue
        pairs = zip(sum(constants, ()), own.mean + own.std, own.mean_error + own.std_error, strict=True)
        if any(abs(constant - computed) > ERRORS * error * single for constant, computed, single in pairs):
            yield (
                f"normalisation constants of another dataset: mean {_numbers(constants[0])} and std "
                f"{_numbers(constants[1])}, but the training images have mean {_numbers(own.mean)} and std "
                f"{_numbers(own.std)}; `Normalize: {{from: train}}` computes them"
            )
            return


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
