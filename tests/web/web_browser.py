"""What the tests of the page ask of a browser."""

from __future__ import annotations

import time
from typing import Any


def resize(browser: Any, width: int) -> None:
    """As a device of this width."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )


def wait(page: Any, script: str, seconds: float = 60) -> Any:
    """What the expression gives as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := page.execute_script(f"return {script}")):
        assert time.monotonic() < end, f"never true: {script}"
        time.sleep(0.05)
    return found
