"""Folders of captioned images for the tests of training on own data: discs of two groups in two trades."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

SHAPES = ((64, 64), (96, 64), (64, 96))
COLOURS = {"female": (200, 60, 60), "male": (60, 60, 200)}
WORDS = {"female": "woman", "male": "man"}
COUNTS = {("judge", "female"): 4, ("judge", "male"): 16, ("cook", "female"): 9, ("cook", "male"): 3}
"""Images of each trade and group: 1 to 4 among judges, 3 to 1 among cooks."""


def rows(counts: dict[tuple[str, str], int] = COUNTS) -> list[dict[str, str]]:
    """Lines of a metadata.csv: every third caption of a man leaves the group out."""
    made = []
    for (trade, gender), count in counts.items():
        for i in range(count):
            who = trade if gender == "male" and i % 3 == 0 else f"{WORDS[gender]} {trade}"
            name = f"{trade}/{gender}-{i}.png"
            made.append({"file_name": name, "text": f"a picture of a {who}", "gender": gender, "occupation": trade})
    return made


def draw(path: Path, gender: str, number: int, size: tuple[int, int] = (64, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, "white")
    edge = 6 + number % 12
    ImageDraw.Draw(image).ellipse((edge, edge, size[0] - edge, size[1] - edge), fill=COLOURS[gender])
    image.putpixel((0, 0), (number % 256, 0, 0))  # no two alike
    image.save(path)
    return path


def write_table(path: Path, table: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def folder(path: Path, counts: dict[tuple[str, str], int] = COUNTS) -> Path:
    """A folder with metadata.csv and images of three shapes."""
    table = rows(counts)
    for number, row in enumerate(table):
        draw(path / row["file_name"], row["gender"], number, SHAPES[number % len(SHAPES)])
    write_table(path / "metadata.csv", table)
    return path
