# SPDX-License-Identifier: Apache-2.0
"""A headless browser for tests of pages."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models import missing, need

_PATIENCE_SECONDS = 60.0


class Browser:
    """One session of Chromium. driver: selenium's."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1400, dark: bool = False) -> None:
        """Show a page of the disk, ready to be used. width: of the window, in pixels."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())
        self.wait("document.body.dataset.ready !== undefined")

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self.run(f"return {condition}"):
            assert time.monotonic() < end, f"{condition}; {self.complaints()}"
            time.sleep(0.01)

    def complaints(self) -> list[str]:
        """What the browser has logged: errors of scripts, what it has refused to load."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def move(self, place: str, x: float, y: float) -> None:
        """The pointer to a point of an element, given by a selector. x, y: in its pixels."""
        self._mouse("mouseMoved", place, x, y)

    def click(self, place: str, x: float, y: float) -> None:
        """A click there."""
        self.move(place, x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, place, x, y)

    def _mouse(self, kind: str, place: str, x: float, y: float) -> None:
        # The page hears of the scrolling a frame later, and must have done so before the mouse.
        left, top = self.driver.execute_async_script(
            "const [place, done] = arguments; const e = document.querySelector(place);"
            "e.scrollIntoView({block: 'center'}); const box = e.getBoundingClientRect();"
            "const next = requestAnimationFrame; next(() => next(() => done([box.left, box.top])))",
            place,
        )
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        where = {"type": kind, "x": left + x, "y": top + y}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {**where, **button})


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium and its driver. The test is skipped where they are absent; make emulators
    installs them."""
    need("chromium", "chromedriver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        missing("selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    # Without its sandbox it runs as root, too; the pages are our own.
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(_PATIENCE_SECONDS)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
