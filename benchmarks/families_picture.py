"""The README's picture of the bundled generators: a row a model, cut from the sheets of their model cards.

python -m benchmarks.families_picture docs/images/generators.webp
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from generators.corpus import OCCUPATIONS
from generators.known import bundled

CELL, LABEL = 96, 150
SHEET_CELL, SHEET_LABEL = 128, 150  # of benchmarks.sheet
SHOWN = ("artist", "cook", "farmer", "health worker", "judge", "mechanic", "pilot", "scientist", "singer", "teacher")


def picture() -> Image.Image:
    """RGB image: a row for each bundled model with its name, a column for each of SHOWN."""
    models = [one for one in bundled() if one.sheet is not None]
    page = Image.new("RGB", (LABEL + len(SHOWN) * CELL, len(models) * CELL), "white")
    draw = ImageDraw.Draw(page)
    for row, one in enumerate(models):
        draw.text((8, row * CELL + CELL // 2 - 8), one.name, fill="black", font_size=15)
        with Image.open(one.sheet) as sheet:
            for column, occupation in enumerate(SHOWN):
                top = sorted(OCCUPATIONS).index(occupation) * SHEET_CELL
                box = (SHEET_LABEL, top, SHEET_LABEL + SHEET_CELL, top + SHEET_CELL)
                cut = sheet.convert("RGB").crop(box).resize((CELL, CELL), Image.Resampling.LANCZOS)
                page.paste(cut, (LABEL + column * CELL, row * CELL))
    return page


if __name__ == "__main__":
    picture().save(Path(sys.argv[1]), quality=85)
