"""A visible label that says that an image was generated: its size, place and contrast, measured.

China's GB 45438-2025 asks that the text be at least 5% of the image's shortest side high, at an edge or corner;
Article 50 of the EU's AI Act asks for 'clear and distinguishable' and names no size. Contrast is WCAG 2.2's, 1.4.3.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auditkit.errors import WatermarkError

if TYPE_CHECKING:
    from PIL import Image, ImageFont

CORNERS = ("bottom-right", "bottom-left", "top-right", "top-left")
HEIGHT_SHARE = 0.05
"""Least text height, as a share of the shortest side (GB 45438-2025)."""
CONTRAST = 4.5
"""Least contrast of text and plate (WCAG 2.2, 1.4.3)."""
LEAST_OPACITY = 0.55
"""A black plate of this opacity over white still has a contrast of 4.5:1 to white text."""
LEAST_HEIGHT = 7
"""Pixels: 5% of a thumbnail's side would be too few to draw letters with."""


@dataclass(frozen=True)
class LabelBox:
    """Where a label stands and what of it was measured.

    Attributes:
        box: left, top, right, bottom of the plate, pixels; right and bottom exclusive.
        lines: the text as it was wrapped.
        text_height: pixels from the baseline to the top of the tallest letter.
        share: `text_height` of the shortest side.
        contrast: WCAG contrast of the text to the brightest pixel of the plate, in [4.5, 21].
        note: what to know about the rules; '' where there is nothing.
    """

    box: tuple[int, int, int, int]
    lines: tuple[str, ...]
    text_height: int
    share: float
    contrast: float
    note: str = ""


def add_label(
    image: Image.Image,
    text: str = "AI-generated",
    *,
    height_share: float = HEIGHT_SHARE,
    corner: str = "bottom-right",
    font: str | Path | None = None,
    opacity: float = 0.8,
) -> tuple[Image.Image, LabelBox]:
    """A copy of `image` (RGB) with white `text` on a dark plate in a corner, and the label's measures.

    Long text is wrapped at spaces and hyphens, and between Chinese, Japanese and Korean characters.

    Args:
        height_share: text height over the shortest side, in (0, .5]; under 5% it is drawn as asked, with a note.
        corner: one of CORNERS.
        font: a TrueType or OpenType file; None is Pillow's own, which has the letters of English only.
        opacity: of the plate, in [.55, 1].

    Raises:
        WatermarkError: an option out of range, a font that cannot be read or lacks letters of the text, or text that
            does not fit into the picture.
    """
    from PIL import Image, ImageDraw

    text = " ".join(text.split())
    _check(text, height_share, corner, opacity)
    image = image.convert("RGB")
    width, height = image.size
    short = min(width, height)
    letters, text_height = _sized(text, max(LEAST_HEIGHT, int(np.ceil(height_share * short))), font)
    margin, padding = max(2, round(0.02 * short)), max(2, round(0.45 * text_height))
    lines = _wrap(text, letters, width - 2 * (margin + padding))
    step = round(1.6 * text_height)
    boxes = [letters.getbbox(line, anchor="ls") for line in lines]
    plate_width = int(np.ceil(max(b[2] - b[0] for b in boxes))) + 2 * padding
    below = int(np.ceil(max(0, boxes[-1][3])))
    plate_height = text_height + (len(lines) - 1) * step + below + 2 * padding
    if plate_width + 2 * margin > width or plate_height + 2 * margin > height:
        raise WatermarkError(
            f"the label does not fit into the picture ({width} x {height})",
            where=f"text '{text}', {text_height} px high",
            mend="use a shorter text, or a smaller height where the rules that you follow allow it",
        )
    left = margin if corner.endswith("left") else width - margin - plate_width
    top = margin if corner.startswith("top") else height - margin - plate_height
    box = (left, top, left + plate_width, top + plate_height)

    plate = image.crop(box)
    plate = Image.blend(plate, Image.new("RGB", plate.size, "black"), opacity)
    contrast = 1.05 / (_luminance(np.asarray(plate)).max() + 0.05)
    draw = ImageDraw.Draw(plate)
    for i, (line, b) in enumerate(zip(lines, boxes, strict=True)):
        draw.text((padding - b[0], padding + text_height + i * step), line, "white", letters, anchor="ls")
    labelled = image.copy()
    labelled.paste(plate, box)
    share = text_height / short
    return labelled, LabelBox(box, tuple(lines), text_height, share, round(float(contrast), 2), _note(share))


def _check(text: str, height_share: float, corner: str, opacity: float) -> None:
    if not text:
        raise WatermarkError("the label has no text", mend="leave the text out for 'AI-generated'")
    if not 0 < height_share <= 0.5:
        raise WatermarkError("the label's height must be a share of the shortest side in (0, 0.5]",
                             where=f"height={height_share}", mend="use 0.05")  # fmt: skip
    if corner not in CORNERS:
        raise WatermarkError("that is not a corner", where=corner, mend=f"use one of: {', '.join(CORNERS)}")
    if not LEAST_OPACITY <= opacity <= 1:
        raise WatermarkError(
            f"a plate of that opacity cannot promise a contrast of {CONTRAST}:1",
            where=f"opacity={opacity}",
            mend=f"use {LEAST_OPACITY} to 1",
        )


def _note(share: float) -> str:
    if share >= HEIGHT_SHARE:
        return ""
    return f"the text is {share:.1%} of the shortest side: GB 45438-2025 (China) asks for {HEIGHT_SHARE:.0%}"


def _sized(text: str, height: int, file: str | Path | None) -> tuple[ImageFont.FreeTypeFont, int]:
    """The font at the smallest size whose `text` rises at least `height` pixels over the baseline, and that rise."""
    trial = _font(file, 100)
    _check_letters(text, trial, file)
    rise = _rise(text, trial)
    if rise < 10:
        raise WatermarkError("the label has no letter to measure", where=f"text '{text}'", mend="use words")
    size = int(95 * height / rise)  # hinting moves the letters' tops by whole pixels: what counts is measured
    while (drawn := _rise(text, letters := _font(file, max(1, size)))) < height:
        size += 1
    return letters, drawn


def _rise(text: str, font: ImageFont.FreeTypeFont) -> int:
    """Rows from the baseline up to the topmost one that has a pixel more than half covered."""
    from PIL import Image, ImageDraw

    left, top, right, _ = (int(edge) for edge in font.getbbox(text, anchor="ls"))
    if top >= 0:
        return 0
    canvas = Image.new("L", (max(1, right - left), -top))
    ImageDraw.Draw(canvas).text((-left, -top), text, 255, font, anchor="ls")
    rows = np.flatnonzero((np.asarray(canvas) >= 128).any(1))
    return -top - int(rows[0]) if len(rows) else 0


def _font(file: str | Path | None, size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    try:
        found = ImageFont.load_default(size) if file is None else ImageFont.truetype(str(file), size)
    except OSError:
        raise WatermarkError(
            "the font cannot be read", where=file, mend="name a TrueType or OpenType file (.ttf, .otf, .ttc)"
        ) from None
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


def _check_letters(text: str, font: ImageFont.FreeTypeFont, file: str | Path | None) -> None:
    from PIL import features

    def drawn(letter: str) -> tuple[object, bytes]:
        mask = font.getmask(letter)
        return mask.size, bytes(mask)

    missing = drawn("\uffff")  # no font maps this code: it draws the font's sign for 'no such letter'
    lacking = [c for c in dict.fromkeys(text) if not c.isspace() and _visible(c) and drawn(c) == missing]
    if lacking:
        raise WatermarkError(
            f"the font lacks {', '.join(f'{c} (U+{ord(c):04X})' for c in lacking[:8])}",
            where=file or "the built-in font, which has the letters of English only",
            mend="name a font file that has them: --font FILE",
        )
    if any(unicodedata.bidirectional(c) in ("R", "AL") for c in text) and not features.check("raqm"):
        raise WatermarkError(
            "right-to-left text needs Pillow with libraqm", where=f"text '{text}'", mend="install libfribidi"
        )


def _visible(letter: str) -> bool:
    """Whether the letter draws something of its own: joiners and other marks of format do not."""
    return unicodedata.category(letter) not in ("Cf", "Mn", "Me")


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines, line = [], ""
    for piece in _pieces(text):
        if line and font.getlength((line + piece).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return [*lines, line.rstrip()]


def _pieces(text: str) -> list[str]:
    """`text` cut after each place where a line may end."""
    pieces = [""]
    for i, letter in enumerate(text):
        pieces[-1] += letter
        following = text[i + 1 : i + 2]
        wide = unicodedata.east_asian_width(letter) in "WF" and following not in "，。、！？；：）》」"
        if following and (letter in " -" or wide):
            pieces.append("")
    return pieces


def _luminance(rgb: np.ndarray) -> np.ndarray:
    """WCAG relative luminance in [0, 1] of sRGB, uint8 [..., 3]."""
    v = rgb / 255.0
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ np.array([0.2126, 0.7152, 0.0722]))
