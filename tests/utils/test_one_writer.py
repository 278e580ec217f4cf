"""Every file that zoo writes goes through one place, `zoo/utils/`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ZOO = Path(__file__).parents[2] / "zoo"
WRITING = {
    "NamedTemporaryFile", "TemporaryDirectory", "copy2", "copyfile", "copytree", "dump", "hardlink_to", "link_to",
    "mkdtemp", "move", "rename", "save", "save_file", "savefig", "savez", "savez_compressed", "symlink_to", "to_csv",
    "touch", "write_bytes", "write_text",
}  # fmt: skip
# What is no file of a folder of zoo's, or lies in a folder that nobody else has yet.
ALLOWED = {
    ("cluster/request.py", "touch"),  # a mark, in a folder of one sweep, whose name is drawn
    ("data/cache.py", "open"),  # arrays in a new folder, hashed as they are written
    ("data/cache.py", "rename"),  # of a damaged folder, to be removed
    ("engine/memory.py", "write_text"),  # /proc
    ("track/tensorboard.py", "open"),  # exclusively created, grows while a run is logged
    ("builder/weights.py", "save"), ("engine/checkpoint.py", "save"), ("runner/trial.py", "save"),
    ("export/formats.py", "save"), ("testing/suite.py", "save"), ("data/inspect.py", "save"),
    ("render/figures.py", "savefig"),
    ("results/predictions.py", "savez_compressed"), ("web/runpage.py", "dump"),  # into memory
    ("web/live.py", "rename"), ("web/live.py", "write_bytes"),  # in a folder of one server's, which nobody else has
}  # fmt: skip


def writing_calls(path: Path) -> Iterator[str]:
    """The names of calls that may write a file."""
    text = path.read_text(encoding="utf-8")
    if not re.search(rf"\b({'|'.join(WRITING)}|open)\(", text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            words = [*node.args, *(key.value for key in node.keywords)]
            modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            writes = any(set(mode) & set("wax+") for mode in modes if len(mode) < 4)
            if name in WRITING or (name == "open" and writes):
                yield name


def test_files_are_written_in_one_place() -> None:
    found = {
        (path.relative_to(ZOO).as_posix(), name)
        for path in ZOO.rglob("*.py")
        if path.parent.name != "utils" and "templates" not in path.parts
        for name in writing_calls(path)
    }
    assert found - ALLOWED == set()
