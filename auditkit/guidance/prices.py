"""What a mitigation cost: shifts of what it was not to touch, prompt fidelity, copies, diversity, seconds and joules.

shift           total variation between both runs' shares of an attribute that was not targeted, mean over groups
fidelity        share of images whose perceived occupation is the prompt's
clip_score      100 x cosine of the image and its own prompt, as the spec has it
near_duplicates, exact_duplicates, diversity, memorised, feature_distance     as the measure `quality` has them
left_alone      images that the mitigation was not to act on, and how many of them are the same to the byte
seconds, joules per image; `estimate` is after/before
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.bias.base import ALL, Options
from auditkit.guidance.study import SET, Row, Study
from auditkit.stats.moved import FEWEST_PROMPTS, mean_change, shift
from auditkit.stats.multiplicity import holm

if TYPE_CHECKING:
    from auditkit.runs import Run

UNTARGETED = ("gender", "skin_tone", "age", "disability", "occupation")
FEWEST_SHARDS = 3
BOUNDED = "both runs' intervals joined (Newcombe 1998, method 10)"
QUALITY = ("near_duplicates", "exact_duplicates", "diversity", "memorised", "feature_distance")


def prices(study: Study) -> list[Row]:
    """All rows of this module that the runs have something for."""
    rows = _shifts(study) + _fidelity(study) + _left_alone(study)
    return rows + _quality(study) + _seconds(study) + _joules(study)


def _shifts(study: Study) -> list[Row]:
    """Each attribute that was not targeted, by the groups that can be told; Holm over the attributes."""
    rows: list[Row] = []
    for attribute in UNTARGETED:
        if attribute in study.policy.attributes or not study.scored(attribute):
            continue
        row = study.row("shift", study.acts, attribute=attribute, group=ALL, group_by=SET, direction="lower is closer")
        told = {n: c for n, c in study.groups.items() if study.standing(attribute, c)[0] == "ok"}
        confusion, why = study.confusion(attribute)
        note = f"corrected, over {len(told)} of {len(study.groups)} groups"
        if not told or confusion is None:
            # Outcomes can only be nearer to each other than the classes behind them.
            told, confusion = dict(study.groups), None
            note = f"as classified, a lower bound ({why or 'uncalibrated for these images'})"
        if not told or row["n_prompts"] < FEWEST_PROMPTS or row["n_pairs"] < study.min_n:
            why = f"{row['n_pairs']} pairs of {row['n_prompts']} prompts are too few"
            rows.append(row | {"status": "insufficient", "note": why})
            continue
        found = shift(
            [study.pairs(attribute, c) for c in told.values()], confusion, study.rng("shift", attribute),
            replicates=study.n_boot,
        )  # fmt: skip
        x = found.level.estimated
        rows.append(
            row | {"estimate": x.value, "ci_low": x.low, "ci_high": x.high, "null_value": found.level.null,
                   "p_value": found.p_value, "ci_method": "paired bootstrap of prompts", "note": note}
        )  # fmt: skip
    for row, p in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = float(p)
    return rows


def _fidelity(study: Study) -> list[Row]:
    if "axis_occupation" not in study.right or not study.scored("occupation") or not study.acts.any():
        return []
    a, b = study.outcomes("occupation")
    asked = pd.Index(b.classes).get_indexer(pd.Index(study.right["axis_occupation"]))
    rows: list[Row] = []
    for name, chosen in [*study.groups.items(), (ALL, study.acts)]:
        if name == ALL and study.by == ALL and rows:
            continue
        more: dict[str, Any] = {"group_by": SET} if name == ALL else {}
        row = study.row(
            "fidelity", chosen, attribute="occupation", group=name, category="as prompted",
            direction="higher is closer", **more,
        )  # fmt: skip
        strange = int((asked[chosen] < 0).sum())
        if strange or int(chosen.sum()) < study.min_n:
            why = f"{strange} images ask for an occupation the scorer does not know" if strange else "too few pairs"
            rows.append(row | {"status": "insufficient", "note": why})
            continue
        rows.append(_changed(study, row, chosen, (a.label == asked) * 1.0, (b.label == asked) * 1.0))
    return rows


def _changed(study: Study, row: Row, chosen: Any, first: Any, second: Any) -> Row:
    """A row with the change of a mean of numbers, one an image."""
    groups = study.right[f"axis_{study.by}"].astype(str).to_numpy() if study.by != ALL else np.zeros(len(study.right))
    found, was, now, p_value = mean_change(
        first[chosen], second[chosen], study.prompts[chosen], groups[chosen], study.rng(row["measure"], row["group"]),
        replicates=study.n_boot,
    )  # fmt: skip
    note = "" if np.isfinite(found.low) else "no group has several prompts: there is no interval"
    return row | {
        "before": was, "after": now, "estimate": found.value, "ci_low": found.low, "ci_high": found.high,
        "null_value": 0.0, "p_value": p_value, "ci_method": "t between prompts within groups", "note": note,
    }  # fmt: skip


def _left_alone(study: Study) -> list[Row]:
    alone = ~study.acts
    row = study.row("left_alone", alone, attribute="image", group=ALL, group_by=SET, category="same bytes")
    row |= {"direction": "higher is closer", "null_value": 1.0}
    if not alone.any():
        return [row | {"status": "insufficient", "note": "there was no prompt that the mitigation had to leave alone"}]
    same = (study.left["id"] == study.right["id"]).to_numpy(bool)[alone]
    note = f"{int(same.sum())} of {int(alone.sum())} images that were to be left alone are the same to the byte"
    return [row | {"estimate": float(same.mean()), "note": note}]


def _quality(study: Study) -> list[Row]:
    """CLIP score by pairs; copies, diversity and distance to reference pictures by the measure `quality` of each."""
    from auditkit.bias.quality import quality

    options = Options(by=study.by, encoder=study.encoder, seed=study.seed, min_n=study.min_n, n_boot=study.n_boot)
    if quality.applies(study.before, options) or quality.applies(study.after, options):
        return []
    rows = [_clip_score(study)] if study.acts.any() else []
    tables = [_measured(study, run, options) for run in (study.before, study.after)]
    for name in QUALITY:
        pair = [t[(t["measure"] == f"quality.{name}") & (t["group"] == ALL)] for t in tables]
        if any(part.empty for part in pair):
            continue
        a, b = (part.iloc[0] for part in pair)
        everyone = np.ones(len(study.right), bool)
        row = study.row(
            name, everyone, attribute=str(a["attribute"]), group=ALL, group_by=SET, category=str(a["category"]),
            unit=str(a["unit"]), direction="higher is closer" if name == "diversity" else "lower is closer",
        )  # fmt: skip
        bad = next((each for each in (a, b) if each["status"] != "ok"), None)
        if bad is not None:
            rows.append(row | {"status": bad["status"], "note": bad["note"]})
            continue
        low, high = _difference(a, b)
        note = str(a["note"]) if name == "near_duplicates" else ""
        if name == "diversity" and a["n_images"] != b["n_images"]:
            rows.append(row | {"status": "insufficient", "note": "the runs' groups are of unequal size"})
            continue
        rows.append(
            row | {"before": a["estimate"], "after": b["estimate"], "estimate": b["estimate"] - a["estimate"],
                   "ci_low": low, "ci_high": high, "null_value": 0.0, "ci_method": BOUNDED, "note": note}
        )  # fmt: skip
    return rows


def _measured(study: Study, run: Run, options: Options) -> pd.DataFrame:
    from auditkit.bias.quality import quality

    key = (str(run.path), options)
    if key not in study.kept:
        study.kept[key] = quality.measure(run, options)
    return study.kept[key]


def _difference(a: pd.Series, b: pd.Series) -> tuple[float, float]:
    """Limits of b - a from both intervals, as if the runs were independent, which paired seeds make them less than."""
    d = b["estimate"] - a["estimate"]
    low = d - np.hypot(b["estimate"] - b["ci_low"], a["ci_high"] - a["estimate"])
    high = d + np.hypot(b["ci_high"] - b["estimate"], a["estimate"] - a["ci_low"])
    return float(low), float(high)


def _clip_score(study: Study) -> Row:
    from auditkit.clip.embedded import image_embeddings, text_embeddings

    texts, place = np.unique(study.right["prompt"].to_numpy(str), return_inverse=True)
    said = text_embeddings(study.before, study.encoder, list(texts))[place]
    sides = [
        100 * np.einsum("nd,nd->n", image_embeddings(run, study.encoder, images), said, dtype=np.float64)
        for run, images in ((study.before, study.left), (study.after, study.right))
    ]
    row = study.row(
        "clip_score", study.acts, attribute="prompt", group=ALL, group_by=SET, unit="100 x cosine",
        direction="higher is closer",
    )  # fmt: skip
    return _changed(study, row, study.acts, *sides)


def _seconds(study: Study) -> list[Row]:
    """Seconds an image, as each shard took them; what was prepared before the first image is told beside."""
    rows = []
    row = study.row("seconds", study.acts, attribute="image", group=ALL, group_by=SET, unit="ratio", null_value=1.0)
    row |= {"direction": "lower is closer"}
    sides = [images.groupby("shard")["ms"].mean().dropna() / 1000 for images in (study.left, study.right)]
    if any(len(side) == 0 for side in sides) or any(float(side.mean()) <= 0 for side in sides):
        return [row | {"status": "insufficient", "note": "the images carry no times"}]
    (a, b), (u, v) = (float(side.mean()) for side in sides), sides
    low = high = float("nan")
    method = ""
    if min(len(u), len(v)) >= FEWEST_SHARDS:
        from scipy import stats

        error = np.hypot(float(u.std()) / len(u) ** 0.5 / a, float(v.std()) / len(v) ** 0.5 / b)
        half = float(stats.t.ppf(0.975, min(len(u), len(v)) - 1)) * error
        low, high, method = b / a * np.exp(-half), b / a * np.exp(half), "t between shards, log scale"
    where = [run.record["generator"].get("device") for run in (study.before, study.after)]
    note = "on other devices: no ratio of the method" if where[0] != where[1] else _machines(study)
    rows.append(
        row | {"before": a, "after": b, "estimate": b / a, "ci_low": low, "ci_high": high, "ci_method": method,
               "note": note}
    )  # fmt: skip
    return rows


def _machines(study: Study) -> str:
    """Times compare where the machine was the same and did nothing else."""
    named = [run.record.get("machine", {}).get("platform") for run in (study.before, study.after)]
    return "made on other machines: the ratio is not the method's alone" if named[0] != named[1] else ""


def _joules(study: Study) -> list[Row]:
    """Joules an image by the same meter, whose error is the same share of both and falls out of the ratio."""
    row = study.row("joules", study.acts, attribute="image", group=ALL, group_by=SET, unit="ratio", null_value=1.0)
    row |= {"direction": "lower is closer"}
    found = [run.record.get("energy") or {} for run in (study.before, study.after)]
    each = [energy.get("joules_per_image") or {"value": 0.0} for energy in found]
    if not all(one["value"] for one in each):
        return [row | {"status": "insufficient", "note": "the making was not metered"}]
    methods = [energy["method"] for energy in found]
    how = [[part["how"] for part in energy["parts"]] for energy in found]
    if methods[0] != methods[1] or how[0] != how[1]:
        return [row | {"status": "insufficient", "note": "the runs were metered in different ways"}]
    a, b = each[0]["value"], each[1]["value"]
    note = f"{methods[0]}; preparing the mitigation is in it"
    return [row | {"before": a, "after": b, "estimate": b / a, "note": note}]
