"""What a resumed run must repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import SETTINGS

from zoo.cli.options import line
from zoo.engine.checkpoint import Identity
from zoo.errors import ResultError
from zoo.results.folder import RunFolder
from zoo.runner.identity import check_settings

HERE = Identity({}, SETTINGS)


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (
            {"layout": "channels_last"},
            "layout channels_last, * resume with --layout channels_last, or start again with --restart",
        ),
        ({"executor": "albumentations"}, "executor albumentations, * resume with --executor albumentations, or"),
        ({"compiled": True}, "compiled True, * resume with the same, or start again with --restart"),
    ],
)
def test_a_state_of_other_settings_says_what_to_give(saved: dict[str, object], words: str) -> None:
    """A state of old may have the layout that a clock chose."""
    before = replace(HERE, settings=SETTINGS.model_copy(update=saved))
    with pytest.raises(ResultError) as caught:
        check_settings(RunFolder(Path("run")), before, HERE)
    message = line(caught.value.parts)
    assert all(part in message for part in f"run: was started with {words}".split(" * ")), message
    check_settings(RunFolder(Path("run")), HERE, HERE)
