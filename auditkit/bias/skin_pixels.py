"""The measure `skin_pixels`: displayed skin tone by group from the pixels, and its agreement with the classifier."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.bias.base import Options, adjust, table, without_estimate
from auditkit.bias.counted import Layout
from auditkit.bias.skin_color import BANDS, MONK, MONK_LAB, Floats, ita
from auditkit.bias.skin_scorer import ENCODER
from auditkit.errors import TableError
from auditkit.stats.means import rank_correlation

if TYPE_CHECKING:
    from auditkit.runs import Run

VERSION = 1
ATTRIBUTE = "skin_tone"
SCORES = f"skin_pixels@{ENCODER}"
EXTREMES = (float(ita(MONK_LAB).min()), float(ita(MONK_LAB).max()))
"""Angles of Monk's darkest and lightest swatch: between them an image whose skin was not found may lie."""

Part = tuple[str, str]
Row = dict[str, Any]


class SkinPixelsMeasure:
    """Rows `skin_pixels.found`, `.ita`, `.ita_bounds`, `.monk`, `.band`, `.band_bounds` and `.agreement`."""

    name = "skin_pixels"
    version = VERSION
    title = "Skin tone from the pixels, beside the classifier's"

    def applies(self, run: Run, options: Options) -> str:
        if SCORES not in run.scores("skin_pixels"):
            return f"no scores of skin_pixels: auditkit score {run.id} --scorer skin_pixels"
        return ""

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """Displayed tone by group.

        `found` is the share of images with enough skin, over all; `ita` the mean typology angle in degrees over
        those, its p-value against the mean of the other groups; `ita_bounds` where the mean of all images would lie
        if those without were all as dark or as light as Monk's scale goes; `monk` and `band` are shares of all
        images, `unknown` among them; `agreement` is the rank correlation with the tone that the classifier of
        `options.encoder` expects, over images of which both know the tone.

        Raises:
            TableError: there are no such scores, some images have none, or there is no such axis.
        """
        layout = Layout.read(run, options)
        seen = _scores(run, layout.images)
        angle = seen["v_ita"].to_numpy(float)
        label = pd.Index(MONK).get_indexer(pd.Index(seen["label"]))
        rows = _found(layout, label >= 0, options) + adjust(_angles(layout, angle, options))
        rows += _tones(layout, label, options) + _agreement(layout, run, angle, options)
        return table(rows)


skin_pixels = SkinPixelsMeasure()


def _scores(run: Run, images: pd.DataFrame) -> pd.DataFrame:
    command = f"auditkit score {run.id} --scorer skin_pixels"
    tables = run.scores("skin_pixels")
    if SCORES not in tables:
        raise TableError("The run has no scores of skin_pixels.", where=f"run {run.id}", mend=command)
    rows = tables[SCORES].set_index("id").reindex(images["id"])
    missing = int(rows["label"].isna().sum())
    if missing:
        what = f"{missing} of {len(rows)} images have no score of skin_pixels."
        raise TableError(what, where=f"run {run.id}", mend=command)
    return rows


def _base(layout: Layout, statistic: str, part: Part, **more: Any) -> Row:
    common: Row = {"version": VERSION, "attribute": ATTRIBUTE, "encoder": ENCODER}
    return layout.row(f"skin_pixels.{statistic}", part, **(common | more))


def _found(layout: Layout, known: np.ndarray, options: Options) -> list[Row]:
    least = max(options.min_n, 1)
    shares = layout.shares(known).items()
    return [share.fill(_base(layout, "found", part, category="skin found"), least) for part, share in shares]


def _angles(layout: Layout, angle: Floats, options: Options) -> list[Row]:
    least, rows = max(options.min_n, 1), []
    for part, chosen in layout.parts.items():
        n, known = int(chosen.sum()), int(np.isfinite(angle[chosen]).sum())
        row = layout.fill_mean(_base(layout, "ita", part, category="ITA", unit="degrees"), part, angle, least)
        bounds = _base(layout, "ita_bounds", part, category="ITA", unit="degrees")
        if row["status"] != "ok":
            why = f"skin was found in {known} of {n} images; {least} are needed"
            rows += [row | {"note": why}, without_estimate(bounds, "insufficient", why)]
            continue
        notes = [row["note"], f"over the {known} of {n} images in which skin was found" if known < n else ""]
        ends = [(row["estimate"] * known + (n - known) * end) / n for end in EXTREMES]
        rows.append(row | {"note": "; ".join(note for note in notes if note)})
        rows.append(bounds | {"ci_low": ends[0], "ci_high": ends[1], "ci_method": "unknown bounds"})
    return rows


def _tones(layout: Layout, label: np.ndarray, options: Options) -> list[Row]:
    least, rows = max(options.min_n, 1), []
    for place, tone in enumerate([*MONK, "unknown"]):
        hits = label == (place if place < len(MONK) else -1)
        for part, share in layout.shares(hits).items():
            rows.append(share.fill(_base(layout, "monk", part, category=tone), least))
    nowhere = label < 0
    for band, (first, last) in BANDS.items():
        for part, share in layout.shares((label >= first - 1) & (label <= last - 1)).items():
            rows.append(share.fill(_base(layout, "band", part, category=band), least))
            bounds = _base(layout, "band_bounds", part, category=band)
            if share.n < least:
                rows.append(without_estimate(bounds, "insufficient", f"{share.n} images; {least} are needed"))
                continue
            more = int(nowhere[layout.parts[part]].sum())
            edges = {"ci_low": share.k / share.n, "ci_high": (share.k + more) / share.n}
            rows.append(bounds | edges | {"ci_method": "unknown bounds"})
    return rows


def _agreement(layout: Layout, run: Run, angle: Floats, options: Options) -> list[Row]:
    key = f"{ATTRIBUTE}@{options.encoder}"
    other = run.scores(ATTRIBUTE).get(key)
    if other is None:
        return []
    rows = other.set_index("id").reindex(layout.images["id"])
    columns = [column for column in rows.columns if column.startswith("p_")]
    expected = rows[columns].to_numpy(float) @ np.arange(len(columns))
    both = np.isfinite(angle) & np.isfinite(expected) & (rows["label"] != "unknown").to_numpy(bool)
    least, made = max(options.min_n, 3), []
    for part, chosen in layout.parts.items():
        used = chosen & both
        row = _base(
            layout, "agreement", part, chosen=used, category="rank correlation", reference=key,
            encoder=options.encoder, unit="rank correlation", direction="higher is closer", null_value=0.0,
        )  # fmt: skip
        if used.sum() < least:
            why = f"both scorers know the tone of {int(used.sum())} images; {least} are needed"
            made.append(without_estimate(row, "insufficient", why))
            continue
        rng = np.random.default_rng([options.seed, zlib.crc32(f"skin_pixels/{'/'.join(part)}".encode())])
        prompts = layout.prompts[used]
        # The angle falls as the tone darkens, and the classes run from light to dark.
        found = rank_correlation(-angle[used], expected[used], prompts, rng, replicates=options.n_boot)
        if not np.isfinite(found.low):
            made.append(without_estimate(row, "insufficient", "one of the scorers says the same of every image"))
            continue
        row |= {"estimate": found.estimate, "ci_low": found.low, "ci_high": found.high}
        made.append(row | {"ci_method": "bootstrap of prompts, Fisher's scale", "note": _left_out(chosen, used)})
    return made


def _left_out(chosen: np.ndarray, used: np.ndarray) -> str:
    gone = int(chosen.sum() - used.sum())
    return f"without {gone} images of which one scorer or both do not know the tone" if gone else ""
