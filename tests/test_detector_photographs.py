"""The bundled detector of photographs, on two photographs that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from detectors.autoencoders import load_autoencoder
from detectors.bundled import FOLDER, photographs
from detectors.families.reconstruction_features import encode
from detectors.trained import Detector
from generators.bundled import FOLDER as GENERATORS

NAMES = ("china.jpg", "flower.jpg")
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def detector() -> Detector:
    return photographs(device="cpu")


def photograph(name: str) -> np.ndarray:
    return np.ascontiguousarray(load_sample_image(name)[:416, :512])


def test_it_is_small_and_tells_what_it_learned_from(detector: Detector) -> None:
    assert sum(file.stat().st_size for file in (FOLDER / "photographs-detector").iterdir()) < MOST_BYTES
    assert detector.knows == ("personas", "personas-dit", "taef2")
    assert "lomiri-wallpapers" in detector.origins
    assert detector.card["test"]["overall"]


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_is_not_called_generated(name: str, detector: Detector) -> None:
    assert detector.judge([photograph(name)])[0].verdict in ("no sign", "abstain")


@pytest.mark.parametrize("quality", [float("nan"), 70.0], ids=["clean", "jpeg-70"])
@pytest.mark.parametrize("autoencoder", ["personas", "personas-dit"])
@pytest.mark.parametrize("name", NAMES)
def test_a_reconstruction_scores_higher_than_its_photograph(
    name: str, autoencoder: str, quality: float, detector: Detector
) -> None:
    real = photograph(name)
    made = load_autoencoder(str(GENERATORS / autoencoder / "vae")).reconstruct(real)
    before, after = detector.scores([encode(real, quality), encode(made, quality)])
    assert after > before
