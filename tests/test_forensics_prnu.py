"""Sensor noise: fingerprints of simulated cameras, and whether an image carries one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from auditkit.errors import DetectorError
from detectors.forensics.noise import residual
from detectors.forensics.prnu import Fingerprint, fingerprint, match

SIDE = 256


def scene(seed: int) -> np.ndarray:
    """A smooth scene with edges, float [h, w, 3] in 0..255."""
    rng = np.random.default_rng(seed)
    planes = [gaussian_filter(rng.standard_normal((SIDE, SIDE)), 12) for _ in range(3)]
    made = np.stack([128 + 60 * plane / np.abs(plane).max() for plane in planes], axis=-1)
    made[rng.integers(SIDE) :, :, rng.integers(3)] += 30
    return made


def shot(camera: int, seed: int, quality: int = 90) -> np.ndarray:
    """A scene taken by a camera whose pixels differ by 1% in sensitivity, with read-out noise, saved as JPEG."""
    sensor = 1 + 0.01 * np.random.default_rng(1000 + camera).standard_normal((SIDE, SIDE, 1))
    light = scene(seed) * sensor + np.random.default_rng(seed).standard_normal((SIDE, SIDE, 3))
    file = io.BytesIO()
    Image.fromarray(light.clip(0, 255).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.fixture(scope="module")
def camera() -> Fingerprint:
    return fingerprint(shot(0, seed) for seed in range(12))


def test_the_residual_of_a_flat_image_with_noise_is_its_noise():
    noise = 3 * np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    found = residual(np.float32(100) + noise)
    assert np.corrcoef(found.ravel(), noise.ravel())[0, 1] > 0.9


def test_an_edge_stays_out_of_the_residual():
    image = np.zeros((128, 128), np.float32)
    image[:, 64:] = 200
    assert np.abs(residual(image)).mean() < 1


def test_an_image_of_the_camera_matches(camera: Fingerprint):
    found = match(shot(0, 50), camera)
    assert found.verdict == "match"
    assert found.pce > 1000
    assert found.p_value < 1e-10


def test_an_image_of_another_camera_does_not_match_and_that_is_no_evidence_of_generation(camera: Fingerprint):
    found = [match(shot(1, seed), camera) for seed in range(60, 70)]
    assert all(each.verdict == "no match" for each in found)
    assert all("no evidence that the image was generated" in each.why for each in found)


def test_p_values_of_other_cameras_are_uniform(camera: Fingerprint):
    p = np.array([match(shot(2 + seed, 100 + seed), camera).p_value for seed in range(40)])
    assert 0.25 < p.mean() < 0.75
    assert (p < 0.05).sum() <= 7


def test_a_crop_is_found_where_it_was_cut_when_it_is_looked_for(camera: Fingerprint):
    crop = shot(0, 51)[40:200, 24:216]
    found = match(crop, camera, search=True)
    assert (found.verdict, found.position) == ("match", (40, 24))
    assert match(crop, camera).verdict == "not applicable"


def test_an_image_larger_than_the_fingerprint_cannot_be_compared(camera: Fingerprint):
    found = match(np.zeros((SIDE + 8, SIDE, 3), np.uint8), camera, search=True)
    assert found.verdict == "not applicable"
    assert np.isnan(found.pce)


def test_a_flat_image_cannot_be_compared(camera: Fingerprint):
    assert match(np.full((SIDE, SIDE, 3), 90, np.uint8), camera).verdict == "not applicable"


def test_a_fingerprint_comes_back_from_its_file(camera: Fingerprint, tmp_path: Path):
    camera.save(tmp_path / "cam.safetensors")
    again = Fingerprint.load(tmp_path / "cam.safetensors")
    assert np.array_equal(again.pattern, camera.pattern)
    assert again.images == 12


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"\x08" + bytes(30)])
def test_a_damaged_fingerprint_is_one_clear_error(data: bytes, tmp_path: Path):
    (tmp_path / "cam.safetensors").write_bytes(data)
    with pytest.raises(DetectorError, match="no fingerprint"):
        Fingerprint.load(tmp_path / "cam.safetensors")
    with pytest.raises(DetectorError, match="does not exist"):
        Fingerprint.load(tmp_path / "absent.safetensors")


def test_too_few_or_unlike_images_are_refused():
    with pytest.raises(DetectorError, match="cannot be made of 3 images"):
        fingerprint(shot(0, seed) for seed in range(3))
    with pytest.raises(DetectorError, match="those before it 256 x 256"):
        fingerprint([shot(0, 0), shot(0, 1)[:200]])
    with pytest.raises(DetectorError, match="no noise"):
        fingerprint([np.full((SIDE, SIDE, 3), 255, np.uint8)] * 4)
