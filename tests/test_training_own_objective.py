"""min-SNR-gamma: the weights of Hang et al. 2023 for noise and for v."""

from __future__ import annotations

import pytest
import torch

from auditkit.errors import GeneratorError
from generators.training.own.objective import check_prediction, min_snr_weights, target

ABAR = torch.tensor([0.999, 0.9, 0.5, 0.1, 0.001], dtype=torch.float64)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_error_of_the_clean_image_is_weighed_by_the_smaller_of_snr_and_gamma(prediction):
    """Both come to the same loss on the clean image: min(SNR, gamma) |x - x_hat|^2."""
    snr = ABAR / (1 - ABAR)
    per_error = 1 / snr if prediction == "epsilon" else 1 / (snr + 1)  # |x - x_hat|^2 for an error of 1 in the output
    weights = min_snr_weights(ABAR, 5.0, prediction)
    torch.testing.assert_close(weights / per_error, snr.clamp(max=5.0))


def test_without_gamma_every_level_weighs_one():
    assert min_snr_weights(ABAR, None, "epsilon").tolist() == [1.0] * 5


def test_levels_without_signal_are_finite():
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert min_snr_weights(ends[1:], 5.0, "epsilon").tolist() == [1.0]
    assert min_snr_weights(ends[1:], 5.0, "v_prediction").tolist() == [0.0]


def test_noise_and_clean_image_come_back_from_v():
    clean, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    signal, sigma = torch.tensor(0.8), torch.tensor(0.6)
    noised, v = signal * clean + sigma * noise, target("v_prediction", clean, noise, signal, sigma)
    torch.testing.assert_close(signal * noised - sigma * v, clean)
    torch.testing.assert_close(sigma * noised + signal * v, target("epsilon", clean, noise, signal, sigma))


def test_another_kind_of_prediction_is_refused():
    with pytest.raises(GeneratorError, match="sample"):
        check_prediction("sample", "scheduler")
