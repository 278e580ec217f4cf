"""Functions and modules stay small enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "zoo").rglob("*.py"))
LINES, PARAMETERS, MODULE_LINES, LOOP_LINES = 80, 10, 320, 40

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(module: Path) -> list[Function]:
    """Every function of a module: methods and inner functions too."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def lines(node: ast.stmt) -> int:
    """Lines from the first to the last of a statement; a function's decorators do not count."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def parameters(function: Function) -> int:
    """Parameters that a caller gives: all but `self` and `cls`."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument]
    return len([name for name in names if name not in ("self", "cls")])


def named(module: Path, function: Function) -> str:
    return f"{module.relative_to(ROOT).as_posix()}:{function.name}"


def test_functions_are_short() -> None:
    assert not {
        named(module, function) for module in MODULES for function in functions(module) if lines(function) > LINES
    }


def test_functions_take_few_parameters() -> None:
    assert not {
        named(module, function)
        for module in MODULES
        for function in functions(module)
        if parameters(function) > PARAMETERS
    }


def test_modules_are_short() -> None:
    assert not {
        module.relative_to(ROOT).as_posix(): count
        for module in MODULES
        if (count := len(module.read_text(encoding="utf-8").splitlines())) > MODULE_LINES
    }


def test_the_training_loop_fits_a_screen() -> None:
    tree = ast.parse((ROOT / "zoo" / "engine" / "train.py").read_text(encoding="utf-8"))
    (train,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train"]
    loops = [node for node in ast.walk(train) if isinstance(node, ast.For | ast.While)]
    assert loops
    assert max(map(lines, loops)) <= LOOP_LINES
