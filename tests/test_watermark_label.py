"""The visible label: its size, place, contrast, and that it can still be read after a re-encoding."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont
from skimage import data

from auditkit.errors import WatermarkError
from auditkit.watermark.label import CORNERS, HEIGHT_SHARE, LEAST_OPACITY, LabelBox, add_label

BACKGROUNDS = {
    "black": np.zeros((400, 600, 3), np.uint8),
    "white": np.full((400, 600, 3), 255, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (400, 600, 3)).astype(np.uint8),
    "astronaut": data.astronaut(),
    "chelsea": data.chelsea(),
}


def _plate(image: Image.Image, box: LabelBox) -> np.ndarray:
    return np.asarray(image.crop(box.box), float).mean(2)


@pytest.mark.parametrize(
    "size", [(64, 64), (100, 75), (128, 128), (512, 512), (640, 427), (64, 1500), (4000, 90), (4000, 3000), (501, 1999)]
)
def test_the_letters_are_at_least_5_percent_of_the_shortest_side(size: tuple[int, int]) -> None:
    labelled, box = add_label(Image.new("RGB", size, "white"))
    bright = np.flatnonzero((_plate(labelled, box) > 150).any(1))
    first_line = bright[bright < bright[0] + box.text_height]
    assert len(first_line) >= HEIGHT_SHARE * min(size)
    assert box.share == box.text_height / min(size) >= HEIGHT_SHARE
    assert box.note == ""
    assert labelled.size == size


@given(width=st.integers(64, 700), height=st.integers(64, 700), corner=st.sampled_from(CORNERS))
def test_the_plate_stands_inside_the_picture_in_its_corner(width: int, height: int, corner: str) -> None:
    picture = Image.new("RGB", (width, height), "white")
    labelled, box = add_label(picture, corner=corner)
    left, top, right, bottom = box.box
    changed = np.argwhere((np.asarray(labelled) != 255).any(2))
    assert changed.min(0).tolist() == [top, left]
    assert (changed.max(0) + 1).tolist() == [bottom, right]
    margin = max(2, round(0.02 * min(width, height)))
    assert margin == (left if "left" in corner else width - right)
    assert margin == (top if "top" in corner else height - bottom)


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("opacity", [LEAST_OPACITY, 0.8, 1.0])
def test_text_and_plate_contrast_by_4_5_on_any_background(background: str, opacity: float) -> None:
    labelled, box = add_label(Image.fromarray(BACKGROUNDS[background]), opacity=opacity)
    v = np.asarray(labelled.crop(box.box)) / 255
    luminance = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    rim = np.concatenate([luminance[:2].ravel(), luminance[-2:].ravel()])
    assert 1.05 / (rim.max() + 0.05) >= box.contrast - 0.01
    assert box.contrast >= 4.5
    assert luminance.max() == pytest.approx(1.0)  # the letters are white


@pytest.mark.parametrize("background", ["noise", "astronaut", "chelsea"])
def test_the_text_can_be_read_after_jpeg_50_and_half_size(background: str) -> None:
    labelled, box = add_label(Image.fromarray(BACKGROUNDS[background]))
    half = labelled.resize((labelled.width // 2, labelled.height // 2), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    half.save(buffer, "JPEG", quality=50)
    back = Image.open(buffer).convert("RGB").resize(labelled.size, Image.Resampling.BICUBIC)
    plate = _plate(back, box)
    right_text = _alike(plate, "AI-generated", labelled.size)
    assert right_text >= 0.8
    for other in ("AI-generaled", "Photographed", "AI-retouched"):
        assert _alike(plate, other, labelled.size) < right_text - 0.02


def _alike(plate: np.ndarray, text: str, size: tuple[int, int]) -> float:
    """Correlation of the plate with `text` as the label draws it on black, from the plate's left edge."""
    drawn, its = add_label(Image.new("RGB", size), text)
    template = np.zeros_like(plate)
    own = _plate(drawn, its)[: template.shape[0], : template.shape[1]]
    template[: own.shape[0], : own.shape[1]] = own
    return float(np.corrcoef(plate.ravel(), template.ravel())[0, 1])


def test_long_text_is_wrapped_between_words() -> None:
    text = "This picture was made by a machine and not by a camera"
    _, box = add_label(Image.new("RGB", (300, 300)), text)
    assert len(box.lines) > 1
    assert " ".join(box.lines) == text


def test_text_that_cannot_fit_is_an_error() -> None:
    with pytest.raises(WatermarkError, match="does not fit") as caught:
        add_label(Image.new("RGB", (200, 200)), "Donaudampfschifffahrtsgesellschaftskapitaen")
    assert caught.value.mend


def test_a_smaller_height_is_drawn_as_asked_and_noted() -> None:
    _, box = add_label(Image.new("RGB", (1000, 1000)), height_share=0.02)
    assert 20 <= box.text_height <= 22
    assert "5%" in box.note


def test_letters_that_the_font_lacks_are_named() -> None:
    with pytest.raises(WatermarkError, match=r"生 \(U\+751F\), 成") as caught:
        add_label(Image.new("RGB", (512, 512)), "AI生成")
    assert "--font" in str(caught.value.mend)


def test_a_font_file_draws_what_it_has(tmp_path: Path) -> None:
    font = tmp_path / "font.otf"
    font.write_bytes(ImageFont.load_default(20).font_bytes)
    picture = Image.new("RGB", (512, 512))
    labelled, box = add_label(picture, font=font)
    assert box.text_height == add_label(picture)[1].text_height
    assert _alike(_plate(labelled, box), "AI-generated", labelled.size) > 0.6
    with pytest.raises(WatermarkError, match="lacks"):
        add_label(picture, "ИИ", font=font)


def test_chinese_text_may_break_between_characters_but_not_before_a_stop() -> None:
    from auditkit.watermark.label import _pieces

    assert _pieces("由人工。") == ["由", "人", "工。"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"text": "  "}, "no text"),
        ({"text": "___"}, "no letter"),
        ({"height_share": 0.0}, "share"),
        ({"height_share": 0.7}, "share"),
        ({"corner": "middle"}, "corner"),
        ({"opacity": 0.3}, "contrast"),
        ({"font": "/nowhere/font.ttf"}, "font cannot be read"),
    ],
)
def test_options_out_of_range_are_clear_errors(options: dict[str, object], match: str) -> None:
    with pytest.raises(WatermarkError, match=match) as caught:
        add_label(Image.new("RGB", (256, 256)), **options)  # type: ignore[arg-type]
    assert caught.value.mend


def test_the_picture_is_left_alone_outside_the_plate_and_the_source_untouched() -> None:
    pixels = BACKGROUNDS["astronaut"].copy()
    picture = Image.fromarray(pixels)
    labelled, box = add_label(picture)
    outside = np.ones(pixels.shape[:2], bool)
    left, top, right, bottom = box.box
    outside[top:bottom, left:right] = False
    assert (np.asarray(labelled)[outside] == pixels[outside]).all()
    assert (np.asarray(picture) == pixels).all()
