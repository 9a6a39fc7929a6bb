"""The sentences of a bench's page, computed from its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from auditkit.stats.intervals import clopper_pearson
from reports.tables import rows as rows_of
from reports.words import interval, listed, percent, plural, power

HIGH = 0.95
"""A mark survives an attack, in the words of the page, where at least this share is found."""

LIMITS = (
    "That no mark was found does not say that an image was not generated, nor that it was never marked: whoever wants "
    "a mark gone can remove it, and other makers use other marks.",
    "Making an image again with a generative model removes marks that lie in its pixels. No scheme here is promised to "
    "survive it: published attacks with larger models change little that people see and leave next to no mark.",
    "Attacks were tried one at a time, on these images, at these strengths. Others, or several together, may do more.",
    "‘Found’ means that the evidence for a message known beforehand is surer than the false positive rate. Finding the "
    "message of an unknown maker takes more evidence; how often the whole message was read is in the hover text.",
    "Other tools’ bits have no key. Here their messages were drawn at random, which makes their p-values exact; with a "
    "fixed message in ordinary use their rate of false positives is not known.",
    "Other tools mark at the strength they ship with. Compare the shares found together with the quality.",
    "PSNR, SSIM and GMSD rank marks of one kind; they do not say whether a person sees a mark. GMSD looks at grey "
    "values only: a mark in colour alone costs nothing there.",
)


def title(scheme: dict[str, Any]) -> str:
    """What a scheme is called on the page: the short names of ours, the tool's own for others."""
    return str(scheme["title"] if scheme["family"] == "foreign" else scheme["name"])


def share(value: float) -> str:
    """'96%'; what is not quite all or none is not called so."""
    return percent(value, 1) if 0 < value < 0.005 or 0.995 <= value < 1 else percent(value)


def key_figures(
    schemes: Sequence[dict[str, Any]], rows: pd.DataFrame, quality: pd.DataFrame, content: str
) -> list[dict[str, str]]:
    """The few numbers that stand large at the top."""
    out = []
    for scheme in _ours(schemes, rows):
        attacked = _attacks(rows, scheme)
        if len(attacked):
            survived = int((attacked["tpr"] >= HIGH).sum())
            words = f"attacks after which {title(scheme)} is found in {percent(HIGH)} of {content} or more"
            out.append({"number": f"{survived} of {len(attacked)}", "words": words})
        row = _quality(quality, scheme, content)
        if row is not None and math.isfinite(row["psnr"]):
            out.append({"number": f"{row['psnr']:.1f} dB", "words": f"PSNR of {title(scheme)} on {content}"})
    return out


def found(schemes: Sequence[dict[str, Any]], rows: pd.DataFrame, quality: pd.DataFrame, content: str) -> list[str]:
    """What each of our schemes reaches, and where it is weakest."""
    out = []
    for scheme in _ours(schemes, rows):
        own, attacked = rows[rows["scheme"] == scheme["name"]], _attacks(rows, scheme)
        plain = own[own["attack"] == "none"].iloc[0]
        row = _quality(quality, scheme, content)
        at = f" at {row['psnr']:.1f} dB" if row is not None and math.isfinite(row["psnr"]) else ""
        sentence = (
            f"On {plain['n']} {content}, {title(scheme)} is found in {share(plain['tpr'])} "
            f"{interval(plain['tpr_low'], plain['tpr_high'])} of untouched images{at}"
        )
        if attacked.empty:
            out.append(sentence + ".")
            continue
        kept = attacked[attacked["tpr"] >= HIGH]
        out.append(
            f"{sentence}, and in {percent(HIGH)} or more after {len(kept)} of {len(attacked)} attacks, at a false "
            f"positive rate of {power(float(plain['fpr']))}."
        )
        if weak := _weakest(attacked):
            out.append(f"It is weakest after {weak}.")
    return out


def against_others(schemes: Sequence[dict[str, Any]], rows: pd.DataFrame, content: str) -> list[str]:
    """Each of ours against the best of the other tools, attack by attack."""
    foreign = rows[rows["scheme"].isin([one["name"] for one in schemes if one["family"] == "foreign"])]
    if foreign.empty:
        return []
    best = foreign.groupby(["attack", "strength"])["tpr"].max().rename("best")
    out = []
    for scheme in _ours(schemes, rows):
        both = _attacks(rows, scheme).merge(best, on=["attack", "strength"])
        if both.empty:
            continue
        better, worse = int((both["tpr"] > both["best"]).sum()), both[both["tpr"] < both["best"]]
        same = len(both) - better - len(worse)
        out.append(
            f"Against the best of {plural(foreign['scheme'].nunique(), 'other scheme')} on the same {content}, "
            f"{title(scheme)} is found more often after {better} of {len(both)} attacks, as often after {same}, less "
            f"often after {len(worse)}."
        )
        if len(worse):
            told = [f"‘{r['title']}’ ({share(r['tpr'])} against {share(r['best'])})" for r in rows_of(worse)]
            out.append(f"Less often: {listed(told, limit=6)}.")
    return out


def regenerated(schemes: Sequence[dict[str, Any]], rows: pd.DataFrame) -> list[str]:
    """What is left after regeneration, said plainly."""
    part = rows[rows["group"] == "regeneration"]
    out = []
    for scheme in _ours(schemes, part):
        own = part[part["scheme"] == scheme["name"]]
        told = [f"{r['title'][0].lower()}{r['title'][1:]}: {_rate(r)} of {r['n']}" for r in rows_of(own)]
        out.append(f"After regeneration {title(scheme)} is found in: {'; '.join(told)}.")
    if not out:
        out.append("Regeneration by a generator was not tried in this bench; it removes marks that lie in pixels.")
    return out


def control(rows: pd.DataFrame) -> list[str]:
    """How often unmarked images were called marked."""
    if rows.empty:
        return []
    n = int(rows["n"].sum())
    hits = round(float((rows["tpr"] * rows["n"]).sum()))
    high = float(clopper_pearson(hits, n)[1])
    who = "none was" if hits == 0 else f"{hits} {'was' if hits == 1 else 'were'}"
    return [
        f"Of {n:,} readings of images that were never marked, {who} called marked; so few show only that the rate is "
        f"at most {percent(high, 1)}."
    ]


def how_to_read(fpr: float) -> list[str]:
    """Three sentences."""
    return [
        f"Each cell is the share of marked images in which the mark is found after the attack, at a false positive "
        f"rate of {power(fpr)} for one image and one key.",
        "The numbers in brackets are 95% intervals (Clopper and Pearson): with few images they are wide.",
        "All schemes met the very same attacks on the same images, each image with a message of its own; where pixels "
        "had been moved, ours searched for the geometry.",
    ]


def _ours(schemes: Sequence[dict[str, Any]], rows: pd.DataFrame) -> list[dict[str, Any]]:
    have = set(rows["scheme"])
    return [one for one in schemes if one["family"] != "foreign" and one["name"] in have]


def _attacks(rows: pd.DataFrame, scheme: dict[str, Any]) -> pd.DataFrame:
    """Its rows, without the untouched images and regeneration, which has a sentence of its own."""
    return rows[(rows["scheme"] == scheme["name"]) & ~rows["group"].isin(["none", "regeneration"])]


def _weakest(attacked: pd.DataFrame) -> str:
    below = attacked[attacked["tpr"] < 1].sort_values("tpr", kind="stable").head(3)
    named = [f"‘{r['title']}’ ({_rate(r)})" for r in rows_of(below)]
    return listed(named) if named else ""


def _quality(quality: pd.DataFrame, scheme: dict[str, Any], content: str) -> dict[str, Any] | None:
    own = quality[(quality["scheme"] == scheme["name"]) & (quality["content"] == content)]
    return None if own.empty else rows_of(own)[0]


def _rate(row: dict[str, Any]) -> str:
    return f"{share(row['tpr'])} {interval(row['tpr_low'], row['tpr_high'])}"
