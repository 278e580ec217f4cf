"""A table as papers take it: `booktabs`, with the notes of `threeparttable`, a caption and a label."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from zoo.render import marks
from zoo.utils.text import visible

PLUS_MINUS = r"\pm"
MARKS = {marks.TEST_MARK: r"\dag", marks.DISTURBED_MARK: r"\ddag", marks.BATCH_MARK: r"\S"}
ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "×": r"$\times$",
    "–": "--", "−": "$-$", "…": r"\dots{}", **{mark: rf"{command}{{}}" for mark, command in MARKS.items()},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip
FOREIGN = re.compile(r"[^ -~À-ÏÑ-ÖØ-Ýß-ïñ-öø-ýÿ]")  # what LaTeX's usual fonts lack, unless ESCAPES has it
# A number with a sign, an interval or neither; a digit of a name begins none.
NUMBER = re.compile(r"(?<![\w.,])((?:< )?[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?: ± \d[\d.,]*)?)(?!\w)")


def table(
    title: str, caption: str, rows: Sequence[Mapping[str, str]], notes: Sequence[str], left: Collection[str]
) -> str:
    """The table of `rows` with `title` and `caption` above it and `notes` below it, ending in a newline."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head, *body = (
        f"      {' & '.join(map(_cell, line))} \\\\"
        for line in (columns, *([row.get(name, "") for name in columns] for row in rows))
    )
    label = re.sub(r"[^a-z0-9]+", "-", title.lower())[-40:].strip("-")
    below = [r"    \begin{tablenotes}", r"      \footnotesize", *map(_note, notes), r"    \end{tablenotes}"]
    return "\n".join([
        r"% \usepackage{booktabs,threeparttable}", r"\begin{table}", r"  \centering\small\setlength{\tabcolsep}{4pt}",
        r"  \begin{threeparttable}",
        rf"    \caption{{{_text(f'{title}. {caption}'.strip())}}}", rf"    \label{{tab:{label}}}",
        rf"    \begin{{tabular}}{{{''.join('l' if name in left else 'r' for name in columns)}}}", r"      \toprule",
        head, r"      \midrule", *body, r"      \bottomrule", r"    \end{tabular}", *(below if notes else []),
        r"  \end{threeparttable}", r"\end{table}", "",
    ])  # fmt: skip


def _text(text: str) -> str:
    """`text` as LaTeX shows it. What its usual fonts do not have is shown as Python writes it."""
    shown = FOREIGN.sub(lambda match: match[0] if match[0] in ESCAPES else ascii(match[0])[1:-1], visible(text))
    parts = NUMBER.split(shown)  # every second one is a number, in mathematics where it has a sign or an interval
    for place, part in enumerate(parts):
        if place % 2 and not (part[0].isdigit() and "±" not in part):
            parts[place] = f"${part.replace('±', PLUS_MINUS).replace(',', '{,}')}$"
        else:
            parts[place] = "".join(ESCAPES.get(character, character) for character in part)
    return "".join(parts)


def _cell(text: str) -> str:
    """A cell: no number is a dash, ranges have one, and marks are those of a table's notes."""
    if text == "-":
        return "--"
    shown = re.sub(r"(?<=\d)-(?=[\d.,]+\))", "--", _text(text))
    for command in MARKS.values():
        for mark in (f" {command}{{}}", f"{command}{{}}"):
            shown = shown.replace(mark, rf"\tnote{{{command}}}")
    return shown


def _note(text: str) -> str:
    """A note; the mark that it begins with is its item's."""
    mark = MARKS.get(text[:1])
    return rf"      \item[{mark}] {_text(text[1:].strip())}" if mark else rf"      \item {_text(text)}"
