"""A headless Chromium for tests of the page: its errors, its requests, and axe-core's findings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = "chromium", "chromedriver"
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--window-size=1400,1000", "--disable-background-networking"),
)
AXE = files("axe_core_python").joinpath("axe.min.js")
# A screenshot as a small picture, and the mean colours of its cells: on each machine, the letters
# are a little different.
SMALLER = """
const [picture, width, height, done] = arguments;
const image = new Image();
image.onload = () => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, 0, 0, width, height);
  const cells = [...context.getImageData(0, 0, width, height).data];
  done([canvas.toDataURL('image/png').split(',')[1], cells.filter((_, n) => n % 4 < 3)]);
};
image.src = 'data:image/png;base64,' + picture;
"""
# The page's own text is read; what axe-core calls minor or moderate is advice.
SERIOUS = ("serious", "critical")


class Browser:
    """One browser window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        """Load a page, and forget the messages and requests of the one before."""
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(address)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns."""
        return self.driver.execute_script(script, *arguments)

    def messages(self) -> list[str]:
        """What the console has since the last look."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that were requested since the last look."""
        entries = (json.loads(entry["message"])["message"] for entry in self._performance())
        return [
            entry["params"]["request"]["url"]
            for entry in entries
            if entry["method"] == "Network.requestWillBeSent"
        ]

    def _performance(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.get_log("performance")
        return entries

    def emulate(self, *, dark: bool = False, media: str = "", width: int = 1400) -> None:
        """Show the page as in the dark, on paper, or on a narrow screen."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": features}
        )
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def screenshot(self, *, width: int, height: int) -> str:
        """The top of the page as a PNG in base64."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options = {"format": "png", "clip": clip, "captureBeyondViewport": True}
        return str(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"])

    def resized(self, picture: str, *, width: int, height: int) -> tuple[str, list[int]]:
        """A PNG in base64 in another size, and the red, green and blue of all its pixels."""
        png, colours = self.driver.execute_async_script(SMALLER, picture, width, height)
        return png, colours

    def problems(self) -> list[str]:
        """The serious findings of axe-core, each with its rule and its elements."""
        # A content security policy applies to scripts of the page, not to those of the driver.
        self.run(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations));"
        )
        return [
            f"{violation['id']}: {[node['html'][:120] for node in violation['nodes'][:3]]}"
            for violation in found
            if violation["impact"] in SERIOUS
        ]

    def press(self, *keys: str) -> str:
        """Press keys; returns the text or label of the element that has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()
        text: str = self.run(
            "const e = document.activeElement;"
            "return e.getAttribute('aria-label') || e.textContent.trim();"
        )
        return text


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, ended afterwards. Where there is none, the test is skipped."""
    paths = {name: shutil.which(name) for name in (CHROMIUM, DRIVER)}
    if not all(paths.values()):
        pytest.skip("No Chromium here: install the packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(paths[CHROMIUM])
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(Path(str(paths[DRIVER])))))
    try:
        driver.set_script_timeout(60)
        yield Browser(driver)
    finally:
        driver.quit()
