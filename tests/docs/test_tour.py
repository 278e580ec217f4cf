"""docs/tour.ipynb: it runs from an empty folder, and what is stored in it is what such a run gives."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from notebooks import execute

nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel: pip install 'norm-zoo[test]'")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tour.ipynb"


def outputs(book: Any) -> list[dict[str, Any]]:
    """What the code cells of `book` left."""
    return [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


def shown(book: Any) -> str:
    """The texts and tables among them."""
    data = [output.get("data", {}) for output in outputs(book)]
    texts = [item.get("text/html", item.get("text/plain", "")) for item in data]
    return "\n".join(texts + [output.get("text", "") for output in outputs(book)])


def read() -> Any:
    """The stored notebook."""
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory, zoo_cache: Path, module_cli: Any) -> SimpleNamespace:
    """The notebook after a real execution in an empty folder; where its kernel listened, and its manager."""
    book = read()
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    heard: set[str] = set()

    def look(manager: Any) -> None:
        import psutil

        found = psutil.Process(manager.provisioner.pid).net_connections("inet")
        heard.update(item.laddr.ip for item in found if item.status == psutil.CONN_LISTEN)

    manager = execute(
        book,
        tmp_path_factory.mktemp("tour"),
        module_cli.environment | {"ZOO_CACHE": str(zoo_cache)},
        look,
        record_timing=False,
        coalesce_streams=True,
    )
    return SimpleNamespace(book=book, heard=heard, manager=manager)


@pytest.mark.slow
def test_it_runs_and_compares_two_norms_and_a_new_one(toured: SimpleNamespace) -> None:
    assert [output for output in outputs(toured.book) if output.output_type == "error"] == []
    compared = [output for output in outputs(toured.book) if "<small>" in str(output.get("data"))]
    first, last = (output["data"]["text/html"] for output in compared)
    for table, models in (
        (first, ("resnet20_bn", "resnet20_gn")),
        (last, ("resnet20_bn", "resnet20_gn", "resnet20_mine")),
    ):
        assert sorted(re.findall(r"<td>(resnet20_\w+) *</td>", table)) == sorted(models)
    assert re.search(r"(better|worse|equal within 1 points|not significant) \(n=3\)", last)
    assert sum("image/png" in output.get("data", {}) for output in outputs(toured.book)) == 3
    assert "was done before" in shown(toured.book)
    assert "12 files in images" in shown(toured.book)


@pytest.mark.slow
def test_kernel_was_heard_at_home_only_and_is_gone(toured: SimpleNamespace) -> None:
    assert toured.heard == {"127.0.0.1"}
    assert not toured.manager.has_kernel


@pytest.mark.slow
def test_stored_outputs_are_of_these_cells(toured: SimpleNamespace) -> None:
    """Accuracies depend on the machine's last bits; what is said and in which order does not."""

    def shape(book: Any) -> list[list[tuple[str, ...]]]:
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        return [sorted({(item.output_type, *sorted(item.get("data", {}))) for item in cell.outputs}) for cell in code]

    assert shape(read()) == shape(toured.book)


def test_stored_notebook_tells_of_no_machine() -> None:
    book = read()
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text = NOTEBOOK.read_text()
    assert not re.search(r"(?<![\w.:/<])/(home|root|tmp|work|Users|var|private)\b", text)
    assert len(socket.gethostname()) < 4 or socket.gethostname() not in text
