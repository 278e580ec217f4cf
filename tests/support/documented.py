"""The commands of the documentation: read from its pages, run in order in a folder, their output compared.

Markers are HTML comments in the lines above a code block. ``commands: in a checkout`` may stand anywhere on a page.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
OTHER_TESTS = {"cli.md", "notebooks.md"}  # help texts; cells of a notebook, which a kernel runs
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md"]
PAGES += [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in OTHER_TESTS]
MARKS = re.compile(r"not run: .+|planned: .+|fails|serves: .+|output(, numbers vary)?|file: [\w./-]+|folder: \w+")
TAGS = re.compile(r"[\w-]+|verdict: .+|commands: .+|Written by .+")  # other comments of the pages
FENCE = re.compile(
    r"(?P<above>(?:<!-- [^\n]* -->\n)*)```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
DOTS = "..."
SHELL = re.compile(r"[|>&]|\$\(")
# What makes a plan of a command that would take too long: the program, and what is added to it.
PLANS = {"pytest": " --collect-only -q", "python": " --help > /dev/null", "zoo": " --dry-run"}


@dataclass(frozen=True)
class Block:
    """A code block of a page: its language, its text and the markers above it."""

    language: str
    text: str
    marks: tuple[str, ...]
    line: int

    def marked(self, kind: str) -> str | None:
        """What follows the colon of the marker `kind`, or an empty text where it has none; None without the marker."""
        found = [mark for mark in self.marks if re.split(r"[:,]", mark)[0] == kind]
        return found[0].partition(": ")[2] if found else None

    @property
    def commands(self) -> list[str]:
        """Its lines with a command, those that continue joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("#")] if self.language == "bash" else []


def blocks(page: Path) -> list[Block]:
    """The code blocks of `page`; a comment that is no known marker is an error."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        comments = re.findall(r"<!-- (.*?) -->", match["above"])
        marks = tuple(comment for comment in comments if MARKS.fullmatch(comment))
        line = text.count("\n", 0, match.start("text"))
        strange = [comment for comment in comments if comment not in marks and not TAGS.fullmatch(comment)]
        assert not strange, f"{page.name}:{line}: no such marker: {strange[0]}"
        found.append(Block(match["language"], match["text"], marks, line))
    return found


def in_checkout(page: Path) -> bool:
    """Whether the page's commands read the committed runs."""
    return "<!-- commands: in a checkout" in page.read_text(encoding="utf-8")


def skeleton(text: str) -> list[str]:
    """The lines without what differs between machines: numbers, verdicts, fingerprints, precision, marks of speeds."""
    text = re.sub(r"(better|worse|equal within \S+ points|not significant)(?= \(n=)", "verdict", text)
    text = re.sub(r"\b(bf16|fp16|fp32)\b|\b(?=[a-f]*\d)[0-9a-f]{8}\b", "#", text)
    text = re.sub(r"-{3,}|─{3,}|━+", "-", text).replace("‡", "")
    text = re.sub(r"(?<![\w-])[-+]?\d[\d,.:]*|\d[\d,.:]*|(?<= )-(?= |$)", "#", text, flags=re.MULTILINE)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def matches(expected: str, printed: str, *, vary: bool) -> bool:
    """Whether `printed` is what the page shows; a line of three dots there stands for any lines."""
    lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
    wanted = [line.rstrip() for line in expected.strip("\n").splitlines()]
    if vary:
        lines = skeleton("\n".join(lines))
        wanted = [line if line == DOTS else (skeleton(line) or [""])[0] for line in wanted]
    pattern = "".join(r"(?:.*\n)*?" if line == DOTS else f"{re.escape(line)}\n" for line in wanted)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


@dataclass
class Reader:
    """A reader who follows a page: in `folder`, with `zoo` as the command line and `bin` first on the path."""

    folder: Path
    zoo: Callable[..., Any]
    environment: dict[str, str]
    ran: list[str] = field(default_factory=list)

    def follow(self, page: Path) -> None:
        """Run the page from its beginning to its end."""
        last: list[str] = []
        for block in blocks(page):
            try:
                last = self._take(block, last)
            except AssertionError as problem:
                raise AssertionError(f"{page.relative_to(ROOT)}:{block.line}: {problem}") from None

    def _take(self, block: Block, last: list[str]) -> list[str]:
        """One block; what its commands printed, or `last` where it has none."""
        if name := block.marked("file"):
            self._write(self.folder / name, block.text)
        if name := block.marked("folder"):
            make_images(self.folder / name)
        if block.marked("output") is not None:
            vary = "output, numbers vary" in block.marks
            assert any(matches(block.text, text, vary=vary) for text in last), (
                f"the page shows\n{block.text}\nand the command prints\n{last[0]}\n{last[1]}"
            )
        if not block.commands or block.marked("not run") is not None:
            return last
        texts = ["", ""]
        for command in block.commands:
            printed = self._run(command, block)
            texts = [text + more for text, more in zip(texts, printed, strict=True)]
            self.ran.append(command)
        return [*texts, texts[0] + texts[1]]

    def _run(self, command: str, block: Block) -> tuple[str, str]:
        if block.marked("serves") is not None:
            return self._serve(command)
        if block.marked("planned") is not None:
            command += next(plan for name, plan in PLANS.items() if f"{name} " in command)
        if command.startswith("pip install -e './"):
            command = self._install(command)
        inside = command.startswith("zoo ") and not SHELL.search(command) and "--jobs" not in command
        if not inside or (self.folder / "site").exists():
            code, out, err = self._in_shell(command)
        else:
            done = self.zoo(*self._words(command)[1:], cwd=self.folder, **self.environment)
            code, out, err = done.returncode, done.stdout, done.stderr
        expected = 2 if block.marked("fails") is not None else 0
        assert code == expected, f"{command}\nended with {code}, not {expected}\n{out[-2000:]}{err[-2000:]}"
        home = str(self.folder)
        return out.replace(home, "/home/me"), err.replace(home, "/home/me")

    def _install(self, command: str) -> str:
        """The package of a page, alone and into a folder of the page's own."""
        package = shlex.split(command)[-1].partition("[")[0]
        site = self.folder / "site"
        self.environment["PYTHONPATH"] += f"{os.pathsep}{site}"
        return (
            f"{shlex.quote(sys.executable)} -m pip install -q --no-deps --no-build-isolation --target {site} {package}"
        )

    def _words(self, command: str) -> list[str]:
        """As bash expands it: braces, patterns, quotes."""
        done = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {command}"], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.split("\0")[:-1]

    def _in_shell(self, command: str) -> tuple[int, str, str]:
        """In bash; the page goes on in the folder in which it ends."""
        done = subprocess.run(
            ["bash", "-c", f"{command}\ncode=$?\nprintf '\\0%s' \"$PWD\"\nexit $code"],
            cwd=self.folder, env=os.environ | self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        out, _, place = done.stdout.partition("\0")
        self.folder = Path(place or self.folder)
        return done.returncode, out, done.stderr

    def _serve(self, command: str) -> tuple[str, str]:
        """Start it, ask for its page once, end it as Ctrl-C does."""
        process = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(command), "--port", "0"], cwd=self.folder,
            env=os.environ | self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        lines = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    assert "<title>" in _page(address[0]), f"{command}: no page at {address[0]}"
                    break
            else:
                raise AssertionError(f"{command}: {''.join(lines)}")
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        return "".join(lines), ""

    def _write(self, path: Path, text: str) -> None:
        """A file of the page; what comes later is added, in YAML to the sections that are there."""
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if path.suffix == ".yaml" and before:
            sections = yaml.safe_load(before)
            for section, entries in yaml.safe_load(text).items():
                sections.setdefault(section, {}).update(entries)
            path.write_text(yaml.safe_dump(sections), encoding="utf-8")
        else:
            path.write_text(f"{before}\n\n{text}" if before else text, encoding="utf-8")


def _page(address: str) -> str:
    for _ in range(100):
        try:
            return urllib.request.urlopen(address, timeout=10).read().decode()
        except OSError:
            time.sleep(0.1)
    return ""


def commands(page: Path) -> Iterator[tuple[str, Block]]:
    """Every command of a page with its block."""
    for block in blocks(page):
        yield from ((command, block) for command in block.commands)


def make_images(folder: Path) -> None:
    """The images that a page calls by this name: ``pets`` has splits, ``photos`` classes, ``birds`` parquet files."""
    draw = np.random.default_rng(0)
    if folder.name == "birds":
        folder.mkdir()
        for split, count in (("train", 260), ("test", 40)):
            labels = {name: np.arange(count) % 2 for name in ("species", "label")}
            write_parquet(folder / f"{split}.parquet", draw.integers(0, 256, (count, 32, 32, 3), np.uint8), labels)
        return
    splits = {"train": 130, "test": 20, "val": 20} if folder.name == "pets" else {"": 160}
    splits = {"": 2} if folder.name == "holiday" else splits
    for split, count in splits.items():
        for name in ("",) if folder.name == "holiday" else ("cat", "dog"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number, pixels in enumerate(draw.integers(0, 256, (count, 32, 32, 3), np.uint8)):
                Image.fromarray(pixels).save(folder / split / name / f"{number:03}.png")


def write_parquet(path: Path, images: np.ndarray, labels: dict[str, np.ndarray]) -> None:
    """Images as the hub stores them."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = []
    for pixels in images:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
        cells.append({"bytes": stream.getvalue(), "path": ""})
    pq.write_table(
        pa.table({"photo": cells, "image": cells, **labels} if "species" in labels else {"image": cells, **labels}),
        path,
    )
