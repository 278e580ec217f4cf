"""Count the circles among the imports of ``zoo``: ``python .ci/circles.py``; exit code 1 where there is one.

All imports count: lazy ones inside functions and those for type checkers too. A circle is a strongly connected
component of more than one module, or of more than one package; a package here is what lies directly in ``zoo/``.
"""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
Graph = dict[str, set[str]]


def module_name(file: Path) -> str:
    """``zoo/data/cache.py`` is ``zoo.data.cache``, ``zoo/data/__init__.py`` is ``zoo.data``."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file: Path, modules: set[str]) -> set[str]:
    """The modules of zoo that `file` names in an import; ``from package import module`` names the module."""
    targets: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            dotted = {f"{node.module}.{alias.name}" for alias in node.names}
            targets |= dotted & modules
            if dotted - modules:
                targets.add(node.module)
    return targets & modules - {module_name(file)}


def module_graph() -> Graph:
    """Every module of zoo with the modules that it imports."""
    files = {module_name(file): file for file in sorted((ROOT / "zoo").rglob("*.py"))}
    return {name: imports_of(file, set(files)) for name, file in files.items()}


def package_graph(modules: Graph) -> Graph:
    """The same arrows between what lies directly in ``zoo/``."""

    def package(name: str) -> str:
        return ".".join(name.split(".")[:2])

    graph: Graph = {package(name): set() for name in modules}
    for name, targets in modules.items():
        graph[package(name)] |= {package(target) for target in targets} - {package(name)}
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """The strongly connected components of more than one node, largest first."""
    reachable: Graph = {}
    for start in graph:
        waiting, seen = [start], set()
        while waiting:
            for target in graph[waiting.pop()] - seen:
                seen.add(target)
                waiting.append(target)
        reachable[start] = seen
    components = {
        tuple(sorted(other for other in reachable[node] if node in reachable[other]))
        for node in graph
        if node in reachable[node]
    }
    return sorted((list(component) for component in components), key=len, reverse=True)


def longest_chain(graph: Graph) -> int:
    """Nodes on the longest path of imports. Raises :class:`graphlib.CycleError` where there is a circle."""
    depth: dict[str, int] = {}
    for node in TopologicalSorter(graph).static_order():
        depth[node] = 1 + max((depth[target] for target in graph[node]), default=0)
    return max(depth.values())


def main() -> int:
    """Print both counts and the members of each circle."""
    modules = module_graph()
    failed = False
    for what, graph in (("modules", modules), ("packages", package_graph(modules))):
        components = circles(graph)
        failed |= bool(components)
        try:
            chain = f"longest chain {longest_chain(graph)}"
        except CycleError:
            chain = "no longest chain"
        print(f"{len(graph)} {what}: {len(components)} circles, {chain}")
        for circle in components:
            print(f"  {len(circle)}: {' '.join(circle)}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
