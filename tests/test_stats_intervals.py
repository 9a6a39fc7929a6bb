from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from auditkit.stats.intervals import clopper_pearson, wilson


def test_no_images_give_nan_not_zero():
    for interval in (wilson, clopper_pearson):
        assert np.isnan(interval(0, 0)).all()


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_are_those_of_scipy(kn):
    k, n = kn
    for interval, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        expected = stats.binomtest(k, n).proportion_ci(0.95, method=method)
        np.testing.assert_allclose(interval(k, n), (expected.low, expected.high), atol=1e-9)


def test_wilson_holds_the_share_and_has_width_at_the_boundary():
    k = np.arange(51)
    low, high = wilson(k, 50)
    assert np.all((low <= k / 50) & (k / 50 <= high))
    assert low[0] == 0
    assert high[0] > 0.05
    assert high[50] == 1
    assert low[50] < 0.95


def test_a_design_effect_widens_and_an_estimated_one_widens_more():
    narrow, wide = wilson(15, 50), wilson(15 / 1.5, 50 / 1.5)
    wider = wilson(15 / 1.5, 50 / 1.5, df=9)
    assert narrow[1] - narrow[0] < wide[1] - wide[0] < wider[1] - wider[0]


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match="0 <= k <= n"):
        wilson(k, n)


def test_clopper_pearson_never_covers_less_than_it_says():
    n = 50
    low, high = clopper_pearson(np.arange(n + 1), n)
    for p in np.linspace(0.01, 0.99, 49):
        covered = stats.binom.pmf(np.arange(n + 1), n, p)[(low <= p) & (p <= high)].sum()
        assert covered >= 0.95
