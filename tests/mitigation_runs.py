"""Two runs on disk, without and with a mitigation, whose labels are known; no model is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from auditkit.guidance import Policy
from auditkit.guidance.evaluated import Evaluation, write
from auditkit.guidance.evaluation import evaluate
from auditkit.guidance.verdicts import verdicts
from auditkit.runs import Run, create
from auditkit.spec import RunSpec

ENCODER = "eye"
CLASSES = {
    "gender": ["female", "male"],
    "skin_tone": ["light", "medium-light", "medium", "medium-dark", "dark"],
    "occupation": ["judge", "mechanic", "teacher", "artist"],
}
PLANTED = {"judge": 0.1, "mechanic": 0.05, "teacher": 0.9, "artist": 0.5}
TEMPLATES = ["a portrait of {a occupation}", "a picture of {a occupation}", "{a occupation}", "one {occupation}",
             "a drawing of {a occupation}", "a cartoon of {a occupation}"]  # fmt: skip
STATED = "a male {occupation}"
POLICY = Policy("gender", {"all": {"female": 0.5, "male": 0.5}})

Labels = Callable[[str, np.random.Generator], dict[str, str]]
"""Of the occupation asked for, what the scorers say: attribute to label."""


def spec(*, images: int = 6, templates: list[str] = TEMPLATES) -> RunSpec:
    return RunSpec(
        name="known", templates=templates, axes={"occupation": CLASSES["occupation"]}, images_per_prompt=images,
        by="occupation",
    )  # fmt: skip


def drawn(shares: Mapping[str, float], *, dark: float = 0.2, right: float = 1.0, unknown: float = 0.0) -> Labels:
    """Labels drawn with these shares of female, of dark skin and of the right occupation."""

    def draw(job: str, rng: np.random.Generator) -> dict[str, str]:
        tone = "dark" if rng.random() < dark else str(rng.choice(CLASSES["skin_tone"][:4]))
        gender = "female" if rng.random() < shares[job] else "male"
        other = str(rng.choice([name for name in CLASSES["occupation"] if name != job]))
        return {
            "gender": "unknown" if rng.random() < unknown else gender, "skin_tone": tone,
            "occupation": job if rng.random() < right else other,
        }  # fmt: skip

    return draw


def make_run(
    out: Path, labels: Labels, *, seed: int, mitigation: str = "", of: RunSpec | None = None, planted: bool = True,
    ms: float = 5.0, pixels: int = 0, outside: str = "",
) -> Run:  # fmt: skip
    """A run whose images are noise and whose scores are `labels`.

    Args:
        seed: of the labels. pixels: of the images; runs with the same have the same bytes.
        outside: an occupation whose images are unlike the calibration's.
    """
    of = of or spec()
    rows = [
        {"occupation": job, "gender": gender, "skin_tone": tone, "probability": share / 5}
        for job, female in PLANTED.items()
        for gender, share in (("female", female), ("male", 1 - female))
        for tone in CLASSES["skin_tone"]
    ]
    about: dict[str, Any] = {"name": "known", "kind": "test", "resolution": 16, "device": "cpu"}
    steered = {
        "as_passed": {"name": mitigation, "target": "gender=uniform", "options": {}},
        "resolved": {"name": mitigation, "version": 1, "options": {"scale": 2.0}, "target": POLICY.record()},
    }
    writer = create(out, of, about | ({"planted": rows} if planted else {}), mitigation=steered if mitigation else None)
    aim = POLICY.aims(of)
    rng, truth = np.random.default_rng(seed), []
    for shard in writer.pending():
        images, about_each = [], []
        for task in shard.tasks:
            truth.append(labels(task.prompt.axes["occupation"], rng))
            acts = aim(task.prompt, task.replicate, task.seed)
            noise = np.random.default_rng([task.seed % 2**32, pixels if acts.acts else 0])
            images.append(Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)))
            about_each.append({"steered_to": acts.label or None, "prompt_used": task.prompt.text} if mitigation else {})
        settings = {"sampler": "ddim", "steps": 20, "guidance": 3.0}
        writer.write_shard(shard, images, [ms] * len(images), [settings | each for each in about_each])
    run = writer.finish()
    for attribute, classes in CLASSES.items():
        table = _scores(run.images(), [each[attribute] for each in truth], attribute, classes)
        strange = run.images().drop_duplicates("id")["axis_occupation"].to_numpy() == outside
        run.write_scores(table.assign(in_domain=pd.array(~strange, dtype="boolean")))
    return run


def calibrations() -> dict[str, Any]:
    """Of scorers that are right 195 times in 200."""
    found = {}
    for attribute, classes in CLASSES.items():
        k = len(classes)
        weights = np.full((k + 1, k), 4 / (k - 1)) * (1 - np.eye(k + 1, k)) + 195 * np.eye(k + 1, k)
        weights[k] = 1
        found[attribute] = SimpleNamespace(
            classes=classes, outcomes=[*classes, "unknown"], weights=weights.tolist(), n_effective=[200.0] * k
        )
    return found


def _scores(images: pd.DataFrame, labels: list[str], attribute: str, classes: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(
        {"id": images["id"], "scorer": attribute, "scorer_version": 1, "encoder": ENCODER, "label": labels,
         "confidence": 0.9, "in_domain": pd.array([True] * len(labels), dtype="boolean"), "domain_distance": 0.1}
    )  # fmt: skip
    for name in classes:
        table[f"p_{name}"] = [0.9 if label == name else 0.1 / (len(classes) - 1) for label in labels]
    total = table[[f"p_{name}" for name in classes]].sum(axis=1)
    for name in classes:
        table[f"p_{name}"] /= total
    return table.drop_duplicates("id", ignore_index=True)


def record(table: pd.DataFrame) -> dict[str, Any]:
    """As `mitigate` writes it."""
    found = verdicts(table, judge=ENCODER, attribute="gender")
    about = {"name": "prompt-diversification", "version": 1, "options": {}, "target": None}
    return {
        "spec": {"name": "known", "prompts": 24, "images": 144, "images_per_prompt": 6, "seed": 0},
        "generator": "known", "target": "gender=uniform", "attribute": "gender",
        "methods": dict.fromkeys(dict.fromkeys(table["method"]), about), "refused": {}, "judge": ENCODER,
        "tuned_with": ENCODER, "encoders": [ENCODER], "runs": {}, "verdicts": [v.as_dict() for v in found],
        "notes": [], "seconds": 1.0, "by": "occupation",
    }  # fmt: skip


def write_evaluation(folder: Path) -> Path:
    """An evaluation of two methods on disk, one of which meets its target and one of which does nothing."""
    a = make_run(folder / "runs", drawn(PLANTED), seed=1)
    tables = []
    for seed, (name, labels) in enumerate(
        {"works": drawn(dict.fromkeys(PLANTED, 0.5)), "idle": drawn(PLANTED)}.items()
    ):
        b = make_run(folder / "runs", labels, seed=2 + seed, mitigation=name, pixels=1 + seed)
        tables.append(evaluate(a, b, POLICY, method=name, encoder=ENCODER, calibrations=calibrations(), n_boot=200))
    table = pd.concat(tables, ignore_index=True)
    return write(folder, Evaluation(record(table), table))
