"""What every HTML page that we write must hold in a real browser; the fixture `browser` is in conftest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTHS = (375, 1280)
"""Of a phone and of a desk, in pixels."""


def assert_accessible(browser: Any, html: Path) -> None:
    """axe finds no violation, at either width."""
    from axe_playwright_python.sync_playwright import Axe

    for width in WIDTHS:
        # axe is a script, which the page's policy forbids.
        page = browser.new_context(bypass_csp=True, viewport={"width": width, "height": 900}).new_page()
        page.goto(html.as_uri())
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        page.close()


def assert_fits_and_fetches_nothing(browser: Any, html: Path) -> None:
    """Nothing is asked of anybody, nothing is said on the console, and nothing scrolls sideways, at either width."""
    for width in WIDTHS:
        page = browser.new_page(viewport={"width": width, "height": 900})
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("console", lambda message, said=said: said.append(message.text))
        page.goto(html.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [html.as_uri()]
        assert said == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()
