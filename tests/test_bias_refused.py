"""Refusals as an outcome: who is refused more often, and what the chapter says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY_GENERATOR
from PIL import Image

from auditkit.bias.base import Options, adjust, table
from auditkit.bias.refused import refused_rows
from auditkit.runs import Refused, Run, Task, create
from auditkit.schemas import MEASUREMENTS, check
from auditkit.spec import RunSpec
from reports.chapters import Table
from reports.chapters.missingness import chapter

SPEC = RunSpec(
    name="asked",
    generator="plain",
    templates=[f"{{occupation}} {place}" for place in ("here", "there", "at sea", "at home", "abroad", "in town")],
    axes={"occupation": ["artist", "judge", "pilot"]},
    images_per_prompt=10,
    by="occupation",
)


def made(out: Path, refuse: dict[str, float]) -> Run:
    """A run in which each group is refused at its rate."""
    rng = np.random.default_rng(0)

    def answer(task: Task) -> Image.Image | Refused:
        refused = rng.random() < refuse.get(task.prompt.axes["occupation"], 0.0)
        return Refused("policy", "no") if refused else Image.new("RGB", (4, 4), tuple(rng.integers(0, 256, 3)))

    with create(out, SPEC, TINY_GENERATOR) as writer:
        for shard in writer.pending():
            images = [answer(task) for task in shard.tasks]
            writer.write_shard(shard, images, [1.0] * len(images), TINY_GENERATOR["defaults"])
        return writer.finish()


def measured(run: Run, **more: object) -> pd.DataFrame:
    options = Options(**({"by": "occupation", "n_boot": 400} | more))
    return table(adjust(refused_rows(1, run, run.images(), options)))


def one(found: pd.DataFrame, statistic: str, group: str) -> pd.Series:
    return found[(found["measure"] == f"missingness.{statistic}") & (found["group"] == group)].iloc[0]


def test_a_run_without_refusals_has_no_rows(tmp_path):
    assert measured(made(tmp_path, {})).empty


def test_the_share_is_of_what_was_asked_for_and_the_group_that_stands_out_is_found(tmp_path):
    run = made(tmp_path, {"judge": 0.6, "pilot": 0.05})
    found = measured(run)
    check(found, MEASUREMENTS, "test")
    assert set(found["status"]) == {"ok"}
    judge = one(found, "refused", "judge")
    assert judge["n_images"] == 60
    assert judge["estimate"] == 1 - (run.images()["axis_occupation"] == "judge").sum() / 60
    assert judge["ci_low"] < 0.6 < judge["ci_high"]
    assert judge["note"] == "reasons given: policy"
    assert one(found, "refused", "all")["n_images"] == 180
    assert one(found, "refused", "all")["estimate"] == run.record["refused"] / 180
    assert one(found, "refused_difference", "judge")["p_holm"] < 0.05
    assert one(found, "refused_difference", "judge")["ci_low"] > 0.3


def test_a_group_that_was_refused_altogether_is_counted(tmp_path):
    found = measured(made(tmp_path, {"judge": 1.0}))
    assert one(found, "refused", "judge")["estimate"] == 1
    assert one(found, "refused", "artist")["estimate"] == 0


def test_too_few_asked_for_have_no_number(tmp_path):
    found = measured(made(tmp_path, {"judge": 0.5}), min_n=100)
    assert set(found[found["group"] != "all"]["status"]) == {"insufficient"}
    assert np.isnan(one(found, "refused", "judge")["estimate"])
    assert one(found, "refused", "all")["status"] == "ok"


@pytest.mark.parametrize("by", ["occupation", "all"])
def test_the_chapter_says_how_many_were_refused_and_whose(tmp_path, by):
    run = made(tmp_path, {"judge": 0.6})
    page = chapter(measured(run, by=by), run)
    assert page is not None
    said = " ".join(page.lead)
    assert "of the 180 images it was asked for (reasons given: policy)" in said
    assert ("judge (" in said.lower()) == (by == "occupation")
    (block,) = page.blocks
    assert isinstance(block, Table)
    assert "refused" in block.caption
