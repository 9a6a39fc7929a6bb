"""Reconstruction error: images of the autoencoder against others, and saying where it does not apply."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from auditkit.errors import DetectorError
from detectors.autoencoders import load_autoencoder
from detectors.base import Family
from detectors.examples import Examples
from detectors.families.reconstruction import Reconstruction

TINY, KL = "generators/bundled/personas-dit/vae", "generators/bundled/personas/vae"
SIDE = 64


def scene(seed: int) -> np.ndarray:
    """Detail at several scales, of a strength that differs between scenes: uint8 [64, 64, 3]."""
    rng = np.random.default_rng(seed)
    made = np.full((SIDE, SIDE, 3), 128.0)
    for scale in (0.8, 2, 5, 12):
        plane = gaussian_filter(rng.standard_normal((SIDE, SIDE)), scale)
        made += (rng.uniform(2, 14) * plane / plane.std())[..., None] * rng.uniform(0.7, 1, 3)
    return made.clip(0, 255).astype(np.uint8)


def examples(folder: Path, generated: str = "", count: int = 10) -> Examples:
    """Scenes as the real images, and images of an autoencoder, made of other scenes, as the generated ones."""
    rows = []
    made = load_autoencoder(generated) if generated else None
    for seed in range(count):
        for label, image in (("real", scene(seed)), ("generated", made and made.reconstruct(scene(500 + seed)))):
            if image is not None:
                file = folder / f"{label}{seed}.png"
                Image.fromarray(image).save(file)
                generator = "other" if label == "generated" else ""
                rows.append({"file": str(file), "label": label, "source": file.stem, "origin": "", "made": "",
                             "generator": generator})  # fmt: skip
    return Examples(pd.DataFrame(rows))


def made_family(**options: object) -> Reconstruction:
    return Reconstruction(**({"autoencoders": [TINY], "side": SIDE, "tiles": 1} | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Reconstruction:
    family = made_family()
    family.fit(examples(tmp_path_factory.mktemp("real")), seed=0, device="cpu")
    return family


def test_it_is_a_family():
    assert isinstance(made_family(), Family)


def test_images_of_the_autoencoder_score_higher_than_the_images_they_were_made_of(fitted: Reconstruction):
    real = [scene(100 + seed) for seed in range(8)]
    made = [load_autoencoder(TINY).reconstruct(image) for image in real]
    assert np.mean(fitted.scores(made) > fitted.scores(real)) >= 7 / 8
    assert np.median(fitted.scores(made)) > 0 > np.median(fitted.scores(real))


def test_a_score_does_not_depend_on_the_images_beside_it(fitted: Reconstruction):
    images = [scene(200), scene(201)]
    assert fitted.scores(images)[1] == fitted.scores([images[1]])[0]
    assert fitted.features(images).shape == (2, 17)


def test_own_images_are_typical_and_others_are_not(fitted: Reconstruction):
    own = load_autoencoder(TINY).reconstruct(scene(300))
    assert fitted.explained([own])[0][TINY] > 0.05
    assert fitted.explained([scene(300)])[0][TINY] < 0.05


def test_a_generator_with_this_autoencoder_is_explained(tmp_path: Path):
    family = made_family()
    family.fit(examples(tmp_path, generated=TINY), seed=0, device="cpu")
    assert family.applies["other"]["applies"]
    assert np.isfinite(family.scores([scene(0)])).all()


def test_with_the_wrong_autoencoder_it_says_so_and_scores_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    family = made_family()
    family.fit(examples(tmp_path, generated=KL), seed=0, device="cpu")
    assert not family.applies["other"]["applies"]
    assert "does not apply to other" in caplog.text
    assert np.isnan(family.scores([scene(0), scene(1)])).all()


def test_it_comes_back_from_its_state(fitted: Reconstruction):
    again = Reconstruction.from_state(fitted.state(), device="cpu")
    images = [scene(400), scene(401)]
    assert np.allclose(again.scores(images), fitted.scores(images), atol=1e-4)
    assert again.explained(images) == fitted.explained(images)


def test_an_autoencoder_with_other_weights_is_refused(fitted: Reconstruction, tmp_path: Path):
    shutil.copytree(TINY, tmp_path / "vae")
    state = fitted.state()
    moved = replace(state, settings=state.settings | {"autoencoders": [str(tmp_path / "vae")]})
    assert Reconstruction.from_state(moved, device="cpu")
    with pytest.raises(DetectorError, match="other weights"):
        Reconstruction.from_state(replace(state, settings=state.settings | {"autoencoders": [KL]}), device="cpu")


def test_an_image_that_is_too_small_has_no_score(fitted: Reconstruction):
    assert np.isnan(fitted.scores([scene(0)[:40]])).all()


def test_without_an_autoencoder_or_with_too_few_images_there_is_one_clear_error(tmp_path: Path):
    few = examples(tmp_path, count=3)
    with pytest.raises(DetectorError, match="no autoencoder is named"):
        made_family(autoencoders=[]).fit(few, seed=0, device="cpu")
    with pytest.raises(DetectorError, match="3 real"):
        made_family().fit(few, seed=0, device="cpu")
    with pytest.raises(DetectorError, match="cannot be looked at"):
        made_family(side=100)


def test_unfitted_it_scores_nothing():
    assert np.isnan(made_family().scores([scene(0)])).all()
