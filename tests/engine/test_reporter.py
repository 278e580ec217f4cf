"""The one base class of reporters: silent by itself, and passed on whole."""

from __future__ import annotations

import inspect

from zoo.engine.reporter import Reporter, Reporters

HOOKS = {name: len(inspect.signature(hook).parameters) - 1 for name, hook in vars(Reporter).items() if name[0] != "_"}


class Recorder(Reporter):
    """Keeps the name and the arguments of every call."""

    def __init__(self) -> None:
        self.calls = []

    def __getattribute__(self, name: str):
        if name not in HOOKS:
            return super().__getattribute__(name)
        return lambda *arguments: self.calls.append((name, *arguments))


def test_reporters_pass_every_call_on_to_each() -> None:
    first, second = Recorder(), Recorder()
    for name, arguments in HOOKS.items():
        assert getattr(Reporter(), name)(*range(arguments)) is None
        getattr(Reporters(first, second), name)(*range(arguments))
    assert first.calls == second.calls == [(name, *range(arguments)) for name, arguments in HOOKS.items()]
