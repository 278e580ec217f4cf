"""Foreign code that ends a command, sizes that nobody means, and the net of the command line: one line each."""

from __future__ import annotations

import subprocess
import sys
import time

import click
import pytest

from zoo.cli.main import cli, main

BENCH = ("bench", "resnet20_bn", "--recipe", "smoke")


def one_line(output, *words: str) -> None:
    assert output.returncode == 2, output.stderr
    assert len(output.lines) == 1, output.stderr
    assert output.stderr.startswith("zoo: ")
    for word in words:
        assert word in output.stderr


END = {
    "sys.exit()": "import sys\nsys.exit()\n",
    "sys.exit(0)": "import sys\nsys.exit(0)\n",
    "raise SystemExit": "raise SystemExit\n",
    "a BaseException": "class Quit(BaseException): pass\nraise Quit('by')\n",
}
NORM = "from torch import nn\n\n\nclass mine(nn.GroupNorm):\n    def __init__(self, num_channels):\n"
WHERE = {
    "at import": "{0}",
    "at build": NORM + "{1}        super().__init__(1, num_channels)\n",
    "in forward": NORM
    + "        super().__init__(1, num_channels)\n\n    def forward(self, x):\n{1}        return x\n",
    "where an attribute is looked for": "def __getattr__(name):\n{2}",
}


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("command", "where", "how"),
    [*((("show",), where, how) for where in WHERE for how in END),
     *((("bench", "--recipe", "smoke"), where, "sys.exit()") for where in ("at import", "in forward"))],
)  # fmt: skip
def test_an_exit_in_a_users_module_is_no_end_of_zoo(inline_cli, tmp_path, command, where: str, how: str) -> None:
    code = END[how]
    (tmp_path / "registry.yaml").write_text('norms: {mine: "my_norm:mine"}\n')
    (tmp_path / "my_norm.py").write_text(WHERE[where].format(code, indented(code, 8), indented(code, 4)))
    output = inline_cli(*command, "resnet20_mine")
    assert output.returncode == 2
    told = [line for line in output.lines if "Quit" in line or "SystemExit" in line]
    assert len(told) == 1, output.stderr
    assert output.stderr.count("Traceback") == 0


@pytest.mark.parametrize("how", END)
def test_a_plugin_that_exits_is_skipped_with_one_line(inline_cli, tmp_path, monkeypatch, how: str) -> None:
    from zoo.registry import plugins

    info = tmp_path / "site" / "plug_exit-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-exit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zoo.registry]\nexit = plug_exit:IT\nitself = plug_itself:IT\n")
    (tmp_path / "site" / "plug_exit.py").write_text(END[how])
    (tmp_path / "site" / "plug_itself.py").write_text("IT = {}\nIT['norms'] = IT\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(plugins, "_said", set())
    output = inline_cli("list")
    assert output.returncode == 0
    assert "resnet18" in output.stdout
    assert len(output.lines) == 2
    assert "plugin 'exit' of plug-exit 1.0 is skipped: plug_exit:IT: " in output.lines[0]
    assert "plugin 'itself' of plug-exit 1.0 is skipped: plug_itself:IT: nested more than 50 deep" in output.lines[1]


HUGE = {
    "seeds": ((*BENCH, "--seeds", "1000000000", "--dry-run"), "--seeds", "1<=x<=10000"),
    "seed": ((*BENCH, "--seed", "99999999999999999999", "--dry-run"), "--seed", "0<=x<=4294967295"),
    "workers": ((*BENCH, "--workers", "1000000000"), "--workers", "too many", "at most"),
    "epochs": ((*BENCH, "--set", "epochs=1000000000000"), "epochs", "less than or equal to 1000000"),
    "batch size": ((*BENCH, "--set", "batch_size=1000000000000"), "batch_size", "more than the 3200 training images"),
    "split": ((*BENCH, "--set", "split.train=999999999999"), "split needs", "give --set split.train="),
    "a crop": ((*BENCH, "--set", "augment.train=[Resize: {height: 99999, width: 99999}]"), "height: 99999", "4096"),
    "padding": ((*BENCH, "--set", "augment.eval=[PadIfNeeded: {min_height: 9999, min_width: 9}]"), "min_height"),
    "a scale": ((*BENCH, "--set", "augment.train=[RandomScale: {scale_limit: 10000}]"), "scale_limit", "at most 64"),
    "trials": (("tune", "resnet20_bn", "--recipe", "smoke", "--trials", "1000000000000"), "--trials", "x<=100000"),
    "steps": (("lr-find", "resnet20_bn", "--recipe", "smoke", "--steps", "1000000000000"), "--steps", "x<=100000"),
    "a rate": (("lr-find", "resnet20_bn", "--recipe", "smoke", "--high", "nan"), "--high", "no number"),
    "seconds": (("speed", "resnet20_bn", "--recipe", "smoke", "--seconds", "1e9"), "--seconds", "86400"),
    "margin": (("compare", "--margin", "nan"), "--margin", "no number"),
    "classes": (("show", "resnet20_bn", "--classes", "1000000000"), "--classes", "2<=x<=10000"),
    "size of pictures": (("predict", "run", "a.png", "--size", "99999x99999"), "99999x99999", "4096 pixels a side"),
    "a contact sheet": (("data", "show", "shapes10", "--per-class", "1000000000"), "contact sheet", "fewer images"),
}  # fmt: skip


@pytest.mark.parametrize("what", HUGE)
def test_sizes_are_refused_before_memory_is_taken(inline_cli, what: str) -> None:
    arguments, *words = HUGE[what]
    started = time.process_time()
    one_line(inline_cli(*arguments), *words)
    assert time.process_time() - started < 10


def test_memory_of_the_cpu_that_is_full_is_one_line(inline_cli, tmp_path) -> None:
    """torch's own words for it are a RuntimeError of three lines."""
    (tmp_path / "registry.yaml").write_text('norms: {mine: "my_norm:mine"}\n')
    code = f"{NORM}        super().__init__(1, num_channels)\n\n    def forward(self, x):\n        import torch\n"
    (tmp_path / "my_norm.py").write_text(f"{code}        return x + torch.empty(10**15).sum()\n")
    one_line(inline_cli("show", "resnet20_mine"), "the machine's memory is full; lower the batch size")


RAISED = {
    "a file": (FileNotFoundError(2, "No such file", "/there/a.csv"), "/there/a.csv: No such file; check that it is"),
    "memory": (
        MemoryError(),
        "the machine's memory is full; lower the batch size, as in --set batch_size=32, or choose a smaller model",
    ),
    "memory of torch": (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate"), "memory is full"),
    "recursion": (RecursionError("maximum recursion depth exceeded"), "nested too deeply: RecursionError"),
    "an encoding": (UnicodeEncodeError("ascii", "a ± b", 2, 3, "no"), r"ascii has no '\xb1'; set PYTHONUTF8=1"),
    "an exit": (SystemExit(0), "code outside zoo ended the command: SystemExit: 0"),
    "an end": (type("Quit", (BaseException,), {})("by"), "ended the command: Quit: by"),
}


@pytest.mark.parametrize("what", RAISED)
def test_the_net_of_the_command_line(inline_cli, monkeypatch, what: str) -> None:
    raised, told = RAISED[what]

    def fails(**_: object) -> None:
        raise raised

    monkeypatch.setattr(cli.commands["list"], "callback", fails)
    one_line(inline_cli("list"), told)


def test_a_bug_keeps_its_traceback(monkeypatch) -> None:
    def fails(**_: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(cli.commands["list"], "callback", fails)
    with pytest.raises(KeyError):
        main(["list"])


def test_the_net_is_no_part_of_a_command() -> None:
    """Tests of readers run without it."""
    with pytest.raises(click.UsageError):
        cli.main(["bench"], standalone_mode=False)


@pytest.mark.parametrize("arguments", ["list --all", "bench --help"])
def test_a_reader_that_wants_no_more_ends_zoo_quietly(zoo_cli, arguments: str) -> None:
    """``zoo list | head -1``: the pipe is closed before zoo writes."""
    command = f"{sys.executable} -m zoo {arguments} | sleep 0; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=zoo_cli.environment, cwd=zoo_cli.folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_module_that_is_a_script_sees_no_arguments_of_zoo(inline_cli, tmp_path, monkeypatch) -> None:
    """argparse at its top would print its usage and exit."""
    monkeypatch.setattr(sys, "argv", ["zoo", "show", "resnet20_mine"])
    (tmp_path / "registry.yaml").write_text('norms: {mine: "my_norm:mine"}\n')
    code = f"import argparse\nargparse.ArgumentParser().parse_args()\n{NORM}        super().__init__(1, num_channels)\n"
    (tmp_path / "my_norm.py").write_text(code)
    assert inline_cli("show", "resnet20_mine").returncode == 0
    assert sys.argv == ["zoo", "show", "resnet20_mine"]


def test_an_empty_host_is_not_every_address(inline_cli) -> None:
    one_line(inline_cli("serve", "--host", ""), "--host", "give 127.0.0.1, or 0.0.0.0")


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK"])
@pytest.mark.parametrize("text", ["junk", "-1", "1.5", "9" * 20, "²"])
def test_what_torchrun_never_sets_is_one_line(monkeypatch, name: str, text: str) -> None:
    import torch

    from zoo.errors import MachineError
    from zoo.utils.distributed import join_process_group

    monkeypatch.setenv(name, text)
    with pytest.raises(MachineError, match=f"^{name}=.* is no number that torchrun sets; unset it"):
        join_process_group(torch.device("cpu"))


@pytest.mark.parametrize("text", ["", " ", "1"])
def test_an_empty_world_size_is_one_process(monkeypatch, text: str) -> None:
    import torch

    from zoo.utils.distributed import SINGLE_PROCESS, join_process_group

    monkeypatch.setenv("WORLD_SIZE", text)
    assert join_process_group(torch.device("cpu"))[0] is SINGLE_PROCESS
