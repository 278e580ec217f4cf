"""What tests of a command share that run it many times over the same trained runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zoo.cli.main import main


@pytest.fixture
def zoo(
    capsys: pytest.CaptureFixture[str], benched: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """``zoo ARGUMENTS`` in this process and in that folder: what the command line prints, without its start.

    `benched` is the test file's own: trained runs in its `folder`.
    """
    monkeypatch.chdir(benched.folder)
    monkeypatch.setenv("ZOO_DATA", str(benched.folder / "data"))
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path, code: int = 0) -> SimpleNamespace:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert ended.value.code == code, err
        return SimpleNamespace(out=out, err=err)

    yield run
    signal.signal(signal.SIGTERM, before)
