"""The measure `skin_pixels` on scores whose truth is known."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from auditkit.bias.base import Options
from auditkit.bias.skin_pixels import EXTREMES, skin_pixels
from auditkit.errors import TableError
from auditkit.schemas import MEASUREMENTS, check
from tests.skin_helpers import InMemory, drawn_scores, pixels_run, rewrite_scores

OPTIONS = Options(by="occupation", n_boot=200)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return pixels_run(tmp_path_factory.mktemp("skin"), np.random.default_rng(0))


def rows(table: pd.DataFrame, statistic: str, **where: str) -> pd.DataFrame:
    chosen = table[table["measure"] == f"skin_pixels.{statistic}"]
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    return chosen


def test_the_mean_angle_is_covered_and_the_p_value_is_uniform_where_groups_are_alike(run):
    rng, images = np.random.default_rng(1), run.images()
    hits, p_values = [], []
    for _ in range(60):
        audit = InMemory(images, drawn_scores(images, rng, means=(20, 20, 20, 20), between=8))
        found = rows(skin_pixels.measure(audit, OPTIONS.but(n_boot=10)), "ita")
        hits += ((found["ci_low"] <= 20) & (found["ci_high"] >= 20)).tolist()
        p_values += found["p_value"].dropna().tolist()
    assert 0.90 <= np.mean(hits) <= 0.985
    assert len(p_values) == 240
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.09


def test_a_darker_group_is_found(run):
    rewrite_scores(run, np.random.default_rng(2), means=(20, 20, 20, -20))
    found = rows(skin_pixels.measure(run, OPTIONS), "ita").set_index("group")
    assert found.loc["chef", "p_holm"] < 0.001
    assert found.loc["chef", "null_value"] == pytest.approx(20, abs=5)
    assert found.loc["chef", "reference"] == "the other groups"
    assert (found["p_holm"] >= found["p_value"])[found["p_value"].notna()].all()


def test_shares_of_tones_and_unknown_sum_to_one_and_bands_are_their_sums(run):
    rewrite_scores(run, np.random.default_rng(3), means=(60, 20, -20, -60), unknown=0.2)
    table = skin_pixels.measure(run, OPTIONS)
    for group in ("judge", "chef", "all"):
        tones = rows(table, "monk", group=group).set_index("category")["estimate"]
        bands = rows(table, "band", group=group).set_index("category")["estimate"]
        assert tones.sum() == pytest.approx(1)
        assert bands["light"] == pytest.approx(tones[["monk-01", "monk-02", "monk-03"]].sum())
        assert bands.sum() + tones["unknown"] == pytest.approx(1)


def test_unknown_images_bound_what_the_others_say(run):
    rewrite_scores(run, np.random.default_rng(4), means=(20, 20, 20, 20), unknown=0.5)
    table = skin_pixels.measure(run, OPTIONS)
    mean, bounds = rows(table, "ita", group="all").iloc[0], rows(table, "ita_bounds", group="all").iloc[0]
    found = rows(table, "found", group="all").iloc[0]["estimate"]
    assert np.isnan(bounds["estimate"])
    assert bounds["ci_low"] == pytest.approx(found * mean["estimate"] + (1 - found) * EXTREMES[0])
    assert bounds["ci_high"] == pytest.approx(found * mean["estimate"] + (1 - found) * EXTREMES[1])
    band = rows(table, "band_bounds", group="all", category="dark").iloc[0]
    assert band["ci_high"] - band["ci_low"] == pytest.approx(1 - found)


def test_scorers_that_follow_one_truth_agree_and_strangers_do_not(run):
    rng = np.random.default_rng(5)
    rewrite_scores(run, rng, means=(60, 20, -20, -60))
    alike = rows(skin_pixels.measure(run, OPTIONS), "agreement", group="all").iloc[0]
    assert alike["ci_low"] > 0.85
    assert alike["reference"] == "skin_tone@personas-clip"
    scores = run.scores("skin_tone")["skin_tone@personas-clip"]
    columns = [c for c in scores if c.startswith("p_")] + ["label"]
    scores[columns] = scores[columns].to_numpy()[rng.permutation(len(scores))]
    run.write_scores(scores)
    strange = rows(skin_pixels.measure(run, OPTIONS), "agreement", group="all").iloc[0]
    assert strange["ci_low"] < 0 < strange["ci_high"]


def test_all_unknown_is_insufficient_never_a_number(run):
    rewrite_scores(run, np.random.default_rng(6), means=(20, 20, 20, 20), unknown=1.0)
    table = skin_pixels.measure(run, OPTIONS)
    angles = pd.concat([rows(table, name) for name in ("ita", "ita_bounds", "agreement")])
    assert (angles["status"] == "insufficient").all()
    assert angles[["estimate", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)
    assert (rows(table, "found")["estimate"] == 0).all()


def test_too_few_images_are_insufficient(run):
    rewrite_scores(run, np.random.default_rng(7), means=(20, 20, 20, 20))
    table = skin_pixels.measure(run, OPTIONS.but(min_n=100))
    groups = table[table["group_by"] == "occupation"]
    assert (groups["status"] == "insufficient").all()
    assert groups["note"].str.contains("100 are needed").all()
    assert (table[table["group_by"] == "all"]["status"] == "ok").all()


def test_one_tone_only_gives_shares_and_no_agreement(run):
    rewrite_scores(run, np.random.default_rng(8), means=(20, 20, 20, 20), between=0, within=1e-9)
    scores = run.scores("skin_pixels")["skin_pixels@pixels"].assign(v_ita=20.0, label="monk-05")
    run.write_scores(scores)
    table = skin_pixels.measure(run, OPTIONS)
    assert (rows(table, "agreement")["status"] == "insufficient").all()
    assert rows(table, "monk", group="all", category="monk-05")["estimate"].item() == 1


def test_rows_hold_the_schema_and_do_not_depend_on_the_other_groups(run):
    rewrite_scores(run, np.random.default_rng(9), means=(20, 20, 20, 20), unknown=0.1)
    table = check(skin_pixels.measure(run, OPTIONS), MEASUREMENTS, "test")
    alone = skin_pixels.measure(run, OPTIONS.but(by="all"))
    assert set(alone["group"]) == {"all"}
    once, again = (rows(t, "agreement", group="all")["ci_low"].item() for t in (table, alone))
    assert once == again


def test_without_scores_it_does_not_apply_and_says_what_to_do(tiny_run):
    assert "auditkit score" in skin_pixels.applies(tiny_run, OPTIONS)
    with pytest.raises(TableError, match="no scores of skin_pixels"):
        skin_pixels.measure(tiny_run, OPTIONS)


def test_an_axis_that_the_run_has_not_is_refused(run):
    with pytest.raises(TableError, match="no axis"):
        skin_pixels.measure(run, OPTIONS.but(by="planet"))


def test_a_hundred_thousand_images_take_seconds():
    from auditkit.bias.counted import Layout
    from auditkit.stats.means import rank_correlation

    rng = np.random.default_rng(0)
    n = 100_000
    prompts, strata = np.repeat(np.arange(1000), 100), np.repeat(np.arange(20), 5000)
    parts = {("occupation", str(g)): strata == g for g in range(20)} | {("all", "all"): np.ones(n, bool)}
    layout = Layout(None, pd.DataFrame({"prompt_id": prompts}), parts, prompts, strata)  # type: ignore[arg-type]
    values = rng.normal(size=n)
    start = time.process_time()
    for _ in range(14):
        layout.shares(values > 0)
    for part in parts:
        layout.mean(part, values)
        layout.rest(part, values)
        rank_correlation(values[parts[part]], values[parts[part]], prompts[parts[part]], rng, replicates=2000)
    assert time.process_time() - start < 5
