"""The checks of a change: what `.ci/run`, the workflows and pre-commit run, and which Pythons they cover."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from systems import LACKING, lacks

ROOT = Path(__file__).parents[1]
SCRIPT = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def commands(workflow: str) -> list[str]:
    jobs = load(f".github/workflows/{workflow}.yml")["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_the_script_runs_every_check_and_readmes_commands() -> None:
    lines = SCRIPT.splitlines()
    types = ("mypy", "mypy --platform darwin", "mypy --platform win32", "basedpyright")
    for check in ("ruff check .", "ruff format --check .", *types, "python .ci/circles.py"):
        assert check in lines
    assert any(line.startswith("lint-imports") for line in lines)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("first-command", "test-command"):
        assert f"readme {name}" in SCRIPT
        assert f"<!-- {name} -->" in readme
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


def test_the_script_runs_on_every_supported_python() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    classifiers = re.findall(r"Python :: (3\.\d+)$", settings["metadata"]["classifiers"], re.MULTILINE)
    jobs = load(".github/workflows/ci.yml")["jobs"]
    assert [job["strategy"]["matrix"]["python"] for job in jobs.values()] == [classifiers, classifiers]
    assert settings["options"]["python_requires"] == f">={classifiers[0]}"
    assert commands("ci")[0] == "bash .ci/run"


def test_macos_and_windows_run_the_main_command_and_the_tests() -> None:
    job = load(".github/workflows/ci.yml")["jobs"]["others"]
    assert job["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (first,) = re.findall(r"<!-- first-command -->\n```bash\n(.*)\n```", readme)
    done = [step["run"] for step in job["steps"] if "run" in step]
    assert {*first.split(" && "), "zoo list", "pytest -n 2"} <= set(done)
    settings = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for system in ("MacOS", "Microsoft :: Windows", "POSIX :: Linux"):
        assert f"Operating System :: {system}\n" in settings


@pytest.mark.parametrize("system", LACKING)
def test_elsewhere_most_modules_of_tests_remain(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that name what only Linux has are not imported, since some could not be."""
    monkeypatch.setattr(sys, "platform", system)
    modules = list((ROOT / "tests").rglob("test_*.py"))
    left = [path for path in modules if not lacks(path)]
    assert len(left) > 0.7 * len(modules)
    assert ROOT / "tests" / "cli" / "test_faults.py" not in left
    assert ROOT / "tests" / "cli" / "test_bench.py" in left


def test_slow_tests_and_benchmarks_run_every_night() -> None:
    workflow = load(".github/workflows/nightly.yml")
    assert workflow[True]["schedule"]  # YAML reads the key `on` as true
    nightly = "\n".join(commands("nightly"))
    assert "-m slow" in nightly
    assert "pytest benchmarks" in nightly


def test_the_lowest_and_the_newest_releases_run_every_night() -> None:
    nightly = commands("nightly")
    assert 'pip install -e ".[test]" -c floors.txt' in nightly
    assert 'pip install --upgrade --pre -e ".[test]"' in nightly
    done = subprocess.run([sys.executable, ROOT / ".ci" / "floors.py"], capture_output=True, text=True, check=True)
    pins = dict(line.split("==") for line in done.stdout.splitlines())
    settings = ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    required = [line for line in settings["options"]["install_requires"].split("\n") if line]
    assert len(required) == 16
    for requirement in required:
        name, version = re.split(r" >= |,", requirement)[:2]
        assert pins[name] == version
    assert "matplotlib" in pins
    assert "pytest" not in pins


def test_hooks_use_the_tools_of_the_environment() -> None:
    (source,) = load(".pre-commit-config.yaml")["repos"]
    assert source["repo"] == "local"
    hooks = {hook["entry"].split()[0] for hook in source["hooks"]}
    assert hooks == {"ruff", "mypy", "lint-imports", "python"}
    (subject,) = [hook for hook in source["hooks"] if hook["entry"] == "python .ci/subject.py"]
    assert subject["stages"] == ["commit-msg"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("x" * 72, 0),
        ("x" * 73, 1),
        ("\n# a comment of git's that is much longer than a subject may be, which is seventy-two characters\nshort", 0),
        ("short\n\n" + "y" * 100, 0),
        ("# nothing but a comment", 1),
    ],
)
def test_a_long_subject_is_refused(tmp_path: Path, message: str, code: int) -> None:
    file = tmp_path / "message"
    file.write_text(message)
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "subject.py", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stderr.count("\n") == code
