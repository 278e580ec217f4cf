"""Histories and predictions that are damaged, foreign, or made to fill the memory."""

from __future__ import annotations

import io
import itertools
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged import Count, little_memory, zoo
from web_runs import history, make_run

from zoo.results.folder import RunFolder
from zoo.results.history import load_history, save_history
from zoo.results.predictions import load_predictions

CELLS = (
    "", "x", "-1", "0", "1", "nan", "inf", "-inf", "1e400", "1e308", "5e-324", "0.5", "9" * 5000, "true", "\x1b[2J",
    "../x", "\ud7ff", "x" * 200_000, '"', "1,1", "\0", "1_0", " 1 ", "\u0661", "holdout", "test", "1e5", "2",
)  # fmt: skip
ROW, HEADER = b"1,0.1,2.0,0.5,test,1.0,0.5,9.0,1.0,1.0\n", ",".join(history(1)[0].__dataclass_fields__).encode() + b"\n"
WHOLE = (
    b"", b"\n", b"\0" * 100, b"\xff\xfe\x00", HEADER, HEADER + ROW + b"," * 10**6, HEADER * 2, HEADER + ROW * 2,
    HEADER + ROW[:-6], HEADER + ROW[:-1] + b",1\n", HEADER.replace(b"lr", b"lr,lr") + ROW, ROW, b'"' + HEADER + ROW,
    HEADER.replace(b"\n", b",x\n") + ROW, HEADER + b"\r" * 1000, HEADER + b"\n" * 1000, b"{}", b"PK\x03\x04" * 100,
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with another of the same model beside it."""
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs"), "ln", 0, 210)
    Path("out").mkdir()
    return make_run(Path("runs"), "bn", 0)


def test_row_9_a_damaged_history_is_one_line(run: RunFolder, figure) -> None:
    count, lines = Count(), run.history.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    texts = list(WHOLE)
    for row, column, cell in itertools.product((0, 1, 4), range(len(cells[0])), CELLS):
        new = [list(line) for line in cells]
        new[row][column] = cell
        texts.append("\n".join(map(",".join, new)).encode())
    commands: list[tuple[Any, ...]] = [
        ("plot", "curves", "runs", "--lr", "--out", "out/figure", "--format", "svg"),
        ("compare", "runs", "--seconds-to", "50"),
        ("report", "runs", "--out", "out/report"),
    ]
    often = random.Random(0)
    with little_memory():
        for number, text in enumerate(texts):
            run.history.write_bytes(text)
            count.attempt(f"{text[:80]!r}", lambda: load_history(run.history))
            if often.random() < 0.02:
                command = commands[number % 3]
                count.attempt(f"{text[:80]!r} {command[:2]}", lambda command=command: zoo(*command))
    figure("damaged histories", count.words)
    assert count.bad == []
    save_history(run.history, history(4))
    assert load_history(run.history) == history(4)


def npy(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An array's file with this header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + content


def described(shape: str = "(300,)", kind: str = "'<i2'", order: str = "False") -> str:
    return f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}"


def saved(array: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


ARRAYS: dict[str, bytes] = {
    "a header of 10**15 numbers": npy(described("(1000000000000000,)"), b"12"),
    "a header of 10**9 numbers": npy(described("(1000000000,)"), bytes(600)),
    "a negative length": npy(described("(-1,)"), bytes(600)),
    "no dimension": npy(described("()"), bytes(2)),
    "two dimensions": npy(described("(300, 1)"), bytes(600)),
    "a length that is no number": npy(described("('x',)"), bytes(600)),
    "a length with a fraction": npy(described("(300.5,)"), bytes(600)),
    "a huge length": npy(described(f"({'9' * 400},)"), bytes(600)),
    "objects": saved(np.array([{}, 1], dtype=object), allow_pickle=True),
    "objects by header": npy(described(kind="'|O'"), bytes(2400)),
    "text": saved(np.array(["a"] * 300)),
    "fields": npy(described(kind="[('a', '<i2')]"), bytes(600)),
    "complex": saved(np.zeros(300, complex)),
    "wider": saved(np.zeros(300, np.int64)),
    "the other end first": saved(np.zeros(300, ">i2")),
    "other kind": saved(np.zeros(300, np.float16)),
    "no kind": npy(described(kind="'<z9'"), bytes(600)),
    "kind of nothing": npy(described(kind="'|V0'"), b""),
    "code for a header": npy("__import__('os').mkdir('elsewhere')", bytes(600)),
    "no header": npy("", bytes(600)),
    "no mapping": npy("[1, 2]", bytes(600)),
    "deep header": npy("(" * 5000, bytes(600)),
    "long header": npy(described() + " " * 60000, bytes(600)),
    "another version": npy(described(), bytes(600), b"\x09\x00"),
    "version 2": b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"x" * 100,
    "no array": b"x" * 700,
    "nothing": b"",
    "too short": saved(np.zeros(300, np.int16))[:-1],
    "too long": saved(np.zeros(300, np.int16)) + b"x",
    "other images": saved(np.zeros(299, np.int16)),
    "empty": saved(np.zeros(0, np.int16)),
    "other order": npy(described(order="True"), bytes(600)),
    "no order": npy(described(order="3"), bytes(600)),
    "an array of zeros": saved(np.zeros(300, np.int16)),
}


def test_row_9_damaged_predictions_are_one_line(run: RunFolder, figure) -> None:
    """A file of 40 kB once filled the memory with zeros, and one of 700 bytes asked for 10**15 numbers."""
    count, whole = Count(), run.predictions.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def attempt(label: str, content: bytes) -> bool:
        run.predictions.write_bytes(content)
        fine = count.attempt(label, lambda: load_predictions(run.predictions))
        count.attempt(label, lambda: zoo("compare", "runs", "--baseline", "resnet20_ln"))
        return fine

    def packed(changed: dict[str, bytes | None], method: int = zipfile.ZIP_DEFLATED) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", method) as archive:
            for name, part in (parts | changed).items():
                if part is not None:
                    archive.writestr(name, part)
        return content.getvalue()

    with little_memory():
        assert attempt("whole", whole)
        assert attempt("packed again", packed({}))
        for name in parts:
            assert not attempt(f"no {name}", packed({name: None}))
            for kind, array in ARRAYS.items():
                fine = attempt(f"{kind} for {name}", packed({name: array}))
                assert not fine or kind in ("an array of zeros", "other order"), kind
        zeros = npy(described("(2000000000,)"), b"")
        bomb = io.BytesIO()
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open("label.npy", "w", force_zip64=True) as part:
                part.write(zeros)
                for _ in range(64):
                    part.write(bytes(2**20))
            for name in ("predicted.npy", "confidence.npy"):
                archive.writestr(name, parts[name])
        assert not attempt("a bomb", bomb.getvalue())
        for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            attempt(f"packed by {method}", packed({}, method))
        for place in range(0, len(whole), 37):
            attempt(f"cut at {place}", whole[:place])
            attempt(f"byte {place}", whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    figure("damaged predictions", count.words)
    assert count.bad == []
    assert not Path("elsewhere").exists()
