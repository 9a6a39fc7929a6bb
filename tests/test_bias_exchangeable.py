"""Which prompts a test may exchange between groups: those that are otherwise alike, where every group has as many."""

from __future__ import annotations

import numpy as np
import pandas as pd
from embedded_helpers import images_table

from auditkit.bias.exchangeable import find_units, prompt_units

JOBS = ["baker", "clerk", "diver"]


def units(images: pd.DataFrame, axis: str = "job", **more):
    groups = {str(value): (images[f"axis_{axis}"] == value).to_numpy() for value in images[f"axis_{axis}"].unique()}
    return find_units(images, groups, axis, **{"min_n": 1, **more})


def test_prompts_of_one_template_change_places():
    found = units(images_table(JOBS, templates=4, replicates=3))
    assert found.exchange == "prompts of one template change places"
    assert len(np.unique(found.block)) == 4
    assert (np.bincount(found.block) == 3).all()
    assert np.bincount(found.group).tolist() == [4, 4, 4]
    assert found.counts(np.zeros(36, int), 2)[:, 0].tolist() == [3] * 12


def test_prompts_that_differ_in_another_axis_do_not():
    images = images_table(JOBS, templates=8, replicates=2)
    number = images["template"].str.extract(r"(\d)")[0].astype(int)
    images = images.assign(template=np.where(number < 4, "a", "b"), axis_mood=(number % 4).astype(str))
    found = units(images)
    assert found.exchange == "prompts of one template change places, other axes alike"
    assert len(np.unique(found.block)) == 8


def test_several_prompts_alike_are_paired_off():
    images = images_table(JOBS, templates=8, replicates=2)
    number = images["template"].str.extract(r"(\d)")[0].astype(int)
    found = units(images.assign(template=np.where(number < 4, "a", "b")))
    assert len(np.unique(found.block)) == 8
    assert (np.bincount(found.block) == 3).all()


def test_any_prompts_change_places_where_a_template_lacks_a_group():
    images = images_table(JOBS, templates=4, replicates=3)
    lacking = (images["axis_job"] == "clerk") & images["template"].str.startswith("picture 3")
    found = units(images[~lacking].reset_index(drop=True))
    assert found.exchange == "any prompts change places"
    assert not found.block.any()


def test_a_prompt_that_groups_share_is_a_unit_in_each():
    images = images_table(JOBS, templates=4, replicates=6).assign(prompt_id=lambda t: t["template"].str[8].astype(int))
    groups = {job: (images["axis_job"] == job).to_numpy() for job in JOBS}
    assert len(np.unique(prompt_units(images, groups))) == 12


def test_groups_that_are_too_small_are_left_out_with_the_reason():
    images = images_table(JOBS, templates=4, replicates=6)
    few = (images["axis_job"] == "clerk") & (images["replicate"] > 1)
    one = (images["axis_job"] == "diver") & ~images["template"].str.startswith("picture 0")
    found = units(images[~few & ~one].assign(replicate=0).reset_index(drop=True), min_n=6)
    assert found.names == ["baker", "clerk"]
    assert found.left_out == {"diver": "1 prompt; 3 are needed to compare groups"}
    assert units(images[~few].reset_index(drop=True), min_n=10).left_out == {"clerk": "8 images; 10 are needed"}
    assert not units(images[images["axis_job"] == "baker"].reset_index(drop=True)).comparable


def test_without_groups_all_prompts_are_one():
    found = find_units(images_table(JOBS, templates=4, replicates=3), {}, "all", min_n=1)
    assert found.names == ["all"]
    assert not found.comparable
    assert not found.group.any()
