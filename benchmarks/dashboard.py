"""Seconds and memory of the dashboard on a run of 100,000 images, in a real browser.

    python -m benchmarks.dashboard --images 100000 --out dashboard-bench

The workspace is synthetic: the tables that scoring leaves (`benchmarks.measure`), measured for representation, and an
image file for each row. The files are hard links to a few pictures of 512 x 512 pixels, so that decoding costs what it
costs, and the disk holds them once.

Each row of the answer is the time until the script has ended and every picture on the page is drawn, and `of CPU` the
processor time that the server took of it, which a busy machine does not stretch. Views marked
`first` are the first that a server just started is asked for; `MB` is the server's memory after it, and at the end its
peak; a search by words also starts a process for the encoder, whose memory stands in the last row.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auditkit.images import encode_png
from auditkit.runs import Run, open_run
from benchmarks.measure import synthetic_run

PICTURES, SIDE = 16, 512
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
QUIET = '[data-testid="stApp"][data-test-script-state="notRunning"]'
DRAWN = """() => {
  const main = document.querySelector('[data-testid=stMain]');
  if (!document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]')) return false;
  if (!main || !main.querySelector('h1') || main.querySelector('[data-testid=stSkeleton]')) return false;
  return [...main.querySelectorAll('img')].every(image => image.complete && image.naturalWidth > 0);
}"""


SEEN = """() => [...document.querySelectorAll('[data-testid=stMain] p, [data-testid=stMain] img')]
  .map(each => each.alt || each.innerText).join('|')"""


def workspace(folder: Path, n: int) -> Run:
    """The run of n images under `folder`; made where it is not there yet."""
    path = folder / f"synthetic-{n}"
    if not (path / "measurements.parquet").is_file():
        from app import api

        run = synthetic_run(folder, n)
        _pictures(run, folder / ".pictures")
        api.measure(run, measures=["representation"], replicates=200)
    return open_run(path)


def _pictures(run: Run, folder: Path) -> None:
    """A file for each image: a link to one of a few pictures, as no file system likes 100,000 links to one."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    made = []
    for number in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        made.append(folder / f"{number}.png")
        made[-1].write_bytes(encode_png(Image.fromarray(noisy)))
    for id in run.images()["id"]:
        path = run.image_path(id)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(made[int(id[:8], 16) % PICTURES], path)


@contextmanager
def server(runs: Path) -> Iterator[tuple[str, int]]:
    """A dashboard on that folder: its address and its process."""
    from app.commands.dashboard import _environment, command

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command(runs, address="127.0.0.1", port=port), env=_environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(20)


def memory(pid: int, what: str = "VmRSS") -> float:
    """MB of that process now, or at its peak (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(what))) / 1024


def computed(pid: int) -> float:
    """Seconds of processor time that the process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Times what a reader does."""

    def __init__(self, page: Any, pid: int):
        self.page, self.pid = page, pid
        self.rows: list[dict[str, Any]] = []

    def __call__(self, what: str, act: Callable[[], Any], *, leaves: bool = False) -> None:
        """Do it, wait until the page is another one and all is drawn, and keep the seconds.

        Args:
            leaves: it goes to another address, so that there is no page before it to differ from.
        """
        before = "" if leaves else self.page.evaluate(SEEN)
        start, busy = time.perf_counter(), computed(self.pid)
        act()
        self.page.wait_for_function(f"before => ({DRAWN})() && ({SEEN})() !== before", arg=before, timeout=120_000)
        seconds = time.perf_counter() - start
        found = {"seconds": seconds, "of CPU": computed(self.pid) - busy}
        self.rows.append({"what": what, **{k: round(v, 2) for k, v in found.items()}, "MB": round(memory(self.pid))})
        print(self.rows[-1], file=sys.stderr, flush=True)


def measured(run: Run) -> pd.DataFrame:
    """What a reader waits for, a row each."""
    from playwright.sync_api import sync_playwright

    from app.doctor import chromium

    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for first in ("", "bias", "gallery"):
            with server(run.path.parent) as (url, pid):
                page = browser.new_page(viewport={"width": 1400, "height": 1000})
                watch = Watch(page, pid)
                watch(f"first: /{first}", partial(page.goto, f"{url}/{first}?run={run.path.name}"), leaves=True)
                if first == "gallery":
                    _gallery(watch, url, run)
                    watch.rows.append({"what": "the server's peak", "MB": round(memory(pid, "VmHWM"))})
                    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                        peak = round(memory(int(child), "VmHWM"))
                        watch.rows.append({"what": "the encoder's process, peak", "MB": peak})
                rows += watch.rows
                page.close()
        browser.close()
    return pd.DataFrame(rows)


def _gallery(watch: Watch, url: str, run: Run) -> None:
    page, name = watch.page, run.path.name

    def opened(line: str) -> None:
        if not page.locator("details[open]", has_text=line).count():
            page.get_by_text(line).first.click()
            page.wait_for_timeout(1000)  # it slides open

    def pick(label: str, option: str) -> None:
        page.get_by_label(label, exact=False).first.click(timeout=10_000)
        page.keyboard.type(option)  # the list draws only the options in sight
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")

    def write(label: str, text: str) -> None:
        page.get_by_label(label, exact=True).fill(text)
        page.keyboard.press("Enter")

    row = run.images().iloc[70_000 * len(run.images()) // 100_000]
    deep = f"{url}/gallery?run={name}&axis_occupation=judge&seen_gender=female&order=least+certain+first"
    watch("filter: occupation", lambda: pick("Prompted occupation", "judge"))
    watch("filter: perceived gender", lambda: pick("Perceived gender", "female"))
    opened("More filters")
    watch("order: least certain first", lambda: pick("Order", "least certain first"))
    watch("next page", lambda: page.get_by_role("button", name="Next page").click())
    watch("deep link to filters", lambda: page.goto(deep), leaves=True)
    watch("deep link to a seed", lambda: page.goto(f"{url}/gallery?run={name}&seed={row['seed']}"), leaves=True)
    watch("image", lambda: page.goto(f"{url}/image?run={name}&id={row['id']}"), leaves=True)
    watch("gallery again", lambda: page.goto(f"{url}/gallery?run={name}"), leaves=True)
    opened("Search: by words")
    watch("first search by words", lambda: write("Search by words", "a judge"))
    watch("second search by words", lambda: write("Search by words", "a person with a hat"))
    watch("near-duplicates", lambda: page.get_by_text("near-duplicates", exact=True).click())
    watch("map", lambda: page.goto(f"{url}/gallery?run={name}&show=map"), leaves=True)
    part = page.get_by_label("Part of the map").first
    watch("part of the map", lambda: (part.fill("0,0.1,0,0.1"), page.keyboard.press("Enter")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("dashboard-bench"))
    asked = parser.parse_args()
    print(measured(workspace(asked.out, asked.images)).to_string(index=False))


if __name__ == "__main__":
    main()
