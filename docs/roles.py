"""A griffe extension for docstrings: what Sphinx writes as a role is a link, ``::`` and doctests are code blocks.

``:func:`zoo.api.build``` becomes a link where docs/reference has that module, else code. A role that names nothing in
the package is a warning, which ``mkdocs build --strict`` makes an error.
"""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.plugins import get_plugin_logger

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`(~?)([\w.]+)`")
DOCTEST = re.compile(r"^>>> .*(?:\n(?!\n).+)*", re.MULTILINE)
SHOWN = {
    name
    for page in (Path(__file__).parent / "reference").glob("*.md")
    for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
}
log = get_plugin_logger(__name__)


class Roles(griffe.Extension):
    """Rewrites every docstring of a package once it is loaded whole, so that names can be looked up."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Called by griffe."""
        self._rewrite(pkg, pkg)

    def _rewrite(self, item: griffe.Object, package: griffe.Module) -> None:
        if item.docstring:
            text = ROLE.sub(lambda match: _link(match, item, package), item.docstring.value)
            text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
            item.docstring.value = DOCTEST.sub(lambda match: f"```pycon\n{match[0]}\n```", text)
        for member in item.members.values():
            if not member.is_alias:
                self._rewrite(member, package)


def _link(match: re.Match[str], item: griffe.Object, package: griffe.Module) -> str:
    short, name = match.groups()
    if hasattr(builtins, name):
        return f"`{name}`"
    try:
        path = name if name.startswith(f"{package.path}.") else item.resolve(name)
        target = package[path.removeprefix(f"{package.path}.")]
        target = target.final_target if target.is_alias else target
    except (KeyError, griffe.GriffeError):
        log.warning(f"{item.path}: {match[0]} is nothing in {package.path}: give its full name, or write ``code``")
        return f"`{name}`"
    text = f"`{target.name if short else name}`"
    shown = target.has_docstring and SHOWN & {target.path, target.module.path}
    return f"[{text}][{target.path}]" if shown else text
