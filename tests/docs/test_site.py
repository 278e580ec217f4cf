"""The documentation as a site: it builds without a warning, links lead somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import pkgutil
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import zoo
from zoo.cli.main import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@dataclass
class Page(HTMLParser):
    """What a page links to, what it loads (scripts, styles, fonts, pictures), and the anchors that it has."""

    links: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)
    title: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.anchors |= {of[key] for key in ("id", "name") if of.get(key)}
        self.loads |= {of[key] for key in ("src", "srcset", "poster", "data") if of.get(key)}
        if tag == "link" or of.get("style"):
            self.loads |= {of[key] for key in ("href", "style") if of.get(key)}
        if tag == "a" and of.get("href"):
            self.links.add(of["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    for module in ("material", "mkdocstrings_handlers.python", "nbconvert"):
        pytest.importorskip(module, reason="needs pip install 'norm-zoo[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of it."""
    found = {}
    for path in site.rglob("*.html"):
        found[path] = Page()
        found[path].feed(path.read_text())
    return found


def test_every_link_leads_to_a_page_and_an_anchor(site: Path, pages: dict[Path, Page]) -> None:
    lost = []
    for path, page in pages.items():
        for link in page.links | page.loads:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment) or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (target in pages and parts.fragment not in {"", *pages[target].anchors}):
                lost.append(f"{path.relative_to(site)}: {link}")
    assert lost == []
    assert len(pages) > 20


def test_it_loads_nothing_from_other_hosts(site: Path, pages: dict[Path, Page]) -> None:
    outside = re.compile(r"^(\w+:)?//|url\([\"']?(\w+:)?//")
    loaded = {item for page in pages.values() for item in page.loads if not item.startswith("data:")}
    assert len(loaded) > 10
    assert [item for item in loaded if outside.search(item)] == []
    styles = {path: path.read_text() for path in site.rglob("*.css")}
    assert len(styles) >= 2
    assert [path for path, text in styles.items() if re.search(r"(@import|url\()\s*[\"']?(https?:)?//", text)] == []
    # The theme's script fetches these two from a host, for pages that have such a picture.
    assert [path for path in pages if re.search(r'class="[^"]*\b(mermaid|arithmatex)\b', path.read_text())] == []


def test_pages_outside_docs_are_in_it(site: Path) -> None:
    home = (site / "index.html").read_text()
    assert "How to read a verdict" in home
    assert 'href="changelog/"' in home
    assert 'href="../registry.yaml"' in (site / "built-in" / "index.html").read_text()
    assert (site / "registry.yaml").read_bytes() == (ROOT / "registry.yaml").read_bytes()
    assert 'href="../tour/"' in (site / "api" / "index.html").read_text()
    assert (site / "tour.ipynb").read_bytes() == (DOCS / "tour.ipynb").read_bytes()


def test_search_finds_an_option_and_a_function(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text()
    assert "--deterministic" in index
    assert "zoo.utils.stats.student_interval" in index


@pytest.mark.parametrize("columns", ["40", "200"])
def test_written_pages_are_what_zoo_says(columns: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    written = runpy.run_path(str(DOCS / "make_pages.py"))["pages"]()
    assert set(written) == {"cli.md", "built-in.md", "findings.md", "which-norm.md", "tuning.md"}
    assert written["findings.md"].count("<!-- printed -->\n**cifar10-jpeg, recipe ") >= 5
    for name, text in written.items():
        assert (DOCS / name).read_text() == text, f"docs/{name} is not current: run python docs/make_pages.py"


def test_every_command_has_its_help() -> None:
    text = (DOCS / "cli.md").read_text()
    names = {f"zoo {name}" for name in cli.commands}
    names |= {f"zoo {name} {part}" for name, group in cli.commands.items() for part in getattr(group, "commands", {})}
    assert names == set(re.findall(r"^##+ (zoo .+)$", text, re.MULTILINE))
    assert names == set(re.findall(r"^Usage: (zoo(?: [a-z][a-z0-9-]*)+)", text, re.MULTILINE)), "a help text is missing"


def test_every_module_is_in_the_reference_or_said_to_be_inside() -> None:
    pages = {path.name: path.read_text() for path in (DOCS / "reference").glob("*.md")}
    shown = {name for text in pages.values() for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}
    packages = {".".join(name.split(".")[:2]) for name in shown}
    inside = set(re.findall(r"`(zoo\.\w+)`", pages["index.md"].partition("## Inside")[2]))
    modules = {f"zoo.{module.name}" for module in pkgutil.iter_modules(zoo.__path__) if not module.name.startswith("_")}
    assert packages | inside == modules, "docs/reference: add `::: zoo.NAME`, or the name under Inside in index.md"
    assert not packages & inside
