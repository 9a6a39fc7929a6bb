"""The dashboard in a real browser: each view opens, links restore it, and axe finds no serious fault."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
import synthetic_run
from watermark_table_helpers import detections, make_bench, mark

from app.doctor import chromium
from auditkit.runs import Run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no chromium here: apt-get install chromium"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
# Streamlit probes these beside a deep link before it finds its root; the answer 404 is part of that.
PROBES = ("/_stcore/health", "/_stcore/host-config")
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("dashboard") / "runs"
    synthetic_run.break_run(synthetic_run.make_run(folder, name="bad", images_per_prompt=1))
    make_bench(folder.parent / "watermark-bench")
    made = mark(synthetic_run.make_run(folder, images_per_prompt=12))
    made.write_watermarks(detections(made, present=0.9))
    return made


@pytest.fixture(scope="module")
def address(run: Run) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "dashboard", "--no-browser", "--port", str(port)]
    server = subprocess.Popen([*command, "--runs", str(run.path.parent)], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/_stcore/health")
        yield url
    finally:
        server.terminate()
        assert server.wait(20) == 0


@pytest.fixture
def page(address):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        opened = browser.new_page(viewport={"width": 1360, "height": 1000})
        opened.faults = []
        opened.on("console", lambda said: said.type == "error" and _note(opened.faults, said))
        opened.on("pageerror", lambda error: opened.faults.append(str(error)))
        opened.on("request", lambda asked: _stays_here(opened.faults, asked.url, address))
        yield opened
        browser.close()


def open_view(page, url: str) -> None:
    page.goto(url)
    page.locator("h1").wait_for(timeout=30_000)
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for(timeout=30_000)


@pytest.mark.parametrize("path", ["", "bias", "measures", "watermarks", "gallery", "image"])
def test_every_view_opens_cleanly_and_is_accessible(page, address, run, path):
    open_view(page, f"{address}/{path}?run={run.path.name}")
    assert_clean(page)


@pytest.mark.parametrize("part", ["What marks survive", "Keys"])
def test_every_part_of_the_watermarks_opens_cleanly_and_is_accessible(page, address, part):
    open_view(page, f"{address}/watermarks?part={part.replace(' ', '+')}")
    page.get_by_text("Share of marked images" if part != "Keys" else "Ids may be shown").wait_for()
    assert_clean(page)


def assert_clean(page) -> None:
    """No exception on the page, nothing on the console, no serious fault found by axe."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.locator('[data-testid="stException"]').count() == 0
    assert page.faults == []
    found = Axe().run(page, options=WCAG).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert serious == [], [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in serious]


def test_a_deep_link_restores_the_filters(page, address, run):
    open_view(page, f"{address}/gallery?run={run.path.name}&axis_occupation=nurse")
    page.get_by_text("12 images").wait_for()
    assert all("nurse" in alt for alt in _alts(page, 12))


def test_the_gallery_leads_to_an_image_and_the_address_names_it(page, address, run):
    open_view(page, f"{address}/gallery?run={run.path.name}&axis_occupation=judge")
    page.get_by_role("link", name="Details of 0.0").click()
    page.get_by_role("heading", name="As perceived").wait_for()
    assert run.images()["id"].iloc[0] in page.url
    page.get_by_role("link", name="Next image").click()
    page.wait_for_url(f"**{run.images()['id'].iloc[1]}**")


def test_the_run_stays_chosen_from_view_to_view(page, address, run):
    open_view(page, f"{address}/bias?run={run.path.name}&attribute=skin+tone")
    page.get_by_role("heading", name="Perceived skin tone by occupation").wait_for()
    page.get_by_role("link", name="Gallery").click()
    page.get_by_role("heading", name="Gallery", exact=True).wait_for()
    page.get_by_text("60 images").wait_for()


def test_a_path_in_the_address_is_no_run(page, address):
    open_view(page, f"{address}/gallery?run=../../etc")
    assert page.locator('[data-testid="stException"]').count() == 0
    assert "etc" not in page.locator('[data-testid="stMain"]').inner_text()


def _alts(page, count: int) -> list[str]:
    """The alternative texts of the images, once there are `count`."""
    page.wait_for_function(f"document.querySelectorAll('[data-testid=stMain] img').length == {count}")
    return page.eval_on_selector_all("[data-testid=stMain] img", "images => images.map(image => image.alt)")


def _note(faults: list[str], said) -> None:
    if not said.location.get("url", "").endswith(PROBES):
        faults.append(said.text)


def _stays_here(faults: list[str], url: str, address: str) -> None:
    if not url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:")):
        faults.append(f"asked another host: {url}")


def _wait(url: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
