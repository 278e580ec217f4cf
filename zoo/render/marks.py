"""Marks and notes beside accuracies, and how numbers are written."""

from __future__ import annotations

from zoo.recipes.catalogue import RecipeEntry

# Beside every figure and every recipe that it is true of.
TEST_MARK = "†"
TEST_NOTE = f"{TEST_MARK} selection: test. The test set chose these weights, so the accuracy is too high to compare."


def marked(entry: RecipeEntry) -> str:
    """The description of `entry`, with the mark of recipes whose test set chooses the weights."""
    return f"{entry.description} {TEST_MARK}" if entry.selects_on_test else entry.description
