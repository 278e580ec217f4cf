"""Which of several speeds something disturbed: one rule for stored runs, rows of tables and ``zoo speed``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from zoo.utils.stats import Range, is_disturbed

# The medians of a run or a row that have quartiles.
QUARTILED = ("train_images_per_second", "inference_images_per_second", "latency_p50")
# What is measured together with a median: it is disturbed where the median is.
TOGETHER = {
    "train_images_per_second": ("seconds_to",),
    "step_images_per_second": ("step_flops", "peak_share"),
    "latency_p50": ("latency_p90", "latency_p99"),
}


def disturbed(
    quartiles: Mapping[str, Range], median: Callable[[str], float | None], beside: Collection[str] = ()
) -> list[str]:
    """The names of the speeds that were, by :func:`zoo.utils.stats.is_disturbed`, with those of :data:`TOGETHER`.

    `quartiles`: by the name of the speed that they are of; `median` gives a speed by its name, if there is one.
    `beside`: the names of those that were measured beside other runs, whatever their quartiles.
    """
    names: list[str] = []
    for name in dict.fromkeys([*beside, *quartiles]):
        middle = median(name)
        if middle is not None and (name in beside or is_disturbed(middle, quartiles.get(name))):
            names += [name, *(other for other in TOGETHER.get(name, ()) if median(other) is not None)]
    return names
