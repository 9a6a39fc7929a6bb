"""The pictures of docs/dashboard.md: every view on the example that comes with auditkit.

    python -m benchmarks.dashboard_pictures docs/images

Needs chromium and the extra `test`. The example is unpacked anew; `personas-detector` is asked about its biased run,
and a mark of a new key looked for, which is in none of its images.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image

from app.detection import detect
from app.example import RUNS, example
from app.marks import detect_watermark
from auditkit.watermark import keys

PORT, WIDTH, HEIGHT, SIDEBAR, WAIT = 8598, 1200, 900, 256, 10_000
SHOWN = {
    "home": "", "bias": "bias?run={0}", "measures": "measures?run={0}", "compare": "compare?run={0}&other={1}",
    "mitigation": "mitigation", "policy": "policy?run={0}", "provenance": "provenance",
    "watermarks": "watermarks?run={0}", "detectors": "detectors", "detectors-run": "detectors?part=In+a+run&run={0}",
    "review": "review?run={0}", "generators": "generators",
    "gallery": "gallery?run={0}", "map": "gallery?run={0}&show=map", "image": "image?run={0}",
}  # fmt: skip


def main() -> None:
    from playwright.sync_api import sync_playwright

    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "example"
        biased = example(folder)[0]
        detect(biased, detectors=["personas-detector"])
        keys.create(Path(scratch) / "keys.json")
        detect_watermark(biased, schemes=["spread"], keys=Path(scratch) / "keys.json")
        command = [sys.executable, "-m", "app", "dashboard", "--runs", str(folder), "--port", str(PORT)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(f"http://127.0.0.1:{PORT}/_stcore/health")
            with sync_playwright() as play:
                browser = play.chromium.launch(
                    executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
                )
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                for name, path in SHOWN.items():
                    page.goto(f"http://127.0.0.1:{PORT}/{path.format(*RUNS)}")
                    page.wait_for_timeout(WAIT)
                    if name == "provenance":
                        page.set_input_files("input[type=file]", next(biased.glob("images/*/*.png")))
                        page.wait_for_timeout(2 * WAIT)
                        page.mouse.move(700, 600)
                        page.mouse.wheel(0, 520)
                        page.wait_for_timeout(1000)
                    elif name == "review":
                        page.get_by_role("textbox", name="Your pseudonym").fill("A")
                        page.keyboard.press("Enter")
                        page.wait_for_timeout(WAIT)
                    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                    shot.crop((SIDEBAR, 60, WIDTH, HEIGHT)).save(out / f"dashboard-{name}.webp", quality=80)
                browser.close()
        finally:
            server.terminate()
            server.wait()


def _wait(address: str) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit("the dashboard did not start")


if __name__ == "__main__":
    main()
