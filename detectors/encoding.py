"""Both sides of data in one encoding, so that no detector learns which format, size or software a side came in.

A JPEG's quantisation tables and subsampling stand in its header; an image written with them through `encode` has the
same ones. Metadata (EXIF, XMP, ICC profiles, text) is never written.
"""

from __future__ import annotations

import io
import math
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image, JpegImagePlugin

from auditkit.errors import ImageError
from auditkit.files import sha256
from auditkit.images import FORMATS
from detectors.examples import Examples

WEBP_QUALITY = 80
"""Of a lossy WebP the quality cannot be read from the file: both sides get this one."""
GRID = 8
"""Pixels a side of JPEG's blocks: crops keep to multiples, so that one table's rounding falls on the same blocks."""
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


@dataclass(frozen=True)
class Header:
    """What a file says of itself before its pixels are decoded.

    Attributes:
        format: JPEG, PNG, WEBP, GIF, BMP or TIFF.
        mode: Pillow's: RGB, L, P, RGBA, CMYK and so on.
        width, height: as stored, before EXIF orientation.
        bytes: of the whole file.
        tables: a JPEG's quantisation tables, 64 numbers each in row order; () in other formats.
        subsampling: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0, -1 for another or none.
        progressive: an interlaced JPEG.
        lossless: of a WebP, whether its pixels are stored exactly; True for PNG, BMP and TIFF.
        metadata: keys of what else it carries, sorted: 'EXIF Software=GIMP', 'ICC profile', 'text parameters'.
    """

    format: str
    mode: str
    width: int
    height: int
    bytes: int
    tables: tuple[tuple[int, ...], ...] = ()
    subsampling: int = -1
    progressive: bool = False
    lossless: bool = True
    metadata: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Encoding:
    """How pixels are to be written; what `encode` needs, and no more of a header."""

    format: Literal["JPEG", "PNG", "WEBP"] = "PNG"
    grey: bool = False
    tables: tuple[tuple[int, ...], ...] = ()
    subsampling: int = 0
    progressive: bool = False
    lossless: bool = True

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.format]


def read_header(file: str | Path) -> Header:
    """The header of an image file; no pixel is decoded.

    Raises:
        ImageError: the file is missing or no image.
    """
    path = Path(file)
    try:
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _header(image, data)
    except FileNotFoundError:
        raise ImageError("the image does not exist", where=path, mend="check the path") from None
    except Exception as error:  # a parser fed with broken bytes may raise anything
        raise ImageError(f"the image cannot be read: {error}", where=path, mend="replace or remove the file") from error


def _header(image: Any, data: bytes) -> Header:
    jpeg = image.format == "JPEG"
    tables = tuple(tuple(image.quantization[key]) for key in sorted(image.quantization)) if jpeg else ()
    return Header(
        format=str(image.format),
        mode=image.mode,
        width=image.width,
        height=image.height,
        bytes=len(data),
        tables=tables,
        subsampling=JpegImagePlugin.get_sampling(image) if jpeg else -1,
        progressive=bool(jpeg and image.info.get("progressive")),
        lossless=b"VP8L" in data[:64] if image.format == "WEBP" else image.format not in ("JPEG", "GIF"),
        metadata=_metadata(image),
    )


def _metadata(image: Any) -> tuple[str, ...]:
    from PIL.ExifTags import TAGS

    found = set()
    for tag, value in image.getexif().items():
        name = TAGS.get(tag, str(tag))
        found.add(f"EXIF {name}")
        if name in ("Make", "Model", "Software"):
            found.add(f"EXIF {name}={str(value).strip()[:40]}")
    for key, value in image.info.items():
        if key == "icc_profile":
            found.add("ICC profile")
        elif key in ("xmp", "XML:com.adobe.xmp"):
            found.add("XMP")
        elif key in ("comment", "photoshop", "mpf"):
            found.add(key)
        elif key == "dpi":
            found.add("dpi")
        elif key == "Software" and isinstance(value, str):
            found.add(f"text Software={value[:40]}")
        elif isinstance(value, str):
            found.add(f"text {key}"[:40])
    for marker, _ in getattr(image, "applist", ()):
        found.add(str(marker))
    return tuple(sorted(found))


def encoding_of(file: str | Path) -> Encoding:
    """How to write pixels so that they cannot be told by their encoding from those of `file`.

    Formats other than JPEG, PNG and WebP become PNG, so both sides must be written with it, the real one too.

    Raises:
        ImageError: as `read_header`.
    """
    header = read_header(file)
    grey = header.mode in ("L", "1") and header.format == "JPEG"
    if header.format == "JPEG":
        subsampling = header.subsampling if header.subsampling in (0, 1, 2) else 0
        # Four-component files become RGB, whose chroma needs the second table only.
        return Encoding("JPEG", grey, header.tables[:1] if grey else header.tables[:2], subsampling, header.progressive)
    if header.format == "WEBP":
        return Encoding("WEBP", lossless=header.lossless)
    return Encoding("PNG")


def encode(image: np.ndarray, encoding: Encoding, *, times: int = 1) -> bytes:
    """`image`, uint8 [h, w, 3], as a file in that encoding, without metadata.

    Args:
        times: encode and decode so often; a crop of a JPEG is a JPEG of a JPEG, and its counterpart must be so too.
    """
    for _ in range(times - 1):
        with Image.open(io.BytesIO(encode(image, encoding))) as again:
            image = np.asarray(again.convert("RGB"))
    pixels = Image.fromarray(image)
    buffer = io.BytesIO()
    if encoding.format == "JPEG":
        tables = [list(table) for table in encoding.tables]
        pixels = pixels.convert("L") if encoding.grey else pixels
        sampling = {} if encoding.grey else {"subsampling": encoding.subsampling}
        pixels.save(buffer, "JPEG", qtables=tables, progressive=encoding.progressive, optimize=True, **sampling)
    elif encoding.format == "WEBP":
        quality = 100 if encoding.lossless else WEBP_QUALITY
        pixels.save(buffer, "WEBP", lossless=encoding.lossless, quality=quality)
    else:
        pixels.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def common_grid(*factors: int) -> int:
    """Offsets and sides of crops that are multiples of it fall on JPEG's blocks and on every autoencoder's latents."""
    return math.lcm(GRID, *factors)


@dataclass(frozen=True)
class Difference:
    """A property whose values the two classes do not share.

    Attributes:
        property: format, mode, quantisation, subsampling, progressive, size or metadata.
        real_alone, generated_alone: share of the class's images with a value that no image of the other has.
        real, generated: the class's commonest values, at most three.
    """

    property: str
    real_alone: float
    generated_alone: float
    real: tuple[str, ...]
    generated: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.property}: real {', '.join(self.real)} ({self.real_alone:.0%} alone), "
            f"generated {', '.join(self.generated)} ({self.generated_alone:.0%} alone)"
        )


def check_alike(examples: Examples, *, tolerance: float = 0.05) -> list[Difference]:
    """Where the encoding gives classes away: properties of which more than `tolerance` of a class stands alone.

    It compares values one by one and so sees what no image of the other class has; differing frequencies of common
    values are for `shortcuts.audit`.

    Raises:
        ImageError: a file is missing or no image.
    """
    headers = [read_header(file) for file in examples.table["file"]]
    table = pd.DataFrame([_properties(header) for header in headers])
    generated = examples.labels == 1
    found = []
    for name in table:
        real, made = table[name][~generated], table[name][generated]
        alone = [float((~own.isin(set(other))).mean()) for own, other in ((real, made), (made, real))]
        if max(alone) > tolerance:
            commonest = [tuple(str(value) for value, _ in Counter(side).most_common(3)) for side in (real, made)]
            found.append(Difference(str(name), alone[0], alone[1], commonest[0], commonest[1]))
    return found


def _properties(header: Header) -> dict[str, str]:
    return {
        "format": header.format if header.lossless or header.format != "WEBP" else "WEBP lossy",
        "mode": header.mode,
        "quantisation": _quality(header),
        "subsampling": {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}.get(header.subsampling, "none"),
        "progressive": "progressive" if header.progressive else "sequential",
        "size": f"{header.width} x {header.height}",
        "metadata": ", ".join(header.metadata) or "none",
    }


def _quality(header: Header) -> str:
    """A name for the tables that differs where they do: 'tables 16 11 10 (sum 3691, 4a1f)'."""
    if not header.tables:
        return "none"
    everything = [value for table in header.tables for value in table]
    digest = sha256(repr(header.tables).encode())[:4]
    return f"tables {' '.join(map(str, header.tables[0][:3]))} (sum {sum(everything)}, {digest})"
