"""Which parquet files are which split: by exact names, every shard once."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from zoo.data.choice import NAMES, Choice, splits_for
from zoo.data.readers.decode import hash_files, listed, readable
from zoo.errors import DataError
from zoo.utils.text import visible

# train.parquet, train-00000-of-00002.parquet, the same with the hub's hash of old, train-0.parquet; and 0000.parquet or
# part-0.parquet in a folder train. " (1)" and the like are what browsers and desktops call a second copy.
_NUMBER = r"(?P<number>[0-9]{1,9})(?:-of-(?P<total>[0-9]{1,9}))?"
_END = r"(?:-[0-9a-f]{16})?(?: ?\([0-9]+\)| copy| - Copy)?\.parquet"
_FILE = re.compile(rf"(?P<split>{'|'.join(NAMES)})(?:[-_]{_NUMBER})?{_END}")
_FILE_IN_FOLDER = re.compile(rf"(?:part-)?{_NUMBER}{_END}")
_NAMED = 8  # files in what is left out


@dataclass(frozen=True)
class _File:
    """One file; `home` is the folder that a set's splits share, whether or not each has a folder of its own."""

    path: Path
    home: Path
    number: int | None
    total: int | None


@dataclass(frozen=True)
class ParquetFiles:
    """The parquet files below a folder: those of each split, and `others`, of no split by their names."""

    root: Path
    splits: dict[str, list[_File]]
    others: tuple[Path, ...]

    def chosen(self, choice: Choice) -> dict[str, list[Path]]:
        """The files that train and test, in the order of their numbers.

        Raises DataError where a split is missing or lies in two folders, and for a shard that is missing or there
        twice.
        """
        others = listed([path.name for path in self.others])
        used = {name: self.splits[name] for name in ("train", choice.test_split) if name in self.splits}
        homes = {file.home: name for name, files in used.items() for file in files}
        if len(homes) > 1:
            first, other = sorted(homes)[:2]
            raise DataError(
                f"{self.root}: {homes[first]} files in {first} and {homes[other]} files in {other}; "
                "name the one folder that is meant"
            )
        for name, files in used.items():
            if problem := _problem(files):
                raise DataError(f"{self.root}: {name} {problem}")
        names = splits_for(self.root, self.splits, choice, others)
        return {
            split: [file.path for file in sorted(used[name], key=lambda file: file.number or 0)]
            for split, name in names.items()
        }

    def key(self, choice: Choice) -> str:
        """What identifies the content in the cache."""
        files = [path for paths in self.chosen(choice).values() for path in paths]
        return f"{hash_files(self.root, files)} {sorted(self.left_out(choice))!a}"

    def left_out(self, choice: Choice) -> Counter[str]:
        """The files that neither train nor test, by name: the first of them, and splits of several files as one."""
        unused = {name: files for name, files in self.splits.items() if name not in ("train", choice.test_split)}
        counts = Counter({f"{name}-*.parquet": len(files) for name, files in unused.items() if len(files) > 1})
        others = sorted([*self.others, *(files[0].path for files in unused.values() if len(files) == 1)])
        counts.update(visible(path.relative_to(self.root).as_posix()) for path in others[:_NAMED])
        return counts + Counter({"more parquet files": len(others[_NAMED:])})


def find_parquet(root: Path) -> ParquetFiles:
    """The parquet files below `root`, hidden ones aside."""
    splits: dict[str, list[_File]] = {}
    others = []
    with readable(root):
        for path in sorted(root.rglob("*.parquet")):
            if any(part.startswith(".") for part in path.relative_to(root).parts) or path.is_dir():
                continue
            folder = path.parent.name if path.parent != root else ""
            home = path.parent.parent if folder in NAMES else path.parent
            if match := _FILE.fullmatch(path.name):
                split = match["split"]
            elif folder in NAMES and (match := _FILE_IN_FOLDER.fullmatch(path.name)):
                split = folder
            else:
                others.append(path)
                continue
            number, total = (None if text is None else int(text) for text in match.group("number", "total"))
            splits.setdefault(split, []).append(_File(path, home, number, total))
    return ParquetFiles(root, splits, tuple(others))


def _problem(files: list[_File]) -> str | None:
    """What is wrong with the shards of one split, and what to do."""
    names: dict[int | None, list[str]] = {}
    for file in files:
        names.setdefault(file.number, []).append(file.path.name)
    totals = {file.total for file in files}
    if len(totals) > 1 or (None in names and len(names) > 1):
        several = [members[0] for members in names.values()]
        return f"files are of more than one set ({listed(several)}); put each set into a folder of its own"
    if None in names:
        return f"is there {_times(len(files))} ({listed(names[None])}); leave the one that is meant" * (len(files) > 1)
    numbers = {number for number in names if number is not None}
    count = totals.pop() or max(numbers) + 1
    missing = list(islice((str(number) for number in range(count) if number not in numbers), 4))
    plural = ("shards", "are") if len(missing) > 1 else ("shard", "is")
    faults = [f"{plural[0]} {listed(missing)} of {count} {plural[1]} missing"] if missing else []
    faults += [
        f"shard {number} is there {_times(len(members))} ({listed(members)})"
        for number, members in names.items()
        if len(members) > 1
    ][:3]
    faults += [f"shard {number} is beyond the {count}" for number in sorted(numbers) if number >= count][:1]
    return (
        f"{', '.join(faults)}; {'fetch what is missing' if missing else 'leave one file of each'}" if faults else None
    )


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"
