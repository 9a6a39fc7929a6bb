"""Looks that share one alpha: boundaries as published, and the error rate held in simulated audits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from auditkit.stats.sequential import SPENDING, boundaries, decide
from benchmarks.planning import error_rates

FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]


def paths(n: int, fractions: list[float], rng: np.random.Generator, drift: float = 0.0) -> np.ndarray:
    """Z [n, n_looks] of a Brownian motion at the looks."""
    steps = np.diff(fractions, prepend=0.0)
    motion = (rng.normal(size=(n, len(fractions))) * np.sqrt(steps) + drift * steps).cumsum(axis=1)
    return motion / np.sqrt(fractions)


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        # Reboussin, DeMets, Kim and Lan 2000, Control. Clin. Trials 21:190-207; gsDesign's sfLDOF and sfLDPocock.
        ("obrien-fleming", [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
        ("pocock", [2.4380, 2.4268, 2.4102, 2.3966, 2.3859]),
    ],
)
def test_five_even_looks_have_the_published_boundaries(spending: str, published: list[float]) -> None:
    assert boundaries(FIFTHS, spending=spending).z == pytest.approx(published, abs=2e-4)


def test_one_look_is_the_plain_test() -> None:
    for spending in SPENDING:
        assert boundaries([1.0], spending=spending).z == pytest.approx([norm.isf(0.025)])


def test_the_quadrature_agrees_with_the_multivariate_normal() -> None:
    t = np.array([0.3, 0.55, 1.0])
    found = boundaries(t.tolist(), spending="pocock")
    correlation = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    for k in (2, 3):
        box = multivariate_normal(np.zeros(k), correlation[:k, :k])
        inside = box.cdf(found.z[:k], lower_limit=-found.z[:k], rng=np.random.default_rng(0))
        assert 1 - inside == pytest.approx(found.spent[k - 1], abs=2e-4)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=6, unique=True),
    st.sampled_from(list(SPENDING)),
    st.floats(1e-6, 0.2),
)
def test_all_of_alpha_is_spent_by_the_last_look_and_never_more(marks: list[int], spending: str, alpha: float) -> None:
    fractions = [m / max(marks) for m in sorted(marks)]
    found = boundaries(fractions, alpha=alpha, spending=spending)
    assert found.spent[-1] == pytest.approx(alpha)
    assert np.all(np.diff(found.spent) >= 0)
    assert np.all(found.nominal <= alpha * (1 + 1e-9))


@pytest.mark.parametrize("spending", list(SPENDING))
def test_many_uneven_looks_keep_the_error_rate_that_plain_tests_lose(spending: str) -> None:
    fractions = [0.05, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 1.0]
    z = np.abs(paths(200_000, fractions, np.random.default_rng(0)))
    kept = (z >= boundaries(fractions, spending=spending).z).any(axis=1).mean()
    assert kept == pytest.approx(0.05, abs=0.0015)
    assert (z >= norm.isf(0.025)).any(axis=1).mean() > 0.15


def test_a_true_difference_is_found_with_fewer_images_and_hardly_less_power() -> None:
    drift = norm.isf(0.025) + norm.isf(0.2)  # 80% power at one look
    z = np.abs(paths(50_000, FIFTHS, np.random.default_rng(1), drift))
    crossed = z >= boundaries(FIFTHS).z
    assert crossed.any(axis=1).mean() > 0.78
    looked = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, 5)
    assert looked.mean() / 5 < 0.85


def test_nothing_may_be_spent_at_a_very_early_look() -> None:
    found = boundaries([0.005, 1.0], alpha=1e-4)
    assert math.isinf(found.z[0])
    assert found.nominal[0] == 0
    assert not decide({"a": 0.0001}, fractions=[0.005], alpha=1e-4).rejected


@pytest.mark.parametrize(
    ("fractions", "alpha", "spending", "message"),
    [
        ([], 0.05, "pocock", "looks must rise"),
        ([0.5, 0.4], 0.05, "pocock", "looks must rise"),
        ([0.5, 1.2], 0.05, "pocock", "looks must rise"),
        ([0.5, 0.501], 0.05, "pocock", "looks must rise"),
        ([1.0], 0.0, "pocock", "alpha"),
        ([1.0], 0.05, "fleming", "spending is one of"),
    ],
)
def test_looks_that_do_not_hold_are_refused(fractions: list[float], alpha: float, spending: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        boundaries(fractions, alpha=alpha, spending=spending)


def test_each_of_several_tests_is_held_against_its_part_of_alpha() -> None:
    level = boundaries([0.5], alpha=0.025).nominal[0]
    assert decide({"a": level, "b": 1.0}, fractions=[0.5]).rejected == {"a"}
    assert decide({"a": level * 1.001, "b": 1.0}, fractions=[0.5]).rejected == frozenset()


def test_a_test_that_crossed_hands_its_alpha_on() -> None:
    alone = boundaries([0.5]).nominal[0]
    assert decide({"a": 0.0, "b": alone}, fractions=[0.5]).rejected == {"a", "b"}
    later = decide({"a": 1.0, "b": alone}, fractions=[0.5], rejected={"a"})
    assert later.rejected == {"a", "b"}  # what crossed once stays so
    assert later.fresh == {"b"}


def test_a_test_without_a_p_value_stays_open() -> None:
    found = decide({"a": 0.0, "b": math.nan}, fractions=[0.5])
    assert not found.stop
    assert found.rejected == {"a"}


def test_when_to_stop() -> None:
    some = {"a": 0.0, "b": 0.9}
    assert not decide(some, fractions=[0.5], stop="all").stop
    assert decide(some, fractions=[0.5], stop="any").stop
    assert decide({"a": 0.0, "b": 0.0}, fractions=[0.5]).stop
    last = decide(some, fractions=[0.5, 1.0])
    assert last.stop
    assert last.why == "1 of 2 tests crossed the boundary; this was the last look"


def test_a_family_must_be_the_same_at_every_look() -> None:
    with pytest.raises(ValueError, match="same tests"):
        decide({"a": 0.5}, fractions=[0.5], rejected={"b"})
    with pytest.raises(ValueError, match="same tests"):
        decide({}, fractions=[0.5])
    with pytest.raises(ValueError, match="p-values"):
        decide({"a": 1.5}, fractions=[0.5])


def test_the_family_wise_error_rate_holds_over_looks_and_tests() -> None:
    rng, fractions, m = np.random.default_rng(2), [0.25, 0.5, 0.75, 1.0], 5
    wrong = 0
    for _ in range(800):
        p = 2 * norm.sf(np.abs(paths(m, fractions, rng)))
        rejected: frozenset[str] = frozenset()
        for k in range(len(fractions)):
            family = {str(i): float(p[i, k]) for i in range(m)}
            family |= {"true": 0.0 if k else 1.0}  # a real difference hands its alpha on
            rejected = decide(family, fractions=fractions[: k + 1], spending="pocock", rejected=rejected).rejected
        wrong += bool(rejected - {"true"})
    assert wrong / 800 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 800)


@pytest.mark.parametrize("icc", [0.0, 0.1])
def test_looks_at_growing_audits_keep_the_error_rate(icc: float) -> None:
    """Looks at 10, 20 and 40 images a prompt, of clustered prompts, an erring scorer and its own calibration."""
    rates = error_rates(60, looks=[10, 20, 40], spending="pocock", icc=icc)
    assert rates.boundary <= max(0.05, rates.last) + 3 * math.sqrt(0.05 * 0.95 / 300)  # 300 fair groups
    assert rates.plain > rates.boundary
