"""Runs made under a plan, with scores whose truth is known: 'nurse' far from an even split, the others at it."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from stats_helpers import calibration

from auditkit.bias.base import Options
from auditkit.bias.measuring import measure_run
from auditkit.plan import Analysis, Plan, Sequential, Sizing
from auditkit.runs import Run, create
from auditkit.spec import RunSpec

GENERATOR: dict[str, Any] = {"name": "synthetic", "kind": "test", "resolution": 8}
FEMALE = {"nurse": 0.95, "judge": 0.5, "chef": 0.5}


def spec(images_per_prompt: int = 12, **more: Any) -> RunSpec:
    return RunSpec(
        name="small",
        templates=["a portrait of {a job}", "{a job}", "one {job}", "{a job} at work"],
        axes={"job": list(FEMALE)},
        images_per_prompt=images_per_prompt,
        by="job",
        **more,
    )


def plan(looks: list[int] | None = None, images_per_prompt: int = 12, **analysis: Any) -> Plan:
    asked = {"by": "job", "attributes": ["gender"], "encoder": "personas-clip", "min_n": 10, "replicates": 200}
    return Plan(
        created="2020-01-01T00:00:00+00:00",
        analysis=Analysis.model_validate(asked | analysis),
        sizing=Sizing(difference=0.3),
        sequential=Sequential(looks=looks) if looks else None,
        spec=spec(images_per_prompt),
    )


def made(folder: Path, asked: Plan | None, of: RunSpec | None = None) -> Run:
    """The run as far as it may be made now, scored."""
    with create(
        folder, of or (asked.spec if asked else spec()), GENERATOR, plan=asked.record() if asked else None
    ) as writer:
        for shard in writer.pending():
            images = [Image.new("RGB", (8, 8), tuple(task.seed.to_bytes(8, "big")[-3:])) for task in shard.tasks]
            writer.write_shard(shard, images, [1.0] * len(images), {})
        run = writer.finish()
    run.write_scores(scores(run.images()))
    return run


def scores(images: pd.DataFrame) -> pd.DataFrame:
    """Perceived gender of each image, which hangs on its id alone."""
    draws = images["id"].map(lambda id: np.random.default_rng(zlib.crc32(id.encode())).random())
    female = (draws < images["axis_job"].map(FEMALE)).to_numpy()
    return pd.DataFrame(
        {
            "id": images["id"],
            "scorer": "gender",
            "scorer_version": 1,
            "encoder": "personas-clip",
            "label": np.where(female, "female", "male"),
            "confidence": 0.99,
            "in_domain": pd.array([True] * len(images), dtype="boolean"),
            "domain_distance": 0.1,
            "p_female": np.where(female, 0.99, 0.01),
            "p_male": np.where(female, 0.01, 0.99),
        }
    )


def measured(run: Run, **changes: Any) -> Run:
    """The run with `representation` of gender, by a calibration of 2,000 images a class."""
    asked = Options(
        by="job",
        attributes=("gender",),
        n_boot=200,
        min_n=10,
        calibrations={"gender": calibration("gender", right=0.99, unknown=0.01, n=2000)},  # type: ignore[dict-item]
    )
    measure_run(run, asked.but(**changes), ["representation"])
    return run
