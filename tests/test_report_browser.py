"""The report in a real browser: no axe violation, nothing fetched, no sideways scrolling on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_helpers as made

from reports.build import build

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = ["cook", "judge", "singer"]
    run = made.make_run(tmp_path_factory.mktemp("runs"), values=values, images_per_prompt=8)
    run.write_measurements(made.measured(run, insufficient=("cook",), uncalibrated=("singer",)))
    return build(run)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def test_axe_finds_no_violation(browser: Any, html: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_context(
        bypass_csp=True
    ).new_page()  # axe is a script, which the report's policy forbids
    page.goto(html.as_uri())
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_fits_its_window_and_asks_for_nothing(browser: Any, html: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(html.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [html.as_uri()]
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
