"""What all tests share: a cache of their own, quiet threads, and the real command line as a fixture."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from systems import lacks

# Before anything imports torch: more threads would wait for each other where workers or other work share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TIMEOUT = 300  # seconds; a command that hangs fails its test instead of the whole run
FIRST_SEED = 67280421310721  # with which torch's generator begins in every process


@dataclass(frozen=True)
class Output:
    """What a finished command left: exit code and both streams."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of stderr."""
        return self.stderr.splitlines()


@dataclass(frozen=True)
class Cli:
    """``zoo`` as a user starts it: another process, in `folder` unless told otherwise.

    `prepare` is called in that process before it becomes zoo, to take from it what a test wants it to lack.
    """

    folder: Path
    command: tuple[str, ...] = (sys.executable, "-m", "zoo")
    environment: dict[str, str] = field(default_factory=lambda: clean_environment())
    prepare: Callable[[], None] | None = None

    def __call__(self, *arguments: str | Path, cwd: Path | None = None, timeout: float = TIMEOUT, **env: str) -> Output:
        """Run ``zoo ARGUMENTS`` to its end; `env` is added to the environment."""
        done = subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=cwd or self.folder,
            env=self.environment | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            preexec_fn=self.prepare,
        )
        return Output(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str | Path, cwd: Path | None = None, **env: str) -> Output:
        """As a call, and the command has to succeed."""
        output = self(*arguments, cwd=cwd, **env)
        assert output.returncode == 0, f"zoo {' '.join(map(str, arguments))}\n{output.stderr}"
        return output

    def start(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start ``zoo ARGUMENTS`` in a session of its own, so that signals reach nothing else."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # tests begun with `&`: zoo would inherit it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            cwd=cwd or self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            preexec_fn=self.prepare,
        )


@dataclass(frozen=True)
class InlineCli(Cli):
    """As :class:`Cli`, in this process: the same words, codes and files without a start that imports torch.

    For what a command answers. Signals, imports, descriptors and the bits of two processes need a process. Speeds of
    inference are measured for as short as can be, since tests of what they are have their own, and the machine is taken
    to be idle: each thread gets the share `free` of a core (None: what is measured).
    """

    free: float | None = 1.0

    def __call__(self, *arguments: str | Path, cwd: Path | None = None, timeout: float = TIMEOUT, **env: str) -> Output:
        """Run ``zoo ARGUMENTS`` to its end; an exception that is no exit is not caught."""
        from zoo.cli.main import main

        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            as_a_process(cwd or self.folder, self.environment | env),
            quick_measurements(self.free),
            pytest.raises(SystemExit) as ended,
        ):
            main(list(map(str, arguments)))
        texts = (stream.buffer.getvalue().decode("utf-8") for stream in (out, err))
        return Output(ended.value.code, *texts)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out a module that names what this system lacks."""
    return lacks(collection_path) or None


TRIED: dict[str, list[str]] = {}  # what the trial of a built-in model gave


@contextlib.contextmanager
def quick_measurements(free: float | None) -> Iterator[None]:
    """Inference at one small batch size, the least number of latencies, and no measured load.

    A built-in model that has passed its trial in one command passes it in the next.
    """
    from zoo.registry.model import is_built_in
    from zoo.runner import checks

    try_on = checks.try_on

    def once(model: Any, inputs: Any, smallest_batch: int, module: Any) -> list[str]:
        if not is_built_in(model.origin):
            return try_on(model, inputs, smallest_batch, module)
        recipe = inputs.recipe
        parts = (recipe.precision, recipe.optimizer.name, recipe.ema, recipe.lookahead, recipe.tta, smallest_batch == 1)
        key = repr((model, inputs.shape, inputs.dataset.num_classes, inputs.settings, parts))
        if key not in TRIED:
            TRIED[key] = try_on(model, inputs, smallest_batch, module)
        return TRIED[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "try_on", once)
        patch.setattr("zoo.engine.speed.INFERENCE_BATCHES", (8,))
        patch.setattr("zoo.engine.speed.LATENCIES", 50)
        if free is not None:
            patch.setattr("zoo.utils.cpu.share_of_cores", lambda threads: free)
        yield


@contextlib.contextmanager
def as_a_process(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """In that folder and environment, torch's generator as new, warnings and logs on stderr as Python alone sends them.

    Torch's global state is put back, and modules from folders that are put on the path meanwhile, a user's own, are
    forgotten.
    """
    path, modules, terminate = list(sys.path), set(sys.modules), signal.getsignal(signal.SIGTERM)
    import torch

    from zoo.builder.torchstate import Snapshot

    state = Snapshot()
    torch.manual_seed(FIRST_SEED)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        for name in set(os.environ) - set(environment):
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        patch.setattr(warnings, "showwarning", lambda *told, **_: sys.stderr.write(warnings.formatwarning(*told[:4])))
        patch.setattr(logging.getLogger(), "handlers", [])
        patch.setattr(sys, "dont_write_bytecode", True)  # a file may be edited within the second that bytecode knows
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, terminate)
            state.put_back()
            added = [Path(entry) for entry in sys.path if entry not in path]
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                file = getattr(sys.modules[name], "__file__", None)
                if file and any(Path(file).is_relative_to(entry) for entry in added):
                    del sys.modules[name]


def clean_environment() -> dict[str, str]:
    """This process' environment without the user's own zoo settings (the cache stays), in UTF-8."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ZOO_") or key == "ZOO_CACHE"}
    return kept | {"PYTHONIOENCODING": "utf-8"}


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder for the whole run: the same one in every worker of pytest-xdist."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def zoo_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test touches the user's cache or registry; data is decoded once for all tests of the run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = shared_folder(tmp_path_factory, "zoo-cache")
        patch.setenv("ZOO_CACHE", str(folder))
        patch.setenv("OMP_WAIT_POLICY", "passive")  # threads that wait for work leave the cores to other workers
        patch.delenv("ZOO_REGISTRY", raising=False)
        yield folder


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Options of ``zoo bench`` for a whole run in a few seconds: 2 epochs of 2 steps on the generated set."""
    settings = ("split.train=64", "split.holdout=32", "epochs=2", "schedule.peak_epoch=1")
    changes = (word for setting in settings for word in ("--set", setting))
    return ("--recipe", "smoke", *changes, "--layout", "nchw")


@pytest.fixture
def figure(record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    """What a test has found, for the end of the report: a count, added up over all tests, or a text for itself."""

    def tell(name: str, value: int | str = 1) -> None:
        record_property("figure", (name, value))

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures; the properties of a report come here from the workers of pytest-xdist too."""
    found: dict[str, Any] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for key, told in getattr(report, "user_properties", ()) if getattr(report, "when", "") == "call" else ():
            if key == "figure":
                name, value = told
                found[name] = found.get(name, 0) + value if isinstance(value, int) else value
    if found:
        terminalreporter.section("figures")
        for name, value in found.items():
            terminalreporter.line(f"{name}: {value}")


@pytest.fixture
def zoo_cli(tmp_path: Path, zoo_cache: Path) -> Cli:
    """The command line in a fresh folder: ``zoo_cli("list").stdout``."""
    return Cli(tmp_path)


@pytest.fixture(scope="module")
def module_cli(tmp_path_factory: pytest.TempPathFactory, zoo_cache: Path) -> Cli:
    """The command line in one folder for all tests of a module, for runs that several tests look at."""
    return Cli(tmp_path_factory.mktemp("module"))


@pytest.fixture
def inline_cli(tmp_path: Path, zoo_cache: Path) -> InlineCli:
    """As `zoo_cli`, in this process."""
    return InlineCli(tmp_path)


@pytest.fixture(scope="module")
def module_inline(module_cli: Cli) -> InlineCli:
    """As `module_cli` and in its folder, in this process."""
    return InlineCli(module_cli.folder)
