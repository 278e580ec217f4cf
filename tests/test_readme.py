"""README and docs say what is true: the table is that of the committed results, links lead somewhere, examples run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.registry.entries import read_registry_file
from zoo.registry.merge import Registry
from zoo.registry.model import BUILT_IN
from zoo.results.folder import find_results, load_result

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def block(name: str) -> str:
    """What stands in README.md between two markers."""
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", (ROOT / "README.md").read_text(), re.DOTALL)[1]


def code(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_table_is_what_its_command_prints(zoo_cli) -> None:
    (command,), (shown,) = code(block("results"), "bash"), code(block("results"), "text")
    printed = zoo_cli.ok(*shlex.split(command)[1:], cwd=ROOT, COLUMNS="80").stdout
    assert printed.startswith(shown.removesuffix("...\n"))
    assert shown.count("resnet20_") >= 3
    assert "(n=3)" in shown


@pytest.mark.parametrize("path", find_results([RESULTS]), ids=lambda path: str(path.parent.relative_to(RESULTS)))
def test_committed_result_is_sound(path: Path) -> None:
    result = load_result(path)
    assert result.git is not None
    assert not result.git["dirty"], "made by code that is in no commit"
    assert (path.parent / "history.csv").read_text().count("\n") == result.epochs_trained + 1
    assert path.parent.relative_to(RESULTS).parts == (
        result.dataset.name,
        f"{result.recipe.name}-{result.recipe.fingerprint[:8]}",
        result.model.name,
        f"seed{result.seed}",
    )
    assert '"/' not in path.read_text(), "a path of the machine it was made on"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_only_the_written_page_counts_norms_and_architectures() -> None:
    registry = Registry([read_registry_file(BUILT_IN, "built in")])
    counts = f"{len(registry.architectures)} architectures times {len(registry.norms)} norms"
    assert [page.name for page in PAGES if "architectures times" in page.read_text()] == ["built-in.md"]
    assert counts in (ROOT / "docs" / "built-in.md").read_text()


def test_norm_of_the_readme_works(tmp_path: Path, zoo_cli) -> None:
    text = (ROOT / "README.md").read_text()
    (yaml,), (python,) = code(text, "yaml"), code(text, "python")
    (tmp_path / "registry.yaml").write_text(yaml)
    (tmp_path / "my_norm.py").write_text(python)
    assert "total parameters" in zoo_cli.ok("show", "resnet20_mine").stdout


def test_norms_of_the_docs_work(tmp_path: Path, zoo_cli) -> None:
    text = (ROOT / "docs" / "adding-a-norm.md").read_text()
    entries = [line for part in code(text, "yaml") for line in part.splitlines()[1:]]
    (tmp_path / "registry.yaml").write_text("norms:\n" + "\n".join(entries))
    (tmp_path / "my_norm.py").write_text("\n\n".join(code(text, "python")))
    for norm in ("mine", "mine4", "mine8", "swishnorm"):
        assert "total parameters" in zoo_cli.ok("show", f"resnet20_{norm}").stdout


def test_commands_of_the_pages_exist() -> None:
    told = {word for page in PAGES for word in re.findall(r"\bzoo ([a-z]+)\b", page.read_text())}
    shown = subprocess.run([sys.executable, "-m", "zoo", "--help"], capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"^  ([a-z]+)  ", shown, re.MULTILINE))
    wanted = {
        "bench", "compare", "completion", "data", "evaluate", "explain", "export", "list", "new", "plot", "plugins",
        "predict", "push", "recipe", "report", "serve", "show", "speed", "study", "tune",
    }  # fmt: skip
    assert wanted <= commands & told
