"""Contact sheets: thumbnails inside the page, bounded in number and size."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import report_helpers as made
from PIL import Image

from auditkit.errors import ImageError
from auditkit.runs import Run
from reports import contact


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made.make_run(
        tmp_path_factory.mktemp("runs"), values=["cook", "judge"], templates=2, images_per_prompt=6
    )


def test_a_sheet_holds_the_first_images_made_for_a_group(run: Run) -> None:
    sheets = contact.sheets(run, by="occupation", scores=[], per_group=4)
    assert [(sheet.group, len(sheet.thumbnails), sheet.n_images) for sheet in sheets] == [
        ("cook", 4, 12), ("judge", 4, 12),
    ]  # fmt: skip
    images = run.images().sort_values(["replicate", "prompt_id"])
    first = images.loc[images["axis_occupation"] == "cook", "id"].head(4)
    assert [one.id for one in sheets[0].thumbnails] == list(first)


def test_a_thumbnail_says_its_prompt_seed_and_reading(run: Run) -> None:
    one = contact.sheets(run, by="occupation", scores=["gender@no-such-encoder"])[0].thumbnails[0]
    assert "portrait of a cook”, seed " in one.alt
    assert one.alt.endswith(f"read as {one.caption}")
    assert one.caption in ("female", "male")


def test_without_an_axis_all_images_are_one_sheet(run: Run) -> None:
    sheets = contact.sheets(run, by="all", scores=[])
    assert [(sheet.group, sheet.n_images) for sheet in sheets] == [("all", 24)]


def test_thumbnails_are_bounded_in_all(run: Run) -> None:
    assert (
        sum(len(sheet.thumbnails) for sheet in contact.sheets(run, by="occupation", scores=[], total=6)) == 6
    )
    assert len(contact.sheets(run, by="occupation", scores=[], total=1)) == 1


def test_the_worst_page_of_thumbnails_stays_small() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8))
    few, many = len(contact.data_uri(noise, size=96)), len(contact.data_uri(noise, size=64))
    assert contact.TOTAL // 2 * few < 6_000_000
    assert contact.TOTAL * many < 6_000_000


def test_a_thumbnail_keeps_its_proportions() -> None:
    uri = contact.data_uri(Image.new("RGB", (400, 100), "red"), size=96)
    small = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert small.size == (96, 24)


def test_a_damaged_image_is_a_clear_error(tmp_path: Path) -> None:
    run = made.make_run(tmp_path, values=["cook"], templates=1, images_per_prompt=1)
    run.image_path(run.images()["id"][0]).write_bytes(b"\x89PNG cut short")
    with pytest.raises(ImageError):
        contact.sheets(run, by="occupation", scores=[])
