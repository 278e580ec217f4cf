"""`zoo data fetch`, from real servers on this machine: what breaks off, lies, or is somewhere else."""

from __future__ import annotations

import hashlib
import io
import random
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from zoo.cli.options import worded
from zoo.data import fetch
from zoo.data.datasets import available, load
from zoo.data.readers import archive
from zoo.errors import DataError, MachineError, UnknownNameError, sentence
from zoo.utils.disk import open_own, take

CONTENT = random.Random(0).randbytes(300_000)
FINGERPRINT = "15191365d7747edf1f7529daced4480cc72ac4662c3147102deb05673e81a446"  # of the committed results


@dataclass
class Server:
    """Files by their path. `breaks`: of so many answers only the first half is sent. `ranges`: what was asked for."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: int = 0
    resumes: bool = True
    lengths: bool = True
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            if self.path not in state.files:
                return self.send_error(404)
            content, start = state.files[self.path], 0
            if wanted and state.resumes:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                if start >= len(content):
                    return self.send_error(416)
            self.send_response(206 if start else 200)
            if state.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            if state.breaks:
                state.breaks -= 1
                rest = rest[: len(rest) // 2]
            self.wfile.write(rest)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{httpd.server_port}")
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield state
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """CIFAR-10's archive is :data:`CONTENT`, and lies at these addresses."""
    monkeypatch.setattr(archive, "checksum", lambda name: hashlib.md5(CONTENT).hexdigest())
    server.files["/good"] = CONTENT

    def at(*addresses: str) -> None:
        source = replace(fetch.SOURCES["cifar10"], addresses=addresses, bytes=len(CONTENT))
        monkeypatch.setitem(fetch.SOURCES, "cifar10", source)

    at(f"{server.address}/good")
    return at


def got(into: Path, name: str = "cifar10", given: str | None = None) -> tuple[Path, list[str]]:
    lines: list[str] = []
    return fetch.fetch(name, into, given, lines.append), lines


def fails(into: Path, name: str = "cifar10", given: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        got(into, name, given)
    return sentence(caught.value.parts, worded)


def test_a_download_that_breaks_off_is_resumed(server: Server, published: object, tmp_path: Path) -> None:
    server.breaks = 2
    for have in (150_000, 225_000):
        line = fails(tmp_path)
        assert f"broke off after {have // 1000} kB of 300 kB" in line
        assert "the same command resumes the download" in line
        assert [path.name for path in tmp_path.iterdir()] == [".cifar-10-python.tar.gz.part"]
    place, lines = got(tmp_path)
    assert server.ranges == [None, "bytes=150000-", "bytes=225000-"]
    assert place.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]
    assert lines[0] == "cifar-10-python.tar.gz from 127.0.0.1: 225 kB of 300 kB"


def test_what_is_whole_but_was_not_put_in_place(server: Server, published: object, tmp_path: Path) -> None:
    (tmp_path / ".cifar-10-python.tar.gz.part").write_bytes(CONTENT)
    assert got(tmp_path)[0].read_bytes() == CONTENT
    assert server.ranges == ["bytes=300000-"]


def test_a_server_that_cannot_resume_begins_anew(server: Server, published: object, tmp_path: Path) -> None:
    server.resumes, server.breaks = False, 1
    fails(tmp_path)
    assert got(tmp_path)[0].read_bytes() == CONTENT


def test_the_next_mirror_is_tried(server: Server, published: Callable[..., None], tmp_path: Path) -> None:
    """One is gone, one has another file, one has far too much: the fourth is right, and all is said."""
    server.files |= {"/other": b"<html>moved</html>", "/huge": bytes(10**6)}
    published(*(f"{server.address}/{name}" for name in ("gone", "other", "huge", "good")))
    place, lines = got(tmp_path)
    assert place.read_bytes() == CONTENT
    text = "\n".join(lines)
    assert "/gone: Not Found" in text
    assert "/other: is not the published archive (its MD5 is" in text
    assert "/huge: has 1 MB, not about 300 kB" in text


def test_what_is_too_much_is_not_resumed_elsewhere(
    server: Server, published: Callable[..., None], tmp_path: Path
) -> None:
    """A server that does not announce a length is read until it is too much; the next place begins anew."""
    server.files["/huge"], server.lengths = bytes(10**6), False
    published(f"{server.address}/huge", f"{server.address}/good")
    place, lines = got(tmp_path)
    assert place.read_bytes() == CONTENT
    assert "/huge: has more than 600 kB" in "\n".join(lines)
    assert server.ranges == [None, None]


def test_a_mirror_of_ones_own_comes_first(
    server: Server, published: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(f"{server.address}/gone")
    server.files["/mine/cifar-10-python.tar.gz"] = CONTENT
    monkeypatch.setenv("ZOO_MIRROR", f"{server.address}/mine/")
    assert got(tmp_path)[0].read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_file_in_place_of_the_network(server: Server, published: object, tmp_path: Path) -> None:
    (tmp_path / "mine.tar.gz").write_bytes(CONTENT)
    assert got(tmp_path / "data", given=str(tmp_path / "mine.tar.gz"))[0].read_bytes() == CONTENT
    assert server.ranges == []
    (tmp_path / "mine.tar.gz").write_bytes(b"another")
    line = fails(tmp_path / "empty", given=str(tmp_path / "mine.tar.gz"))
    assert "is not the published archive" in line
    assert not any((tmp_path / "empty").iterdir())
    assert "No such file" in fails(tmp_path / "empty", given=str(tmp_path / "nowhere"))
    assert "--from" in line


def test_two_at_a_time(published: object, tmp_path: Path) -> None:
    part = tmp_path / ".cifar-10-python.tar.gz.part"
    part.write_bytes(CONTENT[:1000])
    with part.open("r+b") as held:
        assert take(held.fileno())
        with pytest.raises(MachineError, match="another zoo is fetching it"):
            got(tmp_path)
    part.unlink()
    (tmp_path / "elsewhere").write_bytes(b"precious")
    part.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError):
        got(tmp_path)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
    with pytest.raises(OSError):
        open_own(part, 0)


# --- cifar10-jpeg ---

LABELS = ("cat", "dog")


@pytest.fixture
def tree(files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The repository in small: its paths and files, whose number and checksum are taken for the published ones."""
    images = iter(files.pictures(20, (32, 32)))
    names = [f"{split}/{label}/{i:04d}.jpg" for split in ("test", "train") for label in LABELS for i in range(5)]
    content = {name: files.encode(next(images), "JPEG") for name in names}
    lines = [f"{name} {hashlib.sha256(content[name]).hexdigest()}\n" for name in sorted(content)]
    monkeypatch.setattr(fetch, "JPEG_FILES", len(names))
    monkeypatch.setattr(fetch, "JPEG_SHA256", hashlib.sha256("".join(lines).encode()).hexdigest())
    monkeypatch.setattr("zoo.data.readers.decode.expected", lambda name: (None, 32))
    monkeypatch.setattr("zoo.data.readers.image_folder.expected", lambda name: (None, 32))
    return content


def packed(tree: dict[str, bytes], **more: bytes) -> bytes:
    """As the host packs a commit: all in one folder, with a README."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in (tree | {"README.md": b"# images"} | more).items():
            archive.writestr(f"CIFAR-10-images-d7d0561/{name}", content)
    return stream.getvalue()


def test_fetched_cloned_and_parquet_are_one_dataset(
    server: Server, tree: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: SimpleNamespace
) -> None:
    server.files["/zip"] = packed(tree)
    source = replace(fetch.SOURCES["cifar10-jpeg"], addresses=(f"{server.address}/zip",))
    monkeypatch.setitem(fetch.SOURCES, "cifar10-jpeg", source)
    place, _ = got(tmp_path / "fetched", "cifar10-jpeg")
    assert place == tmp_path / "fetched" / "cifar10-jpeg"
    assert not (place / "README.md").exists()
    for name, content in tree.items():
        path = tmp_path / "cloned" / "CIFAR-10-images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "cloned" / "CIFAR-10-images" / ".git").mkdir()
    (tmp_path / "cloned" / "CIFAR-10-images" / "README.md").write_text("# images")

    import pyarrow
    import pyarrow.parquet

    (tmp_path / "parquet" / "cifar10-jpeg").mkdir(parents=True)
    for split in ("train", "test"):
        rows = sorted(name.removeprefix(f"{split}/") for name in tree if name.startswith(split))
        random.Random(0).shuffle(rows)
        table = pyarrow.table(
            {
                "img": [{"bytes": tree[f"{split}/{row}"], "path": row} for row in rows],
                "label": [LABELS.index(row.split("/")[0]) for row in rows],
            }
        )
        pyarrow.parquet.write_table(table, tmp_path / "parquet" / "cifar10-jpeg" / f"{split}-00000-of-00001.parquet")
    found = [load("cifar10-jpeg", tmp_path / name) for name in ("fetched", "cloned", "parquet")]
    assert {dataset.name for dataset in found} == {"cifar10-jpeg"}
    assert found[0].classes == found[1].classes == LABELS
    for split in ("train", "test"):
        pixels = [dataset.split(split).images.tobytes() for dataset in found]
        assert pixels[0] == pixels[1] == pixels[2]
    assert found[0].fingerprint == found[1].fingerprint
    rows = [row.name for row in available(tmp_path / "cloned") if row.location and "cloned" in row.location]
    assert rows == ["cifar10-jpeg"]


@pytest.mark.parametrize("fault", ["missing", "edited", "more", "large", "outside", "no zip", "cut"])
def test_images_that_are_not_the_published_ones(tree: dict[str, bytes], tmp_path: Path, fault: str) -> None:
    name = "train/dog/0003.jpg"
    content = packed(tree)
    if fault == "missing":
        content = packed({other: part for other, part in tree.items() if other != name})
    elif fault == "edited":
        content = packed(tree | {name: tree[name] + b"x"})
    elif fault == "more":
        content = packed(tree, **{"train/dog/0009.jpg": tree[name]})
    elif fault == "large":
        content = packed(tree | {name: bytes(fetch.LARGEST_JPEG + 1)})
    elif fault == "outside":
        content = packed({(f"../{other}" if other == name else other): part for other, part in tree.items()})
    elif fault == "no zip":
        content = b"<html>moved</html>"
    elif fault == "cut":
        content = content[: len(content) // 2]
    (tmp_path / "images.zip").write_bytes(content)
    line = fails(tmp_path / "data", "cifar10-jpeg", str(tmp_path / "images.zip"))
    assert "put CIFAR-10-images" not in line  # zoo reads no zip file there
    assert ("is no whole zip file" in line) == (fault in ("no zip", "cut"))
    assert ("published images" in line) == (fault not in ("no zip", "cut"))
    assert not any((tmp_path / "data").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "images.zip"]


def test_nothing_of_the_users_is_replaced(tree: dict[str, bytes], tmp_path: Path) -> None:
    mine = tmp_path / "cifar10-jpeg" / "precious"
    mine.parent.mkdir()
    mine.write_text("mine")
    (tmp_path / "images.zip").write_bytes(packed(tree))
    fails(tmp_path, "cifar10-jpeg", str(tmp_path / "images.zip"))
    assert mine.read_text() == "mine"


def test_the_command(server: Server, published: object, tmp_path: Path, inline_cli, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    output = inline_cli.ok("data", "fetch", "cifar10", "--dry-run").stdout
    assert "300 kB" in output
    assert f"{server.address}/good" in output
    assert server.ranges == []
    (inline_cli.folder / "data").mkdir()
    output = inline_cli.ok("data", "fetch", "cifar10", "--data-dir", "data").stdout
    assert (inline_cli.folder / "data" / "cifar-10-python.tar.gz").read_bytes() == CONTENT
    assert output.endswith("`zoo data verify cifar10` describes it\n")
    again = inline_cli.ok("data", "fetch", "cifar10", "--data-dir", "data").stdout
    assert again.endswith("already\n")
    listed = inline_cli.ok("data", "list", "--data-dir", "data").stdout
    assert "`zoo data fetch cifar100` downloads 169 MB" in listed
    assert "`zoo data fetch cifar10-jpeg` downloads 60 MB" in listed
    assert "no licence stated" in listed
    with pytest.raises(UnknownNameError):
        fetch.source_of("imagenet")


def test_a_command_without_a_download_loads_no_network() -> None:
    code = "import sys, zoo.data.datasets; print('http.client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.slow
def test_the_real_images(zoo_data: Path, tmp_path: Path) -> None:
    """A clone of the repository, made from the parquet files: the published checksum and the results' fingerprint."""
    import pyarrow.parquet

    root = tmp_path / "CIFAR-10-images"
    lines = []
    for split in ("train", "test"):
        table = pyarrow.parquet.read_table(zoo_data / "cifar10-jpeg" / f"{split}-00000-of-00001.parquet")
        for row in table.column("img").to_pylist():
            path = root / split / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["bytes"])
            lines.append(f"{split}/{row['path']} {hashlib.sha256(row['bytes']).hexdigest()}\n")
    assert len(lines) == fetch.JPEG_FILES
    assert hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() == fetch.JPEG_SHA256
    assert load("cifar10-jpeg", tmp_path).fingerprint == FINGERPRINT
