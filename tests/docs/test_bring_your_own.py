"""The page about one's own network: its files, in a clean folder, do what it says."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

TEXT = (Path(__file__).parents[2] / "docs" / "bring-your-own.md").read_text()
COMMANDS = re.findall(r"^zoo (?:show|bench) .*$", TEXT, re.MULTILINE)
REFUSED = "zoo bench hundred --recipe smoke"
BENCHES = [command for command in COMMANDS if command.startswith("zoo bench") and command != REFUSED]


def block(mark: str) -> str:
    return re.search(rf"<!-- {mark} -->\n```\n(.*?)```\n<!-- end -->", TEXT, re.DOTALL)[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's files; the code of the section about a repository is elsewhere."""
    for name, code in re.findall(r"`(\w+\.py)`[^`]*```python\n(.*?)```", TEXT, re.DOTALL):
        (tmp_path / name).write_text(code)
    sections: dict[str, dict[str, object]] = defaultdict(dict)
    for written in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL):
        for section, entries in yaml.safe_load(written).items():
            sections[section] |= {name: entry for name, entry in entries.items() if "models." not in str(entry)}
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(dict(sections)))
    return tmp_path


def test_the_page_has_its_files_and_commands(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["more.py", "net.py", "registry.yaml", "stages.py"]
    assert len(COMMANDS) == 5
    assert len(BENCHES) == 3


def test_show_prints_what_the_page_shows(folder: Path, inline_cli) -> None:
    assert block("show") in inline_cli.ok("show", "mine", cwd=folder).stdout
    assert "24, 15, 15]" in inline_cli.ok("show", "wide", cwd=folder).stdout


def test_another_number_of_classes_is_refused_as_the_page_says(folder: Path, inline_cli) -> None:
    output = inline_cli(*shlex.split(REFUSED)[1:], cwd=folder)
    place = re.compile(r"\(\S+registry\.yaml:\d+\)")
    assert (output.returncode, place.sub("", output.stderr)) == (2, place.sub("", block("refused")))


@pytest.mark.parametrize("command", BENCHES)
def test_a_command_of_the_page_passes_its_trial(folder: Path, inline_cli, command: str) -> None:
    assert "to do" in inline_cli.ok(*shlex.split(command)[1:], "--dry-run", cwd=folder).stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", BENCHES)
def test_a_command_of_the_page_runs(folder: Path, zoo_cli, command: str) -> None:
    models = [word for word in shlex.split(command)[2:] if word in command.partition(" --")[0]]
    printed = zoo_cli.ok(*shlex.split(command)[1:], cwd=folder).stdout
    assert all(re.search(rf"^{model} ", printed, re.MULTILINE) for model in models)
