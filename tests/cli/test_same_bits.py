"""``--deterministic``: what one place gives, another gives, with nothing remembered from the first."""

from __future__ import annotations

import json

from run_files import check_same, find_run


def test_deterministic_runs_in_two_places(zoo_cli, inline_cli, tiny, figure):
    """Layout left to the rule, each with an empty cache.

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
    figure("runs identical")


def test_the_layout_of_resnet20_ln_in_three_fresh_caches(inline_cli, tiny, figure):
    """Layout by the clock: three caches gave NCHW once and channels-last twice. A rule gives one layout and one result.

    All in this process: that another one gives the same bits is the test above.
    """
    assert tiny[-2:] == ("--layout", "nchw")
    runs = []
    for place in (inline_cli.folder / name for name in ("one", "two", "three")):
        place.mkdir()
        inline_cli.ok("bench", "resnet20_ln", *tiny[:-2], cwd=place, ZOO_CACHE=str(place / "cache"))
        runs.append(find_run(place, "resnet20_ln"))
    for run in runs:
        result = json.loads((run / "result.json").read_text())
        assert result["settings"]["layout"] == result["model"]["layout"] == "channels_last"
        check_same(run, runs[0])
    assert not list(inline_cli.folder.rglob("layouts")), "something was measured and kept"
    figure("runs identical")
