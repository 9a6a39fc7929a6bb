"""The measure `quality` on embeddings of known truth: what was planted is found, and what is not known is said."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from auditkit.bias.base import Options
from auditkit.bias.quality import POOL, quality
from auditkit.clip.domain import Domain
from auditkit.clip.training import Threshold, TrainingReference
from auditkit.errors import CalibrationError
from auditkit.schemas import MEASUREMENTS, check
from tests.features_helpers import FeatureRun, see, unit

OPTIONS = Options(by="occupation")


def reference_of(run: FeatureRun, *, threshold: float = 5.0) -> Domain:
    return Domain(run.embeddings, threshold, 5, "sha", "drawings of the same kind", run.table["prompt_id"].to_numpy())


def training_of(embeddings: np.ndarray, *, at: float = 0.99) -> TrainingReference:
    fit = Threshold(at, 4, 400, 0.95)
    return TrainingReference(embeddings, fit, fit, ("personas",), "sha", "training drawings")


def rows(table: pd.DataFrame, statistic: str, **where: str) -> pd.DataFrame:
    chosen = table[table["measure"] == f"quality.{statistic}"]
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    return chosen


def measured(run: FeatureRun, monkeypatch, *, options: Options = OPTIONS, **beside: object) -> pd.DataFrame:
    see(monkeypatch, **beside)
    return check(quality.measure(run, options), MEASUREMENTS, "test")


def test_the_clip_score_is_a_hundred_times_the_cosine_and_its_interval_covers(monkeypatch):
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(2, 32)))

    def drawn(**shape: int) -> tuple[FeatureRun, float]:
        run = FeatureRun(rng, groups=2, centres=centres, **shape)
        run.texts = {prompt: centres[int("job 1" in prompt)].astype(np.float32) for prompt in run.texts}
        return run, 100 * float(np.einsum("nd,nd->n", run.embeddings, centres[run.group]).mean())

    _, truth = drawn(templates=1000, images=5)
    hits = []
    for _ in range(40):
        run, cosine = drawn(templates=8, images=5)
        found = rows(measured(run, monkeypatch), "clip_score", group="all").iloc[0]
        assert found["estimate"] == pytest.approx(cosine, abs=1e-3)
        hits.append(found["ci_low"] <= truth <= found["ci_high"])
    assert np.mean(hits) >= 0.87


def test_a_group_that_is_unlike_its_prompts_is_told_from_the_others(monkeypatch):
    rng = np.random.default_rng(2)
    run = FeatureRun(rng)
    lost = run.group == 2
    run.embeddings[lost] = unit(rng.normal(size=(lost.sum(), 32))).astype(np.float32)
    found = rows(measured(run, monkeypatch), "clip_score").set_index("group")
    assert found.loc["job 2", "p_holm"] < 0.001
    assert found.loc["job 2", "estimate"] < found.loc["job 0", "estimate"]


def test_retrieval_is_one_where_images_match_and_chance_where_they_do_not(monkeypatch):
    rng = np.random.default_rng(3)
    run = FeatureRun(rng, spread=0.1)
    good = rows(measured(run, monkeypatch), "retrieval", group="all").iloc[0]
    assert good["estimate"] == 1
    assert good["null_value"] == pytest.approx(1 / 3)
    run.embeddings = unit(rng.normal(size=run.embeddings.shape)).astype(np.float32)
    chance = rows(measured(run, monkeypatch), "retrieval", group="all").iloc[0]
    assert chance["ci_low"] < 1 / 3 < chance["ci_high"]


def test_retrieval_without_a_prompt_of_every_group_is_insufficient(monkeypatch):
    run = FeatureRun(np.random.default_rng(4))
    run.table["template"] = run.table["prompt"]
    found = rows(measured(run, monkeypatch), "retrieval")
    assert (found["status"] == "insufficient").all()
    assert found["note"].str.contains("no template was prompted for every occupation").all()


def test_the_feature_distance_of_images_of_the_references_kind_covers_zero(monkeypatch):
    rng = np.random.default_rng(5)
    alike = FeatureRun(rng, groups=1, templates=60, images=6)
    other = FeatureRun(rng, groups=1, templates=60, images=6, centres=alike.centres)
    near = rows(measured(other, monkeypatch, domain=reference_of(alike)), "feature_distance").iloc[0]
    assert near["ci_low"] < 0 < near["ci_high"]
    far = FeatureRun(rng, groups=1, templates=60, images=6)
    distant = rows(measured(far, monkeypatch, domain=reference_of(alike)), "feature_distance").iloc[0]
    assert distant["ci_low"] > 0.05


def test_the_frechet_distance_is_withheld_where_images_are_few(monkeypatch):
    run = FeatureRun(np.random.default_rng(6), dim=32)
    few = rows(measured(run, monkeypatch, domain=reference_of(run)), "frechet_distance").iloc[0]
    assert few["status"] == "insufficient"
    assert "biased upward" in few["note"]
    many = FeatureRun(np.random.default_rng(7), dim=8, templates=40)
    told = rows(measured(many, monkeypatch, domain=reference_of(many)), "frechet_distance").iloc[0]
    assert told["status"] == "ok"
    assert told["ci_low"] <= told["estimate"] <= told["ci_high"]


def test_planted_near_duplicates_and_exact_ones_are_found_at_their_rate(monkeypatch):
    rng = np.random.default_rng(8)
    run = FeatureRun(rng, templates=20, spread=2.0)
    n = len(run.table)
    first = rng.permutation(np.flatnonzero(run.group == 0))[:40]
    noise = rng.normal(0, 0.005, (20, 32))
    run.embeddings[first[:20]] = unit(run.embeddings[first[20:]] + noise).astype(np.float32)
    run.table.loc[first[:10], "id"] = run.table["id"].to_numpy()[first[20:30]]
    table = measured(run, monkeypatch, domain=reference_of(run), training=training_of(run.embeddings[:5]))
    near = rows(table, "near_duplicates").set_index("group")
    assert near.loc["job 0", "estimate"] == pytest.approx(40 / 200)
    assert near.loc["job 1", "estimate"] == 0
    assert near.loc["job 1", "ci_high"] > 0
    assert near.loc["all", "estimate"] == pytest.approx(40 / n)
    exact = rows(table, "exact_duplicates").set_index("group")
    assert exact.loc["job 0", "estimate"] == pytest.approx(20 / 200)


def test_memorised_pictures_are_found_at_their_rate_and_the_interval_covers(monkeypatch):
    rng = np.random.default_rng(9)
    training = unit(rng.normal(size=(300, 32))).astype(np.float32)
    hits = 0
    for _ in range(25):
        run = FeatureRun(rng, spread=2.0)
        copied = rng.random(len(run.table)) < 0.1
        pick = training[rng.integers(300, size=copied.sum())]
        run.embeddings[copied] = unit(pick + rng.normal(0, 0.005, pick.shape)).astype(np.float32)
        table = measured(run, monkeypatch, domain=reference_of(run), training=training_of(training))
        found = rows(table, "memorised", group="all").iloc[0]
        assert found["estimate"] == pytest.approx(copied.mean(), abs=1e-9)
        hits += found["ci_low"] <= 0.1 <= found["ci_high"]
    assert hits >= 22
    assert found["null_value"] == 0.01


def test_diversity_is_told_at_one_number_of_images(monkeypatch):
    rng = np.random.default_rng(10)
    run = FeatureRun(rng, templates=12, spread=1.0)
    flat = run.group == 1
    run.embeddings[flat] = unit(run.centres[1] + rng.normal(0, 0.01, (flat.sum(), 32))).astype(np.float32)
    found = rows(measured(run, monkeypatch), "diversity").set_index("group")
    assert (found["n_images"] == 100).all()
    assert found.loc["job 1", "estimate"] < 1.1
    assert found.loc["job 0", "ci_low"] > found.loc["job 1", "ci_high"]


def test_without_references_distances_and_copies_are_uncalibrated(monkeypatch):
    table = measured(FeatureRun(np.random.default_rng(11)), monkeypatch)
    for name in ("feature_distance", "frechet_distance", "near_duplicates", "memorised"):
        found = rows(table, name)
        assert (found["status"] == "uncalibrated").all(), name
        assert found[["estimate", "ci_low", "ci_high"]].isna().all(axis=None), name


def test_pictures_unlike_the_calibrations_have_no_thresholds(monkeypatch):
    run = FeatureRun(np.random.default_rng(12))
    domain = reference_of(FeatureRun(np.random.default_rng(13)), threshold=0.01)
    table = measured(run, monkeypatch, domain=domain, training=training_of(run.embeddings))
    assert rows(table, "memorised")["note"].str.contains("unlike").all()
    assert (rows(table, "near_duplicates")["status"] == "uncalibrated").all()


def test_a_generator_whose_training_pictures_are_not_at_hand_is_not_judged(monkeypatch):
    run = FeatureRun(np.random.default_rng(14), generator="someone-elses")
    table = measured(run, monkeypatch, domain=reference_of(run), training=training_of(run.embeddings))
    found = rows(table, "memorised").iloc[0]
    assert found["status"] == "uncalibrated"
    assert "someone-elses" in found["note"]
    assert (rows(table, "near_duplicates")["status"] == "ok").all()


def test_a_damaged_reference_is_said_not_raised(monkeypatch):
    from auditkit.bias import quality as module

    run = FeatureRun(np.random.default_rng(15))
    see(monkeypatch)

    def refuse(encoder):
        raise CalibrationError("The reference was made with other weights.", where="x", mend="y")

    monkeypatch.setattr(module, "load_domain", refuse)
    found = rows(quality.measure(run, OPTIONS), "feature_distance").iloc[0]
    assert found["status"] == "uncalibrated"
    assert "other weights" in found["note"]


def test_too_few_images_are_insufficient_never_a_number(monkeypatch):
    run = FeatureRun(np.random.default_rng(16), templates=2, images=3)
    table = measured(run, monkeypatch, domain=reference_of(run), training=training_of(run.embeddings))
    groups = table[table["group_by"] == "occupation"]
    assert (groups["status"] == "insufficient").all()
    assert groups["estimate"].isna().all()


def test_one_prompt_only_has_no_distance_and_no_diversity(monkeypatch):
    run = FeatureRun(np.random.default_rng(17), groups=1, templates=1, images=40)
    table = measured(run, monkeypatch, domain=reference_of(run), options=OPTIONS.but(by="all"))
    assert rows(table, "feature_distance")["status"].item() == "insufficient"
    assert rows(table, "diversity")["status"].item() == "insufficient"
    assert rows(table, "retrieval").empty


def test_numbers_do_not_depend_on_the_grouping(monkeypatch):
    run = FeatureRun(np.random.default_rng(18))
    options = [OPTIONS, OPTIONS.but(by="all")]
    both = [measured(run, monkeypatch, domain=reference_of(run), options=each) for each in options]
    once, again = (rows(t, "feature_distance")["estimate"].item() for t in both)
    assert once == again


def test_a_run_without_embeddings_is_told_what_to_do(monkeypatch, tiny_run):
    assert "auditkit score" in quality.applies(tiny_run, OPTIONS)


def test_a_hundred_thousand_images_take_seconds_and_only_a_sample_is_compared(monkeypatch):
    rng = np.random.default_rng(19)
    run = FeatureRun(rng, groups=20, templates=50, images=100, dim=64)
    domain = Domain(run.embeddings[::40], 5.0, 5, "sha", "drawings")
    start = time.process_time()
    table = measured(run, monkeypatch, domain=domain, training=training_of(run.embeddings[::30]))
    assert time.process_time() - start < 5
    near = rows(table, "near_duplicates", group="job 0").iloc[0]
    assert near["n_images"] == POOL
