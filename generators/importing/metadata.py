"""The texts that a tool wrote into an image file, and which tool's they are."""

from __future__ import annotations

import io
import warnings
import zlib
from typing import Any

from PIL import ExifTags, Image

from auditkit.images import FORMATS
from auditkit.provenance.containers import PNG_SIGNATURE, png_chunks
from generators.importing import a1111, comfyui, invokeai
from generators.importing.facts import MAX_JSON, Facts, from_dict, load_json, text

MAX_TEXT = MAX_JSON
"""Bytes of one text, decompressed; a longer one is left out, so that a small file cannot fill the memory."""
MAX_TEXTS = 64
"""Texts of one file."""

USER_COMMENT = "UserComment"
_PREFIXED = ("prompt", "workflow", "parameters")
"""ComfyUI's savers put `prompt:{...}` into whichever EXIF text is free."""


def read_texts(data: bytes) -> dict[str, str]:
    """The texts in an image file by their keyword; never raises.

    Of a PNG its tEXt, zTXt and iTXt chunks, wherever they stand; of any format the EXIF texts (`UserComment`, the
    image's description, Make and Model) and the JPEG comment.
    """
    found = _png_texts(data) if data.startswith(PNG_SIGNATURE) else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                told = _exif_texts(image)
                if image.format == "JPEG" and isinstance(image.info.get("comment"), bytes):
                    told["comment"] = image.info["comment"][:MAX_TEXT].decode("utf-8", "replace")
    except Exception:  # a decoder fed with broken bytes may raise anything; that the image is broken is told elsewhere
        told = {}
    return told | found


def facts_of(texts: dict[str, str]) -> Facts:
    """How the image was made, after the texts in it; `source` is 'none' where no tool is known again."""
    for reader in (_parameters, invokeai.parse, _comfyui, _novelai, _comment):
        found = reader(texts)
        if found is not None and found.prompt is not None:
            return found
    return Facts()


def facts_of_record(record: dict[str, Any], source: str) -> Facts:
    """Facts out of a JSON object: ComfyUI's graph, SwarmUI's or Fooocus' record, or any tool's flat one."""
    if comfyui.looks_like(record):
        return comfyui.parse(record) or Facts()
    if isinstance(record.get("sui_image_params"), dict):
        return from_dict(record["sui_image_params"], "swarmui")
    if "fooocus" in str(record.get("version", ""))[:40].lower() or "metadata_scheme" in record:
        return from_dict(record, "fooocus")
    return from_dict(record, source)


def _parameters(texts: dict[str, str]) -> Facts | None:
    source = texts.get("parameters")
    if source is None:
        return None
    record = load_json(source)
    return facts_of_record(record, "a1111") if isinstance(record, dict) else a1111.parse(source)


def _comfyui(texts: dict[str, str]) -> Facts | None:
    return comfyui.parse(load_json(texts.get("prompt")), load_json(texts.get("workflow")))


def _novelai(texts: dict[str, str]) -> Facts | None:
    record = load_json(texts.get("Comment"))
    if not isinstance(record, dict) or "novelai" not in texts.get("Software", "").lower():
        return None
    return from_dict(record, "novelai").over(Facts(prompt=text(texts.get("Description")), source="novelai"))


def _comment(texts: dict[str, str]) -> Facts | None:
    """EXIF and JPEG comments. A text alone is no prompt: cameras write there too."""
    for key in (USER_COMMENT, "ImageDescription", "comment"):
        source = texts.get(key, "")
        record = load_json(source)
        if isinstance(record, dict):
            found = facts_of_record(record, "a1111")
            if found.prompt is not None:
                return found
        elif a1111.looks_like(source):
            return a1111.parse(source)
    return None


def _png_texts(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, _, start, end, whole in png_chunks(data):
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or not whole or len(found) >= MAX_TEXTS:
            continue
        keyword, _, body = data[start : end - 4].partition(b"\0")
        said = _chunk_text(kind, body)
        if said is not None and 1 <= len(keyword) <= 79:
            found.setdefault(keyword.decode("latin-1"), said)
    return found


def _chunk_text(kind: bytes, body: bytes) -> str | None:
    """The text of a chunk behind its keyword (PNG specification, 11.3.3); None where it does not hold."""
    if kind == b"tEXt":
        # Latin-1 by the specification; many tools write UTF-8 all the same.
        return _decoded(body[:MAX_TEXT], "latin-1") if len(body) <= MAX_TEXT else None
    if kind == b"zTXt":
        packed = _inflated(body[1:]) if body[:1] == b"\0" else None
        return None if packed is None else _decoded(packed, "latin-1")
    compressed, rest = body[:1], body[2:]
    _, _, rest = rest.partition(b"\0")  # language
    _, _, rest = rest.partition(b"\0")  # translated keyword
    content = _inflated(rest) if compressed == b"\1" else rest if len(rest) <= MAX_TEXT else None
    return None if content is None else content.decode("utf-8", "replace")


def _decoded(data: bytes, fallback: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(fallback)


def _inflated(data: bytes) -> bytes | None:
    """`data` decompressed; None where it is broken or larger than MAX_TEXT."""
    try:
        engine = zlib.decompressobj()
        content = engine.decompress(data, MAX_TEXT)
    except zlib.error:
        return None
    return content if engine.eof else None


def _exif_texts(image: Image.Image) -> dict[str, str]:
    found: dict[str, str] = {}
    exif = image.getexif()
    # ComfyUI counts down from Make where it has more than one text to keep.
    for tag in (ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software):
        said = _plain(exif.get(tag))
        key, colon, rest = said.partition(":")
        if colon and key in _PREFIXED:
            found.setdefault(key, rest)
        elif said:
            found[tag.name] = said
    for number, value in list(exif.items())[:MAX_TEXTS]:
        key, colon, rest = _plain(value).partition(":") if number < ExifTags.Base.ImageDescription else ("", "", "")
        if colon and key in _PREFIXED:
            found.setdefault(key, rest)
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(comment, (bytes, str)):
        found[USER_COMMENT] = _user_comment(comment.encode("utf-8", "replace") if isinstance(comment, str) else comment)
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        value = _decoded(value[:MAX_TEXT], "latin-1")
    return value.strip("\0 ") if isinstance(value, str) and len(value) <= MAX_TEXT else ""


def _user_comment(value: bytes) -> str:
    """A UserComment behind its eight bytes of encoding (Exif 2.3, 4.6.5); UNICODE is UTF-16 of either byte order."""
    code, body = value[:8], value[8 : 8 + MAX_TEXT]
    if code == b"UNICODE\0":
        body = body[: len(body) // 2 * 2]
        # Latin letters have a zero for their high byte, which tells the order: the files themselves do not.
        big = body[0::2].count(0) >= body[1::2].count(0)
        return body.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0\ufeff")
    if code in (b"ASCII\0\0\0", b"\0" * 8):
        return _decoded(body, "latin-1").strip("\0")
    return _decoded(value[:MAX_TEXT], "latin-1").strip("\0")
