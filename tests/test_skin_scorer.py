"""The scorer `skin_pixels`: what it finds in drawings of known colour, and where it says unknown."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from auditkit.bias.skin_color import MONK, MONK_HEX, hex_rgb, ita, lab
from auditkit.bias.skin_region import find_skin, is_skin_colour
from auditkit.bias.skin_scorer import scores, shrunk, skin_pixels, soft_tones
from benchmarks.skin_tone import SWATCHES, exposed, lit
from tests.skin_helpers import portrait

IDS = [f"{i:064x}" for i in range(100)]


def scored(*images: Image.Image):
    return scores(IDS[: len(images)], [find_skin(shrunk(list(images)))])


def test_the_rule_admits_all_ten_swatches_under_other_light():
    lights = [SWATCHES, exposed(SWATCHES, -0.5), exposed(SWATCHES, 0.1), lit(SWATCHES, 5000), lit(SWATCHES, 7500)]
    assert all(is_skin_colour(lab(colours)).all() for colours in lights)


@pytest.mark.parametrize("colour", ["0057b7", "2e8b57", "ff00ff", "ffdc5d", "fcc21b", "ffb02e", "808080", "ffffff"])
def test_the_rule_refuses_colours_that_no_skin_has(colour):
    assert not is_skin_colour(lab(hex_rgb(colour)))


@pytest.mark.parametrize("paper", ["#deebf7", "#ffffff", "#d9d9d9", "#e2f0d9"])
def test_a_drawn_face_gets_the_tone_it_was_painted_with(paper):
    table = scored(*[portrait(f"#{code}", paper=paper) for code in MONK_HEX])
    assert table["label"].tolist() == list(MONK)
    np.testing.assert_allclose(table["v_ita"], ita(lab([hex_rgb(code) for code in MONK_HEX])), atol=2)
    assert (table["v_delta_e"] < 2).all()


def test_brown_hair_is_not_taken_for_the_face():
    table = scored(portrait("#f6ede4", hair="#543930"), portrait("#604134", hair="#241a14"))
    assert table["label"].tolist() == ["monk-01", "monk-08"]


@pytest.mark.parametrize("yellow", ["#fcc21b", "#ffdc5d", "#ffb02e", "#fcea2b"])
def test_a_yellow_face_that_states_no_tone_is_unknown(yellow):
    table = scored(portrait(yellow, hair="#6d4c41"))
    assert table["label"].item() == "unknown"
    assert np.isnan(table["v_ita"].item())


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#0057b7", "#a07e56"])
def test_a_plain_image_of_one_colour_is_unknown(colour):
    table = scored(Image.new("RGB", (64, 64), colour))
    assert table["label"].item() == "unknown"
    np.testing.assert_allclose(table.filter(like="p_").sum(axis=1), 1)


def test_a_centre_of_many_colours_is_unknown():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    assert scored(noise)["label"].item() == "unknown"


def test_the_size_of_the_image_does_not_change_the_tone():
    image = portrait("#a07e56")
    big = image.resize((640, 640), Image.Resampling.LANCZOS)
    both = scored(image, big)
    assert both["label"].nunique() == 1
    assert abs(both["v_ita"].diff().iloc[1]) < 2


def test_what_is_found_does_not_hang_on_the_other_images():
    images = [portrait(f"#{code}") for code in MONK_HEX[::3]]
    together = scored(*images)
    for place, image in enumerate(images):
        assert scored(image)["v_ita"].item() == together["v_ita"].iloc[place]


def test_soft_classes_are_even_without_a_colour():
    np.testing.assert_allclose(soft_tones(np.full((1, 10), np.nan)), 0.1)


def test_the_scorer_needs_no_encoder_and_names_its_rows_by_pixels(tiny_run):
    table = skin_pixels.score(tiny_run)
    assert set(table["encoder"]) == {"pixels"}
    assert len(table) == tiny_run.images()["id"].nunique()
    tiny_run.write_scores(table)
    assert "skin_pixels@pixels" in tiny_run.scores()


def test_progress_ends_with_all_images(tiny_run):
    seen = []
    skin_pixels.score(tiny_run, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(tiny_run.images()), len(tiny_run.images()))
