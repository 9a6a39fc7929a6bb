"""Protective perturbations: p-values that hold, simulations within their budget, survival, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auditkit.errors import DetectorError
from detectors.perturbation import evidence
from detectors.perturbation.benign import CONDITIONS, UNSEEN
from detectors.perturbation.detector import Head
from detectors.perturbation.signals import residual_statistics
from detectors.perturbation.simulate import KINDS, painted, perturb, targets_for
from detectors.perturbation.survival import survival


class Linear:
    """An encoder that is a random projection of the image at 16 px: quick, and with gradients."""

    name, sha256 = "linear", "0" * 64

    def __init__(self) -> None:
        self._weight = torch.randn(16 * 16 * 3, 8, generator=torch.Generator().manual_seed(0))

    def view(self, images: Any) -> Any:
        return torch.nn.functional.interpolate(images, size=(16, 16), mode="area")

    def embed_view(self, view: Any) -> Any:
        return torch.nn.functional.normalize((view - 0.5).flatten(1) @ self._weight, dim=-1)

    def embed(self, images: Any) -> Any:
        return self.embed_view(self.view(images))


def picture(seed: int, side: int = 64) -> np.ndarray:
    """A smooth, busy picture, uint8 [side, side, 3]."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((side, side, 3)), (3, 3, 0))
    return np.clip(128 + 300 * noise, 0, 255).astype(np.uint8)


def head(sources: int = 120, *, seed: int = 0) -> Head:
    """A head of one signal, calibrated on standard normal scores, half of them photographs."""
    calibration = np.random.default_rng(seed).standard_normal((sources, 2))
    kinds = tuple("photograph" if at % 2 else "drawing" for at in range(sources))
    return Head(
        np.zeros(1),
        np.ones(1),
        np.ones(2),
        0.0,
        calibration,
        kinds,
        ("as it is", "jpeg 50"),
        ("only",),
        {"linear": "0" * 64},
        "1" * 64,
    )


def test_a_conformal_p_value_is_the_rank_among_the_worst_conditions_benign_scores() -> None:
    calibration = np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]])
    p = evidence.image_p_values(np.array([1.5, 6.5, 9.0, np.nan]), calibration)
    assert p[:3].tolist() == [1.0, 0.5, 0.25]
    assert np.isnan(p[3])


@pytest.mark.parametrize("n", [1, 3, 10, 40])
def test_the_sets_p_value_is_a_probability_over_the_calibrations_chance_too(n: int) -> None:
    rng = np.random.default_rng(n)
    p_values = [evidence.set_p_value(rng.standard_normal(n), rng.standard_normal((40, 1))) for _ in range(3000)]
    for level in (0.01, 0.05, 0.1):
        assert np.mean(np.array(p_values) <= level) <= level + 3 * np.sqrt(level / 3000)


def test_at_least_is_the_share_counted_in_simulated_draws() -> None:
    rng = np.random.default_rng(1)
    top = np.sort(rng.random((20_000, 40)), axis=1)[:, -evidence.rank(40)]
    counted = np.mean((rng.random((20_000, 10)) > top[:, None]).sum(axis=1) >= 2)
    assert counted == pytest.approx(evidence.at_least(2, 10, 40), abs=0.01)


def test_a_benign_set_of_one_kind_and_condition_is_called_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(2)
    called = []
    for seed in range(400):
        found = head(seed=seed).judge(rng.standard_normal(10), fpr=0.05)
        called.append(found.verdict == "perturbed")
    assert np.mean(called) <= 0.05


def test_a_set_far_beyond_the_benign_scores_is_called_perturbed_and_the_author_is_pointed_at() -> None:
    found = head().judge(np.full(5, 8.0))
    assert found.verdict == "perturbed"
    assert found.p_value <= 0.01
    assert "object to training" in found.meaning
    assert "auditkit consent" in found.meaning
    assert {one.verdict for one in found.images} == {"perturbed"}


def test_no_sign_is_said_not_to_be_consent() -> None:
    found = head().judge(np.zeros(5))
    assert found.verdict == "no sign"
    assert "neither consent" in found.meaning


def test_a_set_too_small_for_the_rate_is_insufficient_however_large_its_scores() -> None:
    found = head(40).judge(np.array([50.0]), fpr=0.001)
    assert found.verdict == "insufficient"
    assert found.images[0].verdict == "insufficient"
    assert str(found.fewest) in found.why


def test_images_that_cannot_be_read_count_for_nothing() -> None:
    found = head().judge(np.array([np.nan, 8.0, 8.0, 8.0]))
    assert found.n == 3
    assert [one.verdict for one in found.images] == ["insufficient", *["perturbed"] * 3]
    none = head().judge(np.array([np.nan]))
    assert none.verdict == "insufficient"
    assert np.isnan(none.p_value)


@pytest.mark.parametrize("fpr", [0.0, 0.7, float("nan")])
def test_a_false_positive_rate_out_of_range_is_refused(fpr: float) -> None:
    with pytest.raises(DetectorError, match="false positive rate"):
        head().judge(np.zeros(3), fpr=fpr)


def test_a_head_is_the_same_after_saving_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    before = head()
    before.save(path)
    after = Head.load(path)
    assert np.array_equal(after.calibration, before.calibration)
    assert (after.kinds, after.encoders, after.bias) == (before.kinds, before.encoders, before.bias)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DetectorError, match="cannot be read"):
        Head.load(path)


def test_the_bundled_head_is_small_and_knows_every_benign_condition() -> None:
    from detectors.perturbation.detector import BUNDLED
    from detectors.perturbation.signals import names

    found = Head.load()
    assert BUNDLED.stat().st_size < 200_000
    assert found.conditions == tuple(CONDITIONS)
    assert list(found.signals) == names(list(found.encoders))
    assert found.calibration.shape == (len(found.kinds), len(CONDITIONS))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("perceptual", [False, True])
def test_a_perturbation_keeps_its_budget_and_moves_the_embedding_to_its_target(kind: Any, perceptual: bool) -> None:
    made = perturb(picture(0), Linear(), kind=kind, budget=4, target=picture(1), perceptual=perceptual)
    assert made.linf <= 4
    assert made.image.shape == (64, 64, 3)
    assert made.toward > 0.02
    again = perturb(picture(0), Linear(), kind=kind, budget=4, target=picture(1), perceptual=perceptual)
    assert np.array_equal(made.image, again.image)


def test_the_perceptual_perturbation_hides_better_at_the_same_budget() -> None:
    flat = picture(0)
    flat[:32] = 128
    plain, hidden = (
        perturb(flat, Linear(), kind="concept-poison", budget=8, target=picture(1), perceptual=each)
        for each in (False, True)
    )
    assert hidden.psnr > plain.psnr + 1


def test_a_larger_budget_comes_nearer_to_the_target() -> None:
    gains = [
        perturb(picture(2), Linear(), kind="concept-poison", budget=b, target=picture(3)).toward for b in (1, 2, 4)
    ]
    assert gains == sorted(gains)


def test_a_perturbation_needs_a_budget_in_range_and_a_target() -> None:
    with pytest.raises(DetectorError, match="budget"):
        perturb(picture(0), Linear(), kind="style-cloak", budget=0)
    with pytest.raises(DetectorError, match="needs a picture"):
        perturb(picture(0), Linear(), kind="concept-poison", budget=4)


def test_targets_are_other_pictures_of_the_set() -> None:
    images = [picture(seed) for seed in range(5)]
    for image, target in zip(images, targets_for(images), strict=True):
        assert not np.array_equal(image, target)
    assert not np.array_equal(targets_for(images[:1])[0], images[0])
    assert painted(images[0]).shape == images[0].shape


@pytest.mark.parametrize("name", [*CONDITIONS, *UNSEEN])
def test_a_benign_condition_keeps_the_shape_and_leaves_its_input(name: str) -> None:
    image = picture(0, 128)
    kept = image.copy()
    done = (CONDITIONS | UNSEEN)[name](image, np.random.default_rng(0))  # type: ignore[operator]
    assert done.shape == image.shape
    assert done.dtype == np.uint8
    assert np.array_equal(image, kept)
    if name != "as it is":
        assert not np.array_equal(done, image)


def test_the_residual_sees_noise_that_is_not_in_the_picture() -> None:
    image = picture(0)
    noisy = CONDITIONS["gaussian noise 5"](image, np.random.default_rng(0))
    assert residual_statistics(noisy)[0] > residual_statistics(image)[0] + 0.5


def test_nothing_done_leaves_all_of_the_shift_and_heavy_noise_and_blur_leave_less() -> None:
    clean = [picture(seed) for seed in range(6)]
    pairs = [
        (image, perturb(image, Linear(), kind="concept-poison", budget=8, target=picture(9)).image) for image in clean
    ]
    rows = survival(pairs, Linear(), edits=["none", "blur:4"])
    assert rows[0].share == pytest.approx(1)
    assert rows[1].share < 0.9
    assert rows[1].ci_low < rows[1].share < rows[1].ci_high


def test_survival_of_too_few_images_has_no_interval_and_of_none_is_refused() -> None:
    image = picture(0)
    made = perturb(image, Linear(), kind="concept-poison", budget=8, target=picture(9)).image
    row = survival([(image, made)], Linear(), edits=["none"])[0]
    assert row.share == pytest.approx(1)
    assert np.isnan(row.ci_low)
    with pytest.raises(DetectorError, match="no images"):
        survival([], Linear())
    with pytest.raises(DetectorError, match="another size"):
        survival([(image, made[:32])], Linear())


def test_an_unperturbed_copy_has_nothing_whose_survival_could_be_asked() -> None:
    row = survival([(picture(0), picture(0))], Linear(), edits=["none"])[0]
    assert (row.n, row.weak) == (0, 1)
    assert np.isnan(row.share)
