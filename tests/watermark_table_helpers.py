"""Verdicts on watermarks as `detect` would write them, drawn from a known truth; no scheme is needed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from auditkit.runs import Run, open_run
from auditkit.stats.intervals import clopper_pearson
from auditkit.watermark.base import Detection
from auditkit.watermark.payload import Payload
from auditkit.watermark.table import watermarks_table

KEY, OTHER_KEY = "k-0123456789ab", "k-ba9876543210"
BITS = 248
NULL = "3 of 100,000 at 1e-4 (at most 8.8e-5)"


def detections(
    run: Run,
    *,
    present: float = 1.0,
    abstain: float = 0.0,
    wrong: float = 0.0,
    scheme: str = "spread",
    key_id: str = KEY,
    fpr: float = 1e-6,
    suspect: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """The table `watermarks` of a run in which the first images are present, the next abstain, the rest are absent.

    Args:
        present, abstain: shares of the images, by their place in the run's order shuffled.
        wrong: share of the verified images whose payload is another user's.
        suspect: number of verified images with a forgery verdict of 'suspect'.
    """
    rng = np.random.default_rng(seed)
    ids = list(rng.permutation(run.images()["id"].drop_duplicates()))
    n_present, n_abstain = round(present * len(ids)), round(abstain * len(ids))
    pairs = []
    for place, id in enumerate(ids):
        common = {"scheme": scheme, "scheme_version": 1, "key_id": key_id, "p_kind": "exact", "fpr": fpr, "looks": 1}
        common |= {"null": NULL, "ms": 12.0}
        if place < n_present:
            payload = Payload(1, 7 if place < wrong * n_present else 42)
            more = {"verdict": "present", "p_value": float(10.0 ** -rng.uniform(20, 70)), "payload": payload}
            more |= {"bits": BITS, "matched": int(rng.integers(225, BITS + 1)), "corrected": 3}
            more |= {"forgery": "suspect" if place < suspect else "consistent", "payload_name": "summer campaign"}
            more |= {"geometry": {"rotation": 0.0, "scale": 1.0}}
            if place < suspect:
                more["note"] = "the mark is 4 times as strong as the model's own"
        elif place < n_present + n_abstain:
            more = {"verdict": "abstain", "p_value": float(10.0 ** -rng.uniform(2.1, 5.9))}
        else:
            more = {"verdict": "absent", "p_value": float(rng.uniform(0.02, 1))}
        pairs.append((str(id), Detection(**common, **more)))
    return watermarks_table(pairs)


def mark(run: Run, *, scheme: str = "spread", key_id: str = KEY, payload: str | None = "1:42") -> Run:
    """The run, with a run.json that says what it was marked with."""
    record = {"scheme": scheme, "scheme_version": 1, "key_id": key_id, "payload": payload, "psnr": 42.0}
    run.record["watermark"] = record
    (run.path / "run.json").write_text(json.dumps(run.record), encoding="utf-8")
    return open_run(run.path)


def make_bench(folder: Path, *, schemes: tuple[str, ...] = ("spread", "codec", "dwtdctsvd")) -> Path:
    """A finished bench whose shares are drawn, not measured: every attack of the registry, forgeries, the control."""
    from auditkit.watermark.attacks import steps
    from auditkit.watermark.bench.store import Store
    from auditkit.watermark.bench.summary import QUALITY, RESULTS

    rng, n, rows = np.random.default_rng(0), 27, []
    listed = [(s.attack.name, s.strength, s.label, s.attack.group) for s in steps()]
    listed += [("forgery-copy", 1.0, "Residual of one marked image on another image", "forgery")]
    listed += [("unmarked", 0.0, "Not marked (control)", "none")]
    for scheme in schemes:
        for content in ("photographs", "generated"):
            for attack, strength, title, group in listed:
                k = 0 if attack == "unmarked" else int(rng.binomial(n, 0.5 if scheme == "dwtdctsvd" else 0.93))
                low, high = (float(edge) for edge in clopper_pearson(k, n))
                shares = [n, k / n, low, high, 1e-6, 0.5 + k / n / 2, k / n, -30.0]
                suspect = 0.8 if group == "forgery" else np.nan
                rows.append([scheme, content, attack, strength, title, group, *shares, suspect, np.nan, False])
    store = Store(folder, {"seed": 0, "psnr": 42.0, "keys": [KEY], "rows": 1})
    store.write_table("results.parquet", pd.DataFrame(rows, columns=list(RESULTS)))
    quality = [[s, c, n, 42.0, 0.99, 0.01, 40.0, 30.0, 210.0] for s in schemes for c in ("photographs", "generated")]
    store.write_table("quality.parquet", pd.DataFrame(quality, columns=list(QUALITY)))
    store.finish({"commands": ["auditkit watermark bench --scheme spread"], "seconds": 3.0})
    return folder
