"""``zoo report``: the folder that it leaves, what is refused, and figures that are those of ``zoo compare``."""

from __future__ import annotations

import html
import html.parser
import json
from pathlib import Path

import pytest
from web_runs import CLASSES, EVA, FINGERPRINT, LAPTOP, make_run, make_runs

from zoo.comparison.groups import compare
from zoo.render.comparison import ELSEWHERE
from zoo.render.marks import HINTS, TEST_NOTE
from zoo.results.folder import find_results, load_all
from zoo.web import boards, cells, charts
from zoo.web.charts import script_call, script_json, tradeoffs
from zoo.web.data import tables
from zoo.web.runpage import confusions

ROOT = Path(__file__).parents[2]
COMMITTED = [ROOT / "benchmarks" / "results", ROOT / "benchmarks" / "studies"]


class Cells(html.parser.HTMLParser):
    """The body rows of every board: {data-key: data-value or None}, by the section's data set and recipe."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.boards: dict[tuple[str, str], list[dict[str, str | None]]] = {}
        self.links: list[str] = []
        self._rows: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = dict(attributes)
        if told.get("class") == "board" and told.get("data-recipe"):  # not the template of one
            self._rows = self.boards.setdefault((told["data-dataset"], told["data-recipe"]), [])
        elif told.get("data-key") == "model" and told.get("scope") == "row":
            self._rows.append({})
        if "data-key" in told and self._rows and told.get("scope") != "col":
            self._rows[-1][told["data-key"]] = told.get("data-value")
        if tag in ("a", "img", "script", "link") and (link := told.get("href") or told.get("src")):
            self.links.append(link)


@pytest.fixture(scope="module")
def built(module_cli) -> Path:
    """The page of the made runs, by the command."""
    make_runs(module_cli.folder / "runs")
    told = module_cli.ok("report", "--baseline", "resnet20_bn").stdout
    assert told == "wrote report/index.html: 13 runs\n"
    return module_cli.folder / "report"


def test_every_figure_is_that_of_compare_json(module_inline, built: Path) -> None:
    boards = Cells((built / "index.html").read_text(encoding="utf-8")).boards
    groups = json.loads(module_inline.ok("compare", "--baseline", "resnet20_bn", "--format", "json").stdout)
    assert len(boards) == len(groups) == 3
    for group in groups:
        shown = boards[group["dataset"], f"{group['recipe']}-{group['recipe_fingerprint'][:8]}"]
        assert [row["model"] for row in shown] == [row["model"] for row in group["rows"]]
        for cell, row in zip(shown, group["rows"], strict=True):
            for key in ("accuracy", *(column.key for column in cells.SUMMARY + cells.QUALITY_OF_ROWS)):
                assert (None if cell[key] is None else float(cell[key])) == row[key], key
            assert cell["seeds"] == str(len(row["seeds"]))
            against = row["against"] or {"verdict": "baseline", "difference": None, "p_value": None}
            if "verdict" in cell:
                assert cell["verdict"] == against["verdict"]
                for key in ("difference", "p_value"):
                    assert (None if cell[key] is None else float(cell[key])) == against[key]
    assert {row["verdict"] for row in boards["cifar10-jpeg", LAPTOP]} == {
        "baseline",
        "worse (n=3)",
        "a seed diverged",
    }
    assert [row["machine"] for row in boards["cifar10-jpeg", EVA]] == ["a", "b", "a"]


def test_figures_are_written_as_in_the_tables() -> None:
    runs = load_all(find_results(COMMITTED))
    for group in compare(runs):
        for row in group.rows:
            for column in cells.SUMMARY + cells.QUALITY_OF_ROWS:
                told = cells.text(column, row).replace("−", "-").replace("–", "-")
                assert told == column.text(row)


def test_marks_notes_and_pages(built: Path) -> None:
    text = (built / "index.html").read_text(encoding="utf-8")
    assert text.count("†</button>") == 2  # the two rows with a figure that the test set chose
    assert "The test set chose these weights" in text
    assert "× seed 1 diverged at epoch 3" in text
    assert "Speeds compare only between rows with the same machine letter." in text
    links = [link for link in Cells(text).links if link.startswith("runs/")]
    assert len(set(links)) == 13
    assert {f"runs/{path.name}" for path in (built / "runs").iterdir()} == set(links)
    assert len(list((built / "data").iterdir())) == 13


def test_the_page_says_what_the_rows_rest_on(inline_cli) -> None:
    """Marks, code and notes are those of the tables; uncommitted changes have a verdict where they are allowed."""
    runs, dirty = inline_cli.folder / "runs", {"git": {"commit": "f" * 40, "dirty": True}}
    for seed in range(3):
        make_run(runs, "bn", seed, 240 + seed)
        make_run(runs, "ln", seed, 150 + seed, model__batch_dependent=256)
        make_run(runs, "gn", seed, 200 + seed, **(dirty if seed == 2 else {}))
    (group,) = compare(load_all(find_results([runs])), "resnet20_bn")
    for options, verdict in (((), "uncommitted changes; no verdict"), (("--allow-dirty",), "worse (n=3)")):
        inline_cli.ok("report", "--baseline", "resnet20_bn", *options)
        text = (inline_cli.folder / "report" / "index.html").read_text(encoding="utf-8")
        (board,) = Cells(text).boards.values()
        shown = {row["norm"][1:] if row["norm"].startswith("=") else row["norm"]: row for row in board}
        assert {norm: row["verdict"] for norm, row in shown.items()} == {
            "bn": "baseline", "ln": "worse (n=3)", "gn": verdict,
        }  # fmt: skip
        assert (shown["gn"]["code"], shown["bn"]["code"]) == ("1 (0, 1), 2 (2)", "1")
        assert shown["gn"]["worst_accuracy"] == str(200 / 300)
        assert 'class="verdict worse"' in text
        assert "worse (n=3) §</td>" in text
        assert text.count(f'data-hint="{HINTS["§"]}">§</button>') == 1
    for note in cells.notes(group)[2:]:  # how many rows were tested depends on the option
        assert html.escape(note, quote=False) in text
    (page,) = (inline_cli.folder / "report" / "runs").glob("resnet20_ln-seed0-*.html")
    assert "§ batch-dependent" in page.read_text(encoding="utf-8")
    (page,) = (inline_cli.folder / "report" / "runs").glob("resnet20_gn-seed2-*.html")
    assert f"{'f' * 40} with uncommitted changes" in page.read_text(encoding="utf-8")


def test_a_seed_from_another_machine_is_in_its_models_row(inline_cli) -> None:
    """And one that ran on both has a row for each."""
    runs, two = inline_cli.folder / "runs", {"environment__cpu": "CPU two"}
    for seed in range(2):
        make_run(runs, "bn", seed, 240)
        make_run(runs, "ln", seed, 200 + seed)
    make_run(runs, "bn", 2, 240, **two)
    make_run(inline_cli.folder / "more", "ln", 0, 201, **two)
    inline_cli.ok("report", "runs", "more")
    text = (inline_cli.folder / "report" / "index.html").read_text(encoding="utf-8")
    (board,) = Cells(text).boards.values()
    assert [(row["model"], row["seeds"], row["machine"]) for row in board] == [
        ("resnet20_bn", "3", "a"), ("resnet20_ln", "1", "b"), ("resnet20_ln", "2", "a"),
    ]  # fmt: skip
    assert text.count(f'data-hint="{ELSEWHERE}">+</button>') == 1
    assert text.count(f"letter. {ELSEWHERE} a: ") == 2  # below the table, and in the data for the script


def test_every_link_stays_in_the_folder(built: Path) -> None:
    for path in built.rglob("*.html"):
        for link in Cells(path.read_text(encoding="utf-8")).links:
            if link.startswith(("data:", "#")):
                continue
            target = (path.parent / link.split("#")[0]).resolve()
            assert target.is_file(), f"{path.name}: {link}"
            assert target.is_relative_to(built.resolve())


def test_page_of_a_run_has_all_of_it(built: Path) -> None:
    (path,) = (built / "runs").glob("resnet20_bn-seed2-*.html")
    text = path.read_text(encoding="utf-8")
    assert f'data-value="{242 / 300}"' in text
    for words in ("80.67", "1:02:05", FINGERPRINT, "d" * 64, "optimizer: {name: sgd, lr: ", "CPU one, 2 cores",
                  "0" * 40, "2030-01-02T03:04:05", "900 training, 90 validation, 300 test",
                  f"cifar10-jpeg/{LAPTOP}/resnet20_bn/seed2", *CLASSES):  # fmt: skip
        assert words in text, words
    assert str(built.parent) not in text  # no path of this machine
    assert "pictures-title" not in text
    diverged = next((built / "runs").glob("resnet20_gn-seed1-*.html")).read_text(encoding="utf-8")
    assert "Diverged at epoch 3, step 7" in diverged
    assert "Confusions" not in diverged


def test_pictures_are_shown_where_explain_made_them(inline_cli, tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    (run.path / "explain").mkdir()
    (run.path / "explain" / "grad_cam.png").write_bytes(b"\x89PNG picture")
    inline_cli.ok("report")
    (page,) = (tmp_path / "report" / "runs").iterdir()
    (picture,) = (tmp_path / "report" / "pictures").rglob("*.png")
    assert picture.read_bytes() == b"\x89PNG picture"
    assert picture.relative_to(tmp_path / "report").as_posix() in page.read_text(encoding="utf-8")
    assert "grad cam" in page.read_text(encoding="utf-8")


def test_new_report_replaces_the_old_without_leftovers(inline_cli, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "runs", "bn"), make_run(tmp_path / "runs", "ln")
    inline_cli.ok("report")
    assert len(list((tmp_path / "report" / "runs").iterdir())) == 2
    second.result.unlink()
    inline_cli.ok("report")
    (left,) = (tmp_path / "report" / "runs").iterdir()
    assert left.name.startswith("resnet20_bn")
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "report"}

    before = {path: path.read_bytes() for path in (tmp_path / "report").rglob("*") if path.is_file()}
    first.history.write_text("damaged\n")
    output = inline_cli("report")
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert "history.csv" in line
    assert {path: path.read_bytes() for path in (tmp_path / "report").rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "report"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda out: (out.mkdir(), (out / "thesis.tex").write_text("mine")), ("holds files and is no zoo report",)),
        (lambda out: out.write_text("mine"), ("is no folder",)),
        (lambda out: out.symlink_to("elsewhere"), ("is no folder",)),
    ],
    ids=["folder", "file", "link"],
)
def test_what_is_no_report_is_left_alone(inline_cli, tmp_path: Path, make, words: tuple[str, ...]) -> None:
    make_run(tmp_path / "runs")
    make(tmp_path / "report")
    output = inline_cli("report")
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert all(word in line for word in ("zoo: --out", *words))


def test_a_file_of_the_user_in_a_report_is_not_deleted(inline_cli, tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    (tmp_path / "report").mkdir()  # an empty folder is taken
    inline_cli.ok("report")
    (tmp_path / "report" / "notes.txt").write_text("mine")
    (line,) = inline_cli("report").lines
    assert "'notes.txt', which is not of the report" in line
    assert (tmp_path / "report" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("nowhere",), ("nowhere", "no such folder")),
        (("empty",), ("no result.json under empty", "zoo bench")),
        (("--out", "no/report"), ("no folder", "make it first")),
        (("--baseline", "resnet20_bm"), ("'resnet20_bm'", "did you mean 'resnet20_bn'")),
    ],
)
def test_mistakes_are_one_line(inline_cli, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    make_run(tmp_path / "runs")
    (tmp_path / "empty").mkdir()
    output = inline_cli("report", *options)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert all(word in line for word in ("zoo: ", *words))
    assert not (tmp_path / "report").exists()


def test_a_package_that_is_missing_is_told_first(zoo_cli, tmp_path: Path) -> None:
    blocked = tmp_path / "site"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'plotly' else find(name, package)\n"
    )
    output = zoo_cli("report", "nowhere", PYTHONPATH=str(blocked))
    (line,) = output.lines
    assert "plotly, which is not installed; pip install plotly" in line


# Pure functions


def test_points_and_fronts_keep_machines_and_the_diverged_apart(tmp_path: Path) -> None:
    found = tradeoffs(tables(load_all(find_results([make_runs(tmp_path)]))))
    main, other = (next(table for table in found["tables"] if table["recipe"] == name)
                   for name in (LAPTOP, EVA))  # fmt: skip
    names = [point["model"] for point in main["points"]]
    assert names == ["resnet20_bn", "resnet20_ln", "resnet20_gn"]
    # All are equally fast but for nothing: bn is the most accurate, and gn, of which a seed diverged, is on no front.
    assert main["fronts"]["train_images_per_second"]["a"] == [0]
    assert set(other["fronts"]["train_images_per_second"]) == {"a", "b"}
    assert other["fronts"]["train_images_per_second"]["b"] == [1]
    assert set(other["fronts"]["parameters"]) == {"all"}
    assert other["missing"] == "resnet20_frn"
    assert (main["notes"], other["notes"]) == ([], [TEST_NOTE])
    assert [point["marks"] for point in other["points"]] == ["†", "†"]
    looks = found["looks"]
    assert len({*looks.values()}) == len(looks)


def test_json_in_a_script_cannot_end_it() -> None:
    value = {"a": "</script><script>alert(1)</script>", "b": "<!-- & \u2028\u2029 \"quotes' "}
    text = script_json(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value
    assert script_call("zoo.curve", "</script>", {}) == 'zoo.curve("\\u003c/script\\u003e",{});\n'
    with pytest.raises(ValueError):
        script_json(float("nan"))


def test_confusions_of_many_classes_are_the_commonest_alone() -> None:
    import numpy as np

    from zoo.results.metrics import Metrics

    size = 30
    confusion = np.eye(size, dtype=int) * 9
    confusion[3, 7], confusion[4, 8] = 6, 5
    told = Metrics(
        images=int(confusion.sum()), correct=9 * size, accuracy=9 * size / confusion.sum(), top5_accuracy=None,
        loss=1.0, per_class_accuracy=[1.0] * size, confusion=confusion.tolist(), ece=0.0, brier=None,
    )  # fmt: skip
    found = confusions(told, [f"class {index}" for index in range(size)])
    assert found.matrix is None
    assert found.pairs == [("class 3", "class 7", 6, 6 / 15), ("class 4", "class 8", 5, 5 / 14)]


def test_a_chart_holds_the_best_and_the_fronts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many models, on as many machines, in a time that grows with their number."""
    monkeypatch.setattr(charts, "POINTS", 3)
    for number in range(8):
        size = {"model__parameters": 270_000 - 1000 * (number == 6)}
        make_run(tmp_path, f"m{number}", 0, 240 - number, environment__cpu=f"CPU {number % 4}", **size)
    (table,) = tradeoffs(tables(load_all(find_results([tmp_path]))))["tables"]
    assert [point["model"] for point in table["points"]] == [f"resnet20_m{number}" for number in (0, 1, 2, 6)]
    assert table["fronts"]["parameters"]["all"] == [3, 0]
    assert sorted(table["machines"]) == sorted({point["machine"] for point in table["points"]})
    assert table["notes"] == ["Only the 3 most accurate of 8 models are drawn, and up to 3 more on a front."]


def test_a_chart_is_bounded_where_all_models_are_on_a_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "POINTS", 2)
    for number in range(8):
        make_run(tmp_path, f"m{number}", 0, 240)
    (table,) = tradeoffs(tables(load_all(find_results([tmp_path]))))["tables"]
    assert len(table["points"]) == 4
    assert sorted(table["fronts"]["parameters"]["all"]) == [0, 1, 2, 3]


def test_speeds_of_two_machines_have_two_headings(tmp_path: Path) -> None:
    (table,) = tables(load_all(find_results([make_runs(tmp_path) / "cifar10-jpeg" / EVA])))
    assert [board.apart for board in boards.speed_boards(table)] == ["machine a", "machine b"]
