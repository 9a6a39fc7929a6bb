from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from auditkit.errors import CalibrationError
from detectors import calibration
from detectors.base import State
from detectors.calibration import Calibration


def scores_of(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores one apart on either side of 0, whose true log odds are twice the score."""
    labels = np.arange(n) % 2
    return np.random.default_rng(seed).normal(size=n) + 2 * labels - 1, labels


@pytest.mark.parametrize("kind", ["isotonic", "temperature"])
def test_calibrated_probabilities_hold_on_new_images(kind: calibration.Kind) -> None:
    x, y = scores_of(2000, 0)
    fitted = Calibration.fit(3 * x + 5, y, np.arange(2000), kind)
    x, y = scores_of(4000, 1)
    error = calibration.ece(fitted.probability(3 * x + 5), y, np.arange(4000))
    assert error.estimate <= 0.03
    assert calibration.holds(error) == "ok"


@pytest.mark.parametrize("kind", ["isotonic", "temperature"])
def test_probabilities_rise_with_the_score_and_stay_off_0_and_1(kind: calibration.Kind) -> None:
    y = np.arange(100) % 2
    fitted = Calibration.fit(y + 0.0, y, np.arange(100), kind)
    p = fitted.probability(np.linspace(-2, 3, 50))
    assert (np.diff(p) >= 0).all()
    assert p.min() > 0
    assert p.max() < 1
    assert np.isnan(fitted.probability([np.nan])[0])


@pytest.mark.parametrize("kind", ["isotonic", "temperature"])
def test_a_calibration_is_what_its_state_says(kind: calibration.Kind) -> None:
    x, y = scores_of(500, 0)
    fitted = Calibration.fit(x, y, np.arange(500), kind)
    assert (Calibration.from_state(fitted.state()).probability(x) == fitted.probability(x)).all()


def test_classes_weigh_the_same_however_many_images_there_are() -> None:
    x, y = scores_of(6000, 0)
    rare = np.flatnonzero((y == 0) | (np.arange(6000) % 20 == 1))
    fitted = Calibration.fit(x[rare], y[rare], rare, "temperature")
    assert fitted.probability([0.0])[0] == pytest.approx(0.5, abs=0.05)


def test_a_source_with_many_crops_counts_once() -> None:
    x, y = scores_of(400, 0)
    many = np.append(np.arange(400), np.zeros(4000, int))
    once = Calibration.fit(x, y, np.arange(400), "temperature")
    assert Calibration.fit(x[many], y[many], many, "temperature").knots == pytest.approx(once.knots, rel=1e-3)


def test_too_few_sources_are_refused() -> None:
    x, y = scores_of(1000, 0)
    with pytest.raises(CalibrationError, match="9 real and 9 generated sources are too few"):
        Calibration.fit(x, y, np.arange(1000) % 18)


@pytest.mark.parametrize("state", [State(), State({"kind": "isotonic"}, {"knots": np.array([[0, 1], [1, 0.0]])})])
def test_a_damaged_state_is_refused(state: State) -> None:
    with pytest.raises(CalibrationError, match="damaged"):
        Calibration.from_state(state)


def test_overconfidence_is_uncalibrated() -> None:
    x, y = scores_of(4000, 0)
    assert calibration.holds(calibration.ece(expit(2 * x), y, np.arange(4000))) == "ok"
    error = calibration.ece(expit(6 * x), y, np.arange(4000))
    assert calibration.holds(error) == "uncalibrated"
    assert error.ci_low > 0.03


def test_the_error_of_a_calibrated_detector_is_not_made_up_by_few_images() -> None:
    found = []
    for seed in range(20):
        x, y = scores_of(400, seed)
        found.append(calibration.ece(expit(2 * x), y, np.arange(400)).estimate)
    assert np.mean(found) < 0.02


def test_a_single_class_cannot_be_judged() -> None:
    error = calibration.ece(np.full(50, 0.5), np.ones(50), np.arange(50))
    assert np.isnan(error.estimate)
    assert calibration.holds(error) == "insufficient"


def test_the_reliability_curve_covers_the_diagonal_of_a_calibrated_detector() -> None:
    x, y = scores_of(4000, 3)
    curve = calibration.reliability(expit(2 * x), y, np.arange(4000))
    inside = (curve.ci_low <= curve.probability) & (curve.probability <= curve.ci_high)
    assert inside.sum() >= 8
    assert curve.weight.sum() == pytest.approx(1)
    assert curve.n_images.sum() == 4000


def test_a_probability_at_a_low_base_rate_is_lower() -> None:
    assert calibration.at_base_rate(0.5, 0.01) == pytest.approx(0.01)
    assert calibration.at_base_rate(0.99, 0.5) == pytest.approx(0.99)
