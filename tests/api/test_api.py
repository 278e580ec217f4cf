"""zoo in Python: light to import, the same figures as the command line, and labels that stay text."""

from __future__ import annotations

import html
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from made_results import STANDARD_SLUG, result

import zoo
from zoo.errors import ResultError, UnknownNameError, ZooError
from zoo.render.comparison import render
from zoo.results.folder import RunFolder, find_results, load_result, save_result

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TUNED = ROOT / "benchmarks" / "studies" / "tune"
HOSTILE = "<script>alert(\"1\")</script> & 'x'"


def python(code: str) -> str:
    """Standard output of `code` in a fresh process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def store(folder: Path, *names: str, **changes: object) -> None:
    """Runs of these models on the disk, the first the best; one that is called ``dead_bn`` diverged."""
    for number, name in enumerate(names):
        run = result(name, 0, None if name == "dead_bn" else 9000 - number, **changes)
        place = RunFolder.of(folder, "cifar10", STANDARD_SLUG, name, 0)
        place.path.mkdir(parents=True)
        save_result(place.result, run)


def cells(page: str) -> list[list[str]]:
    """What stands in the rows of the tables of `page`, as a browser reads it."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [[html.unescape(cell).strip() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows]


# The package


def test_import_is_light() -> None:
    heavy = "{'torch', 'pandas', 'numpy', 'pydantic', 'yaml', 'click', 'matplotlib'}"
    assert python(f"import sys, zoo; dir(zoo); print({heavy} & set(sys.modules))") == "set()\n"
    assert python("import sys, zoo.cli.main; print('torch' in sys.modules, 'pandas' in sys.modules)") == "False False\n"


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import zoo.comparison",
        *(
            pytest.param(line, marks=pytest.mark.slow)
            for line in ("from zoo.registry.fingerprint import definition", "import zoo.api", "import zoo.cli.main")
        ),
    ],
)
def test_functions_are_there_whatever_was_imported_first(before: str) -> None:
    code = (
        f"{before}\nimport zoo\nfrom zoo import build, compare, load_results\nimport zoo.api\n"
        "assert (build, compare, load_results) == (zoo.api.build, zoo.api.compare, zoo.api.load_results)\n"
        "assert (zoo.build, zoo.compare, zoo.load_results) == (build, compare, load_results)\n"
        "print(sum(parameter.numel() for parameter in zoo.build('resnet20_ln').parameters()))"
    )
    assert python(code) == "269722\n"


def test_a_function_loads_nothing_that_it_does_not_use() -> None:
    code = "import sys, zoo\nzoo.compare\nprint({'pandas', 'pydantic', 'torch', 'zoo.results'} & sys.modules.keys())"
    assert python(code) == "set()\n"


def test_no_submodule_has_the_name_of_a_function() -> None:
    """Its import would put the module in the function's place."""
    assert not set(zoo.__all__) & {module.name for module in pkgutil.iter_modules(zoo.__path__)}


def test_what_zoo_has() -> None:
    assert {"build", "compare", "load_results", "__version__"} <= set(dir(zoo))
    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'bulid'"):
        _ = zoo.bulid


# build


def test_build(tmp_path: Path) -> None:
    import torch

    module = zoo.build("resnet20_ln", num_classes=7)
    assert module.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert sum(parameter.numel() for parameter in zoo.build("resnet18_ln").parameters()) == 11_173_962
    (tmp_path / "registry.yaml").write_text('norms:\n  of_this_test: "torch.nn:BatchNorm2d"\n')
    zoo.build("resnet20_of_this_test", registry=tmp_path / "registry.yaml")
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18_ln'"):
        zoo.build("resnet18_lnn")
    with pytest.raises(ZooError, match="no such file"):
        zoo.build("resnet18_ln", registry=tmp_path / "none.yaml")


# load_results


def test_one_row_per_run_with_the_columns_of_the_docs(tmp_path: Path) -> None:
    store(tmp_path, "a_bn", "dead_bn")
    frame = zoo.load_results(tmp_path)
    assert len(frame) == 2
    told = re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "columns.md").read_text(), re.MULTILINE)
    assert told == list(frame.columns)
    good, dead = frame.set_index("model").loc["a_bn"], frame.set_index("model").loc["dead_bn"]
    assert (good.accuracy, good.status, good.top5_accuracy, good.latency_p50) == (0.9, "finished", 0.99, 0.00333)
    assert (dead.status, dead.diverged_epoch, dead.seed) == ("diverged", 3, 0)
    assert pd.isna([dead.accuracy, dead.loss, dead.latency_p50, dead.inference_batch_size]).all()
    assert frame.accuracy.dtype == "float64"
    assert frame.diverged_epoch.dtype == "Int64"
    only_dead = zoo.load_results(tmp_path, model="dead*")
    assert only_dead.accuracy.dtype == "float64"  # not object, where nothing is known


def test_frame_has_what_the_results_have() -> None:
    frame = zoo.load_results([RESULTS, RESULTS])  # named twice
    paths = find_results([RESULTS])
    assert len(frame) == len(paths)
    for path, row in zip(paths, frame.itertuples(), strict=True):
        stored = load_result(path)
        assert Path(row.folder) == path.parent
        assert (row.accuracy, row.seed, row.fingerprint) == (
            stored.test.accuracy,
            stored.seed,
            stored.recipe.fingerprint,
        )
        assert row.model == f"{row.architecture}_{row.norm}"
        assert row.train_images_per_second == stored.speed.train_images_per_second
        quartiles = (row.train_images_per_second_low, row.train_images_per_second_high)
        assert quartiles == stored.speed.quartiles["train_images_per_second"]
        assert row.disturbed == " ".join(stored.speed.disturbed)
    chosen = zoo.load_results(RESULTS, recipe="laptop-5ebfdb2c", model=["*_bn", "*_ln"], dataset="cifar10-jpeg")
    assert sorted(zip(chosen.norm, chosen.seed, strict=True)) == [(n, k) for n in ("bn", "ln") for k in range(3)]


def test_a_copy_counts_once(tmp_path: Path) -> None:
    store(tmp_path / "one", "a_bn")
    store(tmp_path / "two", "a_bn")
    assert len(zoo.load_results(tmp_path)) == 1


def test_mistakes_are_errors_of_zoo(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no such folder"):
        zoo.load_results(tmp_path / "none")
    with pytest.raises(ResultError, match=r"no result\.json under"):
        zoo.compare(tmp_path)
    for choice, words in (
        ({"recipe": "laptop-5ebfdb2d"}, "did you mean 'laptop-5ebfdb2c'"),
        ({"dataset": "cifar10"}, "did you mean 'cifar10-jpeg'"),
        ({"model": "resnet21_bn"}, "did you mean 'resnet20_bn'"),
    ):
        with pytest.raises(UnknownNameError, match=words):
            zoo.load_results(RESULTS, **choice)
    with pytest.raises(UnknownNameError, match="unknown baseline"):
        zoo.compare(RESULTS, "resnet20_bm")
    with pytest.raises(ResultError, match="baseline cannot go with mixed"):
        zoo.compare(RESULTS, "resnet20_bn", mixed=True)
    with pytest.raises(ResultError, match="tuned cannot go with mixed"):
        zoo.compare(TUNED, mixed=True, tuned=True)
    with pytest.raises(ResultError, match="no runs of tuned recipes"):
        zoo.compare(RESULTS, tuned=True)


# compare


def test_comparison_is_that_of_the_command(inline_cli) -> None:
    printed = inline_cli.ok("compare", RESULTS, "--baseline", "resnet20_bn").stdout
    found = zoo.compare(RESULTS, "resnet20_bn")
    assert repr(found) == printed
    assert {group.recipe_fingerprint for group in found} == set(zoo.load_results(RESULTS).fingerprint)
    assert len(zoo.compare(RESULTS, mixed=True)) == 1


def test_tuned_is_that_of_the_command(inline_cli) -> None:
    printed = inline_cli.ok("compare", TUNED, "--tuned", "--baseline", "resnet20_bn")
    found = zoo.compare(TUNED, "resnet20_bn", tuned=True)
    assert (repr(found), found.left_out) == (printed.stdout, printed.stderr)
    (group,) = found
    assert group.budget["trials"] == 6
    assert [(row.model, set(row.differs)) for row in group.rows] == [
        (name, {"optimizer.lr", "optimizer.weight_decay"}) for name in ("resnet20_bn", "resnet20_ln")
    ]
    assert [len(group.rows) for group in zoo.compare(TUNED)] == [1, 1]  # without it each recipe by itself


def test_what_tuned_leaves_out_is_said_as_the_command_says_it(inline_cli) -> None:
    printed = inline_cli.ok("compare", TUNED, RESULTS, "--tuned")
    found = zoo.compare([TUNED, RESULTS], tuned=True)
    others = len(find_results([RESULTS]))
    assert found.left_out == f"left out: {others} runs under recipes that were not tuned for their model"
    assert repr(found) == printed.stdout + printed.stderr
    assert found.left_out in found._repr_html_()


def test_html_says_what_the_markdown_says() -> None:
    groups = zoo.compare(RESULTS, "resnet20_bn")
    page = groups._repr_html_()
    markdown = render(groups, "markdown")
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    assert cells(page) == [row for row in table if not row[0].startswith(":") and set("".join(row)) - set("-|:")]
    for line in markdown.splitlines():
        if line and line[0] not in "|*":
            assert line in html.unescape(page)
    below_its_heading = groups[1:2]._repr_html_().partition("</p>")[2]  # which tells it from the others
    assert below_its_heading in page
    assert "worse" in page


def test_html_marks_selection_on_the_test_set_and_one_seed(tmp_path: Path) -> None:
    store(tmp_path, "a_bn", "b_bn", selection__split="test")
    page = zoo.compare(tmp_path)._repr_html_()
    assert "90.00 (89.40 to 90.57)†" in page
    assert "† selection: test." in page
    assert "no winner is claimed" in page


def test_labels_and_names_are_escaped(tmp_path: Path) -> None:
    changes = {
        "model__label": HOSTILE, "model__norm": HOSTILE, "environment__cpu": HOSTILE, "model__name": HOSTILE,
        "dataset__name": HOSTILE.replace("/", "|"),
    }  # fmt: skip
    store(tmp_path, "a_bn", **changes)
    page = zoo.compare(tmp_path).select("all")._repr_html_()
    assert "<script" not in page
    assert html.unescape(page).count(HOSTILE) >= 3
    tags = {"p", "b", "table", "thead", "tbody", "tr", "td", "th", "small", "br"}
    assert set(re.findall(r"</?(\w+)", page)) <= tags
