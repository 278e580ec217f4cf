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
