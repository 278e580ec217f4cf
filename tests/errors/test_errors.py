"""Messages that name arguments: in Python's words, and in those of the command line."""

from __future__ import annotations

import pickle

from zoo.cli.options import worded
from zoo.errors import MachineError, Option, sentence, unknown


def test_an_option_reads_as_it_is_given_in_python_and_on_the_command_line() -> None:
    error = MachineError("no disk; choose another ", Option("data_dir"), " or ", Option("set", "batch_size=64"))
    assert str(error) == "no disk; choose another data_dir or set batch_size=64"
    assert sentence(error.parts, worded) == "no disk; choose another --data-dir or --set batch_size=64"
    again = pickle.loads(pickle.dumps(error))  # between the processes of a cluster
    assert (type(again), again.parts) == (type(error), error.parts)


def test_an_unknown_name_says_what_is_near_or_else_what_to_do() -> None:
    assert str(unknown("norm", "bnn", ["bn"], Option("registry"), "hint")) == (
        "unknown norm 'bnn' (looked in registry); did you mean 'bn'?"
    )
    assert str(unknown("norm", "xyz", ["bn"], "here", "give ", Option("registry"))) == (
        "unknown norm 'xyz' (looked in here); give registry"
    )
    assert str(unknown("norm", "xyz", ["bn"], "here")) == "unknown norm 'xyz' (looked in here)"
