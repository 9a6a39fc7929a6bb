"""A run out of images from anywhere: what is kept, and what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from auditkit.errors import AuditkitError, ImageError, RunError, TableError
from auditkit.images import open_image
from auditkit.runs import seal, verify
from generators.folder import import_folder

HEADER = ["file", "prompt", "occupation", "Skin Tone"]
ROWS = [
    ["a.png", "a portrait of a judge", "judge", "dark"],
    ["b.jpg", "a portrait of a judge", "judge", "dark"],
    ["deep/c.png", "a cook, at work", "cook", ""],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "My Pictures"
    (folder / "deep").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    Image.new("RGB", (20, 20), "blue").save(folder / "b.jpg")
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(folder / "deep" / "c.png")
    return folder


def table(tmp_path: Path, rows: list[list[str]] = ROWS, header: list[str] = HEADER) -> Path:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    path = tmp_path / "prompts.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8-sig")
    return path


def test_images_become_a_run_with_every_other_column_an_axis(tmp_path: Path, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    run = import_folder(
        folder, table(tmp_path), out=tmp_path / "runs", progress=lambda *done: seen.append(done)
    )
    images = run.images()
    assert run.id.startswith("my-pictures-import-")
    assert run.spec is None
    assert run.planted is None
    assert run.complete
    assert run.axes == ["occupation", "skin_tone"]
    assert list(images["prompt_id"]) == [0, 0, 1]
    assert list(images["replicate"]) == [0, 1, 0]
    assert list(images["width"]) == [40, 20, 10]
    assert images["seed"].isna().all()
    assert images["axis_skin_tone"].isna().tolist() == [False, False, True]
    assert seen[-1] == (3, 3)


def test_transparency_is_over_white_in_the_run(tmp_path: Path, folder: Path) -> None:
    run = import_folder(folder, table(tmp_path), out=tmp_path / "runs")
    image = open_image(run.image_path(run.images()["id"].iloc[2]))
    assert (np.asarray(image) == 255).all()


def test_the_same_images_give_the_same_run_again(tmp_path: Path, folder: Path) -> None:
    first = import_folder(folder, table(tmp_path), out=tmp_path / "runs")
    again = import_folder(folder, table(tmp_path), out=tmp_path / "runs")
    assert first.id == again.id
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [first.id]
    pd.testing.assert_frame_equal(first.images(), again.images())


def test_an_imported_run_can_be_sealed(tmp_path: Path, folder: Path) -> None:
    run = import_folder(folder, table(tmp_path), out=tmp_path / "runs", name="vendor A")
    assert run.id.startswith("vendor-a-import-")
    seal(run)
    assert verify(run) == []


@pytest.mark.parametrize(
    ("header", "rows", "error", "message"),
    [
        (["file", "text"], [["a.png", "x"]], TableError, "no column 'prompt'; it has: file, text"),
        (["file", "file", "prompt"], [["a.png", "b.jpg", "x"]], TableError, "'file' is there 2 times"),
        (
            ["file", "prompt", "Job", "job"],
            [["a.png", "x", "1", "2"]],
            TableError,
            "'job' does not make an axis",
        ),
        (["file", "prompt", "职业"], [["a.png", "x", "1"]], TableError, "does not make an axis"),
        (["file", "prompt"], [], TableError, "has no rows"),
        (["file", "prompt"], [["a.png", "x", "y"]], TableError, "line 2"),
        (["file", "prompt"], [["a.png", ""]], TableError, "'prompt' is empty"),
        (
            ["file", "prompt"],
            [["a.png", "x"], ["deep/../a.png", "y"]],
            TableError,
            "there twice, first in line 2",
        ),
        (
            ["file", "prompt"],
            [["a.png", "x"], ["z.png", "y"]],
            ImageError,
            "'z.png' does not exist[\\s\\S]*line 3",
        ),
        (["file", "prompt"], [["../prompts.csv", "x"]], ImageError, "outside the folder"),
        (["file", "prompt"], [["/etc/hostname", "x"]], ImageError, "outside the folder"),
        (["file", "prompt"], [["deep", "x"]], ImageError, "does not exist"),
        (["file", "prompt"], [["a" * 5000, "x"]], ImageError, "cannot be read"),
        (["file", "prompt"], [["link.png", "x"]], ImageError, "outside the folder"),
        (
            ["file", "prompt"],
            [["a.png", "x"], ["half.png", "y"]],
            ImageError,
            "truncated[\\s\\S]*line 3.*half.png",
        ),
        (["file", "prompt"], [["a.png", "x"], ["notes.txt", "y"]], ImageError, "not an image[\\s\\S]*line 3"),
    ],
)
def test_bad_input_is_one_error_and_leaves_no_run(
    tmp_path: Path,
    folder: Path,
    header: list[str],
    rows: list[list[str]],
    error: type[AuditkitError],
    message: str,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "half.png")
    (folder / "half.png").write_bytes((folder / "half.png").read_bytes()[:1500])
    (folder / "notes.txt").write_text("hello")
    Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(error, match=message) as caught:
        import_folder(folder, table(tmp_path, rows, header), out=tmp_path / "runs")
    assert caught.value.mend
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_a_folder_or_csv_that_is_missing_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ImageError, match="folder does not exist"):
        import_folder(tmp_path / "none", table(tmp_path), out=tmp_path / "runs")
    with pytest.raises(TableError, match="CSV does not exist"):
        import_folder(folder, tmp_path / "none.csv", out=tmp_path / "runs")


def test_a_csv_that_is_not_text_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "prompts.csv").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(TableError, match="cannot be read"):
        import_folder(folder, tmp_path / "prompts.csv", out=tmp_path / "runs")


def test_a_place_that_cannot_hold_runs_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="cannot be written"):
        import_folder(folder, table(tmp_path), out=tmp_path / "runs")
