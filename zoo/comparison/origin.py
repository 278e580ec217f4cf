"""The code that made the runs of a table: zoo's commit, and the versions of the libraries that results record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

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


def codes_of(results: Sequence[Result]) -> list[Code]:
    """The code that made each of `results`."""
    codes: dict[tuple[int, int], Code] = {}  # many runs have the same objects
    parts = [(id(result.environment), id(result.git)) for result in results]
    return [
        codes.get(part) or codes.setdefault(part, Code.of(result)) for part, result in zip(parts, results, strict=True)
    ]


def words_of(results: Iterable[Result]) -> dict[Code, str]:
    """The codes that made `results`, that of the first run first, in words; what all share is left out."""
    codes = dict.fromkeys(codes_of(sorted(results, key=lambda result: result.started)))
    names = Counter(name for name, _ in {version for code in codes for version in code.versions})
    unlike = {name for name, count in names.items() if count > 1}
    return {code: code.words(unlike) for code in codes}


def numbered(results: Sequence[Result]) -> tuple[list[str], dict[str, str]]:
    """The number of the code that made each of `results`, and what the numbers mean; that of the first run is 1."""
    words = words_of(results)
    numbers = {code: str(number) for number, code in enumerate(words, 1)}
    return [numbers[code] for code in codes_of(results)], {numbers[code]: text for code, text in words.items()}
