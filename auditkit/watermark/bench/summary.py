"""From rows, one for each scheme, image and attack, to the two tables of a bench."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.stats.intervals import clopper_pearson
from auditkit.watermark.attacks import place

if TYPE_CHECKING:
    import pandas as pd

LEAST_P = 1e-300
RESULTS = (
    "scheme", "content", "attack", "strength", "title", "group", "n", "tpr", "tpr_low", "tpr_high", "fpr",
    "bit_accuracy", "whole_payload", "median_log10_p", "suspect", "attack_psnr", "search",
)  # fmt: skip
QUALITY = ("scheme", "content", "n", "psnr", "ssim", "gmsd", "encode_ms", "decode_ms", "search_ms")


def results(rows: pd.DataFrame, fpr: float) -> pd.DataFrame:
    """One row for each scheme, content, attack and strength; schemes and contents as they came, attacks by `place`.

    `tpr` is the share of images whose p-value for their own message is at most `fpr`, with its 95% Clopper-Pearson
    interval. `whole_payload`: share in which the message was read without knowing it. `suspect`: share called forged
    (NaN where it was not checked). `attack_psnr`: mean dB between the image before and after the attack.
    """
    import pandas as pd

    out = []
    came = [list(dict.fromkeys(rows[column])) for column in ("scheme", "content")]
    cells: list[Any] = list(rows.groupby(["scheme", "content", "attack", "strength"], sort=False))
    cells.sort(key=lambda one: (came[0].index(one[0][0]), came[1].index(one[0][1]), place(*one[0][2:])))
    for key, cell in cells:
        found = int((cell["p_value"] <= fpr).sum())
        low, high = clopper_pearson(found, len(cell))
        seen = cell["p_value"].clip(lower=LEAST_P)
        known = cell["bits"] > 0
        first, n = cell.iloc[0], len(cell)
        agreeing = _mean((cell["matched"] / cell["bits"])[known])
        shares = [found / n, float(low), float(high), fpr, agreeing, float(cell["whole"].mean())]
        rest = [float(np.log10(seen).median()), float(cell["suspect"].mean()), _mean(cell["attack_psnr"])]
        out.append([*key, first["title"], first["group"], n, *shares, *rest, bool(cell["search"].any())])
    return pd.DataFrame(out, columns=list(RESULTS))


def quality(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each scheme and content: means of the distances, medians of the times.

    `decode_ms`: without search, on marked images. `search_ms`: with it, on images without a mark, where it is longest.
    """
    import pandas as pd

    plain = rows[rows["attack"] == "none"]
    out = []
    for key, cell in plain.groupby(["scheme", "content"], sort=False):
        means = [_mean(cell[name]) for name in ("psnr", "ssim", "gmsd")]
        times = [float(cell[f"{name}_ms"].median()) for name in ("encode", "decode", "search")]
        out.append([*key, len(cell), *means, *times])
    return pd.DataFrame(out, columns=list(QUALITY))


def _mean(values: pd.Series) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan
