"""``--deterministic``: what one place gives, another gives, with nothing remembered from the first."""

from __future__ import annotations

import dataclasses
import json

from run_files import check_same, find_run


def test_deterministic_runs_in_two_places(zoo_cli, tiny, figure):
    """Layout left to be chosen, and each with an empty cache: no measurement of one can be taken up by the other."""
    command = ("bench", "resnet20_bn", *tiny[:-2], "--deterministic")
    assert tiny[-2:] == ("--layout", "nchw")
    processes = []
    for place in ("one", "two"):
        (zoo_cli.folder / place).mkdir()
        cli = dataclasses.replace(
            zoo_cli,
            folder=zoo_cli.folder / place,
            environment=zoo_cli.environment | {"ZOO_CACHE": str(zoo_cli.folder / place / "cache")},
        )
        processes.append(cli.start(*command))
    for process in processes:
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told
    one, two = (find_run(zoo_cli.folder / place, "resnet20_bn") for place in ("one", "two"))
    check_same(two, one)
    settings = [json.loads((folder / "result.json").read_text())["settings"] for folder in (one, two)]
    assert settings[0] == settings[1]
    assert settings[0]["deterministic"] is True
    assert not list(zoo_cli.folder.glob("*/cache/layouts")), "the clock chose a layout"
    figure("runs identical")
