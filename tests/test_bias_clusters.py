"""Embedding clusters: valid although they are fitted on the images that they are tested on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from embedded_helpers import Pictures, embedded_run, images_table

from auditkit.bias.base import Options
from auditkit.bias.clusters import Clusters, cluster_images, clusters, n_clusters, stability
from auditkit.bias.exchangeable import find_units, prompt_units
from auditkit.runs import Run
from auditkit.schemas import MEASUREMENTS, check
from auditkit.stats.dependence import cramers_v

JOBS = ["baker", "clerk", "diver", "guide"]
OPTIONS = Options(by="job", n_boot=200)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def audited(tmp_path: Path, pictures: Pictures) -> Callable[..., tuple[Run, pd.DataFrame]]:
    """Makes a run and measures it."""

    def make(
        *,
        groups: list[str] = JOBS,
        templates: int = 8,
        replicates: int = 6,
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda images: images,
        options: Options = OPTIONS,
        folder: str = "run",
        **embed: Any,
    ) -> tuple[Run, pd.DataFrame]:
        images = change(images_table(groups, templates=templates, replicates=replicates))
        embeddings = pictures.embed(images, np.random.default_rng(0), **embed)
        run = embedded_run(tmp_path / folder, images, embeddings)
        return run, check(clusters.measure(run, options), MEASUREMENTS, "clusters")

    return make


def part(rows: pd.DataFrame, statistic: str) -> pd.DataFrame:
    return rows[rows["measure"] == f"clusters.{statistic}"]


def test_p_values_are_uniform_although_clusters_are_fitted_on_the_images_that_are_tested(pictures):
    """The clustering sees no groups and takes images in the order of their ids, so that exchanging prompts between
    groups is exact: no second half of prompts needs to be kept for the test."""
    images = images_table(JOBS, templates=6, replicates=5)
    groups = {job: (images["axis_job"] == job).to_numpy() for job in JOBS}
    prompts, ids = prompt_units(images, groups), images["id"].to_numpy(object)
    units = find_units(images, groups, "job", min_n=20)
    p = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        x = pictures.embed(images, rng, alike=1.0)
        found = cluster_images(x.astype(np.float32), prompts, ids, 5, seed=0)
        counts = units.counts(found.label, 5)
        p.append(cramers_v(counts, units.group, units.block, rng, replicates=99).p_value)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 120))


def test_a_group_that_looks_otherwise_is_found_and_the_others_are_nearer(audited):
    _, rows = audited(shifts={("diver", "dog"): 3.0})
    assert part(rows, "dependence")["p_value"].iloc[0] < 0.01
    apart = part(rows, "distance").set_index("group")
    assert apart["estimate"].idxmax() == "diver"
    assert apart.loc["diver", "p_holm"] < 0.05
    assert apart.loc["diver", "ci_low"] > 0


def test_groups_that_prompts_alone_set_apart_share_their_clusters(audited):
    """Groups lie far apart in the whole space (`asked` in the helper), and alike in what prompts leave open."""
    _, rows = audited()
    assert part(rows, "dependence")["estimate"].iloc[0] < 0.15
    assert part(rows, "dependence")["ci_low"].iloc[0] == 0
    assert (part(rows, "share")["p_bh"].dropna() > 0.05).all()


def test_a_group_shown_in_one_way_uses_few_clusters(audited, pictures, tmp_path):
    images = images_table(JOBS, templates=8, replicates=12)
    x = pictures.embed(images, np.random.default_rng(0))
    mine = (images["axis_job"] == "guide").to_numpy()
    x[mine] = x[mine].mean(axis=0) + 0.1 * (x[mine] - x[mine].mean(axis=0))
    rows = clusters.measure(embedded_run(tmp_path / "narrow", images, x), OPTIONS)
    used = part(rows, "entropy").set_index("group")
    assert used["estimate"].drop("all").idxmin() == "guide"
    assert used.loc["guide", "p_holm"] < 0.05
    assert used.loc["guide", "ci_high"] < used.loc["guide", "null_value"]


def test_shares_of_a_group_sum_to_one_and_lie_in_their_intervals(audited):
    _, rows = audited()
    shares = part(rows, "share")
    np.testing.assert_allclose(shares.groupby("group")["estimate"].sum(), 1)
    assert ((shares["ci_low"] <= shares["estimate"]) & (shares["estimate"] <= shares["ci_high"])).all()
    assert shares.groupby("group")["category"].nunique().eq(4).all()


def test_assignments_are_kept_as_scores_that_a_gallery_can_filter_by(audited):
    run, rows = audited()
    scores = run.scores("cluster")["cluster@personas-clip"]
    assert scores["id"].tolist() == run.images()["id"].tolist()
    assert sorted(scores["label"].unique()) == [f"cluster {i:02d}" for i in (1, 2, 3, 4)]
    posterior = scores.filter(regex="^p_cluster")
    assert (posterior.idxmax(axis=1).str[2:] == scores["label"]).all()
    counted = scores["label"].value_counts(normalize=True)
    whole = part(rows, "share").query("group == 'all'").set_index("category")["estimate"]
    np.testing.assert_allclose(counted[whole.index], whole)
    assert whole.is_monotonic_decreasing


def test_clusters_do_not_hang_on_the_order_of_the_table(pictures):
    images = images_table(JOBS, templates=6, replicates=5)
    x = pictures.embed(images, np.random.default_rng(1)).astype(np.float32)
    prompts, ids = images["prompt_id"].to_numpy(np.intp), images["id"].to_numpy(object)
    order = np.random.default_rng(2).permutation(len(images))
    a = cluster_images(x, prompts, ids, 5, seed=0)
    b = cluster_images(x[order], prompts[order], ids[order], 5, seed=0)
    assert (a.label[order] == b.label).all()
    np.testing.assert_array_equal(
        stability(a, prompts, ids, seed=0).round(6), stability(b, prompts[order], ids[order], seed=0).round(6)
    )


def test_separate_clouds_are_stable_and_one_cloud_is_not():
    rng = np.random.default_rng(0)
    ids = np.array([f"{i:04d}" for i in rng.permutation(600)], object)
    prompts = np.arange(600) // 6

    def clustered(points: np.ndarray) -> np.ndarray:
        images = np.hstack([points, 0.01 * rng.normal(size=(600, 4))]).astype(np.float32)
        found = cluster_images(images, prompts, ids, 4, seed=0)
        assert isinstance(found, Clusters)
        return stability(found, prompts, ids, seed=0)

    corners = 10 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert clustered(corners[rng.integers(4, size=600)] + rng.normal(size=(600, 2))).mean() > 0.95
    assert clustered(rng.normal(size=(600, 6))).mean() < 0.6


def test_unstable_clusters_are_told(audited):
    _, rows = audited(replicates=20, templates=10)
    row = part(rows, "stability").iloc[0]
    assert row["estimate"] < 0.6
    assert row["note"].startswith("unstable")


def test_more_images_give_more_clusters_within_limits():
    assert n_clusters(79, 40) == 0
    assert n_clusters(100, 25) == 4
    assert n_clusters(1000, 50) == 12
    assert n_clusters(10**6, 10**5) == 24


def test_prompts_of_one_image_are_clustered_as_a_whole_with_a_caution(audited):
    _, rows = audited(templates=30, replicates=1)
    assert rows["note"].str.contains("too few images each").any()
    assert part(rows, "dependence")["note"].iloc[0].endswith("what the prompts ask for")


def test_without_groups_there_are_clusters_and_no_comparison(audited):
    _, rows = audited(options=OPTIONS.but(by="all"))
    assert set(rows["measure"]) == {"clusters.share", "clusters.entropy", "clusters.stability"}
    assert (rows["group"] == "all").all()


def test_groups_that_are_too_small_are_insufficient_and_the_rest_is_measured(audited):
    def fewer(images: pd.DataFrame) -> pd.DataFrame:
        return images[(images["axis_job"] != "clerk") | (images["replicate"] < 2)].reset_index(drop=True)

    _, rows = audited(change=fewer)
    silent = rows[rows["status"] == "insufficient"]
    assert set(silent["group"]) == {"clerk"}
    assert silent["estimate"].isna().all()
    assert silent["note"].eq("16 images; 20 are needed").all()
    assert "1 groups are too small" in part(rows, "dependence")["note"].iloc[0]


def test_one_group_is_compared_with_nothing(audited):
    _, rows = audited(groups=["baker"], templates=20)
    assert part(rows, "dependence")["status"].iloc[0] == "insufficient"
    assert part(rows, "distance")["status"].iloc[0] == "insufficient"


def test_images_that_do_not_differ_are_not_clustered(tmp_path):
    images = images_table(JOBS, templates=8, replicates=6)
    run = embedded_run(tmp_path / "same", images, np.ones((len(images), 8)))
    rows = check(clusters.measure(run, OPTIONS), MEASUREMENTS, "clusters")
    assert rows["status"].tolist() == ["insufficient"]
    assert "do not differ" in rows["note"].iloc[0]


def test_it_applies_where_there_are_embeddings_of_images_enough(audited, tiny_run, tmp_path):
    run, _ = audited()
    assert clusters.applies(run, OPTIONS) == ""
    assert "auditkit score" in clusters.applies(tiny_run, OPTIONS)
    few = images_table(JOBS, templates=2, replicates=5)
    assert "too few to cluster" in clusters.applies(embedded_run(tmp_path / "few", few, np.eye(40)), OPTIONS)
