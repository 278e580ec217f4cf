"""A real browser for the tests of the page."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from web_browser import resize

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
)  # fmt: skip
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium under selenium, with an empty profile and its logs kept."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with chromedriver is installed here (Debian: apt install chromium chromium-driver)")
    if subprocess.run([program, "--version"], capture_output=True, timeout=120, check=False).returncode:
        pytest.skip(f"{program} does not run here (some systems install an empty package of this name)")
    pytest.importorskip("selenium", reason="no selenium is installed here: pip install 'norm-zoo[test]'")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_page_load_timeout(120)  # a machine that trains beside the tests is slow
    started.set_script_timeout(120)
    yield started
    started.quit()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """The browser at 1280 pixels in the light theme, nothing remembered; what it logs as an error fails the test."""
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    resize(browser, 1280)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    yield browser
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    if browser.current_url.startswith(("file:", "http:")):
        browser.execute_script("try { localStorage.clear() } catch {}")
    browser.get("about:blank")
    assert errors == []
