"""``--deterministic``: what one place gives, another gives, with nothing remembered from the first."""

from __future__ import annotations

import json

from run_files import check_same, find_run


def test_deterministic_runs_in_two_places(zoo_cli, inline_cli, tiny, figure):
    """Layout left to be chosen, each with an empty cache: no measurement of one can be taken up by the other.

    One is a process of its own and the other is not, which is one more thing that may not matter.
    """
    command = ("bench", "resnet20_bn", *tiny[:-2], "--deterministic")
    assert tiny[-2:] == ("--layout", "nchw")
    for place, cli in (("one", zoo_cli), ("two", inline_cli)):
        (cli.folder / place).mkdir()
        cli.ok(*command, cwd=cli.folder / place, ZOO_CACHE=str(cli.folder / place / "cache"))
    one, two = (find_run(zoo_cli.folder / place, "resnet20_bn") for place in ("one", "two"))
    check_same(two, one)
    settings = [json.loads((folder / "result.json").read_text())["settings"] for folder in (one, two)]
    assert settings[0] == settings[1]
    assert settings[0]["deterministic"] is True
    assert not list(zoo_cli.folder.glob("*/cache/layouts")), "the clock chose a layout"
    figure("runs identical")
