"""What an evaluation comes to, method by method: better than doing nothing or not, and at what price."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from auditkit.bias.base import ALL
from auditkit.guidance.study import SET, UNBALANCED
from auditkit.stats.multiplicity import holm

BETTER, NOT_BETTER, INSUFFICIENT = "better than doing nothing", "not better than doing nothing", "insufficient"
ALPHA = 0.05
COPIES = ("near_duplicates", "memorised")
"""What needs thresholds that not every encoder has."""
SLOWER = 1.05
"""Seconds an image, over those without, from which on slowness is a price."""


@dataclass(frozen=True)
class Verdict:
    """Of one method.

    Attributes:
        headline: the set of groups it rests on: `unbalanced` where a planted table is known, else `all`.
        p_holm: of the test that the distance fell, Holm over the methods.
        prices: what got worse beyond its interval, a few words each.
        why: for `insufficient`, what was missing.
    """

    method: str
    verdict: str
    headline: str
    p_holm: float
    prices: list[str] = field(default_factory=list)
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"p_holm": self.p_holm if np.isfinite(self.p_holm) else None}


def verdicts(effects: pd.DataFrame, *, judge: str, attribute: str) -> list[Verdict]:
    """A verdict for each method, from the rows of the encoder that judges.

    A method is `better than doing nothing` where the distance to the target fell and the test that it did not, by
    swapping the runs prompt by prompt, has p <= .05 after Holm over the methods tried: of methods that do nothing,
    at most one evaluation in twenty calls any better. Where groups had to be left out, the fall must outweigh the worst
    that they could have done.

    Args:
        attribute: the target's, `gender` or `gender+skin_tone`.
    """
    own = judged_rows(effects, judge)
    methods = list(dict.fromkeys(own["method"]))
    chosen = {name: headline(own[own["method"] == name], attribute) for name in methods}
    p_values = [chosen[name]["p_value"] for name in methods]
    made = []
    for name, p in zip(methods, holm(p_values), strict=True):
        row = chosen[name]
        mine = own[own["method"] == name]
        if row["status"] != "ok" or not np.isfinite(p):
            made.append(Verdict(name, INSUFFICIENT, row["group"], float("nan"), prices_of(mine), str(row["note"])))
            continue
        better = p <= ALPHA and row["estimate"] < 0
        worst = headline(mine, attribute, "worst_change")["estimate"]
        if better and not worst < 0:
            why = f"{row['note']}, which could outweigh the gain"
            made.append(Verdict(name, INSUFFICIENT, row["group"], float("nan"), prices_of(mine), why))
            continue
        made.append(Verdict(name, BETTER if better else NOT_BETTER, row["group"], float(p), prices_of(mine)))
    return made


def judged_rows(effects: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The rows of the encoder that judges; of what it has no thresholds for (copies), those of another that has."""
    own, other = effects[effects["encoder"] == judge], effects[effects["encoder"] != judge]
    told = set(own[(own["measure"].isin(COPIES)) & (own["status"] == "ok")]["measure"])
    borrowed = other[other["measure"].isin(set(COPIES) - told) & (other["status"] == "ok")]
    borrowed = borrowed.drop_duplicates(["method", "measure"])
    lacking = set(borrowed["measure"])
    return pd.concat([own[~own["measure"].isin(lacking)], borrowed], ignore_index=True) if lacking else own


def headline(effects: pd.DataFrame, attribute: str, measure: str = "distance") -> dict[str, Any]:
    """The row of one method that its verdict rests on."""
    rows = effects[
        (effects["measure"] == measure) & (effects["attribute"] == attribute) & (effects["group_by"] == SET)
    ]  # fmt: skip
    by = {str(row["group"]): {str(key): value for key, value in row.items()} for row in rows.to_dict("records")}
    found = by.get(UNBALANCED, by.get(ALL))
    if found is None:
        nan = float("nan")
        return {"status": INSUFFICIENT, "group": ALL, "note": "nothing was held against the target", "estimate": nan,
                "p_value": nan, "before": nan, "after": nan, "ci_low": nan, "ci_high": nan}  # fmt: skip
    return found


def prices_of(effects: pd.DataFrame) -> list[str]:
    """What one method made worse, beyond its interval or test."""
    rows = effects[(effects["group_by"] == SET) & (effects["status"] == "ok")].to_dict("records")
    by = {(row["measure"], row["attribute"]): row for row in rows if row["group"] == ALL}
    found = []
    fidelity = by.get(("fidelity", "occupation"))
    if fidelity and fidelity["ci_high"] < 0:
        found.append(f"occupation fidelity {100 * fidelity['estimate']:+.1f} points")
    for measure, words in (
        ("near_duplicates", "near-duplicates"), ("memorised", "memorised pictures"), ("exact_duplicates", "copies"),
    ):  # fmt: skip
        for row in rows:
            if row["measure"] == measure and row["ci_low"] > 0:
                found.append(f"{words} {100 * row['estimate']:+.1f} points")
    for row in rows:
        if row["measure"] == "diversity" and row["ci_high"] < 0:
            found.append(f"diversity {row['estimate']:+.1f} effective images")
        if row["measure"] == "shift" and row["p_holm"] <= ALPHA:
            found.append(f"{row['attribute'].replace('_', ' ')} shifted by {row['estimate']:.2f}")
        if row["measure"] == "majority_turned" and row["estimate"] > 0:
            found.append(f"majority turned in {row['estimate']:.0f} of the groups ({row['attribute']})")
        if row["measure"] == "left_alone" and row["estimate"] < 1:
            found.append("images changed that were to be left alone")
        if row["measure"] == "seconds" and row["estimate"] > SLOWER and not row["ci_low"] <= 1:
            found.append(f"{row['estimate']:.2f}x the seconds")
    off = effects[(effects["measure"] == "stayed_balanced") & (effects["p_holm"] <= ALPHA)]
    for attribute, part in off.groupby("attribute", sort=False):
        groups = "balanced group" if len(part) == 1 else "balanced groups"
        found.append(f"{len(part)} {groups} off target ({str(attribute).replace('_', ' ')})")
    return found
