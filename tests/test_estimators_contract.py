"""What every estimator of class shares keeps to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from estimators_helpers import evidence

from auditkit.errors import SpecError
from auditkit.stats.design import clustering
from auditkit.stats.estimators import DEFAULT, ESTIMATORS, Evidence, get

EVERY = pytest.mark.parametrize("name", list(ESTIMATORS))
CORRECTING = [name for name in ESTIMATORS if name != "classify-and-count"]
SHARES = {2: [0.7, 0.3], 5: [0.4, 0.25, 0.15, 0.12, 0.08], 10: [0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.02]}


def estimate(name: str, given: Evidence, seed: int = 0, **options):
    options = {"replicates": 400, **options}
    return get(name).estimate(given, rng=np.random.default_rng(seed), **options)


@pytest.fixture(scope="module")
def audits() -> dict[int, Evidence]:
    rng = np.random.default_rng(1)
    return {k: evidence(p, rng, icc=0.05, labels=80, apart=3.5) for k, p in SHARES.items()}


@EVERY
@pytest.mark.parametrize("k", list(SHARES))
def test_shares_lie_on_the_simplex_inside_their_intervals(name, k, audits):
    found = estimate(name, audits[k])
    assert not found.refused
    for values in (found.shares, found.low, found.high):
        assert values.shape == (k,)
        assert values.dtype == np.float64
        assert np.all((values >= 0) & (values <= 1))
    assert found.shares.sum() == pytest.approx(1)
    assert np.all((found.low <= found.shares) & (found.shares <= found.high))
    assert np.all(found.high - found.low > 0)
    assert found.method.startswith(name)


@EVERY
def test_the_same_seed_gives_the_same_numbers(name, audits):
    there, here = (estimate(name, audits[5], seed=3, null=np.full(5, 0.2)) for _ in range(2))
    for attribute in ("shares", "low", "high", "p_values"):
        np.testing.assert_array_equal(getattr(here, attribute), getattr(there, attribute))
    assert here.cautions == there.cautions


@EVERY
def test_a_higher_confidence_is_a_wider_interval(name, audits):
    narrow, wide = (estimate(name, audits[2], confidence=c) for c in (0.8, 0.99))
    assert np.all(wide.high - wide.low > narrow.high - narrow.low)


@EVERY
def test_clustering_given_from_elsewhere_is_used_or_ignored_but_never_refused(name, audits):
    pooled = clustering([*audits[5].by_prompt(), *audits[5].by_prompt()])
    assert not estimate(name, audits[5], clustering=pooled).refused


@EVERY
def test_groups_whose_sizes_are_fixed_give_a_narrower_interval_than_prompts_that_differ(name):
    rng = np.random.default_rng(4)
    parts = [evidence(p, rng, labels=100, prompts=8) for p in ([0.95, 0.05], [0.05, 0.95])]
    together = Evidence(
        np.concatenate([part.outcome for part in parts]),
        np.concatenate([part.prompt + 100 * i for i, part in enumerate(parts)]),
        np.concatenate([part.posterior for part in parts]),
        parts[0].confusion,
        parts[0].sample,
        np.concatenate([part.human for part in parts]),
    )
    apart = replace(together, stratum=np.repeat([0, 1], [part.n for part in parts]))
    widths = [found.high[0] - found.low[0] for found in (estimate(name, apart), estimate(name, together))]
    assert widths[0] < widths[1] or name == "cleam"


@pytest.mark.parametrize("name", CORRECTING)
def test_the_truth_is_recovered_from_many_images(name):
    given = evidence(SHARES[5], np.random.default_rng(2), images=600, sources=800, labels=600, apart=2.5)
    found = estimate(name, given)
    np.testing.assert_allclose(found.shares, SHARES[5], atol=0.025)


@EVERY
def test_no_images_are_refused(name, audits):
    nothing = np.array([], np.intp)
    given = replace(audits[2], outcome=nothing, prompt=nothing, posterior=np.empty((0, 2)), human=nothing)
    refused(estimate(name, given), 2, "no images")


@EVERY
def test_all_unknown_is_refused(name, audits):
    refused(estimate(name, replace(audits[2], outcome=np.full(audits[2].n, 2))), 2, "all images are unknown")


@EVERY
def test_a_single_class_is_refused(name):
    given = evidence([1.0], np.random.default_rng(0), labels=50)
    refused(estimate(name, given), 1, "only one class")


@EVERY
def test_what_is_lacking_is_named(name, audits):
    for part in get(name).needs:
        lacking = replace(audits[2], **{part: None})
        found = estimate(name, lacking)
        assert "needs" in found.refused
        assert np.isnan(found.shares).all()


@EVERY
def test_one_image_of_one_prompt_is_no_traceback(name):
    found = estimate(name, evidence([0.5, 0.5], np.random.default_rng(0), prompts=1, images=1, threshold=0.0))
    assert found.refused or found.low[0] < found.high[0] or name == "cleam"


@pytest.mark.parametrize("name", ["adjusted-count", "bayesian", "em"])
def test_a_scorer_that_cannot_tell_the_classes_apart_is_refused(name):
    given = evidence([0.6, 0.4], np.random.default_rng(0), apart=0.1, threshold=0.5)
    assert "hardly tells" in estimate(name, given).refused


@pytest.mark.parametrize("name", ["adjusted-count", "bayesian", "em"])
def test_images_unlike_the_calibrations_raise_a_caution(name):
    rng = np.random.default_rng(5)
    like, unlike = (evidence([0.5, 0.5], rng, images=50, moved=m) for m in (0.0, 0.5))
    assert not any("errs differently" in c for c in estimate(name, like).cautions)
    found = estimate(name, unlike)
    assert any("errs differently" in c for c in [*found.cautions, found.refused])


@EVERY
def test_each_says_what_it_is_and_what_it_needs(name):
    found = get(name)
    assert found.name == name
    assert found.title
    assert set(found.needs) <= {"posterior", "confusion", "sample", "human"}
    assert type(found).__doc__


def test_an_unknown_name_is_refused_with_near_ones():
    with pytest.raises(SpecError, match="did you mean adjusted-count"):
        get("adjusted_count")
    assert get(DEFAULT).name == DEFAULT


def refused(found, k: int, why: str) -> None:
    assert why in found.refused
    for values in (found.shares, found.low, found.high):
        assert values.shape == (k,)
        assert np.isnan(values).all()
