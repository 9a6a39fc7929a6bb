from __future__ import annotations

import numpy as np
import pytest

from auditkit.errors import DetectorError
from detectors.base import State
from detectors.familiarity import Familiarity, Kind

KINDS: tuple[Kind, ...] = ("mahalanobis", "neighbours")


def features(n: int, seed: int, *, d: int = 24, moved: float = 0.0) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(d, d))
    return (np.random.default_rng(seed).normal(size=(n, d)) @ mixing + moved).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_one_in_twenty_of_known_images_is_over_95_percent(kind: Kind) -> None:
    known = Familiarity.fit(features(600, 0), features(400, 1), kind=kind)
    assert (known.unfamiliar(features(2000, 2)) > 0.95).mean() == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize("kind", KINDS)
def test_images_from_elsewhere_are_unlike_nearly_all(kind: Kind) -> None:
    known = Familiarity.fit(features(600, 0), features(400, 1), kind=kind)
    assert (known.unfamiliar(features(100, 2, moved=60)) > 0.99).all()


def test_neighbours_see_the_gap_between_two_clumps() -> None:
    rng = np.random.default_rng(0)
    clumps = rng.normal(size=(600, 8)) * 0.1 + np.where(np.arange(600) % 2, 4, -4)[:, None]
    train, held = clumps[:400], clumps[400:]
    between = np.zeros((1, 8))
    assert Familiarity.fit(train, held, kind="neighbours").unfamiliar(between)[0] > 0.99
    assert Familiarity.fit(train, held, kind="mahalanobis").unfamiliar(between)[0] < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_familiarity_is_what_its_state_says(kind: Kind) -> None:
    known = Familiarity.fit(features(100, 0), features(60, 1), kind=kind)
    again = Familiarity.from_state(known.state())
    assert np.abs(again.unfamiliar(features(50, 2)) - known.unfamiliar(features(50, 2))).max() <= 1 / 60


def test_a_feature_that_never_varied_is_no_obstacle() -> None:
    train, held = features(100, 0), features(60, 1)
    train[:, 3] = held[:, 3] = 7
    assert np.isfinite(Familiarity.fit(train, held).unfamiliar(held)).all()


def test_an_image_that_cannot_be_seen_has_no_familiarity() -> None:
    known = Familiarity.fit(features(100, 0), features(60, 1))
    assert np.isnan(known.unfamiliar(np.full((1, 24), np.nan))[0])


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DetectorError, match="100 training and 5 held-out images are too few"):
        Familiarity.fit(features(100, 0), features(5, 1))


def test_features_of_another_family_are_refused() -> None:
    known = Familiarity.fit(features(100, 0), features(60, 1))
    with pytest.raises(DetectorError, match="not the 24"):
        known.unfamiliar(features(10, 1, d=8))


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(DetectorError, match="lacks 'centre'"):
        Familiarity.from_state(State({"kind": "mahalanobis"}, {}))
