"""Krippendorff's alpha: as the reference library has it, and covering the truth in simulated ratings."""

from __future__ import annotations

import math

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from auditkit.stats.agreement import Level, krippendorff_alpha


def counted(ratings: np.ndarray, k: int) -> np.ndarray:
    """[n_raters, n_images], NaN for none -> [n_images, k]."""
    return (ratings.T[..., None] == np.arange(k)).sum(axis=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 5), st.sampled_from(["nominal", "ordinal"]))
def test_alpha_is_that_of_the_reference_library(seed: int, raters: int, k: int, level: Level) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=12)
    ratings = np.where(rng.random((raters, 12)) < 0.3, rng.integers(k, size=(raters, 12)), truth).astype(float)
    ratings[rng.random(ratings.shape) < 0.2] = np.nan
    table = counted(ratings, k)
    assume((table[table.sum(axis=1) > 1].sum(axis=0) > 0).sum() > 1)
    expected = krippendorff.alpha(value_counts=table, level_of_measurement=level, value_domain=list(range(k)))
    assert krippendorff_alpha(table, level=level, replicates=10).alpha == pytest.approx(expected)


def test_krippendorffs_own_example() -> None:
    """Four raters, twelve units, five categories, missing labels: alpha .743 (Krippendorff 2011, section C)."""
    nan = math.nan
    ratings = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
            [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
        ]
    )
    found = krippendorff_alpha(counted(ratings - 1, 5))
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(counted(ratings - 1, 5), level="ordinal").alpha == pytest.approx(0.815, abs=5e-4)
    assert (found.n_units, found.n_pairable) == (11, 40)


def test_raters_who_agree_on_everything_have_one_and_guessers_have_nothing() -> None:
    assert krippendorff_alpha([[3, 0], [0, 3], [3, 0], [0, 3]]).alpha == 1
    rng = np.random.default_rng(0)
    assert krippendorff_alpha(counted(rng.integers(3, size=(2, 4000)), 3)).alpha == pytest.approx(0, abs=0.05)


def test_one_label_an_image_or_one_category_in_all_is_no_agreement() -> None:
    for counts in ([[1, 0], [0, 1]], [[2, 0], [2, 0]], np.zeros((0, 2))):
        found = krippendorff_alpha(counts)
        assert math.isnan(found.alpha)
        assert math.isnan(found.low)


def test_near_misses_count_less_on_an_ordinal_scale() -> None:
    near = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [2, 0, 0, 0], [0, 0, 0, 2]] * 5)
    assert krippendorff_alpha(near, level="ordinal").alpha > krippendorff_alpha(near).alpha


def test_that_nobody_disagreed_on_a_few_images_is_no_proof_that_nobody_would() -> None:
    few, many = (krippendorff_alpha([[2, 0], [0, 2]] * n) for n in (10, 200))
    assert few.low < 0.7 < 0.97 < many.low < many.high == 1


def test_there_is_no_interval_where_resampled_images_often_hold_one_category() -> None:
    found = krippendorff_alpha([[2, 0]] * 3 + [[1, 1]])
    assert not math.isnan(found.alpha)
    assert math.isnan(found.low)


def test_unknown_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="level"):
        krippendorff_alpha([[2, 0], [1, 1]], level="ratio")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="counts"):
        krippendorff_alpha([1, 2])


@pytest.mark.parametrize("error", [0.05, 0.2])
def test_the_interval_covers_the_truth(error: float) -> None:
    """Two raters who each mistake an image with the same probability: alpha = 1 - 2 e (1 - e) / (1/2)."""
    rng, truth, covered = np.random.default_rng(4), 1 - 4 * error * (1 - error), 0
    for i in range(250):
        image = rng.integers(2, size=150)
        ratings = np.where(rng.random((2, 150)) < error, 1 - image, image)
        found = krippendorff_alpha(counted(ratings, 2), replicates=300, seed=i)
        covered += found.low <= truth <= found.high
    assert 0.9 <= covered / 250 <= 0.99
