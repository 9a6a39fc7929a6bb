"""Drawings with a known skin colour, and runs whose skin scores follow from a known truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from auditkit.bias.skin_color import MONK
from auditkit.runs import Run, create
from auditkit.spec import RunSpec

JOBS = ("judge", "nurse", "artist", "chef")


def portrait(skin: str, *, paper: str = "#deebf7", hair: str = "#241a14", coat: str = "#35507a") -> Image.Image:
    """A drawn head and shoulders of 128 px."""
    image = Image.new("RGB", (128, 128), paper)
    pen = ImageDraw.Draw(image)
    pen.rectangle((28, 96, 100, 128), fill=coat)
    pen.ellipse((34, 20, 94, 84), fill=hair)
    pen.ellipse((40, 34, 88, 98), fill=skin)
    for x in (52, 70):
        pen.ellipse((x, 56, x + 6, 64), fill="#222222")
    pen.arc((52, 66, 78, 86), 20, 160, fill="#7a2e2e", width=3)
    return image


def pixels_run(
    out: Path,
    rng: np.random.Generator,
    *,
    means: tuple[float, ...] = (20.0, 20.0, 20.0, 20.0),
    prompts: int = 8,
    images: int = 6,
    between: float = 5.0,
    within: float = 20.0,
    unknown: float = 0.0,
) -> Run:
    """A run of plain images whose skin scores are drawn: angle = mean of the job + prompt's effect + noise.

    The classifier's posterior follows the angle with noise of its own; its label is never unknown.
    """
    templates = [f"a portrait of {{a occupation}} number {i}" for i in range(prompts)]
    spec = RunSpec(
        name="skin", templates=templates, axes={"occupation": list(JOBS[: len(means)])}, images_per_prompt=images,
        by="occupation",
    )  # fmt: skip
    writer = create(out, spec, {"name": "synthetic", "kind": "test", "resolution": 8}, shard_size=1000)
    for number, shard in enumerate(writer.pending()):
        colours = rng.integers(0, 256, (len(shard.tasks), 3))
        plain = [Image.new("RGB", (8, 8), tuple(int(v) for v in colour)) for colour in colours]
        for place, image in enumerate(plain):  # ids must differ
            image.putpixel((0, 0), (number % 256, place // 256 % 256, place % 256))
        writer.write_shard(shard, plain, [1.0] * len(plain), {"sampler": "none", "steps": 1, "guidance": 1.0})
    run = writer.finish()
    rewrite_scores(run, rng, means=means, between=between, within=within, unknown=unknown)
    return run


def rewrite_scores(
    run: Run,
    rng: np.random.Generator,
    *,
    means: tuple[float, ...],
    between: float = 5.0,
    within: float = 20.0,
    unknown: float = 0.0,
) -> None:
    """Draw the run's scores anew."""
    for scores in drawn_scores(run.images(), rng, means=means, between=between, within=within, unknown=unknown):
        run.write_scores(scores)


class InMemory:
    """A run's tables without its files, for simulations of many audits."""

    id = "in-memory"

    def __init__(self, images: pd.DataFrame, scores: list[pd.DataFrame]):
        self._images, self._scores = images, scores

    def images(self) -> pd.DataFrame:
        return self._images

    def scores(self, name: str | None = None) -> dict[str, pd.DataFrame]:
        return {f"{s['scorer'].iloc[0]}@{s['encoder'].iloc[0]}": s for s in self._scores}


def drawn_scores(
    table: pd.DataFrame,
    rng: np.random.Generator,
    *,
    means: tuple[float, ...],
    between: float = 5.0,
    within: float = 20.0,
    unknown: float = 0.0,
) -> list[pd.DataFrame]:
    """Scores of `skin_pixels` and of the classifier; see `pixels_run`."""
    job = table["axis_occupation"].map(dict(zip(JOBS, means, strict=False))).to_numpy(float)
    effect = rng.normal(0, between, int(table["prompt_id"].max()) + 1)[table["prompt_id"]]
    angle = job + effect + rng.normal(0, within, len(table))
    known = rng.random(len(table)) >= unknown
    tone = np.clip(np.round(10 - (angle + 85) / 18), 1, 10).astype(int) - 1
    return [_pixels(table, angle, tone, known), _classifier(table, angle + rng.normal(0, 10, len(table)))]


def _pixels(table: pd.DataFrame, angle: np.ndarray, tone: np.ndarray, known: np.ndarray) -> pd.DataFrame:
    scores = _base(table, "skin_pixels", "pixels")
    scores["label"] = np.where(known, np.array(MONK)[tone], "unknown")
    scores["v_ita"] = np.where(known, angle, np.nan)
    for name in ("v_lightness", "v_delta_e", "v_fraction", "v_centre"):
        scores[name] = 0.1
    for place, name in enumerate(MONK):
        scores[f"p_{name}"] = (tone == place).astype(float)
    return scores


def _classifier(table: pd.DataFrame, angle: np.ndarray) -> pd.DataFrame:
    classes = ["light", "medium-light", "medium", "medium-dark", "dark"]
    centres = np.array([60.0, 40.0, 15.0, -20.0, -60.0])
    powers = np.exp(-np.abs(angle[:, None] - centres) / 10)
    posterior = powers / powers.sum(axis=1, keepdims=True)
    scores = _base(table, "skin_tone", "personas-clip")
    scores["label"] = np.array(classes)[posterior.argmax(axis=1)]
    for place, name in enumerate(classes):
        scores[f"p_{name}"] = posterior[:, place]
    return scores


def _base(table: pd.DataFrame, scorer: str, encoder: str) -> pd.DataFrame:
    common = {"scorer": scorer, "scorer_version": 1, "encoder": encoder, "confidence": 0.9, "domain_distance": np.nan}
    inside = pd.array([True if encoder != "pixels" else None] * len(table), dtype="boolean")
    return pd.DataFrame({"id": table["id"], "label": ""} | common | {"in_domain": inside})
