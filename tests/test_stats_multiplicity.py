from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from auditkit.stats.multiplicity import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12)

# Benjamini and Hochberg 1995, section 4: fifteen tests, of which BH rejects four at .05 and Bonferroni three.
PAPER = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
         0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]  # fmt: skip


@given(P_VALUES)
def test_holm_is_at_least_bh_and_bh_at_least_p(p):
    p = np.array(p)
    stepped_down, stepped_up = holm(p), benjamini_hochberg(p)
    tested = ~np.isnan(p)
    assert np.all(np.isnan(stepped_down) == ~tested)
    assert np.all(np.isnan(stepped_up) == ~tested)
    assert np.all(stepped_down[tested] >= stepped_up[tested] - 1e-15)
    assert np.all(stepped_up[tested] >= p[tested])


@given(P_VALUES)
def test_a_nan_does_not_count_as_a_test(p):
    without = [value for value in p if not np.isnan(value)]
    for adjust in (holm, benjamini_hochberg):
        np.testing.assert_array_equal(np.array([v for v in adjust(p) if not np.isnan(v)]), adjust(without))


def test_the_papers_example():
    np.testing.assert_allclose(benjamini_hochberg(PAPER), stats.false_discovery_control(PAPER))
    assert (benjamini_hochberg(PAPER) <= 0.05).sum() == 4
    assert (holm(PAPER) <= 0.05).sum() == 3


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.2]), [0.04, 0.06, 0.06, 0.2])


def test_a_value_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.2, 1.5])
