"""The domain says when images are not of the kind that an encoder was calibrated on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binom

from auditkit.clip.domain import Domain, load_domain
from auditkit.errors import CalibrationError

ENCODER = SimpleNamespace(sha256="0" * 64, folder=None)


def near(n: int, *, seed: int, axis: int = 0) -> np.ndarray:
    """Unit rows around one axis."""
    rows = np.random.default_rng(seed).normal(0, 0.1, (n, 12)).astype(np.float32)
    rows[:, axis] += 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fitted(n: int = 400, copies: int = 1) -> Domain:
    rows = np.repeat(near(n, seed=0), copies, axis=0)
    return Domain.fit(rows, np.repeat(np.arange(n), copies).astype(str), encoder=ENCODER, source="a test")


def test_images_of_the_same_kind_are_inside_and_others_are_not() -> None:
    domain = fitted()
    _, inside = domain.assess(near(1000, seed=1))
    assert inside.mean() > 0.97
    distance, outside = domain.assess(near(1000, seed=1, axis=5))
    assert not outside.any()
    assert distance.min() > 0.5


def test_the_distance_is_the_mean_over_the_five_nearest() -> None:
    domain, query = fitted(), near(3, seed=2)
    expected = np.sort(1 - query @ domain.reference.T, axis=1)[:, :5].mean(axis=1)
    assert np.allclose(domain.assess(query)[0], expected, atol=1e-6)


def test_copies_of_one_source_are_no_neighbours_to_each_other_in_fitting() -> None:
    # Copies lie at distance 0 of each other: were they neighbours, the threshold would be 0.
    assert fitted(copies=6).threshold > 0.01


def test_no_images_give_empty_arrays() -> None:
    distance, inside = fitted().assess(np.zeros((0, 12), np.float32))
    assert distance.shape == inside.shape == (0,)


@pytest.mark.parametrize("n", [20, 100, 1000])
def test_a_set_holds_until_the_binomial_test_rejects_a_tenth_outside(n: int) -> None:
    most = int(binom.isf(0.01, n, 0.1))  # the test rejects beyond this many outside

    def marks(outside: int) -> np.ndarray:
        return np.arange(n) >= outside

    assert Domain.holds(marks(0))
    assert Domain.holds(marks(most))
    assert not Domain.holds(marks(most + 1))


def test_nothing_holds_without_images() -> None:
    assert not Domain.holds(np.zeros(0, bool))


def test_a_saved_domain_assesses_alike(tmp_path: Path) -> None:
    domain = fitted()
    domain.save(tmp_path)
    again = load_domain(SimpleNamespace(sha256="0" * 64, folder=tmp_path))
    assert again is not None
    assert again.threshold == domain.threshold
    assert np.array_equal(again.assess(near(9, seed=3))[0], domain.assess(near(9, seed=3))[0])


def test_an_encoder_without_a_reference_has_no_domain(tmp_path: Path) -> None:
    assert load_domain(ENCODER) is None
    assert load_domain(SimpleNamespace(sha256="", folder=tmp_path)) is None


def test_a_reference_of_other_weights_or_damaged_is_refused(tmp_path: Path) -> None:
    path = fitted().save(tmp_path)
    with pytest.raises(CalibrationError, match="other weights"):
        load_domain(SimpleNamespace(sha256="1" * 64, folder=tmp_path))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CalibrationError, match="cannot be read"):
        load_domain(SimpleNamespace(sha256="0" * 64, folder=tmp_path))


def test_too_few_sources_are_refused() -> None:
    with pytest.raises(CalibrationError, match="Too few"):
        Domain.fit(near(10, seed=0), ["a"] * 8 + ["b"] * 2, encoder=ENCODER, source="a test")
