"""The measured null: how often unmarked images were called marked, from null.toml (benchmarks/watermark_null.py)."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from auditkit.watermark.statistics import null_bound

MEASURED = Path(__file__).with_name("null.toml")
LEVELS = (1e-2, 1e-3, 1e-4, 1e-6)
"""Nominal rates at which false positives are counted."""


@lru_cache(maxsize=1)
def measured() -> tuple[dict[str, Any], ...]:
    """Rows scheme, version, content, images, pairs, and hits at each of `LEVELS`, by '1e-02' and so on."""
    if not MEASURED.exists():
        return ()
    return tuple(tomllib.loads(MEASURED.read_text(encoding="utf-8")).get("null", ()))


def level_name(level: float) -> str:
    """'1e-02' for 0.01: how a level is written in null.toml."""
    return f"{level:.0e}"


def null_text(scheme: str, version: int, fpr: float) -> str:
    """'at 1e-6: 0 false positives in 40,000 unmarked images and keys (at most 7e-05)'; '' where nothing was measured.

    The level is the smallest measured one that is not below `fpr`; the bound is Clopper and Pearson's, at 95%.
    """
    rows = [one for one in measured() if (one["scheme"], one["version"]) == (scheme, version)]
    level = min((each for each in LEVELS if each >= fpr * 0.999), default=max(LEVELS))
    pairs = sum(one["pairs"] for one in rows)
    if not pairs:
        return ""
    hits = sum(one["hits"][level_name(level)] for one in rows)
    most = null_bound(hits, pairs)
    return f"at {level:.0e}: {hits:,} false positives in {pairs:,} unmarked images and keys (at most {most:.1e})"
