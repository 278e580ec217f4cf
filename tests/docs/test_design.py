"""docs/design.md has the packages of zoo in the order of the contract, and the docs name only what exists."""

from __future__ import annotations

import importlib
import re
from configparser import ConfigParser
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "benchmarks" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
# A tag of trackers; a file that `zoo new` writes; the pattern of a name.
ELSEWHERE = {"zoo.status", "tests/test_mynorm.py", "zoo.norms.MODULE"}


def layers() -> list[set[str]]:
    """The lines of the contract in setup.cfg, highest first."""
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = settings["importlinter:contract:layers"]["layers"].split("\n")
    return [{name.strip() for name in line.split("|")} for line in lines if line.strip()]


def test_the_layout_is_the_contract() -> None:
    rows = re.findall(r"^\| (\d+) \| `zoo/(\w+)(/|\.py)` \| \S", DESIGN, re.MULTILINE)
    assert all((ROOT / "zoo" / f"{name}{kind}").exists() for _, name, kind in rows)
    groups = [(int(number), [name for _, name, _ in rows]) for number, rows in groupby(rows, lambda row: row[0])]
    contract = layers()
    assert [set(names) for _, names in groups] == contract
    assert [number for number, _ in groups] == list(range(len(contract), 0, -1))
    assert len(rows) == len({name for _, name, _ in rows}), "one row for each package"


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            target = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for name in parts[count:]:
            if not hasattr(target, name):
                return False
            target = getattr(target, name)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_in_the_docs_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = {path.rstrip("/.") for path in re.findall(r"`((?:zoo|tests|benchmarks|docs)/[\w./-]+)`", text)} - ELSEWHERE
    assert not [path for path in paths if not (ROOT / path).exists()]
    names = set(re.findall(r"(?<![\w./-])zoo(?:\.[A-Za-z_]\w*)+(?![\w/-])", text)) - ELSEWHERE
    assert not [name for name in names if not exists(name)]
