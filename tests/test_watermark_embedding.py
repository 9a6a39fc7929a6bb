"""Marking files and folders: every kind of image is handled or refused, nothing is lost, nothing escapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from watermark_toy import Toy, entry, key, photograph

from auditkit.errors import ImageError, WatermarkError
from auditkit.images import open_image
from auditkit.watermark.embedding import embed, embed_file, embed_folder
from auditkit.watermark.payload import Payload
from auditkit.watermark.verdict import detect

PAYLOAD = Payload(1, 42)
HOW: dict[str, Any] = {"scheme": Toy(), "key": key(), "payload": PAYLOAD, "psnr": 36}


def present(path: Path) -> bool:
    found = detect(np.asarray(open_image(path)), ring=[entry()], schemes=[Toy()], payloads=[PAYLOAD])
    return found[0].verdict == "present" and found[0].payload == PAYLOAD


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


PHOTO = Image.fromarray(photograph())


def test_embedding_changes_neither_size_nor_the_array_it_was_given() -> None:
    image = photograph()
    before = image.copy()
    marked = embed(image, Toy(), key(), PAYLOAD)
    assert np.array_equal(image, before)
    assert (marked.shape, marked.dtype) == (image.shape, np.uint8)


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
def test_a_file_is_marked_in_each_format_that_can_be_written(tmp_path: Path, ending: str) -> None:
    done = embed_file(saved(tmp_path / "in.png", PHOTO), tmp_path / f"out.{ending}", **HOW)
    assert present(tmp_path / f"out.{ending}")
    assert 33 < done.psnr < 37
    assert done.p_value <= 1e-6
    assert done.notes == ()


@pytest.mark.parametrize(
    ("name", "image", "note"),
    [
        ("cmyk.jpg", PHOTO.convert("CMYK"), "CMYK"),
        ("palette.png", PHOTO.quantize(200), "palette"),
        ("grey.png", PHOTO.convert("L"), "L was converted"),
        ("deep.png", Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257), "16 bits"),
    ],
)
def test_other_modes_are_turned_into_rgb_and_said(tmp_path: Path, name: str, image: Image.Image, note: str) -> None:
    source = saved(tmp_path / name, image)
    done = embed_file(source, tmp_path / "out.png", **HOW)
    assert present(tmp_path / "out.png")
    assert note in "; ".join(done.notes)
    written = open_image(tmp_path / "out.png")
    assert np.abs(np.asarray(written, float) - np.asarray(open_image(source), float)).mean() < 5


def test_a_turned_photograph_is_written_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(photograph()[:200])
    done = embed_file(saved(tmp_path / "in.jpg", wide, exif=exif), tmp_path / "out.png", **HOW)
    assert Image.open(tmp_path / "out.png").size == (200, 256)
    assert "upright" in done.notes[0]
    assert present(tmp_path / "out.png")


def test_transparency_is_kept_and_jpeg_which_has_none_is_refused(tmp_path: Path) -> None:
    alpha = Image.new("L", PHOTO.size, 255)
    alpha.paste(100, (0, 0, 60, 60))
    source = PHOTO.copy()
    source.putalpha(alpha)
    path = saved(tmp_path / "in.png", source)
    embed_file(path, tmp_path / "out.webp", **HOW)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.webp").getchannel("A")), np.asarray(alpha))
    assert present(tmp_path / "out.webp")
    with pytest.raises(WatermarkError, match="JPEG keeps no transparency"):
        embed_file(path, tmp_path / "out.jpg", **HOW)


def test_a_colour_profile_for_rgb_is_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    embed_file(saved(tmp_path / "in.png", PHOTO, icc_profile=profile), tmp_path / "out.png", **HOW)
    assert Image.open(tmp_path / "out.png").info["icc_profile"] == profile
    other = saved(tmp_path / "grey.png", PHOTO.convert("L"), icc_profile=b"\0" * 16 + b"GRAY" + b"\0" * 108)
    done = embed_file(other, tmp_path / "grey-out.png", **HOW)
    assert "icc_profile" not in Image.open(tmp_path / "grey-out.png").info
    assert any("profile" in note for note in done.notes)


def test_an_animation_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "in.gif", PHOTO, save_all=True, append_images=[PHOTO.rotate(90)])
    with pytest.raises(WatermarkError, match="2 frames"):
        embed_file(source, tmp_path / "out.png", **HOW)
    assert not (tmp_path / "out.png").exists()


def test_truncated_and_missing_files_and_folders_of_none_are_clear_errors(tmp_path: Path) -> None:
    whole = saved(tmp_path / "in.png", PHOTO).read_bytes()
    (tmp_path / "in.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="truncated"):
        embed_file(tmp_path / "in.png", tmp_path / "out.png", **HOW)
    with pytest.raises(ImageError, match="does not exist"):
        embed_file(tmp_path / "none.png", tmp_path / "out.png", **HOW)
    with pytest.raises(WatermarkError, match="no such folder"):
        embed_folder(tmp_path / "none", tmp_path / "out", **HOW)


def test_too_small_an_image_and_an_ending_that_is_no_image_are_refused(tmp_path: Path) -> None:
    small = saved(tmp_path / "in.png", PHOTO.resize((40, 40)))
    with pytest.raises(WatermarkError, match="too small"):
        embed_file(small, tmp_path / "out.png", **HOW)
    with pytest.raises(WatermarkError, match=r"not written as '\.txt'"):
        embed_file(small, tmp_path / "out.txt", **HOW)


def test_a_mark_that_does_not_read_back_is_not_written(tmp_path: Path) -> None:
    class Silent(Toy):
        def embed(self, image: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
            return image

    with pytest.raises(WatermarkError, match="does not read back"):
        embed_file(saved(tmp_path / "in.png", PHOTO), tmp_path / "out.png", **(HOW | {"scheme": Silent()}))
    assert not (tmp_path / "out.png").exists()


def test_the_source_and_other_files_are_replaced_only_when_asked(tmp_path: Path) -> None:
    source = saved(tmp_path / "in.png", PHOTO)
    before = source.read_bytes()
    with pytest.raises(WatermarkError, match="replace its source"):
        embed_file(source, source, **HOW)
    saved(tmp_path / "out.png", PHOTO)
    with pytest.raises(WatermarkError, match="a file already"):
        embed_file(source, tmp_path / "out.png", **HOW)
    assert source.read_bytes() == before
    embed_file(source, source, overwrite=True, **HOW)
    assert present(source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png, sub/b.bmp, a broken one, a link out, and a text."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    saved(tmp_path / "in" / "a.png", PHOTO)
    saved(tmp_path / "in" / "sub" / "b.bmp", PHOTO)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 no")
    (tmp_path / "in" / "text.txt").write_text("hello")
    (tmp_path / "in" / "out-of-it.png").symlink_to(saved(tmp_path / "elsewhere.png", PHOTO))
    return tmp_path / "in"


def test_a_folder_is_marked_with_a_row_for_each_image_and_no_bad_one_stops_it(folder: Path) -> None:
    out = folder.parent / "out"
    steps: list[int] = []
    table = embed_folder(folder, out, workers=2, progress=lambda done, of: steps.append(done), **HOW)
    assert dict(zip(table["file"], table["status"], strict=True)) == {
        "a.png": "marked", "broken.jpg": "failed", "out-of-it.png": "failed", "sub/b.bmp": "marked",
    }  # fmt: skip
    assert steps == [1, 2, 3, 4]
    assert present(out / "a.png")
    assert present(out / "sub" / "b.bmp.png")
    assert not (out / "out-of-it.png").exists()


def test_a_second_call_keeps_what_is_marked_and_says_what_is_not(folder: Path) -> None:
    out = folder.parent / "out"
    embed_folder(folder, out, **HOW)
    before = (out / "a.png").read_bytes()
    saved(out / "sub" / "b.bmp.png", PHOTO)
    rows = embed_folder(folder, out, **HOW).set_index("file")
    assert rows.loc["a.png", "status"] == "kept"
    assert (out / "a.png").read_bytes() == before
    assert "does not carry" in rows.loc["sub/b.bmp", "note"]


def test_nothing_is_written_through_a_link_out_of_the_results_folder(folder: Path) -> None:
    out, elsewhere = folder.parent / "out", folder.parent / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "sub").symlink_to(elsewhere)
    rows = embed_folder(folder, out, **HOW).set_index("file")
    assert rows.loc["sub/b.bmp", "status"] == "failed"
    assert list(elsewhere.iterdir()) == []


def test_results_inside_the_folder_are_not_marked_again_and_the_folder_itself_is_refused(folder: Path) -> None:
    embed_folder(folder, folder / "out", **HOW)
    again = embed_folder(folder, folder / "out", **HOW)
    assert not any(file.startswith("out/") for file in again["file"])
    with pytest.raises(WatermarkError, match="replace their sources"):
        embed_folder(folder, folder, **HOW)
