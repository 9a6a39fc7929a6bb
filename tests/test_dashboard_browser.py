"""The dashboard in a real browser: each view opens, links restore it, and axe finds no serious fault."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic_run
from detector_eval_helpers import make_evaluation
from mitigation_runs import write_evaluation
from provenance_helpers import root_pem, signed
from signed_run_helpers import change_pixels, scan_row, sign, trusted, write_scan
from watermark_table_helpers import detections, make_bench, mark

from app.dashboard import users
from app.dashboard.views import VIEWS
from app.doctor import chromium
from auditkit import decisions
from auditkit.runs import Run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no chromium here: apt-get install chromium"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
# Streamlit probes these beside a deep link before it finds its root; the answer 404 is part of that.
PROBES = ("/_stcore/health", "/_stcore/host-config")
HOSTILE = "<b>x</b> [l](http://evil.test) www.evil.test"
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("dashboard") / "runs"
    synthetic_run.break_run(synthetic_run.make_run(folder, name="bad", images_per_prompt=1))
    make_bench(folder.parent / "watermark-bench")
    make_evaluation(folder.parent / "detector-evaluation")
    write_evaluation(folder.parent / "mitigation")
    synthetic_run.make_run(folder, images_per_prompt=2)  # of the same prompts, to compare with
    made = mark(synthetic_run.make_run(folder, images_per_prompt=12))
    synthetic_run.embed(made)
    made.write_watermarks(detections(made, present=0.9))
    change_pixels(sign(made), 0, 4)
    trusted(folder.parent / "home" / "trust")
    data = signed(title=HOSTILE, parent=(HOSTILE, signed(seed=1).data)).data
    write_scan(folder.parent / "verdicts.parquet", [scan_row(folder.parent, "a.png", data)])
    return made


@pytest.fixture(scope="module")
def address(run: Run) -> Iterator[str]:
    with serving(run.path.parent, run.path.parent.parent / "home") as url:
        yield url


@contextlib.contextmanager
def serving(runs: Path, home: Path, *options: str) -> Iterator[str]:
    """A dashboard's address while it runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "dashboard", "--no-browser", "--port", str(port)]
    environment = os.environ | {"AUDITKIT_HOME": str(home), "AUDITKIT_KEYS": str(home / "keys.json")}
    command += ["--runs", str(runs), *options]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
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


@pytest.mark.parametrize(
    "path",
    ["", *(view.path for view in VIEWS[1:])],
)
def test_every_view_opens_cleanly_and_is_accessible(page, address, run, path):
    open_view(page, f"{address}/{path}?run={run.path.name}")
    assert_clean(page)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["What marks survive", "Keys"])
def test_every_part_of_the_watermarks_opens_cleanly_and_is_accessible(page, address, part):
    open_view(page, f"{address}/watermarks?part={part.replace(' ', '+')}")
    page.get_by_text("Share of marked images" if part != "Keys" else "Ids may be shown").wait_for()
    assert_clean(page)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "text"),
    [("A scan", "1 file"), ("In a run", "58 of these 60 copies verify"), ("Trust", "Lists in force"),
     ("Disclosure", "no legal advice")],
)  # fmt: skip
def test_every_part_of_provenance_opens_cleanly_and_is_accessible(page, address, run, part, text):
    open_view(page, f"{address}/provenance?part={part.replace(' ', '+')}&run={run.path.name}")
    page.get_by_text(text).first.wait_for()
    assert_clean(page)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "text"),
    [("Evaluations", "On what it has not seen"), ("At your own volume", "Images that come in"), ("Cards", "etector")],
)
def test_every_part_of_the_detectors_opens_cleanly_and_is_accessible(page, address, part, text):
    open_view(page, f"{address}/detectors?part={part.replace(' ', '+')}")
    page.get_by_text(text).first.wait_for()
    assert_clean(page)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "text"), [("Label", "Draw a random sample"), ("Agreement", "Nobody has decided")])
def test_every_part_of_the_review_opens_cleanly_and_is_accessible(page, address, run, part, text):
    open_view(page, f"{address}/review?part={part}&run={run.path.name}")
    page.get_by_text(text).first.wait_for()
    assert_clean(page)


def test_a_moderator_decides_by_keyboard_and_the_address_names_the_image(page, address, run):
    open_view(page, f"{address}/review?run={run.path.name}")
    page.get_by_label("Your pseudonym", exact=True).fill("ana")
    page.keyboard.press("Enter")
    page.get_by_alt_text("image 0.0, blurred and grey").wait_for()
    page.locator("h1").click()
    page.keyboard.press("s")
    page.get_by_alt_text("image 0.0, as it is").wait_for()
    assert_clean(page)
    page.keyboard.press("a")
    page.get_by_alt_text("image 0.1, blurred and grey").wait_for()
    page.get_by_text("1 of 60 images decided by you").wait_for()
    assert run.images()["id"].iloc[1] in page.url
    page.get_by_label("Note").fill("a d")  # keys that are typed decide nothing
    page.keyboard.press("Enter")
    page.locator("h1").click()
    page.keyboard.press("u")
    page.get_by_text("0 of 60 images decided by you").wait_for()
    verdicts = [one.verdict for one in decisions.read(run.path / "decisions.jsonl")]
    assert verdicts == ["allow", None]


def test_with_a_login_no_address_shows_anything_before_it_and_the_address_stays(page, run, monkeypatch):
    home = run.path.parent.parent / "guarded"
    monkeypatch.setenv("AUDITKIT_HOME", str(home))
    users.add("ana", "viewer", password="four plain words here")
    with serving(run.path.parent, home, "--login", "password") as url:
        page.goto(f"{url}/gallery?run={run.path.name}&axis_occupation=nurse")
        page.get_by_role("textbox", name="Password").wait_for(timeout=30_000)
        assert page.get_by_text("nurse").count() == 0
        page.get_by_role("textbox", name="Name").fill("ana")
        page.get_by_role("textbox", name="Password").fill("four plain words here")
        page.keyboard.press("Enter")
        page.get_by_text("12 images").wait_for()
        page.get_by_role("link", name="Review").click()
        page.get_by_text("This view is for the role reviewer").wait_for()


def test_an_upload_gets_its_card_and_stays_blurred_until_it_is_asked_for(page, address):
    open_view(page, f"{address}/provenance")
    page.get_by_text("Whom to trust, and as of when").click()
    files = page.locator("input[type=file]")
    files.nth(1).set_input_files([{"name": "roots.pem", "mimeType": "text/plain", "buffer": root_pem().encode()}])
    data = signed(title="second.png", parent=("first.png", signed(seed=1).data)).data
    files.nth(0).set_input_files([{"name": "a.png", "mimeType": "image/png", "buffer": data}])
    page.get_by_text("C2PA: Signed, trusted, unchanged").wait_for(timeout=90_000)  # the first loads a detector
    page.get_by_alt_text("What the file was made from: second.png").wait_for()
    assert page.get_by_alt_text("The upload, blurred").count() == 1
    assert_clean(page)
    page.get_by_text("as it is", exact=True).click()
    page.get_by_alt_text("The upload", exact=True).wait_for()


def test_a_deep_link_opens_the_card_of_a_row_and_a_strangers_text_stays_text(page, address):
    open_view(page, f"{address}/provenance?part=A+scan&file=a.png")
    page.get_by_text("Signed and unchanged, by somebody unknown").last.wait_for()
    page.get_by_alt_text("<b>x</b> [l](http://evil.test)").wait_for()
    assert page.locator('[data-testid="stMain"] a[href*="evil"]').count() == 0
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


def test_a_lasso_drawn_on_the_map_chooses_images_and_is_in_the_address(page, address, run):
    open_view(page, f"{address}/gallery?run={run.path.name}&show=map")
    drawn = page.locator("[data-testid=stPlotlyChart] .nsewdrag")
    drawn.scroll_into_view_if_needed()
    box = drawn.bounding_box()
    x, y, width, height = (box[side] for side in ("x", "y", "width", "height"))
    page.mouse.move(x + 5, y + 5)
    page.mouse.down()
    for right, down in ((0.5, 0.02), (0.5, 0.5), (0.4, 0.98), (0.02, 0.98), (0.02, 0.1)):
        page.mouse.move(x + right * width, y + down * height, steps=4)
    page.mouse.up()
    page.wait_for_url("**area=**")
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    count = page.get_by_text(" of 60").inner_text()
    assert 0 < int(count.split()[0]) < 60
    assert_clean(page)
    open_view(page, page.url)
    assert page.get_by_text(" of 60").inner_text() == count


def test_the_search_by_an_image_and_the_pairs_are_restored_by_their_links(page, address, run):
    id = run.images()["id"].iloc[0]
    open_view(page, f"{address}/gallery?run={run.path.name}&like={id}&copies=near-duplicates&near=0.999")
    page.get_by_text("1 group of near-duplicates").wait_for()
    assert len(_alts(page, 2)) == 2
    assert_clean(page)
    open_view(page, f"{address}/compare?run={run.path.name}&axis_occupation=nurse")
    page.get_by_text("2 pairs").wait_for()
    assert sum("nurse" in alt and "Image" in alt for alt in _alts(page, 5)) == 4  # two pairs, and the chart


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
