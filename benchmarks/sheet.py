"""A sheet of a run's images for a model card: one row a group, the first images of each.

python -m benchmarks.sheet RUN sheet.png [--columns 10]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from auditkit.images import open_image
from auditkit.runs import Run, open_run


def sheet(run: Run, axis: str, *, columns: int = 10, cell: int = 128, label: int = 150) -> Image.Image:
    """RGB image: a row for each value of the axis, with its name and `columns` images spread over its prompts."""
    groups = run.images().groupby(f"axis_{axis}", sort=True)
    page = Image.new("RGB", (label + columns * cell, len(groups) * cell), "white")
    draw = ImageDraw.Draw(page)
    for row, (name, images) in enumerate(groups):
        draw.text((8, row * cell + cell // 2 - 6), str(name), fill="black", font_size=14)
        chosen = images.sort_values(["replicate", "prompt_id"])["id"].head(columns)
        for column, image in enumerate(chosen):
            picture = open_image(run.image_path(image)).resize((cell, cell))
            page.paste(picture, (label + column * cell, row * cell))
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("out", type=Path)
    parser.add_argument("--axis", default="occupation")
    parser.add_argument("--columns", type=int, default=10)
    args = parser.parse_args()
    sheet(open_run(args.run), args.axis, columns=args.columns).save(args.out, quality=85)
