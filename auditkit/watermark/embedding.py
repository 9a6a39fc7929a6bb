"""Marking images: arrays, files and folders. What is written is read back before it takes its place."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.errors import AuditkitError, WatermarkError
from auditkit.files import write_atomic
from auditkit.images import FORMATS, open_image
from auditkit.watermark import schemes
from auditkit.watermark.base import padded, unpadded
from auditkit.watermark.folders import image_files
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload, encode
from auditkit.watermark.statistics import word_p_value

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

VERIFIED = 1e-6
"""P-value at which a mark that was just written must read back."""

WRITERS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_level": 6},
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
"""By ending of the file's name; JPEG at 4:4:4, so that no colour is thinned out."""


@dataclass(frozen=True)
class Marked:
    """What `embed_file` did.

    Attributes:
        psnr: dB between the image as it was, in 8-bit RGB, and as it was written, JPEG's loss included.
        p_value: of the mark when it was read back from the file's bytes.
        notes: how the image had to be changed for it: 'CMYK was converted to RGB'.
    """

    out: Path
    psnr: float
    p_value: float
    notes: tuple[str, ...] = ()


def embed(image: np.ndarray, scheme: Any, key: Key, payload: Payload, *, psnr: float = 42.0) -> np.ndarray:
    """The image with a mark of `key` that says `payload`: uint8 [h, w, 3].

    Args:
        image: uint8 [h, w, 3], RGB; not changed.
        scheme: a word scheme, or its name.
        psnr: quality to keep, dB.

    Raises:
        WatermarkError: the image is too small or no 8-bit RGB image, or the scheme does not mark pixels.
    """
    image, scheme = schemes.checked_image(image), _pixel_scheme(scheme)
    word = padded(encode(payload, scheme.bits), scheme.name, key)
    marked: np.ndarray = scheme.embed(image, word, key, psnr=psnr)
    return marked


def embed_file(
    source: str | Path,
    out: str | Path,
    *,
    scheme: Any,
    key: Key,
    payload: Payload,
    psnr: float = 42.0,
    overwrite: bool = False,
) -> Marked:
    """Mark an image file; `out` is PNG, lossless WebP or JPEG (quality 95) by its name's ending.

    The result has 8-bit RGB values, upright, with the transparency and the RGB colour profile that the source had, and
    none of its other metadata. It is read back first, and appears whole or not at all.

    Args:
        overwrite: replace `out` where it exists, and allow it to be the source.

    Raises:
        ImageError: the source cannot be opened safely.
        WatermarkError: an animation or a scan of several pages; too small; transparency into JPEG; `out` exists or has
            another ending; or the mark does not read back.
        RunError: `out` cannot be written.
    """
    out = Path(out)
    scheme = _pixel_scheme(scheme)
    writer = WRITERS.get(out.suffix.lower())
    if writer is None:
        raise WatermarkError(
            f"images are not written as '{out.suffix}'", where=out, mend=f"use one of: {', '.join(WRITERS)}"
        )
    if out.exists() and not overwrite:
        what = "the marked image would replace its source" if _same(Path(source), out) else "there is a file already"
        raise WatermarkError(what, where=out, mend="write to another name, or ask to overwrite")
    opened = _open(source)
    if opened.alpha is not None and writer["format"] == "JPEG":
        raise WatermarkError(
            "JPEG keeps no transparency, and this image has some", where=source, mend="write PNG or WebP"
        )
    marked = embed(opened.rgb, scheme, key, payload, psnr=psnr)
    data = _encoded(marked, opened, writer)
    after = np.asarray(open_image(data))
    p_value = _read_back(after, scheme, key, payload)
    if p_value > VERIFIED:
        raise WatermarkError(
            f"the mark does not read back from the file (p = {p_value:.1g})",
            where=source,
            mend=f"ask for less quality than {psnr:g} dB, or write PNG; flat or transparent images hold no mark",
        )
    write_atomic(out, data)
    before = opened.rgb if opened.alpha is None else np.asarray(open_image(source))
    return Marked(out, _psnr(before, after), p_value, opened.notes)


def embed_folder(
    folder: str | Path,
    out: str | Path,
    *,
    scheme: Any,
    key: Key,
    payload: Payload,
    psnr: float = 42.0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Mark every image below `folder` into the same place below `out`; a second call does only what is missing.

    Names keep their ending where it can be written; others get '.png' after it. No file stops the rest.

    Returns:
        A row for each image: file (relative), out (relative, '' where it failed), status ('marked', 'kept': was there
        and carries the mark, 'failed'), psnr (dB, NaN unless marked), p_value, note.

    Raises:
        WatermarkError: `folder` is no folder, or the same as `out`.
    """
    import pandas as pd

    folder, out, scheme = Path(folder), Path(out), _pixel_scheme(scheme)
    if folder.resolve() == out.resolve():
        raise WatermarkError("marked images would replace their sources", where=out, mend="name another folder")
    listed = list(image_files(folder, but=out))

    def one_file(task: tuple[Path, str]) -> dict[str, Any]:
        path, problem = task
        target = path if path.suffix.lower() in WRITERS else path.with_name(path.name + ".png")
        entry = {"file": str(path), "out": "", "status": "failed", "psnr": np.nan, "p_value": np.nan, "note": problem}
        if problem:
            return entry
        try:
            if not (out / target).parent.resolve().is_relative_to(out.resolve()) or (out / target).is_symlink():
                raise WatermarkError("a link leads out of the folder to write to", where=out / target)
            if (out / target).exists():
                p_value = _carries(out / target, scheme, key, payload)
                return entry | {"out": str(target), "status": "kept", "p_value": p_value}
            done = embed_file(folder / path, out / target, scheme=scheme, key=key, payload=payload, psnr=psnr)
        except AuditkitError as error:
            return entry | {"note": error.what}
        note = "; ".join(done.notes)
        return entry | {
            "out": str(target), "status": "marked", "psnr": done.psnr, "p_value": done.p_value, "note": note
        }  # fmt: skip

    rows = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for count, entry in enumerate(pool.map(one_file, listed) if workers > 1 else map(one_file, listed), start=1):
            rows.append(entry)
            if progress is not None:
                progress(count, len(listed))
    return pd.DataFrame(rows, columns=["file", "out", "status", "psnr", "p_value", "note"])


@dataclass(frozen=True)
class _Opened:
    rgb: np.ndarray
    alpha: np.ndarray | None
    profile: bytes | None
    notes: tuple[str, ...]


def _open(source: str | Path) -> _Opened:
    """The source's upright 8-bit RGB values, before any transparency is laid over white, and what goes with them."""
    from PIL import Image, ImageOps

    flat = open_image(source)  # checks the file, its size and its decoding
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(Path(source).read_bytes()), formats=FORMATS)
        # A camera's JPEG with a preview beside it (MPO) is one photograph.
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise WatermarkError(
                f"the file has {getattr(image, 'n_frames', 1)} frames or pages, and a mark goes on one image",
                where=source,
                mend="save the frames as images of their own",
            )
        mode, deep = image.mode, _deep(image)
        profile = image.info.get("icc_profile")
        transparent = image.has_transparency_data
        alpha = None
        if transparent:
            whole = ImageOps.exif_transpose(image).convert("RGBA")
            alpha = np.asarray(whole.getchannel("A"))
            flat = whole.convert("RGB")
    notes = []
    if deep:
        notes.append("16 bits a channel were reduced to 8")
    elif mode not in ("RGB", "RGBA", "RGBX"):
        notes.append(f"{mode.rstrip('a')} was converted to RGB" if mode != "P" else "a palette was converted to RGB")
    if image.getexif().get(0x0112, 1) != 1:
        notes.append("turned upright as its EXIF orientation says")
    if profile is not None and profile[16:20] != b"RGB ":
        notes.append("its colour profile is not for RGB and was dropped")
        profile = None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    return _Opened(np.asarray(flat), alpha, profile, tuple(notes))


def _deep(image: Image) -> bool:
    """Whether an opened, not yet loaded, image has 16 bits a channel; Pillow reads some of them as 8-bit modes."""
    tiles = getattr(image, "tile", [])
    return image.mode.startswith("I") or any("16" in str(tile[3]) for tile in tiles)


def _encoded(marked: np.ndarray, opened: _Opened, writer: dict[str, Any]) -> bytes:
    from PIL import Image

    image = Image.fromarray(marked)
    if opened.alpha is not None:
        image.putalpha(Image.fromarray(opened.alpha))
    buffer = io.BytesIO()
    image.save(buffer, **writer, icc_profile=opened.profile)
    return buffer.getvalue()


def _pixel_scheme(named: Any) -> Any:
    scheme = schemes.scheme(named)
    if scheme.family == "word" and getattr(scheme, "embeds", True):
        return scheme
    if scheme.family == "foreign":
        what, mend = "only reads marks of other tools", "use spread or codec"
    elif scheme.family == "latent":
        what, mend = "marks the noise that a generator starts from", "auditkit generate --watermark " + scheme.name
    else:
        what, mend = "lives in a generator's decoder", "auditkit watermark root --generator NAME --out FOLDER"
    raise WatermarkError(
        f"'{scheme.name}' {what}, and marks no finished image", where=f"scheme={scheme.name}", mend=mend
    )


def _carries(path: Path, scheme: Any, key: Key, payload: Payload) -> float:
    """P-value of the mark in a file that is there already.

    Raises:
        WatermarkError: it does not carry it.
    """
    p_value = _read_back(np.asarray(open_image(path)), scheme, key, payload)
    if p_value > VERIFIED:
        raise WatermarkError("a file of that name is there and does not carry this mark", where=path, mend="remove it")
    return p_value


def _read_back(image: np.ndarray, scheme: Any, key: Key, payload: Payload) -> float:
    """P-value of one key's payload in an image as it stands; 1 where nothing can be read."""
    reading = scheme.read(image, key, search=False)
    if reading.unusable:
        return 1.0
    soft = unpadded(reading.soft, scheme.name, key)
    return word_p_value(soft, encode(payload, scheme.bits), looks=reading.looks)


def _psnr(before: np.ndarray, after: np.ndarray) -> float:
    error = float(((before.astype(float) - after) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
