"""The code that made the runs of a table: zoo's commit, and the versions of the libraries that results record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from zoo.comparison.row import Row
from zoo.registry.importing import LIBRARIES
from zoo.results.schema import Result


@dataclass(frozen=True)
class Code:
    """`commit` is None where zoo was installed from a wheel. `versions`: of zoo, Python and the libraries, by name.

    `moved_after`: the last epoch that was trained with other hardware, software or code.
    """

    commit: str | None
    uncommitted: bool
    versions: tuple[tuple[str, str], ...]
    moved_after: int | None

    @classmethod
    def of(cls, result: Result) -> Code:
        """The code that made `result`."""
        environment = result.environment
        return cls(
            commit=result.commit,
            uncommitted=result.uncommitted,
            versions=tuple((name, str(environment.get(name) or "unknown")) for name in ("zoo", "python", *LIBRARIES)),
            moved_after=result.moved_after,
        )

    def words(self, names: Collection[str] = ()) -> str:
        """The commit, and the versions of what `names` has; that of zoo too where there is no commit."""
        parts = [f"{name} {version}" for name, version in self.versions if name in names]
        if self.commit:
            parts.insert(0, f"commit {self.commit[:8]}" + " with uncommitted changes" * self.uncommitted)
        elif "zoo" not in names:
            parts.insert(0, " ".join(self.versions[0]))
        if self.moved_after:
            parts.append(f"resumed after epoch {self.moved_after} with other hardware, software or code")
        return ", ".join(parts)


def words_of(results: Iterable[Result]) -> dict[Code, str]:
    """The codes that made `results`, that of the first run first, in words; what all share is left out."""
    codes = dict.fromkeys(map(Code.of, sorted(results, key=lambda result: result.started)))
    names = [name for name, _ in {version for code in codes for version in code.versions}]
    unlike = {name for name in names if names.count(name) > 1}
    return {code: code.words(unlike) for code in codes}


def numbered(rows: Sequence[Row]) -> tuple[list[Row], dict[str, str]]:
    """`rows` with the number of the code of each seed, and what the numbers mean; that of the first run is 1."""
    words = words_of(run.result for row in rows for run in row.runs)
    numbers = {code: str(number) for number, code in enumerate(words, 1)}
    numbered_rows = [replace(row, code=[numbers[Code.of(run.result)] for run in row.runs]) for row in rows]
    return numbered_rows, {numbers[code]: text for code, text in words.items()}
