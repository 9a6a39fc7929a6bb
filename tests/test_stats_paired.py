"""Paired comparison of two audits: tests that hold for clusters, intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest

from auditkit.stats.confusion import Confusion
from auditkit.stats.paired import corrected_difference, discordance

SCORER = np.array([[0.9, 0.07], [0.05, 0.88], [0.05, 0.05]])


def audit(rng: np.random.Generator, share: float, prompts: int, size: int, icc: float) -> np.ndarray:
    """Outcome counts [prompts, 3] of an audit with that share of the first class and that clustering."""
    if icc:
        own = rng.beta(share * (1 - icc) / icc, (1 - share) * (1 - icc) / icc, prompts)
    else:
        own = np.full(prompts, share)
    first = rng.binomial(size, own)
    return np.array([rng.multinomial(k, SCORER[:, 0]) + rng.multinomial(size - k, SCORER[:, 1]) for k in first])


def test_runs_without_a_discordant_pair_do_not_differ():
    found = discordance([1, 0, 1], [1, 0, 1], [0, 1, 2], np.random.default_rng(0))
    assert (found.gained, found.lost, found.p_value, found.p_mcnemar) == (0, 0, 1.0, 1.0)


def test_with_a_pair_a_prompt_the_test_is_mcnemars_exact_one():
    rng = np.random.default_rng(1)
    first, second = rng.random(15) < 0.2, rng.random(15) < 0.7
    found = discordance(first, second, np.arange(15), rng)
    assert found.p_value == pytest.approx(found.p_mcnemar)


def test_no_pairs_give_no_p_value():
    assert np.isnan(discordance([], [], [], np.random.default_rng(0)).p_value)


def test_the_swap_test_keeps_its_level_where_pairs_of_a_prompt_go_together_and_mcnemars_does_not():
    rng = np.random.default_rng(2)
    prompt = np.repeat(np.arange(12), 10)
    swap, plain = [], []
    for _ in range(300):
        # Each prompt has a leaning of its own in each run: no difference on average, much within a prompt.
        a = rng.random(120) < np.repeat(rng.beta(0.6, 0.6, 12), 10)
        b = rng.random(120) < np.repeat(rng.beta(0.6, 0.6, 12), 10)
        found = discordance(a, b, prompt, rng, replicates=200)
        swap.append(found.p_value <= 0.05)
        plain.append(found.p_mcnemar <= 0.05)
    assert np.mean(swap) < 0.08
    assert np.mean(plain) > 0.2


@pytest.mark.parametrize(
    ("before", "after", "icc", "prompts"), [(0.3, 0.3, 0.1, 10), (0.2, 0.5, 0.0, 10), (0.5, 0.6, 0.1, 30)]
)
def test_the_interval_of_the_difference_covers_the_truth_and_its_test_keeps_its_level(before, after, icc, prompts):
    rng = np.random.default_rng(3)
    hits, errors, found_out = [], [], []
    for _ in range(300):
        counts = np.stack([rng.multinomial(150, column) for column in SCORER.T], axis=1)
        confusion = Confusion.from_counts(counts)
        a, b = audit(rng, before, prompts, 5, icc), audit(rng, after, prompts, 5, icc)
        found = corrected_difference(a, b, confusion, rng, replicates=400)
        hits.append(found.low[0] <= after - before <= found.high[0])
        errors.append(found.estimate[0] - (after - before))
        found_out.append(found.p_values[0] <= 0.05)
    assert np.mean(hits) > 0.91
    assert abs(np.mean(errors)) < 0.02
    assert np.mean(found_out) < 0.09 if before == after else np.mean(found_out) > 0.15


def test_differences_of_all_classes_sum_to_zero():
    rng = np.random.default_rng(4)
    counts = rng.integers(1, 9, (2, 8, 3))
    found = corrected_difference(*counts, Confusion.from_counts(100 * SCORER), rng, replicates=50)
    assert found.estimate.sum() == pytest.approx(0)


def test_runs_without_common_images_have_no_difference():
    rng = np.random.default_rng(0)
    found = corrected_difference(np.zeros((2, 3)), np.ones((2, 3)), Confusion.from_counts(SCORER), rng)
    assert np.isnan(found.estimate).all()
