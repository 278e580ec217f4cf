"""Makes the images of docs/images/ again: ``python docs/make_images.py``, or only ``report``, ``plots`` or ``explain``.

``report`` needs Chromium with chromedriver, ``explain`` the dataset ``cifar10-jpeg``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from zoo.render.eva6s8 import draw
from zoo.results.folder import find_results, load_all
from zoo.studies.eva6s8 import ablation, reference_recipes

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
RESULTS, STUDIES = (ROOT / "benchmarks" / name for name in ("results", "studies"))
# Width and height in pixels of the page, and pixels of the image for each.
SCREENS = {"report-1280": (1280, 1310, 1), "report-390": (390, 844, 2)}
EXPLAINED = RESULTS / "cifar10-jpeg" / "laptop-9c06139e" / "resnet20_bn" / "seed0"  # its weights are committed
ABLATION = (["split.train=10000", "batch_size=128", "precision=bf16"], 8)  # overrides and epochs


def zoo(*arguments: object) -> None:
    """Run the command line."""
    subprocess.run([sys.executable, "-m", "zoo", *map(str, arguments)], check=True)


def report(scratch: Path) -> None:
    """The leaderboard on a desktop and on a phone."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    zoo("report", RESULTS, STUDIES, "--baseline", "resnet20_bn", "--out", scratch / "report")
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    for name, (width, height, scale) in SCREENS.items():
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get((scratch / "report" / "index.html").as_uri())
        browser.save_screenshot(str(IMAGES / f"{name}.png"))
    browser.quit()


def plots(scratch: Path) -> None:
    """The plots of committed runs."""
    chosen = (RESULTS, "--recipe", "laptop-5ebfdb2c")
    for kind in ("curves", "bars", "pareto"):
        zoo("plot", kind, *chosen, "--columns", 2, "--format", "png", "--out", IMAGES / f"plot-{kind}")
    study = ("plot", "batch-size", STUDIES / "batch-size", "--columns", 2)
    zoo(*study, "--format", "png", "--out", IMAGES / "batch-size")
    runs = load_all(find_results([STUDIES / "eva6s8"]))
    steps = reference_recipes(*ABLATION)
    by_step = {(recipe.fingerprint, step.norm): [] for step, recipe in steps}
    for run in runs:
        by_step[run.result.recipe.fingerprint, run.result.model.norm].append(run)
    stored = [by_step[recipe.fingerprint, step.norm] for step, recipe in steps]
    title = f"eva6s8 to standard: cifar10-jpeg, resnet18_w16, {ABLATION[1]} epochs, {' '.join(ABLATION[0])}"
    draw(ablation([step for step, _ in steps], stored), IMAGES / "eva6s8.png", title)


def explain(scratch: Path) -> None:
    """All images of one committed run."""
    zoo("explain", EXPLAINED, "--images", 5, "--out", scratch / "explain")
    for path in (scratch / "explain").glob("*.png"):
        shutil.copy(path, IMAGES / f"explain-{path.name}")


if __name__ == "__main__":
    for make in (report, plots, explain):
        if make.__name__ in (sys.argv[1:] or [make.__name__]):
            with tempfile.TemporaryDirectory() as folder:
                make(Path(folder))
