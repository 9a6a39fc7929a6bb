"""Images in and out: safe opening, deterministic PNG bytes, content ids."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from auditkit.errors import ImageError
from auditkit.files import sha256

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Only these decoders run on files that a stranger may have made."""

MAX_PIXELS = 64_000_000


def open_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image whole, as RGB with 8 bits a channel.

    Transparency is laid over white, EXIF orientation is applied, 16-bit grey is scaled, and of an
    animation the first frame is taken. The size is checked from the header, before any pixel is decoded.

    Raises:
        ImageError: the file is missing, empty, truncated, not an image, or larger than `max_pixels`.
    """
    return _opened(source, max_pixels, None)[0]


def open_reduced(
    source: str | Path | bytes, at_least: int, *, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, tuple[int, int]]:
    """`open_image`, but a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size: in a fraction of the time.

    Args:
        at_least: both sides keep at least this many pixels, where they have them. Other formats come whole.

    Returns:
        The image, and the (width, height) that `open_image` would give it.

    Raises:
        ImageError: as `open_image`; `max_pixels` limits the whole image.
    """
    return _opened(source, max_pixels, at_least)


def _opened(
    source: str | Path | bytes, max_pixels: int, at_least: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    where = "bytes" if isinstance(source, bytes) else source
    try:
        stream = io.BytesIO(source if isinstance(source, bytes) else Path(source).read_bytes())
    except FileNotFoundError:
        raise ImageError("the image does not exist", where=where, mend="check the path") from None
    except OSError as error:
        raise ImageError(
            f"the image cannot be read: {error.strerror}", where=where, mend="check the path"
        ) from None
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, which we refuse by our own limit, and of odd metadata.
            warnings.simplefilter("ignore")
            image = Image.open(stream, formats=FORMATS)
            _check_size(image, max_pixels, where)
            whole = image.size
            if at_least is not None:
                image.draft(None, (at_least, at_least))  # does nothing in formats other than JPEG
            image.load()
            decoded = image.size
            upright = to_rgb(image)
            return upright, whole if upright.size == decoded else (whole[1], whole[0])
    except Image.DecompressionBombError:
        raise _too_large(max_pixels, where) from None
    except UnidentifiedImageError:
        raise ImageError(
            "the file is not an image", where=where, mend=f"convert it to one of {', '.join(FORMATS)}"
        ) from None
    except ImageError:
        raise
    except Exception as error:  # a decoder fed with broken bytes may raise anything
        raise ImageError(
            f"the image is damaged or truncated: {error}",
            where=where,
            mend="replace the file with a whole copy",
        ) from error


def encode_png(image: Image.Image) -> bytes:
    """`image` as the bytes of an RGB PNG without metadata; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    # A copy from the pixels alone: `info` (gamma, text, ICC profile) would otherwise be written too.
    plain = Image.fromarray(np.asarray(image if image.mode == "RGB" else to_rgb(image)))
    plain.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def image_id(data: bytes) -> str:
    """The content id of an image: sha256 of its PNG bytes, 64 hex digits."""
    return sha256(data)


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as `open_image` gives it: upright, over white, RGB with 8 bits a channel.

    Raises:
        ImageError: it has floating-point values, whose range is unknown.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ImageError(
            "a floating-point image has no known range", where=image.format, mend="save it with 8 or 16 bits"
        )
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scaling
        grey = np.clip(np.asarray(image, dtype=np.int64), 0, 65535) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")


def _check_size(image: Image.Image, max_pixels: int, where: str | Path) -> None:
    if image.width * image.height > max_pixels:
        raise _too_large(max_pixels, where, image)


def _too_large(max_pixels: int, where: str | Path, image: Image.Image | None = None) -> ImageError:
    size = "" if image is None else f" ({image.width} x {image.height})"
    return ImageError(
        f"the image{size} has more than {max_pixels / 1e6:.0f} million pixels, too many to open safely",
        where=where,
        mend="scale it down",
    )
