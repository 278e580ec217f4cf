"""What a server of the page gives: files that another process makes, and its news. Nothing is worked out here."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.errors import MachineError, ResultError, ZooError
from zoo.results.history import load_history
from zoo.web.charts import curve, script_call
from zoo.web.live import PAGES, News, keep_fresh

NAME = re.compile(r"((static|runs|data|pictures/[\w-]+)/)?[\w-]+(\.min)?\.(html|js|css|png)", re.ASCII)
PATIENCE = 5.0  # seconds before a process that ended is started again


class Site:
    """The page of `roots` as files under `folder`, kept fresh by a process. Its methods may run in threads.

    Raises :class:`ZooError` where there is no first page. `word` makes a text of an error.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        folder: Path,
        baseline: str | None,
        word: Callable[[ZooError], str] = str,
        allow_dirty: bool = False,
    ) -> None:
        self._what = (list(roots), folder, baseline, allow_dirty)
        self._folder, self._word = folder, word
        self._news = News(0)
        self._closed = False
        self._start()
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._process.terminate()
        self._process.join()

    def read(self, name: str) -> bytes | None:
        """A file of the newest page, by its name from the page's folder on; None for anything else."""
        if not NAME.fullmatch(name):  # so no name leads out of the folder
            return None
        news = self._news
        for place in (str(news.edition), PAGES, str(news.edition - 1)):  # the last one: until all of it is anew
            with contextlib.suppress(OSError):
                return (self._folder / place / name).read_bytes()
        identity = name.removeprefix("data/").removesuffix(".js")
        if name == f"data/{identity}.js" and identity in news.histories:
            with contextlib.suppress(ResultError):
                return script_call("zoo.curve", identity, curve(load_history(Path(news.histories[identity])))).encode()
        return None

    def news(self) -> dict[str, Any]:
        """The edition, and the newest runs without a result; `problem`: one line or None."""
        news = self._news
        record = {key: part for key, part in vars(news).items() if key != "histories"}
        return record | {"problem": news.problem and self._word(ZooError(*news.problem))}

    def _start(self) -> None:
        """Start the process; its first news are waited for."""
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=keep_fresh, args=(other, *self._what, self._news.edition), daemon=True)
        self._process.start()
        other.close()
        try:
            first = self._connection.recv()
        except EOFError:
            raise MachineError("the process that makes the page ended; start `zoo serve` again") from None
        if isinstance(first, ZooError):
            raise first
        self._news = first

    def _listen(self) -> None:
        while not self._closed:
            try:
                self._news = self._connection.recv()
                continue
            except (EOFError, OSError):
                problem: ZooError = MachineError("the process that makes the page ended, and is started again")
            while not self._closed:
                self._news = replace(self._news, problem=problem.parts)
                time.sleep(PATIENCE)
                try:
                    self._start()
                    break
                except ZooError as reason:
                    problem = reason
