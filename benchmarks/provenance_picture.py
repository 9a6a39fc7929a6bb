"""The README's picture of a verdict: an image made from one that was changed after it was signed.

    python -m benchmarks.provenance_picture runs/<id> docs/images/provenance.png

Takes two images of a run, signs them, paints over one and leaves its manifest on, joins and crops them under manifests
of their own, and photographs the dashboard's card of the last. Needs chromium and the extra `test`.
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

from PIL import Image, ImageDraw

PORT = 8597


def chain(run: Path, folder: Path) -> Path:
    """The file whose ancestor was changed."""
    from app.provenance import make_pki, sign
    from auditkit.provenance.containers import find, reinserted
    from auditkit.provenance.trust import import_list
    from auditkit.watermark import keys

    keys.create()
    import_list("ours", make_pki().root)
    made = "trainedAlgorithmicMedia"
    for name, file in zip(("portrait-0", "second-0"), sorted(run.glob("images/*/*.png")), strict=False):
        image = Image.open(file).convert("RGB").resize((512, 512), Image.Resampling.LANCZOS)
        image.save(folder / f"{name}.png")
    sign(folder / "portrait-0.png", folder / "portrait.png", source_type=made, watermark="spread")
    sign(folder / "second-0.png", folder / "second.png", source_type=made)
    data = (folder / "portrait.png").read_bytes()
    painted, found = Image.open(io.BytesIO(data)).convert("RGB"), find(data)
    ImageDraw.Draw(painted).rectangle((0, 430, 512, 512), fill="#b34700")
    out = io.BytesIO()
    painted.save(out, "PNG")
    assert found is not None
    (folder / "portrait-retouched.png").write_bytes(reinserted(out.getvalue(), found.spans) or b"")
    pair = Image.new("RGB", (1024, 512))
    pair.paste(painted, (0, 0))
    pair.paste(Image.open(folder / "second.png"), (512, 0))
    pair.save(folder / "pair-0.png")
    pair.crop((100, 0, 924, 512)).save(folder / "cover-0.png")
    retouched, second = folder / "portrait-retouched.png", folder / "second.png"
    sign(folder / "pair-0.png", folder / "pair.png", parent=retouched, components=[second])
    sign(folder / "cover-0.png", folder / "cover.png", parent=folder / "pair.png", actions=["cropped"])
    return folder / "cover.png"


def photograph(file: Path, runs: Path, out: Path) -> None:
    """The dashboard's card of a file, 1200 px wide."""
    from playwright.sync_api import sync_playwright

    url = f"http://127.0.0.1:{PORT}"
    command = ["dashboard", "--no-browser", "--port", str(PORT), "--runs", str(runs)]
    server = subprocess.Popen([sys.executable, "-m", "app", *command], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(url + "/_stcore/health")
                break
            except OSError:
                time.sleep(0.3)
        with sync_playwright() as playwright:
            options = {"executable_path": "/usr/bin/chromium", "args": ["--no-sandbox", "--disable-gpu"]}
            browser = playwright.chromium.launch(**options)
            page = browser.new_page(viewport={"width": 1420, "height": 2400}, device_scale_factor=1.25)
            page.goto(url + "/provenance")
            page.locator("input[type=file]").nth(0).set_input_files(file)
            page.get_by_text("Evidence (JSON)").wait_for(timeout=60_000)
            page.locator("[data-testid=stSidebar]").hover()
            page.locator("[data-testid=stSidebarCollapseButton] button").click()
            time.sleep(2)
            top = page.get_by_role("heading", name=file.name).bounding_box()
            end = page.get_by_text("Evidence (JSON)").bounding_box()
            block = page.locator('[data-testid="stMainBlockContainer"]').bounding_box()
            assert top is not None
            assert end is not None
            assert block is not None
            left, height = top["x"] - 12, end["y"] - top["y"] - 8
            clip = {"x": left, "y": top["y"] - 8, "width": block["x"] + block["width"] - 68 - left, "height": height}
            shot = page.screenshot(clip=clip)
    finally:
        server.terminate()
        server.wait()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image = image.resize((1200, round(image.height * 1200 / image.width)), Image.Resampling.LANCZOS)
    image.quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


def main() -> None:
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUDITKIT_HOME"], os.environ["AUDITKIT_KEYS"] = f"{folder}/home", f"{folder}/keys.json"
        photograph(chain(run, Path(folder)), run.parent, out)


if __name__ == "__main__":
    main()
