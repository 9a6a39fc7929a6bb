"""Drawings as tensors: exact on paper, varied but bounded for the encoder."""

from __future__ import annotations

import pytest
import torch
import training_helpers as tiny

from auditkit.errors import TableError
from generators.training import pixels

SIZE, CANVAS = 8, 12


def opaque(n: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(5)
    drawings = torch.randint(0, 256, (n, 4, SIZE, SIZE), generator=random, dtype=torch.uint8)
    drawings[:, 3] = 255
    return drawings


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_loading_keeps_the_pixels_of_the_pngs():
    table = tiny.table(occupations=("judge",)).head(3)
    drawings = pixels.load(table, "cpu")
    assert drawings.shape == (3, 4, tiny.SIZE, tiny.SIZE)
    assert drawings.dtype == torch.uint8
    assert drawings[0, :, 12, 12].tolist() == [240, 120, 40, 255]
    assert drawings[0, 3, 0, 0] == 0


def test_on_paper_every_opaque_pixel_survives_exactly_up_to_mirroring():
    drawings = opaque(16)
    images = pixels.on_paper(drawings, CANVAS, seeded())
    bytes_ = ((images + 1) * 127.5).round().byte()
    mirrored = 0
    for drawing, image in zip(drawings[:, :3], bytes_, strict=True):
        windows = [image[:, y : y + SIZE, x : x + SIZE] for y in range(5) for x in range(5)]
        plain = any(torch.equal(window, drawing) for window in windows)
        flipped = any(torch.equal(window, drawing.flip(-1)) for window in windows)
        assert plain or flipped
        mirrored += flipped
    assert 0 < mirrored < len(drawings)


def test_on_paper_the_shape_is_the_canvas_and_values_lie_within_one():
    images = pixels.on_paper(opaque(5), CANVAS, seeded())
    assert images.shape == (5, 3, CANVAS, CANVAS)
    assert images.dtype == torch.float32
    assert images.min() >= -1
    assert images.max() <= 1


def test_on_paper_what_is_transparent_shows_one_of_the_papers():
    images = pixels.on_paper(torch.zeros(20, 4, SIZE, SIZE, dtype=torch.uint8), CANVAS, seeded())
    colours = {tuple(image.unique(dim=0).flatten(1).unique(dim=1).shape) for image in images}
    seen = {tuple(((image[:, 0, 0] + 1) * 127.5).round().int().tolist()) for image in images}
    assert all(shape[1] == 1 for shape in colours)
    assert seen <= set(pixels.PAPERS)
    assert len(seen) > 2


def test_a_drawing_that_fills_the_canvas_is_put_there_whole():
    assert pixels.on_paper(opaque(2), SIZE, seeded()).shape == (2, 3, SIZE, SIZE)


def test_a_drawing_larger_than_the_canvas_is_refused_with_the_size_to_build():
    with pytest.raises(TableError) as caught:
        pixels.on_paper(torch.zeros(1, 4, 140, 140, dtype=torch.uint8), 128, seeded())
    assert caught.value.mend == "auditkit corpus build --size 120"


def test_augmented_views_stay_between_zero_and_one():
    images, tone_kept = pixels.augmented(opaque(32), 16, seeded())
    assert images.shape == (32, 3, 16, 16)
    assert tone_kept.shape == (32,)
    assert tone_kept.dtype == torch.bool
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.isfinite().all()


def test_augmented_views_follow_from_the_generators_seed():
    first, second, other = (pixels.augmented(opaque(8), 16, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_about_a_quarter_of_the_augmented_views_lose_their_tone():
    kept = pixels.augmented(opaque(1).expand(800, -1, -1, -1), 8, seeded())[1]
    assert 0.15 < 1 - kept.float().mean() < 0.35
