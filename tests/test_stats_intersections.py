"""Two attributes at once, on audits whose joint truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joint_helpers import EVEN, PLANTED, independent
from stats_helpers import scorer

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares, corrected_shares
from auditkit.stats.divergence import Sample
from auditkit.stats.intersections import (
    Interaction,
    information,
    product_of_margins,
    shrunken_cells,
    worst_cell,
)

PARTS = scorer(2), scorer(5)
C = np.kron(*PARTS)
TONES = [0.4, 0.25, 0.15, 0.12, 0.08]


def calibrated(rng: np.random.Generator, n: int = 150) -> tuple[Confusion, Confusion]:
    a, b = (Confusion.from_counts(np.stack([rng.multinomial(n, col) for col in c.T], axis=1)) for c in PARTS)
    return a, b


def tables(joint: np.ndarray, prompts: int, images: int, rng: np.random.Generator) -> np.ndarray:
    return rng.multinomial(images, C @ joint.ravel(), size=prompts).reshape(prompts, 3, 6).astype(float)


def interaction(joint: np.ndarray, rng: np.random.Generator, *, prompts=10, images=20, replicates=200, **more):
    strata = {"group": tables(joint, prompts, images, rng)}
    return Interaction(strata, calibrated(rng), {"group": rng}, replicates=replicates).of(["group"], rng, **more)


@given(st.lists(st.floats(0.01, 1), min_size=6, max_size=6).map(lambda w: np.reshape(w, (2, 3)) / sum(w)))
def test_the_product_of_margins_keeps_the_margins(p):
    product = product_of_margins(p)
    np.testing.assert_allclose(product.sum(axis=0), p.sum(axis=0))
    np.testing.assert_allclose(product.sum(axis=1), p.sum(axis=1))


def test_an_interaction_is_found_though_both_marginals_are_even():
    found = interaction(PLANTED, np.random.default_rng(0), images=40)
    truth = abs(PLANTED - EVEN).sum() / 2
    assert found.p_value < 0.01
    assert found.estimate == pytest.approx(truth, abs=0.06)
    assert 0 < found.low < truth < found.high


def test_marginals_however_uneven_are_no_interaction():
    found = interaction(independent(0.1, TONES), np.random.default_rng(1))
    assert found.p_value > 0.05
    assert found.low == 0
    assert found.estimate == pytest.approx(found.null_value, abs=0.05)


def test_p_values_are_even_without_interaction():
    rng = np.random.default_rng(2)
    p = np.array([interaction(independent(0.3, TONES), rng, images=8, replicates=99).p_value for _ in range(120)])
    assert 0.4 < p.mean() < 0.6
    assert np.mean(p <= 0.05) < 0.1


@pytest.mark.parametrize(("joint", "images"), [(PLANTED, 20), ((PLANTED + EVEN) / 2, 20), (PLANTED, 5)])
def test_intervals_hold_the_true_interaction(joint, images):
    rng, truth = np.random.default_rng(3), abs(joint - EVEN).sum() / 2
    found = [interaction(joint, rng, images=images, replicates=200) for _ in range(50)]
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.88


def test_strata_with_other_marginals_make_no_interaction_when_pooled():
    rng = np.random.default_rng(4)
    strata = {
        "a": tables(independent(0.95, TONES), 10, 20, rng),
        "b": tables(independent(0.05, TONES[::-1]), 10, 20, rng),
    }
    looked = Interaction(strata, calibrated(rng), dict.fromkeys(strata, rng), replicates=200)
    assert looked.of(["a", "b"], rng).p_value > 0.05


def test_images_that_no_mixture_explains_weaken_an_interaction():
    sure = interaction(PLANTED, np.random.default_rng(5))
    unsure = interaction(PLANTED, np.random.default_rng(5), slack=0.15)
    assert unsure.p_value > sure.p_value
    assert unsure.high > sure.high
    assert unsure.low <= sure.low


def test_single_images_have_no_interaction_and_one_prompt_has_an_interval():
    rng = np.random.default_rng(6)
    assert np.isnan(interaction(PLANTED, rng, prompts=40, images=1).estimate)
    one = interaction(PLANTED, rng, prompts=1, images=200)
    assert one.low <= one.estimate <= one.high


def test_the_worst_cell_is_named_with_its_gap():
    target = np.array([0.5, 0.3, 0.2])
    confusion = Confusion.from_counts(scorer(3) * 150)
    found = worst_cell(Sample(np.array([0.6, 0.35, 0.05]), target, 300), confusion, np.random.default_rng(7))
    assert found.index == 2
    assert found.gap == pytest.approx(-0.15)
    assert found.p_value < 0.01
    assert -0.05 < found.null_value < 0


def test_the_worst_of_many_cells_is_judged_against_the_worst_of_many():
    rng, p = np.random.default_rng(8), []
    for _ in range(100):
        confusion = Confusion.joint(*calibrated(rng))
        q = rng.multinomial(400, C @ EVEN.ravel()) / 400
        sample = Sample(constrained_shares(q, confusion.matrix), EVEN.ravel(), 400.0)
        p.append(worst_cell(sample, confusion, rng, replicates=99).p_value)
    assert 0.4 < np.mean(p) < 0.65
    assert np.mean(np.array(p) <= 0.05) < 0.11


def groups(truths: list[np.ndarray], n: int, rng: np.random.Generator):
    """Shares, size and intervals of groups with those true cells."""
    confusion = Confusion.joint(*calibrated(rng))
    counts = [rng.multinomial(n, C @ truth.ravel()) for truth in truths]
    found = [corrected_shares(k, confusion, replicates=300) for k in counts]
    shares, low, high = (np.array([getattr(f, x).reshape(2, 5) for f in found]) for x in ("shares", "low", "high"))
    return shares, np.array([information(k / n, confusion, n, 1.0) for k in counts]), low, high


def test_shrinkage_keeps_marginals_and_stays_within_the_intervals():
    shares, n, low, high = groups([independent(f, TONES) for f in (0.1, 0.4, 0.6, 0.9)], 80, np.random.default_rng(9))
    found = shrunken_cells(shares, n, low, high)
    for axis in (1, 2):
        np.testing.assert_allclose(found.shares.sum(axis=axis), shares.sum(axis=axis), atol=1e-9)
    assert np.all(low - 1e-9 <= found.shares)
    assert np.all(found.shares <= high + 1e-9)
    assert np.all((found.weight >= 0) & (found.weight <= 1))


def test_shrinkage_lowers_the_error_of_independent_cells_and_spares_a_group_with_an_interaction():
    rng, raw, shrunk, own = np.random.default_rng(10), [], [], []
    truths = [PLANTED, *(independent(f, TONES) for f in np.linspace(0.1, 0.9, 9))]
    for _ in range(8):
        shares, n, low, high = groups(truths, 100, rng)
        found = shrunken_cells(shares, n, low, high)
        raw.append(((shares - truths)[1:] ** 2).mean())
        shrunk.append(((found.shares - truths)[1:] ** 2).mean())
        own.append(((found.shares - truths)[0] ** 2).mean() / ((shares - truths)[0] ** 2).mean())
    assert np.mean(shrunk) < 0.9 * np.mean(raw)
    assert np.mean(own) < 1.25


def test_perfectly_known_images_are_worth_themselves():
    perfect = Confusion(np.eye(3), np.full(3, np.inf))
    assert information([0.5, 0.3, 0.2], perfect, 100, 1.0) == pytest.approx(100, rel=0.03)
    assert information([0.5, 0.3, 0.2], perfect, 100, 2.0) == pytest.approx(50, rel=0.03)
