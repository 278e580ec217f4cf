"""What the code of a model raises, as one line: a stranger's mistake is no bug of zoo's."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

from zoo.engine.reporter import Reporter
from zoo.errors import Option, RegistryError, Words, ZooError, out_of_memory
from zoo.registry.foreign import described, foreign

_CALL = "_call_impl"  # in which torch calls a module's forward


@contextlib.contextmanager
def guarded(where: str, doing: str, *advice: Words) -> Iterator[None]:
    """Raise :class:`RegistryError`, in one line, for what the code of a model raises in the block.

    `where` names the model, `doing` what the block does with it, and `advice` what to do about it.
    """
    with foreign(lambda problem: failed(problem, where, doing, *advice)):
        yield


def failed(problem: BaseException, where: str, doing: str, *advice: Words) -> RegistryError | None:
    """The error to raise for `problem`, caught where a model's code runs; None where it is not the model's.

    A message of zoo's own stays what it is. So does what a reporter raises, which stops a training, and an error of
    files that arose outside of the model.
    """
    if isinstance(problem, ZooError):
        return None
    frames = list(traceback.walk_tb(problem.__traceback__))
    if any(isinstance(frame.f_locals.get("self"), Reporter) for frame, _ in frames):
        return None
    if isinstance(problem, OSError) and not any(frame.f_code.co_name == _CALL for frame, _ in frames):
        return None
    if full := out_of_memory(problem):
        return RegistryError(f"{where}: fails in {doing}: ", *full.parts)
    if not advice and frames and _is_of_compiler(problem, frames[-1][0].f_code.co_filename):
        advice = ("; leave out ", Option("compile"))
    return RegistryError(f"{where}: fails in {doing}: {described(problem)}", *advice)


def _is_of_compiler(problem: BaseException, file: str) -> bool:
    """Whether torch.compile fails, or what it made; `file` is where `problem` arose."""
    of = type(problem).__module__.startswith(("torch._dynamo", "torch._inductor", "torch._functorch"))
    return of or any(part in file for part in ("torch/_dynamo/", "torch/_inductor/", "torchinductor_"))
