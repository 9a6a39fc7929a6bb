"""A pool of unit vectors with known classes, in place of embedded drawings: no model and no corpus is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from auditkit.clip.attributes import attribute
from auditkit.clip.calibration import Calibration
from auditkit.clip.posteriors import decide, posteriors
from auditkit.runs import Run, create
from auditkit.spec import RunSpec
from benchmarks.truth.compose import Population, Setting
from benchmarks.truth.pool import ATTRIBUTES, COPIES, QUALITIES, STYLES, Pool

SCALE = 30.0
NOISE = {"clean": 0.5, "soft": 0.55, "jpeg": 0.6, "blurred": 0.7, "smeared": 1.0, "ruined": 4.0}
"""Standard deviation of what is added to the class's direction, by quality."""


def make_pool(*, each: int = 24, dim: int = 24, seed: int = 0) -> Pool:
    """Drawings with `each` of every gender, tone and style; the unseen style lies off to one side."""
    rng = np.random.default_rng(seed)
    k = [len(attribute(name).classes) for name in ATTRIBUTES]
    directions = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    texts = {"gender": directions[: k[0]], "skin_tone": directions[k[0] : sum(k)]}
    aside = directions[-1]
    cells = [(style, g, t) for style in STYLES for g in range(k[0]) for t in range(k[1]) for _ in range(each)]
    drawings = pd.DataFrame(cells, columns=["style", *ATTRIBUTES]).assign(source=np.arange(len(cells)))
    own = rng.normal(0, 0.3, (len(cells), dim))
    tables, vectors = [], []
    for quality in QUALITIES:
        for copy in range(COPIES.get(quality, 1)):
            x = 2 * texts["gender"][drawings["gender"]] + 2 * texts["skin_tone"][drawings["skin_tone"]]
            x = x + own + rng.normal(0, NOISE[quality], x.shape)
            x[drawings["style"] == "unseen"] += 6 * aside
            tables.append(drawings.assign(quality=quality, copy=copy))
            vectors.append(x / np.linalg.norm(x, axis=1, keepdims=True))
    embeddings = np.concatenate(vectors).astype(np.float32)
    vectors_of = {name: rows.astype(np.float32) for name, rows in texts.items()}
    return Pool(pd.concat(tables, ignore_index=True), embeddings, vectors_of, "synthetic", "0" * 64, SCALE)


def compose_run(
    out: Path, population: Population, setting: Setting, calibrations: dict[str, Calibration], *, seed: int
) -> Run:
    """A run on disk, one axis value a group of the setting, whose scores are those of drawings with the dialled shares;
    each attribute has drawings of its own, as in the bench. The image files are plain: only their scores are read."""
    rng = np.random.default_rng(seed)
    drawn = {name: population.audit(setting, name, rng) for name in ATTRIBUTES}
    groups = [f"group {i}" for i in range(len(setting.truth(ATTRIBUTES[0])))]
    spec = RunSpec(
        name="composed",
        templates=[f"{{group}}, view {i}" for i in range(setting.prompts)],
        axes={"group": groups},
        images_per_prompt=setting.images,
        by="group",
    )
    writer = create(out, spec, {"name": "composed", "kind": "test", "resolution": 8})
    for shard in writer.pending():
        images = [Image.new("RGB", (8, 8), tuple(task.seed.to_bytes(8, "big")[-3:])) for task in shard.tasks]
        writer.write_shard(shard, images, [1.0] * len(images), {"sampler": "none", "steps": 1, "guidance": 1.0})
    run = writer.finish()
    table = run.images()
    # Image j of prompt i of group g is image j of the drawn prompt of that group.
    view = table["template"].map({t: i for i, t in enumerate(spec.templates)})
    group = table["axis_group"].map({g: i for i, g in enumerate(groups)})
    at = ((group * setting.prompts + view) * setting.images + table["replicate"]).to_numpy(int)
    for name in ATTRIBUTES:
        run.write_scores(_scores(table, population, setting, name, drawn[name].row[at], calibrations[name]))
    return run


def _scores(
    table: pd.DataFrame, population: Population, setting: Setting, name: str, row: np.ndarray, calibration: Calibration
) -> pd.DataFrame:
    cosines = population.cosines(name, setting.noise)[row]
    posterior = posteriors(cosines, SCALE, calibration.temperature)
    outcomes = np.array([*calibration.classes, "unknown"], object)
    inside = population.pool.inside(setting.calibration.style, tuple(setting.calibration.quality))[row]
    scores = pd.DataFrame(
        {
            "id": table["id"],
            "scorer": name,
            "scorer_version": 1,
            "encoder": "personas-clip",
            "label": outcomes[decide(posterior, calibration.threshold)],
            "confidence": posterior.max(axis=1).astype(float),
            "in_domain": pd.array(inside, dtype="boolean"),
            "domain_distance": 0.1,
        }
    )
    return scores.assign(**{f"p_{c}": posterior[:, i].astype(float) for i, c in enumerate(calibration.classes)})
