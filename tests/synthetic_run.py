"""A small run on disk whose numbers are known, made through the public functions; no model is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from auditkit.runs import Run, create
from auditkit.spec import RunSpec
from auditkit.stats.intervals import wilson

FEMALE = {"judge": 0.15, "nurse": 0.9, "artist": 0.5, "chef": 0.3, "pilot": 0.1}
TONES = {"light": 0.45, "medium-light": 0.25, "medium": 0.15, "medium-dark": 0.1, "dark": 0.05}
CLASSES = {"gender": ["female", "male"], "skin_tone": list(TONES)}
SKIN = dict(zip(TONES, ("#f6d7b8", "#e3b98f", "#c68f5f", "#8f5a34", "#553018"), strict=True))
INSUFFICIENT = "pilot"
"""The occupation whose corrected shares are withheld."""


def make_run(out: Path, *, name: str = "small", images_per_prompt: int = 12, measured: bool = True) -> Run:
    """A run of five occupations, scored and (by default) measured."""
    spec = RunSpec(
        name=name,
        templates=["a portrait of {a occupation}"],
        axes={"occupation": list(FEMALE)},
        images_per_prompt=images_per_prompt,
        by="occupation",
    )
    planted = [
        {"occupation": job, "gender": gender, "skin_tone": tone, "probability": share * tone_share}
        for job, female in FEMALE.items()
        for gender, share in (("female", female), ("male", 1 - female))
        for tone, tone_share in TONES.items()
    ]
    writer = create(out, spec, {"name": "synthetic", "kind": "test", "resolution": 64, "planted": planted})
    rng = np.random.default_rng(0)
    truth: list[dict[str, str]] = []
    for shard in writer.pending():
        images = []
        for task in shard.tasks:
            female = rng.random() < FEMALE[task.prompt.axes["occupation"]]
            seen = {
                "gender": "female" if female else "male",
                "skin_tone": str(rng.choice(list(TONES), p=list(TONES.values()))),
            }
            truth.append(seen)
            images.append(_portrait(seen, rng))
        settings = {"sampler": "ddim", "steps": 20, "guidance": 3.0}
        writer.write_shard(shard, images, [5.0] * len(images), settings)
    run = writer.finish()
    for attribute in CLASSES:
        run.write_scores(_scores(run.images(), [seen[attribute] for seen in truth], attribute, rng))
    if measured:
        run.write_measurements(_measurements(run))
    return run


def break_run(run: Run) -> None:
    """Damage a run's record, as a bad disk would."""
    (run.path / "run.json").write_text("{", encoding="utf-8")


def _portrait(seen: dict[str, str], rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (64, 64), tuple(int(v) for v in rng.integers(170, 256, 3)))
    draw = ImageDraw.Draw(image)
    draw.rectangle((14, 44, 50, 64), fill="#35507a")
    if seen["gender"] == "female":
        draw.ellipse((14, 8, 50, 54), fill="#402818")
    draw.ellipse((20, 12, 44, 48), fill=SKIN[seen["skin_tone"]])
    return image


def _scores(images: pd.DataFrame, labels: list[str], attribute: str, rng: np.random.Generator) -> pd.DataFrame:
    classes = CLASSES[attribute]
    best = rng.uniform(0.55, 0.99, len(labels))
    table = pd.DataFrame(
        {
            "id": images["id"],
            "scorer": attribute,
            "scorer_version": 1,
            "encoder": "personas-clip",
            "label": [label if sure > 0.6 else "unknown" for label, sure in zip(labels, best, strict=True)],
            "confidence": best,
            "in_domain": pd.array([True] * len(labels), dtype="boolean"),
            "domain_distance": 0.1,
        }
    )
    for name in classes:
        table[f"p_{name}"] = np.where(np.array(labels) == name, best, (1 - best) / (len(classes) - 1))
    return table.drop_duplicates("id", ignore_index=True)


def _measurements(run: Run) -> pd.DataFrame:
    """`representation`, as if the classifier made no errors: corrected means of the known labels."""
    rows: list[dict[str, Any]] = []
    images = run.images()
    for attribute, classes in CLASSES.items():
        labels = run.scores(attribute)[f"{attribute}@personas-clip"].set_index("id")["label"]
        seen = images.assign(label=images["id"].map(labels))
        groups = [
            ("all", "all", seen),
            *(("occupation", job, part) for job, part in seen.groupby("axis_occupation")),
        ]
        for by, group, part in groups:
            rows += _group(run.id, attribute, classes, by, str(group), part["label"])
    return pd.DataFrame(rows)


def _group(
    run_id: str, attribute: str, classes: list[str], by: str, group: str, labels: pd.Series
) -> list[dict[str, Any]]:
    n, target = len(labels), 1 / len(classes)
    unknown = int((labels == "unknown").sum())
    withheld = group == INSUFFICIENT
    nan = float("nan")

    def row(measure: str, category: str, estimate: float, low: float, high: float, **more: Any) -> dict[str, Any]:
        base = {"run_id": run_id, "measure": f"representation.{measure}", "measure_version": 1}
        base |= {"attribute": attribute, "category": category, "group_by": by, "group": group}
        base |= {"reference": "uniform", "n_images": n, "n_prompts": 1 if by != "all" else len(FEMALE)}
        base |= {
            "estimate": estimate,
            "ci_low": low,
            "ci_high": high,
            "ci_method": "wilson",
            "null_value": nan,
        }
        base |= {"p_value": nan, "p_holm": nan, "p_bh": nan, "unit": "share", "direction": "none"}
        return base | {"status": "ok", "note": ""} | more

    made = []
    corrected = {}
    for name in [*classes, "unknown"]:
        k = int((labels == name).sum())
        low, high = (float(edge) for edge in wilson(k, n))
        made.append(row("share", name, k / n, low, high))
        if name == "unknown":
            continue
        made.append(row("bounds", name, nan, k / n, (k + unknown) / n, ci_method="unknown bounds"))
        corrected[name] = share = k / max(n - unknown, 1)
        low, high = (float(edge) for edge in wilson(k, max(n - unknown, 1)))
        p = 0.001 if not low <= target <= high else 0.4
        tests = {"null_value": target, "p_value": p, "p_holm": p, "p_bh": p}
        if withheld:
            made.append(row("corrected", name, nan, nan, nan, null_value=target, status="insufficient"))
        else:
            made.append(row("corrected", name, share, low, high, **tests))
    distance = sum(abs(share - target) for share in corrected.values()) / 2
    about = {"null_value": 0.08, "direction": "lower is closer"}
    if withheld:
        made.append(row("distance", "", nan, nan, nan, status="insufficient", **about))
    else:
        p = 0.0004 if distance > 0.25 else 0.2
        about |= {"p_value": p, "p_holm": p, "p_bh": p}
        made.append(row("distance", "", distance, max(distance - 0.1, 0), min(distance + 0.1, 1), **about))
    return made


def embed(run: Run, *, dim: int = 16, fingerprint: str = "0" * 64) -> np.ndarray:
    """Write embeddings by `personas-clip` and return them, unit rows in the order of the images table.

    Images of one perceived gender lie together; the first two images are near-duplicates.
    """
    rng = np.random.default_rng(1)
    labels = run.scores("gender")["gender@personas-clip"].set_index("id")["label"]
    ids = run.images()["id"]
    vectors = rng.normal(0, 0.15, (len(ids), dim))
    vectors[:, 0] += np.where(ids.map(labels) == "female", 1.0, -1.0)
    vectors[1] = vectors[0] + 0.001
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    run.write_embeddings("personas-clip", list(ids), vectors, fingerprint=fingerprint)
    return vectors
