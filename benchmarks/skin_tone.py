"""Skin tone from pixels on cases of known truth: Monk's swatches under other light, and labelled drawings.

    python -m benchmarks.skin_tone
    python -m benchmarks.skin_tone --corpus corpus [--sources corpus/sources]

Beside ours stand the formulas of DallEval (biases/skintone/TRUST/compute_ita.py) and HEIM (skin_tone_metrics.py of
helm, adapted there from DallEval's first version), written anew from their code, on the same colours.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from auditkit.bias.skin_color import (
    MONK_HEX,
    MONK_LAB,
    TO_XYZ,
    Floats,
    hex_rgb,
    ita,
    lab,
    linear_rgb,
    monk_distances,
    stored_rgb,
)
from auditkit.bias.skin_region import Skin, find_skin, is_skin_colour
from auditkit.bias.skin_scorer import shrunk, tone_known

SWATCHES = np.stack([hex_rgb(code) for code in MONK_HEX])
STOPS = (-1.0, -0.5, -0.25, 0.25, 1 / 3, 0.5, 1.0)
KELVINS = (4000, 5000, 5500, 6000, 7000, 8000, 10000)
TONES = ["light", "medium-light", "medium", "medium-dark", "dark"]
PAPERS = ("ffffff", "f2efe9", "deebf7", "e2f0d9", "fce4d6", "ede2f6", "fff2cc", "d9d9d9", "cbdcd8")


def exposed(srgb: Floats, stops: float) -> Floats:
    """Colours at another exposure: the light times 2^stops, cut at white. float64 [..., 3] in [0, 1]."""
    return stored_rgb(linear_rgb(srgb) * 2**stops)


def lit(srgb: Floats, kelvin: float) -> Floats:
    """Colours under daylight of that temperature, seen by a camera balanced for 6504 K (Bradford adaptation)."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gains = (bradford @ _daylight(kelvin)) / (bradford @ _daylight(6504))
    adapt = np.linalg.inv(bradford) @ np.diag(gains) @ bradford
    return stored_rgb(linear_rgb(srgb) @ (np.linalg.inv(TO_XYZ) @ adapt @ TO_XYZ).T)


def _daylight(kelvin: float) -> Floats:
    """XYZ of CIE daylight, Y = 1 (CIE 15, 4000 to 25000 K)."""
    t = 1000 / kelvin
    x = (
        0.244063 + 0.09911 * t + 2.9678 * t**2 - 4.6070 * t**3
        if kelvin <= 7000
        else 0.237040 + 0.24748 * t + 1.9018 * t**2 - 2.0064 * t**3
    )
    y = -3 * x**2 + 2.87 * x - 0.275
    return np.array([x / y, 1.0, (1 - x - y) / y])


def ours(srgb: Floats) -> NDArray[np.intp]:
    """Monk tone 1..10, 0 where the colour is not taken for skin; of colours [..., 3] in [0, 1]."""
    values = lab(srgb)
    return np.asarray(np.where(is_skin_colour(values), monk_distances(values).argmin(axis=-1) + 1, 0), np.intp)


def dalleval(srgb: Floats) -> NDArray[np.intp]:
    """DallEval's: BGR given to a conversion that takes RGB, L and b left in 8 bits, arctan of (L - 50) / b."""
    values = lab((np.round(srgb * 255) / 255)[..., ::-1])
    l8, b8 = np.round(values[..., 0] * 255 / 100), np.round(values[..., 2] + 128)
    angle = np.degrees(np.arctan((l8 - 50) / b8))
    scale = np.degrees(np.arctan((MONK_LAB[:, 0] - 50) / MONK_LAB[:, 2]))
    return np.asarray(np.abs(angle[..., None] - scale).argmin(axis=-1) + 1, np.intp)


def heim(srgb: Floats) -> NDArray[np.intp]:
    """HEIM's: the rule of Kolkur et al. (2017) on RGB and YCrCb, then the nearest swatch by city-block RGB."""
    colour = np.round(srgb * 255)
    r, g, b = np.moveaxis(colour, -1, 0)
    y = np.round(0.299 * r + 0.587 * g + 0.114 * b)
    cr, cb = np.round((r - y) * 0.713 + 128), np.round((b - y) * 0.564 + 128)
    skin = (r > 95) & (g > 40) & (b > 20) & (r > g) & (r > b) & (np.abs(r - g) > 15)
    skin &= (cr > 135) & (cb > 85) & (y > 80) & (cr <= 1.5862 * cb + 20) & (cr >= 0.3448 * cb + 76.2069)
    skin &= (cr >= -4.5652 * cb + 234.5652) & (cr <= -1.15 * cb + 301.75) & (cr <= -2.2857 * cb + 432.85)
    nearest = np.abs(colour[..., None, :] - np.round(SWATCHES * 255)).sum(axis=-1).argmin(axis=-1) + 1
    return np.asarray(np.where(skin, nearest, 0), np.intp)


METHODS = {"auditkit": ours, "DallEval": dalleval, "HEIM": heim}


def swatches() -> pd.DataFrame:
    """A row a swatch: its angle, and the tone that each method gives it (0: not taken for skin)."""
    rows = {"swatch": [f"#{code}" for code in MONK_HEX], "monk": np.arange(1, 11), "ITA": ita(MONK_LAB).round(1)}
    return pd.DataFrame(rows | {name: method(SWATCHES) for name, method in METHODS.items()})


def shifts() -> pd.DataFrame:
    """A row a light: how many of the ten swatches each method gives a tone within one step; ours also of Monk 5-10."""
    lights = [(f"{stops:+.2f} stops", exposed(SWATCHES, stops)) for stops in STOPS]
    lights += [(f"{kelvin} K", lit(SWATCHES, kelvin)) for kelvin in KELVINS]
    rows = []
    for light, colours in [("as published", SWATCHES), *lights]:
        given = {name: method(colours) for name, method in METHODS.items()}
        near = {m: (tones > 0) & (abs(tones - np.arange(1, 11)) <= 1) for m, tones in given.items()}
        counts = {m: int(hit.sum()) for m, hit in near.items()}
        rows.append({"light": light} | counts | {"auditkit, Monk 5-10": int(near["auditkit"][4:].sum())})
    return pd.DataFrame(rows)


def drawings(table: pd.DataFrame, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """On labelled drawings that chose no constant: rank correlation of the angle with the tone, and ITA class by tone.

    Returns:
        A row a set: n, share in which skin was found, Spearman's correlation (darker against darker); and the counts
        of angle classes by labelled tone, of held-out drawings.
    """
    from scipy.stats import spearmanr

    from auditkit.bias.skin_color import ITA_CLASSES, ita_class

    people = table[table["kind"] == "person"]
    held = people["split"].isin(["calibration", "test"])
    working = people["occupation"] != ""
    sets = {
        "held out, the 20 occupations": people[held & working],
        "held out, other people": people[held & ~working],
        "unseen style, the 20 occupations": people[(people["split"] == "unseen") & working],
        "unseen style, other people": people[(people["split"] == "unseen") & ~working],
        "objects (no skin to find)": table[table["kind"] == "object"],
    }
    rows, confusion = [], pd.DataFrame()
    for name, chosen in sets.items():
        skin = _look(chosen["png"], seed)
        known, angle = tone_known(skin), ita(skin.lab)
        truth = chosen["skin_tone"].map({tone: i for i, tone in enumerate(TONES)}).to_numpy(float)
        both = known & np.isfinite(truth)
        rho = float(spearmanr(-angle[both], truth[both])[0]) if both.sum() > 2 else float("nan")
        rows.append({"drawings": name, "n": len(chosen), "skin_found": float(known.mean()), "rank_correlation": rho})
        if name == "held out, the 20 occupations":
            labels = np.array([*ITA_CLASSES, "unknown"])[np.where(known, ita_class(angle), len(ITA_CLASSES))]
            order = [label for label in [*ITA_CLASSES, "unknown"] if label in labels]
            counts = pd.crosstab(chosen["skin_tone"].to_numpy(), labels, rownames=["tone"], colnames=["ITA class"])
            confusion = counts.reindex(index=TONES, columns=order, fill_value=0)
    return pd.DataFrame(rows), confusion


def toneless(sources: Path, *, seed: int = 0) -> pd.DataFrame:
    """On the same people without a tone modifier, drawn yellow: the share given a tone, which should be none."""
    from generators import corpus

    rows = []
    for style in corpus.STYLES:
        icons = corpus._read_icons(sources, style)
        slugs = {person["slug"] for person in map(corpus._person, icons) if person} & icons.keys()
        bodies = [icons[slug] for slug in sorted(slugs)]
        skin = _look(corpus._render(bodies, sorted(slugs), 120, None), seed)
        rows.append({"style": style.name, "n": len(bodies), "given_a_tone": int(tone_known(skin).sum())})
    return pd.DataFrame(rows)


def _look(pngs: object, seed: int) -> Skin:
    """The scorer's finding on drawings laid on plain papers, 128 px, at a random place."""
    rng = np.random.default_rng(seed)
    images = []
    for png in pngs:  # type: ignore[attr-defined]
        drawing = Image.open(io.BytesIO(png)).convert("RGBA")
        canvas = Image.new("RGBA", (128, 128), f"#{rng.choice(PAPERS)}")
        x, y = (int(v) for v in rng.integers(0, 129 - drawing.width, 2))
        canvas.alpha_composite(drawing, (x, y))
        images.append(canvas.convert("RGB"))
    parts = [find_skin(shrunk(images[i : i + 64])) for i in range(0, len(images), 64)]
    return Skin(*(np.concatenate([getattr(part, name) for part in parts]) for name in Skin.__dataclass_fields__))


def main() -> None:
    parser = argparse.ArgumentParser(description="Skin tone from pixels on cases of known truth.")
    parser.add_argument("--corpus", type=Path, help="the persona corpus, as written by `auditkit corpus build`")
    parser.add_argument("--sources", type=Path, help="its folder with node_modules, for drawings without a tone")
    asked = parser.parse_args()
    print("Tone given to each swatch (0: not taken for skin)")
    print(swatches().to_string(index=False))
    print("\nSwatches within one step of their tone, of ten, under other light")
    print(shifts().to_string(index=False))
    if asked.corpus:
        from generators import corpus

        summary, confusion = drawings(corpus.read(asked.corpus))
        print("\nLabelled drawings")
        print(summary.round(3).to_string(index=False))
        print("\nAngle class by labelled tone, held-out drawings of the 20 occupations")
        print(confusion.to_string())
    if asked.sources:
        print("\nYellow drawings without a tone")
        print(toneless(asked.sources).to_string(index=False))


if __name__ == "__main__":
    main()
