"""``zoo compare`` on the committed results, by every option that changes what is said of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from made_results import result
from printed_tables import of_text

import zoo
from zoo.results.folder import save_result

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.fixture(scope="module")
def compare(module_inline):
    """Runs ``zoo compare`` on the committed results and gives stdout."""
    return lambda *options: module_inline.ok("compare", RESULTS, *options).stdout


def test_allow_mixed_is_one_table_with_what_differs(compare) -> None:
    apart = json.loads(compare("--format", "json"))
    (mixed,) = json.loads(compare("--format", "json", "--allow-mixed"))
    assert mixed["mixed"]
    assert len(mixed["rows"]) == sum(len(group["rows"]) for group in apart)
    recipes = {group["recipe_fingerprint"] for group in apart}
    if len(recipes) > 1:
        assert {row["differs"]["recipe"].split("-")[-1] for row in mixed["rows"]} == {name[:8] for name in recipes}
    text = compare("--allow-mixed")
    assert text.startswith("MIXED: ")
    assert "ranks nothing" in text


def test_views_and_seconds(compare) -> None:
    assert "MACs (M)" in compare("--view", "cost")
    quality = compare("--view", "quality", "--seconds-to", "50")
    assert "MACs (M)" not in quality
    metrics = ("loss", "top-5 %", "ECE %", "Brier", "train accuracy %", "gap", "epochs to 90 % of final")
    for column in (*metrics, "s to 50 %"):
        assert column in quality
    rows = list(csv.DictReader(io.StringIO(compare("--format", "csv", "--seconds-to", "50"))))
    assert all(float(row["seconds_to"]) > 0 for row in rows)


def test_uncommitted_changes_have_a_verdict_where_they_are_allowed(inline_cli) -> None:
    for model, hits in (("m_bn", 9000), ("m_ln", 9200)):
        for seed in range(3):
            folder = inline_cli.folder / "runs" / model / f"seed{seed}"
            folder.mkdir(parents=True)
            run = result(model, seed, hits + 7 * seed, git={"commit": "f" * 40, "dirty": model == "m_ln"})
            save_result(folder / "result.json", run)
    compare = ("compare", "--baseline", "m_bn", "--format", "csv")
    for options, verdict in (((), "uncommitted changes; no verdict"), (("--allow-dirty",), "better (n=3)")):
        (row, _) = csv.DictReader(io.StringIO(inline_cli.ok(*compare, *options).stdout))
        assert (row["model"], row["verdict"]) == ("m_ln", verdict)
    refused = inline_cli("compare", "--baseline", "m_bn", "--power")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "some have uncommitted changes; take these too with --allow-dirty" in refused.stderr
    inline_cli.ok("compare", "--baseline", "m_bn", "--power", "--allow-dirty")
    frame = zoo.load_results(inline_cli.folder / "runs").set_index("model")
    assert frame.uncommitted.to_dict() == {"m_bn": False, "m_ln": True}
    assert set(frame.commit) == {"f" * 40}


def test_margin_says_what_counts_as_equal(compare) -> None:
    choice = ("--recipe", "laptop-9c06139e", "--baseline", "resnet20_bn", "--model", "*_ws_gn")
    assert compare(*choice) == compare(*choice, "--margin", "1")
    assert "not significant (n=3)" in compare(*choice)
    (row,) = of_text(compare(*choice, "--margin", "2.5"))
    assert row["verdict"] == "equal within 2.5 points (n=3)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--power",), ("--power", "--baseline MODEL")),
        (("--allow-mixed", "--baseline", "resnet20_bn"), ("--allow-mixed", "unlike runs cannot be tested")),
        (("--allow-mixed", "--power"), ("--allow-mixed",)),
        (("--baseline", "resnet20_bm"), ("'resnet20_bm'", "did you mean 'resnet20_bn'")),
        (("--view", "speed"), ("'speed'", "'quality'")),
        (("--seconds-to", "0"), ("--seconds-to", "0")),
        (("--seconds-to", "x"), ("--seconds-to", "'x'")),
        (("--margin", "0"), ("--margin", "0")),
    ],
)
def test_mistakes_are_one_line(module_inline, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = module_inline("compare", RESULTS, *options)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert line.startswith("zoo: ")
    assert all(word in line for word in words), line
