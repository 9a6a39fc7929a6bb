"""Fetch the photographs and graphics that watermarks and detectors are tried on, from Debian's wallpaper packages.

    python -m benchmarks.photographs photographs

makes photographs/{photographs,graphics}/{test,train}/NAME.png: test images 512 px square (the middle, scaled), training
images with a short side of 1,024 px. Needs `apt-get` and `dpkg-deb`, no root; about 190 MB are downloaded.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from PIL import Image, ImageOps

from auditkit.files import slug

LISTED = Path(__file__).with_suffix(".toml")
SIDE = 512
LARGE = 1024


def fetch(out: Path) -> int:
    """Write the images below `out`; how many there are. What is there already is kept."""
    listed = tomllib.loads(LISTED.read_text(encoding="utf-8"))
    wanted = {
        out / kind / part / f"{name_of(file)}.png": (file, part)
        for kind in ("photographs", "graphics")
        for part, files in listed[kind].items()
        for file in files
    }
    if all(path.exists() for path in wanted):
        return len(wanted)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", *listed["packages"]], cwd=scratch, check=True)
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, Path(scratch) / "tree"], check=True)
        for path, (file, part) in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut(Path(scratch) / "tree/usr/share" / file, part).save(path)
    return len(wanted)


def _cut(path: Path, part: str) -> Image.Image:
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if part == "test":
        return ImageOps.fit(whole, (SIDE, SIDE), Image.Resampling.LANCZOS)
    scale = LARGE / min(whole.size)
    return whole.resize((round(whole.width * scale), round(whole.height * scale)), Image.Resampling.LANCZOS)


def name_of(file: str) -> str:
    """What a package's file is called here, without the suffix."""
    parts = Path(file).with_suffix("").parts
    return slug(parts[1] if "contents" in parts else parts[-1])


if __name__ == "__main__":
    print(f"{fetch(Path(sys.argv[1] if len(sys.argv) > 1 else 'photographs'))} images")
