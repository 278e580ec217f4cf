"""Headings of tables: what tells them apart, and no more."""

from __future__ import annotations

import pytest
from made_results import STANDARD, compare, result

from zoo.render.headings import headings


def words(*changes: dict[str, object], **more: object) -> list[str]:
    """The headings of tables whose recipes have these `changes`, in the order of the changes."""
    runs = [result(f"m{n}_bn", recipe__content={**STANDARD, **change}, **more) for n, change in enumerate(changes)]
    groups = {group.rows[0].model: group for group in compare(runs)}
    places = dict(zip(groups, headings(list(groups.values())), strict=True))
    return [places[f"m{n}_bn"] for n in range(len(changes))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{}], [""]),
        ([{"optimizer": {"lr": 0.1}}, {"optimizer": {"lr": 0.05}}], ["learning rate 0.1", "learning rate 0.05"]),
        ([{"epochs": 6}, {"epochs": 12}], ["6 epochs", "12 epochs"]),
        ([{"batch_size": 8}, {"batch_size": 64}], ["batch size 8", "batch size 64"]),
        (
            [{"epochs": e, "optimizer": {"lr": r}} for e in (6, 12) for r in (0.1, 0.2)],
            [f"learning rate {r}, {e} epochs" for e in (6, 12) for r in (0.1, 0.2)],
        ),
        # One that differs in what others have in common tells enough.
        ([{"epochs": 6, "drop_last": True}, {"epochs": 12, "drop_last": False}], ["6 epochs", "12 epochs"]),
        ([{"drop_last": True}, {"drop_last": False}], ["drop_last true", "drop_last false"]),
        ([{"x": {"long": ["a" * 99]}}, {}], [f"x.long {'[' + chr(34) + 'a' * 38}...", "no x.long"]),
    ],
)
def test_tables_are_headed_by_what_tells_them_apart(changes: list[dict[str, object]], expected: list[str]) -> None:
    """100 tables that differed in learning rate had one heading."""
    assert words(*changes) == expected


def test_tables_of_other_images_are_told_apart() -> None:
    def apart(**change: object) -> list[str]:
        return headings(compare([result("a_bn"), result("b_bn", dataset__fingerprint="e" * 64, **change)]))

    assert sorted(apart(dataset__train_images=400)) == sorted(["400 images", "45,000 images"])
    assert any(text.startswith("data eeeeeeee") for text in apart())
    assert apart(dataset__name="other") == ["", ""]  # their names do
