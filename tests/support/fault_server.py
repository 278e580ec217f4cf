"""A process with ``disk.c`` preloaded that forks a zoo for each line on stdin, a JSON object.

``folder``, ``arguments``: what is run where. ``n``, ``error``: at the n-th call that changes something below the folder
the process is killed (0), or the call fails with this number; every call is logged. ``warm``: not in a fork, so that
later ones have its imports, and know which built-in models have passed their trial. The answer is a line, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO, Any

TESTS = Path(__file__).parents[1]


def zoo(folder: str, arguments: list[str]) -> tuple[int, str, str]:
    """``zoo ARGUMENTS`` in this process; exit code, stderr and stdout."""
    from zoo.cli.main import main

    os.chdir(folder)
    os.environ["ZOO_CACHE"] = f"{folder}/cache"
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    trains = contextlib.nullcontext()
    if arguments[0] in ("bench", "tune"):
        sys.path.insert(0, str(TESTS))
        from conftest import quick_measurements

        trains = quick_measurements(1.0)
    code: Any = 1
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), trains:
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            traceback.print_exc()
    return code, *(stream.buffer.getvalue().decode() for stream in (err, out))


def forked(folder: str, arguments: list[str], n: int, error: int) -> dict[str, Any]:
    """Fork, carry out, wait: exit code or minus the signal, both streams, the calls that change something."""
    with tempfile.TemporaryFile() as calls, tempfile.TemporaryFile() as answer:
        return _forked(folder, arguments, n, error, calls, answer)


def _forked(
    folder: str, arguments: list[str], n: int, error: int, calls: IO[bytes], answer: IO[bytes]
) -> dict[str, Any]:
    pid = os.fork()
    if pid == 0:
        tempfile.tempdir = os.environ["TMPDIR"] = f"{folder}/tmp"
        library = ctypes.CDLL(None)
        library.zoo_fault(os.fsencode(folder), n, error, calls.fileno())
        outcome = zoo(folder, arguments)
        library.zoo_fault(b"", 0, 0, -1)
        answer.write(json.dumps(outcome).encode())
        answer.flush()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    for file in (calls, answer):
        file.seek(0)
    code, stderr, stdout = (-os.WTERMSIG(status), "", "") if os.WIFSIGNALED(status) else json.load(answer)
    return {"code": code, "stderr": stderr, "stdout": stdout, "calls": calls.read().decode().splitlines()}


def serve() -> None:
    """Until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        if request.pop("warm", False):
            code, stderr, _ = zoo(**request)
            answer: dict[str, Any] = {"code": code, "stderr": stderr}
        else:
            answer = forked(**request)
        print(json.dumps(answer), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    serve()
