"""The lowest release of each requirement in setup.cfg as pip constraints: ``python .ci/floors.py > floors.txt``.

``pip install -e ".[test]" -c floors.txt`` then installs what zoo promises to work with at least. The tools of
the extras `bench`, `docs` and `test` are left out: they are developers' own.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path

NOT_USERS = ("bench", "docs", "test")


def floors(setup: str) -> list[str]:
    """``name==version`` for each requirement of `setup`, the text of a setup.cfg, in order.

    Raises :class:`SystemExit` for a requirement without ``>=``.
    """
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(setup)
    lists = [config["options"]["install_requires"]]
    lists += [text for extra, text in config["options.extras_require"].items() if extra not in NOT_USERS]
    requirements = [line for text in lists for line in text.split("\n") if line.strip()]
    pins = []
    for requirement in requirements:
        match = re.match(r"([\w.-]+)(?:\[[\w,]+\])? *>= *([\w.]+)", requirement)
        if not match:
            raise SystemExit(f"setup.cfg: {requirement!r} has no lowest version; write name >= version")
        pins.append(f"{match[1]}=={match[2]}")
    return pins


if __name__ == "__main__":
    print("\n".join(floors(Path(__file__).parents[1].joinpath("setup.cfg").read_text(encoding="utf-8"))))
