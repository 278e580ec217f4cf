"""What mkdocs does not do by itself: pages that lie outside docs/, and the notebook.

Nothing is copied: README.md is the site's first page as it stands, and a link means the same in the repository and in
the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
OUTSIDE = {  # a file of the repository, and what it is in the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "registry.yaml": "registry.yaml",
    "LICENSE": "LICENSE.txt",
    "CITATION.cff": "CITATION.cff",
}
NOTEBOOK = "tour.ipynb"
TARGET = re.compile(r"(?<=\]\()[^)#\s]+")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of OUTSIDE; put the notebook's page beside the notebook."""
    for name, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    body, resources = MarkdownExporter().from_filename(str(ROOT / "docs" / NOTEBOOK))
    title, rest = body.split("\n", 1)
    body = f"{title}\n\nThis page as a notebook: [{NOTEBOOK}]({NOTEBOOK}).\n{rest}"
    for name, content in resources["outputs"].items():
        files.append(File.generated(config, f"tour-{name}", content=content))
        body = body.replace(f"]({name})", f"](tour-{name})")
    files.append(File.generated(config, _place(NOTEBOOK), content=body))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between docs/ and the rest of the repository into links between pages."""
    uri = page.file.src_uri
    origin = {place: name for name, place in OUTSIDE.items()}.get(uri, f"docs/{uri}")
    here = posixpath.dirname(uri)

    def place(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[0]))
        if target in OUTSIDE:
            return posixpath.relpath(OUTSIDE[target], here or ".")
        if not origin.startswith("docs/") and target.startswith("docs/"):
            return _place(posixpath.relpath(target, "docs"))
        return match[0] if uri == _place(NOTEBOOK) else _place(match[0])

    return TARGET.sub(place, markdown)


def _place(name: str) -> str:
    """A page's name in the site: the notebook has one in Markdown, all others are themselves."""
    return re.sub(rf"\b{re.escape(NOTEBOOK)}$", NOTEBOOK.replace(".ipynb", ".md"), name)
