"""What the forensic signals do on photographs: autoencoder reconstruction, camera fingerprints, JPEG history.

    python -m benchmarks.detector_forensics PHOTOGRAPHS [--autoencoder NAME=FOLDER ...] [--only reconstruction ...]
        [--out detector_forensics.json]

PHOTOGRAPHS is what `python -m benchmarks.photographs` made. Heads are trained and thresholds were set on its training
photographs; quality, double compression and reconstruction are measured on the 27 test photographs (512 px). Cameras
are simulated on the training photographs, since the others are too small: nothing is trained there. A camera is a
plane of independent sensitivities that every photograph is multiplied by, before read-out noise and JPEG; fingerprints
come of some photographs and are matched with the others.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score

from detectors.examples import Examples
from detectors.families.reconstruction import Reconstruction
from detectors.forensics.double_jpeg import THRESHOLD, double_compression
from detectors.forensics.jpeg_ghosts import ghosts
from detectors.forensics.jpeg_quality import quality_of_pixels
from detectors.forensics.prnu import PCE_MATCH, fingerprint, match

AUTOENCODERS = ("kl=generators/bundled/personas/vae", "tiny=generators/bundled/personas-dit/vae")
SENSOR_SIDE = 1024
Row = dict[str, Any]


def main() -> None:
    """Measure, print a table, and keep it where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--autoencoder", action="append", default=[], help="NAME=FOLDER, besides the bundled two")
    parser.add_argument("--tiles", type=int, default=2, help="tiles of 256 px that reconstruction looks at")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    for part in given.only:
        if part == "reconstruction":
            folders = dict(each.split("=", 1) for each in (*AUTOENCODERS, *given.autoencoder))
            rows += reconstruction(given.photographs / "photographs", folders, given.tiles)
        else:
            rows += PARTS[part](given.photographs / "photographs")
        if given.out:
            given.out.write_text(json.dumps(rows, indent=1, default=float) + "\n")
    print(pd.DataFrame(rows).to_string(index=False, na_rep="", float_format="%.3f"))


def reconstruction(folder: Path, autoencoders: dict[str, str], tiles: int) -> list[Row]:
    """Each autoencoder's head, trained on the training photographs, against each one's images of the test ones."""
    train = sorted((folder / "train").glob("*.png"))
    table = [{"file": str(f), "label": "real", "source": f.stem, "origin": "train", "generator": "", "made": ""}
             for f in train]  # fmt: skip
    images = [opened(file) for file in sorted((folder / "test").glob("*.png"))]
    families = {}
    for name, place in autoencoders.items():
        families[name] = Reconstruction(autoencoders=[place], tiles=tiles)
        families[name].fit(Examples(pd.DataFrame(table)), seed=0, device="cpu")
        print(f"trained {name}", flush=True)
    rows = []
    # Only the part that the family looks at is reconstructed: it lies on the grid of the latents.
    test = [Reconstruction(tiles=tiles).middle(image) for image in images]
    for scorer, family in families.items():
        own = family._own[0]
        for quality in (None, 70):
            reals = family.scores([saved(image, quality) for image in test])
            for maker, other in families.items():
                if quality and maker != scorer:
                    continue
                made = [saved(other._loaded[0].reconstruct(image), quality) for image in test]
                scores = family.scores(made)
                typical = float(np.mean(np.searchsorted(own, scores) / len(own) > 0.01))
                applies = auroc(reals, scores) >= 0.8 and np.median(scores) >= np.quantile(own, 0.01)
                rows.append({"what": f"reconstruction by {scorer}", "of": f"images of {maker}",
                             "jpeg": quality or "none", "n": len(test), "AUROC": auroc(reals, scores),
                             "typical": typical, "applies": bool(applies)})  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def cameras(folder: Path) -> list[Row]:
    """Two simulated cameras at 1,024 px: images of the one against those of the other."""
    files = sorted((folder / "train").glob("*.png"))
    scenes = [opened(file)[:SENSOR_SIDE, :SENSOR_SIDE] for file in files]
    scenes = [scene for scene in scenes if scene.shape[:2] == (SENSOR_SIDE, SENSOR_SIDE)]
    half = len(scenes) // 2
    rows = []
    for strength, quality in ((0.01, 90), (0.005, 75), (0.003, 75)):
        same, other = [], []
        for camera in (0, 1):
            made = fingerprint(_shot(scene, camera, strength, quality, at) for at, scene in enumerate(scenes[:half]))
            for at, scene in enumerate(scenes[half:]):
                same.append(match(_shot(scene, camera, strength, quality, 100 + at), made).pce)
                other.append(match(_shot(scene, 1 - camera, strength, quality, 100 + at), made).pce)
        rows.append({"what": f"camera, {strength:.1%} of light", "jpeg": quality, "n": len(same) + len(other),
                     "AUROC": auroc(np.array(other), np.array(same)), "found": np.mean(np.array(same) >= PCE_MATCH),
                     "false": np.mean(np.array(other) >= PCE_MATCH)})  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def quality(folder: Path) -> list[Row]:
    """Quality from pixels alone: the share within 2, and of images never compressed the share without a sign."""
    images = [opened(file) for file in sorted((folder / "test").glob("*.png"))]
    rows, near = [], []
    for asked in (30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 97):
        told = np.array([quality_of_pixels(saved(image, asked)).quality for image in images])
        near += list(np.abs(told - asked) <= 2)
        share = np.mean(near[-len(images) :])
        rows.append({"what": "quality from pixels", "jpeg": asked, "n": len(images), "within 2": share})
        print(rows[-1], flush=True)
    rows.append({"what": "quality from pixels", "jpeg": "30-97", "n": len(near), "within 2": np.mean(near)})
    none = [np.isnan(quality_of_pixels(image).quality) for image in images]
    return [*rows, {"what": "never compressed: no sign", "jpeg": "none", "n": len(none), "found": np.mean(none)}]


def double(folder: Path) -> list[Row]:
    """Twice compressed against once, over qualities 10 or more apart; the last quality is the file's own."""
    images = [opened(file) for file in sorted((folder / "test").glob("*.png"))]
    rows, once_all, twice_all = [], [], []
    for second in (60, 75, 85, 95):
        once = np.array([double_compression(saved(image, second), second).score for image in images])
        once_all += list(once)
        for first in (second - 30, second - 20, second - 10, second + 10, second + 20):
            if 40 <= first <= 98:
                twice = np.array(
                    [double_compression(saved(saved(image, first), second), second).score for image in images]
                )
                twice_all += list(twice)
                rows.append({"what": f"compressed at {first}, then", "jpeg": second, "n": 2 * len(images),
                             "AUROC": auroc(once, twice), "found": np.mean(twice >= THRESHOLD),
                             "false": np.mean(once >= THRESHOLD)})  # fmt: skip
                print(rows[-1], flush=True)
    a, b = np.array(once_all), np.array(twice_all)
    return [*rows, {"what": "compressed twice, all", "jpeg": "60-95", "n": len(a) + len(b), "AUROC": auroc(a, b),
                    "found": np.mean(b >= THRESHOLD), "false": np.mean(a >= THRESHOLD)}]  # fmt: skip


def splices(folder: Path) -> list[Row]:
    """A square of 192 px once saved at quality 50, in an image saved at 90: is its place the ghost that is named?"""
    found, false, places = [], [], []
    for file in sorted((folder / "test").glob("*.png")):
        image = opened(file)
        pasted = image.copy()
        pasted[128:320, 160:352] = saved(image, 50)[128:320, 160:352]
        seen, plain = ghosts(saved(pasted, 90)), ghosts(saved(image, 90))
        found.append(abs(seen.candidate - 50) <= 5)
        false.append(plain.candidate < 85)
        inside = np.zeros(seen.difference.shape[1:], bool)
        inside[8:20, 10:22] = True
        places.append(float(roc_auc_score(inside.ravel(), -seen.difference[seen.qualities.index(50)].ravel())))
    return [{"what": "splice from quality 50", "jpeg": 90, "n": len(found), "AUROC": np.mean(places),
             "found": np.mean(found), "false": np.mean(false)}]  # fmt: skip


def auroc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Of scores; images that could not be judged count as the lowest."""
    scores = np.nan_to_num(np.concatenate([negative, positive]), nan=-1e9)
    return float(roc_auc_score([0] * len(negative) + [1] * len(positive), scores))


def opened(file: Path) -> np.ndarray:
    """uint8 [h, w, 3]."""
    return np.asarray(Image.open(file).convert("RGB"))


def saved(image: np.ndarray, jpeg: int | None) -> np.ndarray:
    """Saved as JPEG and opened again; as it is for None."""
    if jpeg is None:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=jpeg)
    return np.asarray(Image.open(file).convert("RGB"))


def _shot(scene: np.ndarray, camera: int, strength: float, jpeg: int, seed: int) -> np.ndarray:
    sensor = np.random.default_rng([7, camera]).standard_normal((SENSOR_SIDE, SENSOR_SIDE, 1), np.float32)
    noise = np.random.default_rng([seed, camera]).standard_normal(scene.shape, np.float32)
    light = scene * (1 + strength * sensor) + 1.5 * noise
    return saved(light.clip(0, 255).round().astype(np.uint8), jpeg)


PARTS: dict[str, Callable[..., list[Row]]] = {
    "reconstruction": reconstruction, "cameras": cameras, "quality": quality, "double": double, "splices": splices,
}  # fmt: skip

if __name__ == "__main__":
    main()
