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


def choose(page: Any, name: str, text: str) -> None:
    """Select the option of this text in the field of this name, or id."""
    from selenium.webdriver.support.ui import Select

    field = page.find_element("css selector", f"#filters [name={name}], #choice [name={name}], #{name}")
    Select(field).select_by_visible_text(text)
