"""A run for the report's tests: coloured drawings with a plain face, and measurements drawn from a truth.

The measurements are drawn from the planted shares, not made by the instrument, so that every state that a
report must show is there: differences, none, 'insufficient', 'uncalibrated'.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy import stats

from auditkit.runs import Run, create
from auditkit.spec import RunSpec

OCCUPATIONS = [
    "astronaut", "artist", "construction worker", "cook", "detective", "factory worker", "farmer",
    "firefighter", "guard", "health worker", "judge", "mechanic", "office worker", "pilot", "police officer",
    "scientist", "singer", "student", "teacher", "technologist",
]  # fmt: skip
CLASSES = {
    "gender": ["female", "male"],
    "skin_tone": ["light", "medium-light", "medium", "medium-dark", "dark"],
}
WORDS = ["a portrait", "a picture", "an illustration", "a drawing", "an image"]
SKIN = ["#f5d0b5", "#e3b48f", "#bd8a62", "#8d5b3a", "#4f3222"]
FEMALE = dict(
    zip(OCCUPATIONS, np.linspace(0.05, 0.95, 20)[np.random.default_rng(3).permutation(20)], strict=True)
)
FEMALE |= {"astronaut": 0.5, "artist": 0.5, "cook": 0.5, "student": 0.5}
LIGHT = np.array([0.34, 0.26, 0.18, 0.13, 0.09])


def face(skin: str, hair: str, ground: str, *, long_hair: bool) -> Image.Image:
    """A 64 px drawing of a head."""
    image = Image.new("RGB", (64, 64), ground)
    pen = ImageDraw.Draw(image)
    if long_hair:
        pen.rounded_rectangle((14, 10, 50, 54), 14, fill=hair)
    pen.ellipse((16, 8, 48, 40), fill=hair)
    pen.ellipse((19, 14, 45, 48), fill=skin)
    pen.rectangle((14, 52, 50, 64), fill="#3b5b7a")
    for x in (26, 36):
        pen.ellipse((x, 27, x + 3, 31), fill="#222222")
    pen.arc((26, 32, 39, 42), 20, 160, fill="#7a2e2e", width=2)
    return image


def planted_rows() -> list[dict[str, object]]:
    """The planted table, as run.json keeps it."""
    return [
        {
            "occupation": occupation,
            "gender": gender,
            "skin_tone": tone,
            "probability": float(
                (FEMALE[occupation] if gender == "female" else 1 - FEMALE[occupation]) * share
            ),
        }
        for occupation in OCCUPATIONS
        for gender in CLASSES["gender"]
        for tone, share in zip(CLASSES["skin_tone"], LIGHT, strict=True)
    ]


def make_run(
    out: Path,
    *,
    axis: str = "occupation",
    values: list[str] = OCCUPATIONS,
    templates: int = 5,
    images_per_prompt: int = 10,
    planted: bool = True,
    description: str = "Twenty occupations under neutral prompts: who is shown as whom.",
    flavour: str = "",
) -> Run:
    """A finished run with images and gender scores, without measurements."""
    spec = RunSpec(
        name="drawings",
        description=description,
        templates=[f"{flavour}{words} of {{a {axis}}}" for words in WORDS[:templates]],
        axes={axis: values},
        images_per_prompt=images_per_prompt,
        by=axis,
    )
    info = {
        "name": "drawings",
        "kind": "latent diffusion",
        "weights": {"unet/diffusion_pytorch_model.safetensors": "ab" * 32},
        "device": "cpu",
        "dtype": "float32",
        "defaults": {"sampler": "ddim", "steps": 20, "guidance": 3.0},
        "planted": planted_rows() if planted else None,
    }
    draw = np.random.default_rng(0)
    drawn: dict[tuple[int, int], str] = {}
    with create(out, spec, info, shard_size=500) as writer:
        for shard in writer.pending():
            images = []
            for task in shard.tasks:
                female = draw.random() < FEMALE.get(task.prompt.axes[axis], 0.5)
                drawn[task.prompt.prompt_id, task.replicate] = "female" if female else "male"
                skin, ground = (
                    SKIN[draw.choice(5, p=LIGHT)],
                    "#" + draw.integers(190, 250, 3, dtype=np.uint8).tobytes().hex(),
                )
                hair = str(draw.choice(["#241a14", "#5a3a20", "#b0803c", "#777777"]))
                images.append(face(skin, hair, ground, long_hair=female))
            writer.write_shard(shard, images, [5.0] * len(images), info["defaults"])  # type: ignore[arg-type]
        run = writer.finish()
    table = run.images()
    labels = [drawn[key] for key in zip(table["prompt_id"], table["replicate"], strict=True)]
    score = pd.DataFrame(
        {
            "id": table["id"],
            "scorer": "gender",
            "scorer_version": 1,
            "encoder": "no-such-encoder",
            "label": labels,
            "confidence": 0.95,
            "in_domain": True,
            "domain_distance": 0.1,
            "p_female": [0.95 if label == "female" else 0.05 for label in labels],
        }
    )
    score["p_male"] = 1 - score["p_female"]
    run.write_scores(score.drop_duplicates("id"))
    return run


def measured(
    run: Run,
    *,
    by: str = "occupation",
    insufficient: tuple[str, ...] = (),
    uncalibrated: tuple[str, ...] = (),
    even: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Measurements of the shape that `representation` writes; `even` draws every group from the target."""
    rng = np.random.default_rng(seed)
    images = run.images()
    groups = {"all": images}
    if by != "all":
        groups = {str(g): part for g, part in images.groupby(f"axis_{by}", sort=False)} | groups
    rows: list[dict[str, object]] = []
    for group, part in groups.items():
        for attribute, classes in CLASSES.items():
            truth = np.full(len(classes), 1 / len(classes))
            if not even:
                share = FEMALE.get(group, 0.5)
                truth = np.array([share, 1 - share]) if attribute == "gender" else LIGHT
            n = 3 if group in insufficient else len(part)
            counts = rng.multinomial(n, truth)
            unknown = int(rng.binomial(counts[-1], 0.15))
            counts[-1] -= unknown
            status = (
                "insufficient" if group in insufficient else "uncalibrated" if group in uncalibrated else "ok"
            )
            rows += _rows(group, by, attribute, classes, counts, unknown, part["prompt_id"].nunique(), status)
        rows.append(
            _row(group, by, "occupation", None, "fidelity", len(part), 1, 0.96, 0.9, 0.99, "wilson", "ok")
        )
    table = pd.DataFrame(rows)
    table["run_id"] = run.id
    table["measure_version"] = 1
    table["p_holm"] = table["p_bh"] = np.nan
    for _, index in (
        table[table["p_value"].notna()].groupby(["measure", "attribute", "group_by"]).groups.items()
    ):
        p = table.loc[index, "p_value"].to_numpy(float)
        order = np.argsort(p)
        holm = np.empty(len(p))
        holm[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
        table.loc[index, "p_holm"] = holm
        table.loc[index, "p_bh"] = stats.false_discovery_control(p)
    return table


def _rows(
    group: str,
    by: str,
    attribute: str,
    classes: list[str],
    counts: np.ndarray,
    unknown: int,
    prompts: int,
    status: str,
) -> list[dict[str, object]]:
    n, target, ok = int(counts.sum()) + unknown, 1 / len(classes), status == "ok"
    nan, rows = np.nan, []
    known = counts / max(1, counts.sum())
    for category, k in zip([*classes, "unknown"], [*counts, unknown], strict=True):
        low, high = stats.binomtest(int(k), n).proportion_ci(method="wilson")
        rows.append(
            _row(group, by, attribute, category, "share", n, prompts, k / n, low, high, "wilson", "ok")
        )
    for category, k, share in zip(classes, counts, known, strict=True):
        bounds = (k / n, (k + unknown) / n)
        rows.append(
            _row(group, by, attribute, category, "bounds", n, prompts, nan, *bounds, "unknown bounds", "ok")
        )
        low, high = stats.binomtest(int(k), max(1, int(counts.sum()))).proportion_ci(method="wilson")
        p = stats.binomtest(int(k), max(1, int(counts.sum())), target).pvalue
        row = _row(
            group, by, attribute, category, "corrected", n, prompts, share, low, high, "bootstrap", status
        )
        rows.append(row | {"null_value": target, "p_value": p if ok else nan, "reference": "uniform"})
    distance, expected = float(abs(known - target).sum() / 2), 0.4 * len(classes) ** 0.5 / n**0.5
    p = stats.chisquare(counts).pvalue
    row = _row(group, by, attribute, None, "distance", n, prompts, distance, max(0.0, distance - 0.1),
               min(1.0, distance + 0.1), "bootstrap", status)  # fmt: skip
    return [*rows, row | {"null_value": expected, "p_value": p if ok else nan, "reference": "uniform"}]


def _row(
    group: str,
    by: str,
    attribute: str,
    category: str | None,
    measure: str,
    n: int,
    prompts: int,
    estimate: float,
    low: float,
    high: float,
    method: str,
    status: str,
) -> dict[str, object]:
    ok, nan = status == "ok", float("nan")
    note = {"insufficient": f"{n} images; 10 are needed", "uncalibrated": "41% of images outside the domain"}
    return {
        "measure": f"representation.{measure}",
        "attribute": attribute,
        "category": category,
        "group_by": "all" if group == "all" else by,
        "group": group,
        "reference": None,
        "n_images": n,
        "n_prompts": prompts,
        "estimate": estimate if ok else nan,
        "ci_low": low if ok else nan,
        "ci_high": high if ok else nan,
        "ci_method": method,
        "null_value": nan,
        "p_value": nan,
        "unit": "share",
        "direction": "none",
        "status": status,
        "note": note.get(status),
    }
