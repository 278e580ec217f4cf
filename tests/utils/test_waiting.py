"""The line that counts what a long loop has done."""

from __future__ import annotations

import io
import itertools

import pytest

from zoo.utils import waiting


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(waiting, "terminal", text)
    return text


def test_progress_is_shown_whenever_a_command_reads_for_more_than_two_seconds(shown, monkeypatch) -> None:
    monkeypatch.setattr(waiting.time, "monotonic", itertools.count(0, 0.7).__next__)  # from one look to the next
    assert list(waiting.watched(range(1000), "runs read")) == list(range(1000))
    first, *others = shown.getvalue().split("\r")[1:]
    assert first == "runs read: 100 of 1,000"
    assert len(others) == 18
    assert others[-1] == "\x1b[K"  # and the line is gone


def test_a_short_loop_says_nothing(shown) -> None:
    assert list(waiting.watched(iter("abc"), "runs found")) == ["a", "b", "c"]
    assert shown.getvalue() == ""


def test_a_loop_that_ends_early_leaves_no_line(shown, monkeypatch) -> None:
    monkeypatch.setattr(waiting.time, "monotonic", itertools.count(0, 9).__next__)
    counted = waiting.watched(iter(range(9)), "runs found")
    assert next(counted) == 0
    counted.close()
    assert shown.getvalue() == "\rruns found: 0\r\x1b[K"


def test_python_prints_nothing(capsys, monkeypatch) -> None:
    monkeypatch.setattr(waiting.time, "monotonic", itertools.count(0, 9).__next__)
    assert len(list(waiting.watched(range(1000), "runs read"))) == 1000
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


CELL = {"TERM": "xterm-color", "CLICOLOR": "1", "FORCE_COLOR": "1", "PAGER": "cat"}  # as ipykernel sets them


@pytest.mark.parametrize(
    ("environment", "style"),
    [
        ({"TERM": "xterm-256color"}, "bar"),
        ({"TERM": "screen"}, "bar"),
        ({}, "bar"),  # as on Windows
        ({"TERM": "dumb"}, "plain"),
        ({"TERM": "xterm", "CI": "true"}, "plain"),
        (CELL | {"JPY_PARENT_PID": "7"}, "plain"),
        (CELL | {"COLAB_RELEASE_TAG": "release-colab_20250219"}, "plain"),
        (CELL | {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "plain"),
        (CELL | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, "plain"),  # a kernel that an editor starts
    ],
)
def test_a_bar_is_shown_where_a_person_watches_a_terminal(monkeypatch, environment: dict[str, str], style: str) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("os.environ", environment)
    monkeypatch.setattr(waiting, "style", "plain")
    monkeypatch.setattr(waiting, "terminal", None)
    waiting.show(None)
    assert waiting.style == style
    assert (waiting.terminal is not None) == (style == "bar")
    for wanted in waiting.STYLES:  # what is asked for wins
        waiting.show(wanted)
        assert waiting.style == wanted


def test_a_file_gets_plain_lines(monkeypatch) -> None:
    """Also where colours are forced, as in a cell and on some CI."""
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(waiting, "style", "bar")
    monkeypatch.setattr(waiting, "terminal", None)
    waiting.show(None)
    assert (waiting.style, waiting.terminal) == ("plain", None)
