"""What the pages say of norms is what the tests say: a sentence that ranks two names the verdict that it rests on.

Behind such a sentence stands ``<!-- verdict: WHERE BASELINE MODEL METRIC VERDICT; ... -->``, which the page does not
show. WHERE is the beginning of a recipe's fingerprint (of the one that was tuned, in a tuned table) or ``corrupted``,
the table of ``zoo evaluate``; a MODEL ``*`` is every row that has a verdict, a METRIC ``*`` every other one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.comparison.baseline import Difference, Shift
from zoo.comparison.groups import compare
from zoo.comparison.verdict import MARGIN
from zoo.results.folder import find_results, load_all
from zoo.trained.robustness import Record
from zoo.trained.tables import contrasts

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BENCHMARKS = ROOT / "benchmarks"
NORM = re.compile(r"\b(?:Batch|Layer|Group|Instance|RMS)Norm\b|\bEvoNorm\b|\bFRN\b|`(?:resnet20_)?(?:ws_gn|[bgl]n|in)`")
RANKS = re.compile(
    r"\b(?:better|worse|best|worst|ahead|behind|beats?|(?:above|below)(?! 0)|higher|lower|larger|smaller|more|less|"
    r"gains?|loses?)\b"
)
SPEEDS = {
    "What do they cost in speed and memory?",
    "And how fast is the harness itself?",
    "Norms on a CPU",
    "Memory layout",
    "Cost on a CPU",
}
CLAIM = re.compile(r"<!-- verdict: (.*?) -->", re.DOTALL)


def paragraphs(page: Path) -> Iterator[tuple[str, str, str]]:
    """Heading, text of the section, and each paragraph, point of a list and row of a table that a person wrote."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"<!-- (?!output|fails)\w+ -->\n.*?<!-- end -->", "", text, flags=re.DOTALL)
    for section in re.split(r"^(?=##+ )", text, flags=re.MULTILINE):
        heading = section.partition("\n")[0].lstrip("# ")
        for paragraph in re.split(r"\n\s*\n|\n(?=- |\d\. |\|)", section):
            if not paragraph.startswith(("    ", "#")):
                yield heading, section, " ".join(paragraph.split())


@functools.cache
def compared(baseline: str) -> dict[tuple[str, str, str], Difference | Shift]:
    """Recipe, model and metric to what it differs by from `baseline` in the committed results."""
    shifts: dict[tuple[str, str, str], Difference | Shift] = {}
    for folder, tuned in (("results", False), ("studies/tune", True)):
        runs = load_all(find_results([BENCHMARKS / folder]))
        if baseline not in {run.result.model.name for run in runs}:
            continue
        for group in compare(runs, baseline, tuned=tuned):
            for row in group.rows:
                if row.against and row.against.p_value is not None:
                    where = group.recipe_fingerprint[:8], row.model
                    shifts[*where, "accuracy"] = row.against
                    shifts |= {(*where, name): shift for name, shift in row.against.quality.items()}
    records = [Record(**record) for record in json.loads((BENCHMARKS / "figures" / "corrupted.json").read_text())]
    for contrast in contrasts(records, baseline, [], MARGIN):
        shifts["corrupted", contrast.row[0], contrast.column] = contrast.against
    return shifts


def claims(paragraph: str) -> Iterator[tuple[str, Difference | Shift]]:
    """The verdicts that a paragraph names, each with the difference that it is of."""
    named = [claim.split() for text in CLAIM.findall(paragraph) for claim in text.split(";")]
    for where, baseline, model, metric, verdict in named:
        others = {claim[3] for claim in named if claim[:2] == [where, baseline]}
        chosen = [
            shift
            for (recipe, name, column), shift in compared(baseline).items()
            if recipe == where and model in (name, "*") and metric in (column, "*" if column not in others else column)
        ]
        assert chosen, f"no such verdict: {where} {baseline} {model} {metric}"
        yield from ((verdict, shift) for shift in chosen)


def verdict_of(shift: Difference | Shift) -> str:
    """In one word; a metric without words of its own is higher or lower."""
    if isinstance(shift, Difference):
        return shift.verdict.split(" (n=")[0].replace(" ", "-")
    if shift.p_value >= 0.05:
        return "not-significant"
    return "higher" if shift.difference > 0 else "lower"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_claims_are_the_verdicts_of_the_committed_results(page: Path) -> None:
    """The words, and every interval and p-value beside them."""
    for _, _, paragraph in paragraphs(page):
        stated = list(claims(paragraph))
        for verdict, shift in stated:
            assert verdict_of(shift) == verdict, paragraph
        if stated:
            shifts = [shift for _, shift in stated]
            halves = [50 * (shift.interval[1] - shift.interval[0]) for shift in shifts if shift.interval]
            pairs = {f"{100 * abs(s.difference):.1f} ± {half:.1f}" for s, half in zip(shifts, halves, strict=True)}
            assert set(re.findall(r"\d+\.\d+ ± \d+\.\d+", paragraph)) <= pairs
            assert set(re.findall(r"\bp (\d\.\d+)", paragraph)) <= {f"{shift.p_value:.3f}" for shift in shifts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_that_rank_norms_rest_on_a_verdict(page: Path) -> None:
    """Speeds have other tests; where a section says that there is no verdict, it may name what single runs had."""
    without = [
        paragraph
        for heading, section, paragraph in paragraphs(page)
        if len(set(NORM.findall(paragraph))) > 1
        and any(
            RANKS.search(sentence) and not sentence.endswith("?") for sentence in re.split(r"(?<=[.?])\*? ", paragraph)
        )
        and heading not in SPEEDS
        and "verdict:" not in paragraph
        and not re.search(r"(?i)\bno verdict\b", section)
    ]
    assert without == []


def test_every_bold_finding_rests_on_a_verdict() -> None:
    """The first words of each answer in findings.md."""
    findings = [(head, text) for head, _, text in paragraphs(ROOT / "docs" / "findings.md") if text.startswith("**")]
    assert len(findings) >= 6
    for heading, text in findings:
        open_question = re.match(r"\*\*(No verdict|Not known)", text)
        assert "verdict:" in text or open_question or heading in {*SPEEDS, "Every architecture"}, text
