"""What a denoiser is asked for at each noise level, and how its error is weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditkit.errors import GeneratorError

if TYPE_CHECKING:
    from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction")


def check_prediction(prediction: str, where: object) -> None:
    """Raise GeneratorError for a kind of prediction other than PREDICTIONS."""
    if prediction not in PREDICTIONS:
        raise GeneratorError(
            f"The checkpoint predicts '{prediction}'; only {' and '.join(PREDICTIONS)} can be trained.",
            where=str(where),
            mend="Choose another checkpoint.",
        )


def target(prediction: str, clean: Tensor, noise: Tensor, signal: Tensor, sigma: Tensor) -> Tensor:
    """The noise, or v = signal noise - sigma clean (Salimans & Ho 2022, appendix D); the shape of `clean`."""
    return noise if prediction == "epsilon" else signal * noise - sigma * clean


def min_snr_weights(abar: Tensor, gamma: float | None, prediction: str) -> Tensor:
    """Weight of the squared error at each noise level (min-SNR-gamma, Hang et al. 2023), float of the shape of `abar`.

    With SNR = abar / (1 - abar): min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) / (SNR + 1) for v. None is 1.

    At SNR = 0 (the last level of a schedule with zero terminal SNR) the weight is 1 for epsilon, the limit, and 0 for
    v: there v learns nothing, though a sampler starts there. That is why v is not weighed unless it is asked for.
    """
    import torch

    if gamma is None:
        return torch.ones_like(abar)
    snr = abar / (1 - abar)
    if prediction == "epsilon":
        return (gamma / snr).clamp(max=1)
    return snr.clamp(max=gamma) / (snr + 1)
