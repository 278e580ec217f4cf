"""What the user chooses of a dataset that leaves a choice; most leave none."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from zoo.errors import DataError, Option

TestSplit = Literal["test", "validation", "val", "dev", "valid"]
VALIDATION: tuple[TestSplit, ...] = ("validation", "val", "dev", "valid")
COLUMNS = ("image", "label")  # of parquet files
NAMES = ("train", "test", *VALIDATION)  # of splits, as files and folders have them


@dataclass(frozen=True)
class Choice:
    """`test_split` is tested on; `split` is the share of each class that trains, where there are no splits.

    The columns are those of parquet files. `image_size`, (height, width), is not the user's but the recipe's: images of
    another size are resized to it. Raises DataError for a share that leaves a side empty and for another split's name.
    """

    test_split: TestSplit = "test"
    split: float | None = None
    image_column: str | None = None
    label_column: str | None = None
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.split is not None and not 0 < self.split < 1:
            raise DataError(Option("split", str(self.split)), ": no share between 0 and 1; 0.8 is usual")
        if self.test_split not in NAMES[1:]:
            raise DataError(Option("test_split", str(self.test_split)), f": none of {', '.join(NAMES[1:])}")

    @property
    def options(self) -> tuple[Option, ...]:
        """What was chosen, as the options that choose it."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "image_size"}
        return tuple(Option(name, str(value)) for name, value in chosen.items() if value != getattr(NOTHING, name))

    @property
    def arguments(self) -> list[str]:
        """The same as words of a command."""
        return [word for option in self.options for word in option.arguments]

    def refuse(self, where: str, *names: str) -> None:
        """Raise DataError where one of the options `names` (all, without any) was chosen; `where` says why not."""
        for option in self.options:
            if not names or option.name in names:
                raise DataError(f"{where}; take out ", option)


NOTHING = Choice()


def splits_for(where: Path, there: Collection[str], choice: Choice, others: str = "") -> dict[str, str]:
    """The names of the splits that train and test, among those that are `there`; `others` lists what is no split.

    Raises DataError, naming the splits that are there and the option that chooses one, where one is missing.
    """
    wanted: dict[str, str] = {"train": "train", "test": choice.test_split}
    missing = [name for name in wanted.values() if name not in there]
    if not missing:
        return wanted
    names = [name for name in NAMES if name in there]
    has = f", only {' and '.join(names)}" if names else ""
    has += f" ({others}: no split's name)" if others else ""
    lacks = f"{where}: no {' and no '.join(missing)} split in it{has}; "
    validation = [name for name in VALIDATION if name in there and name not in wanted.values()]
    if missing == [choice.test_split] and "test" in there:
        raise DataError(lacks, "take out ", Option("test_split", choice.test_split), " to test on test")
    if missing == [choice.test_split] and validation:
        raise DataError(lacks, "to test on that one give ", Option("test_split", validation[0]))
    add = "name files or folders train and test" if missing[1:] or others else f"add the {missing[0]} files"
    raise DataError(lacks, add)
