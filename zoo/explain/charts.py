"""Charts of the predictions on the test images: confusion matrix, accuracy by class, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from zoo.engine.evaluate import ECE_BINS
from zoo.explain.sheets import Picture, chart, shorten
from zoo.explain.subject import Subject
from zoo.render.figures import COLOURS
from zoo.utils.stats import wilson_interval

BLUE, ORANGE = COLOURS[:2]
COUNTED = 20  # classes; in a larger matrix the counts could not be read
FEW = 10  # images; a bin of fewer is hollow


def confusion(subject: Subject, path: Path) -> Picture:
    """Rows are true classes, columns predicted ones; the colour is the share of the row, the number the count."""
    counts = subject.evaluation.confusion()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [shorten(name) for name in subject.classes]
    size, counted = len(names), len(names) <= COUNTED
    side, letters = (4.4, 7) if counted else (7.0, 4)
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if counted else {"rotation": 90}
    title = "Confusion matrix"
    with chart(path, title, subject.line, side + 1.4, side) as (drawing, axes):
        axes.grid(False)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(size), names, fontsize=letters, **slant)
        axes.set_yticks(range(size), names, fontsize=letters)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        for (row, column), count in np.ndenumerate(counts) if counted else ():
            colour = ("white" if shares[row, column] > 0.71 else "black") if count else "#666666"
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=6.5, color=colour)
        bar = drawing.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 0.25, 0.5, 0.75, 1])
        bar.ax.set_yticklabels(["0 %", "25 %", "50 %", "75 %", "100 %"], fontsize=7)
        bar.set_label("share of the true class", fontsize=8)
    off = np.where(np.eye(size, dtype=bool), 0, shares)
    row, column = np.unravel_index(off.argmax(), off.shape)
    pair = f"{100 * off.max():.1f} % of {subject.classes[row]} is predicted as {subject.classes[column]}"
    most = f" The most frequent confusion: {pair}." if off.max() > 0 else ""
    numbers = "The numbers are images." if counted else "Numbers are left out, since there are too many classes."
    return Picture(
        title,
        f"Rows are the true classes of the {len(subject.labels):,} test images of {subject.data.name}, columns the "
        f"predicted classes. The colour is the share of the row. {numbers}{most}",
        f"Matrix of {size} by {size} classes.{most}",
    )


def per_class(subject: Subject, path: Path) -> Picture:
    """Accuracy of each class with its 95 % Wilson interval, and the accuracy of all as a line."""
    matrix, total = subject.evaluation.confusion(), 100 * subject.evaluation.accuracy
    shown = [label for label in range(len(matrix)) if matrix[label].sum()]
    hits, images = matrix.diagonal()[shown], matrix.sum(1)[shown]
    shares = 100 * hits / images
    low, high = 100 * np.array([wilson_interval(int(a), int(n)) for a, n in zip(hits, images, strict=True)]).T
    places, errors = np.arange(len(shown)), np.maximum([shares - low, high - shares], 0)  # rounding can go below 0
    title = "Accuracy by class"
    with chart(path, title, subject.line, 6.4, 0.9 + 0.21 * len(shown)) as (_, axes):
        axes.grid(False, axis="y")
        axes.set_axisbelow(True)
        axes.barh(places, shares, 0.7, color=BLUE, xerr=errors, error_kw={"capsize": 2, "elinewidth": 1})
        axes.axvline(total, color=ORANGE, linestyle="--", label=f"all classes {total:.2f} %")
        for place, share, end in zip(places, shares, high, strict=True):
            axes.text(end + 1, place, f"{share:.1f}", va="center", fontsize=7)
        axes.set_yticks(places, [shorten(subject.classes[label], 20) for label in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("accuracy (%), higher is better; bars: 95 % confidence interval")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    worst, best = int(np.argmin(shares)), int(np.argmax(shares))
    extremes = (
        f"Best {subject.classes[shown[best]]} ({shares[best]:.1f} %), "
        f"worst {subject.classes[shown[worst]]} ({shares[worst]:.1f} %)."
    )
    return Picture(
        title,
        f"The share of each class of {subject.data.name}'s test images that is classified correctly, with its 95 % "
        f"confidence interval (Wilson). {extremes} The interval does not include seed-to-seed variation: another seed "
        "can move a class by more.",
        f"Bars of accuracy for {len(shown)} classes. {extremes}",
    )


def reliability(subject: Subject, path: Path) -> Picture:
    """Accuracy against confidence in the bins of the result's ECE, and how many images each bin holds."""
    confidence = subject.evaluation.confidence.astype(np.float64)
    correct = (subject.evaluation.predicted == subject.labels).astype(np.float64)
    index = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    count = np.bincount(index, minlength=ECE_BINS)
    full = count > 0
    accuracy = np.bincount(index, correct, ECE_BINS)[full] / count[full]
    mean = np.bincount(index, confidence, ECE_BINS)[full] / count[full]
    edges, width = np.arange(ECE_BINS) / ECE_BINS, 1 / ECE_BINS
    fills = [BLUE if images >= FEW else "white" for images in count[full]]
    rims = ["white" if images >= FEW else BLUE for images in count[full]]
    ece = subject.evaluation.expected_calibration_error()
    title = "Reliability diagram: accuracy by confidence"
    layout = {"nrows": 2, "sharex": True, "height_ratios": [3, 1]}
    with chart(path, title, subject.line, 5.0, 4.8, **layout) as (_, (top, bottom)):
        top.bar(edges[full], accuracy, width, align="edge", color=fills, edgecolor=rims)
        top.bar(0, 0, color=BLUE, label="accuracy of the bin")  # for the legend: the first bar may be hollow
        top.plot(mean, mean, "_", color=ORANGE, markersize=13, markeredgewidth=2, label="mean confidence of the bin")
        top.plot([0, 1], [0, 1], "--", color="#777777", linewidth=1, label="perfectly calibrated")
        top.set_ylim(0, 1)
        top.set_xlim(0, 1)
        top.set_ylabel("accuracy")
        top.legend(loc="upper left", fontsize=7)
        box = {"facecolor": "white", "edgecolor": "#888888", "pad": 3}
        top.text(0.98, 0.04, f"ECE {ece:.4f}, lower is better", ha="right", transform=top.transAxes, bbox=box)
        bottom.bar(edges, 100 * count / len(confidence), width, align="edge", color="#888888", edgecolor="white")
        bottom.set_ylabel("images (%)")
        bottom.set_xlabel("confidence")
        for axes in (top, bottom):
            axes.set_axisbelow(True)
    gap = confidence.mean() - correct.mean()
    return Picture(
        title,
        f"The test images of {subject.data.name} in {ECE_BINS} bins of equal width, by confidence. "
        f"Where a bar ends below the dashed line, the network is overconfident. ECE {ece:.4f} is the mean gap, "
        f"weighted by images (Guo et al., 2017). The mean confidence is {100 * abs(gap):.1f} points "
        f"{'above' if gap > 0 else 'below'} the accuracy. Hollow bars have fewer than {FEW} images and are unreliable.",
        f"Reliability diagram in {ECE_BINS} bins, expected calibration error {ece:.4f}.",
    )
