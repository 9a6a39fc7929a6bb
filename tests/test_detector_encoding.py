from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from auditkit.errors import DetectorError, ImageError
from detectors.alike import write_alike
from detectors.encoding import check_alike, encode, encoding_of, read_header
from detectors.reading import read_examples
from tests.detector_data_helpers import layout, noise, write


def header_of(data: bytes, path: Path) -> object:
    path.write_bytes(data)
    return read_header(path)


@pytest.mark.parametrize("quality", [40, 75, 92])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_an_image_written_like_a_jpeg_has_its_tables_and_subsampling(
    tmp_path: Path, quality: int, subsampling: int
) -> None:
    like = write(tmp_path / "real.jpg", noise(1), quality=quality, subsampling=subsampling)
    made = header_of(encode(noise(2), encoding_of(like)), tmp_path / "made.jpg")
    real = read_header(like)
    assert (made.tables, made.subsampling, made.mode) == (real.tables, real.subsampling, "RGB")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options"), [("a.png", {}), ("a.webp", {"lossless": True}), ("a.webp", {"quality": 60}), ("a.bmp", {})]
)
def test_other_formats_are_kept_or_become_png(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    like = write(tmp_path / name, noise(1), **options)
    made = header_of(encode(noise(2), encoding_of(like)), tmp_path / "made")
    before = read_header(like)
    assert made.format == ("PNG" if before.format == "BMP" else before.format)  # type: ignore[attr-defined]
    assert made.lossless == before.lossless  # type: ignore[attr-defined]


def test_a_grey_jpeg_makes_grey_jpegs(tmp_path: Path) -> None:
    like = tmp_path / "grey.jpg"
    Image.fromarray(noise(1)).convert("L").save(like, quality=80)
    made = header_of(encode(noise(2), encoding_of(like)), tmp_path / "made.jpg")
    assert (made.mode, made.tables) == ("L", read_header(like).tables)  # type: ignore[attr-defined]


def test_metadata_is_never_written(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0131] = "Editor"
    like = write(tmp_path / "real.jpg", noise(1), exif=exif, comment=b"hello")
    assert "EXIF Software=Editor" in read_header(like).metadata
    made = header_of(encode(noise(2), encoding_of(like)), tmp_path / "made.jpg")
    assert not any(key.startswith(("EXIF", "comment", "ICC", "XMP")) for key in made.metadata)  # type: ignore[attr-defined]


def test_compressing_twice_is_what_it_says() -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(1)).save(buffer, "JPEG", quality=50)
    path = io.BytesIO(buffer.getvalue())
    tables = Image.open(path).quantization  # type: ignore[attr-defined]
    from detectors.encoding import Encoding

    encoding = Encoding("JPEG", tables=tuple(tuple(tables[key]) for key in sorted(tables)))
    once = np.asarray(Image.open(io.BytesIO(encode(noise(2), encoding))))
    assert encode(noise(2), encoding, times=2) == encode(once, encoding)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(ImageError, match="cannot be read"):
        read_header(tmp_path / "a.png")


def test_sides_encoded_alike_show_no_difference(tmp_path: Path) -> None:
    assert check_alike(read_examples(layout(tmp_path))) == []


def test_each_property_that_one_side_alone_has_is_named(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / f"real/x/{number}.jpg", noise(number), quality=80)
        write(tmp_path / f"generated/g/{number}.png", noise(100 + number, 40))
    found = {each.property: each for each in check_alike(read_examples(tmp_path))}
    assert {"format", "quantisation", "subsampling", "size"} <= set(found)
    assert found["size"].real == ("32 x 32",)
    assert found["size"].generated_alone == 1


def test_unlike_sides_are_written_alike(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0131] = "Camera"
    for number in range(6):
        write(tmp_path / f"data/real/x/{number}.jpg", noise(number, 72), quality=80 + number % 2, exif=exif)
        write(tmp_path / f"data/generated/g/{number}.png", noise(100 + number, 64))
    before = read_examples(tmp_path / "data")
    made = write_alike(before, tmp_path / "out")
    assert check_alike(before)
    assert check_alike(made) == []
    assert made.table["source"].tolist() == before.table["source"].tolist()
    assert {image.shape for image in made.images()} == {(64, 64, 3)}


def test_images_are_cut_and_never_resized(tmp_path: Path) -> None:
    write(tmp_path / "data/real/x/a.png", noise(1, 80))
    write(tmp_path / "data/generated/g/b.png", noise(2, 64))
    made = write_alike(read_examples(tmp_path / "data"), tmp_path / "out", side=32)
    whole = noise(1, 80)
    cuts = [whole[top : top + 32, left : left + 32] for top in range(0, 49, 8) for left in range(0, 49, 8)]
    assert any((made.image(0) == cut).all() for cut in cuts)


@pytest.mark.parametrize("side", [12, 72])
def test_a_side_off_the_grid_or_larger_than_an_image_is_refused(tmp_path: Path, side: int) -> None:
    data = read_examples(layout(tmp_path / "data"))
    with pytest.raises(DetectorError, match="cannot be cut"):
        write_alike(data, tmp_path / "out", side=side)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_never_written_into(tmp_path: Path) -> None:
    data = read_examples(layout(tmp_path / "data"))
    with pytest.raises(DetectorError, match="there already"):
        write_alike(data, tmp_path / "data")
