"""Names that others chose, in every output: no cell, comment, formula, link or escape of a terminal comes of them."""

from __future__ import annotations

import csv
import io
import re

import pytest

from zoo.cli.options import line
from zoo.errors import Option
from zoo.render.document import as_csv, document
from zoo.utils.text import markdown

NAME = "a|b`c`<img src=x>[d](http://e)\n\x1b[31mf"


def test_latex_and_text_have_no_line_of_a_name() -> None:
    for style in ("latex", "text"):
        text = document(f"of {NAME}", [{"model": NAME, "x": "1"}], [f"note of {NAME}"], style)
        assert "\x1b" not in text
        shown = [row for row in text.splitlines() if "31mf" in row]
        assert len(shown) == (4 if style == "latex" else 3)
        if style == "latex":
            assert shown[0].strip().startswith(r"\caption{of a\textbar{}b`c`\textless{}img")
            assert shown[3].strip().startswith(r"\item note of ")
            assert re.fullmatch(r"\\label\{tab:[a-z0-9-]+\}", shown[1].strip())


def test_markdown_shows_a_name_as_it_is() -> None:
    text = document(f"of {NAME}", [{"model": NAME, "p": "<0.001"}], [f"note of {NAME}"], "markdown")
    assert "\x1b" not in text
    assert text.count(r"a\|b`c`\<img src=x>[d\](http://e)\n\x1b[31mf") == 3
    (row,) = [line for line in text.splitlines() if line.startswith("| a")]
    assert row.replace(r"\|", "").count("|") == 3
    assert "<0.001" in row


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("44.96 [43.99, 45.94]", "44.96 [43.99, 45.94]"),
        ("code `x` of zoo's", "code `x` of zoo's"),
        ("an `open end", r"an \`open end"),
        ("[a](http://e)", r"[a\](http://e)"),
        ("![a](http://e)", r"![a\](http://e)"),
        ("[a][b]", r"[a\][b]"),
        ("[a]: http://e", r"[a\]: http://e"),
        ("<!-- x", r"\<!-- x"),
    ],
)
def test_what_forms_a_link_a_tag_or_open_code_is_escaped_and_no_more(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+cmd", "-cmd|x", "@SUM(1)"])
def test_csv_has_no_formula(name: str) -> None:
    (record,) = csv.DictReader(io.StringIO(as_csv([{"model": name, "of": [name], "gain": -0.5, "text": "-1.5e-3"}])))
    assert record == {"model": f"'{name}", "of": f"'{name}", "gain": "-0.5", "text": "-1.5e-3"}


def test_messages_show_what_a_terminal_would_act_on() -> None:
    assert line(["no \x1b[31mrun\x07 in ", Option("runs", "caf\udce9\u202e"), "\n!"]) == (
        r"no \x1b[31mrun\x07 in --runs 'caf\udce9\u202e' !"
    )
