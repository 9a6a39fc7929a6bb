"""Windows, augmentation, pairs and the network that the families on pixels share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from planted_images import generated, planted, real

from detectors.examples import COLUMNS, Examples
from detectors.pixels.augment import Augmentation, mixed
from detectors.pixels.network import Network, npr, residual
from detectors.pixels.pool import Mixing, Pool
from detectors.pixels.windows import GRID, places


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 40), (512, 512), (300, 1000), (1000, 90), (4000, 3000)])
def test_windows_lie_inside_the_image_on_the_grid_of_jpeg(height: int, width: int) -> None:
    high, wide, corners = places(height, width, 64, 16)
    assert high == min(64, height // 8 * 8)
    assert wide == min(64, width // 8 * 8)
    assert 1 <= len(corners) <= 16
    assert len(set(corners)) == len(corners)
    for top, left in corners:
        assert top % GRID == left % GRID == 0
        assert 0 <= top <= height - high
        assert 0 <= left <= width - wide


def test_windows_of_a_small_image_cover_it_and_those_of_a_large_one_reach_its_corners() -> None:
    _, _, corners = places(128, 128, 64, 16)
    assert corners == [(0, 0), (0, 64), (64, 0), (64, 64)]
    _, _, corners = places(512, 512, 64, 16)
    assert {(0, 0), (0, 448), (448, 0), (448, 448)} <= set(corners)


def test_neighbouring_pixel_relations_of_doubled_pixels_are_zero() -> None:
    image = torch.from_numpy(generated(1)).permute(2, 0, 1)[None] / 255
    assert npr(image).abs().max() == 0
    grain = torch.from_numpy(real(1)).permute(2, 0, 1)[None] / 255
    assert npr(grain).abs().mean() > 0.01


def test_the_residual_of_a_ramp_is_zero_inside() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    assert residual(ramp)[..., 1:-1, 1:-1].abs().max() < 1e-6


def test_a_folded_network_is_the_same_function() -> None:
    torch.manual_seed(0)
    network = Network(("rgb", "residual", "npr"), 4)
    windows = torch.rand(4, 3, 32, 40)
    network.train()(windows)  # moves the running statistics
    network.eval()
    torch.testing.assert_close(network.fused()(windows), network(windows), atol=1e-5, rtol=1e-4)


def test_an_augmentation_does_the_same_to_both_members_of_a_pair() -> None:
    for seed in range(40):
        drawn = Augmentation.drawn(np.random.default_rng(seed))
        window = real(seed, 72)
        first = drawn.applied(window, 64)
        assert first.shape == (64, 64, 3)
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(first, drawn.applied(window, 64))


def test_without_strength_a_window_is_only_turned() -> None:
    window = real(1, 64)
    for seed in range(8):
        done = Augmentation.drawn(np.random.default_rng(seed), 0.0).applied(window, 64)
        assert any(np.array_equal(np.rot90(done, k), each) for k in range(4) for each in (window, window[:, ::-1]))


def test_at_full_strength_half_of_the_windows_are_compressed() -> None:
    rng = np.random.default_rng(0)
    drawn = [Augmentation.drawn(rng) for _ in range(2000)]
    assert np.mean([one.quality > 0 for one in drawn]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([one.scale != 1 for one in drawn]) == pytest.approx(0.2, abs=0.03)
    assert all(30 <= one.quality <= 100 for one in drawn if one.quality)


def test_mixing_brings_a_generated_window_nearer_to_its_original_and_never_reaches_it() -> None:
    made, original = generated(1, 60), real(1, 60)
    rng = np.random.default_rng(0)
    far = np.abs(made.astype(int) - original).mean()
    for _ in range(20):
        nearer = np.abs(mixed(made, original, rng, share=1.0, most=0.8).astype(int) - original).mean()
        assert 0.05 * far < nearer <= far
    np.testing.assert_array_equal(mixed(made, original, rng, share=0.0, most=0.8), made)


def test_a_generated_image_is_paired_with_the_tile_that_it_was_made_from(tmp_path: Path) -> None:
    """All tiles of a photograph share its source; what looks like none of them has no partner."""
    rows = []
    for tile in range(12):
        for label, image in (("real", real(tile)), ("generated", generated(tile))):
            path = tmp_path / f"{label}{tile}.png"
            Image.fromarray(image).save(path)
            rows.append([str(path), label, "photograph", "", "doubling" if label == "generated" else "", ""])
    stranger = tmp_path / "stranger.png"
    Image.fromarray(generated(99)).save(stranger)
    rows.append([str(stranger), "generated", "photograph", "", "other", ""])
    pool = Pool(Examples(pd.DataFrame(rows, columns=list(COLUMNS))), smallest=32)
    assert pool.partner == {2 * tile + 1: 2 * tile for tile in range(12)}
    assert pool.paired == pytest.approx(12 / 13)


def test_members_of_a_pair_are_seen_at_the_same_place(tmp_path: Path) -> None:
    examples = planted(tmp_path, n=12)
    pool = Pool(examples, smallest=32)
    rng = np.random.default_rng(0)
    windows, labels = pool.batch(rng, 20, 32, strength=0.0, mixing=Mixing(share=0.0))
    assert windows.shape == (40, 32, 32, 3)
    assert labels.tolist() == [0, 1] * 20
    for first, second in zip(windows[0::2], windows[1::2], strict=True):
        a, b = first.astype(float).ravel(), second.astype(float).ravel()
        assert np.corrcoef(a, b)[0, 1] > 0.7


def test_when_memory_is_short_the_same_part_of_both_members_is_kept(tmp_path: Path) -> None:
    examples = planted(tmp_path, n=12, side=128)
    pool = Pool(examples, smallest=32, memory=24 * 3 * 48 * 48)
    assert max(image.size for image in pool.images) <= 3 * 48 * 48
    for made, original in pool.partner.items():
        a, b = pool.images[made].astype(float).ravel(), pool.images[original].astype(float).ravel()
        assert np.corrcoef(a, b)[0, 1] > 0.7
