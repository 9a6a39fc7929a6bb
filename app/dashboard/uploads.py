"""An upload asked where it came from, in memory: nothing of it is written, and nothing is fetched."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass
from datetime import date
from typing import Any

from PIL import ImageFilter

from auditkit.errors import AuditkitError, ImageError, TrustError
from auditkit.images import open_image
from auditkit.provenance.certificates import fingerprint, read_certificates, to_pem
from auditkit.provenance.inspection import Inspector, Settings

MEGABYTES = 50
"""The largest upload."""
LARGEST_PEM = 1
_COARSE, _SIZE = 14, 320  # pixels: what is left of a picture that is blurred, and how large either is shown

ONE_AT_A_TIME = threading.Lock()
"""Sessions are threads; the C2PA library's handles must not be used by two at once."""


@dataclass(frozen=True)
class Wish:
    """How to look at an upload.

    Attributes:
        anchors: (file name, bytes) of PEM files of trust anchors, for this call.
        as_of: the day to judge credentials on; None is now.
        search: look for rotated, scaled and cropped watermarks too.
    """

    anchors: tuple[tuple[str, bytes], ...] = ()
    as_of: date | None = None
    search: bool = True

    def key(self, data: bytes) -> str:
        """The same for the same question about the same bytes."""
        told = hashlib.sha256(data)
        for name, held in self.anchors:
            told.update(hashlib.sha256(name.encode() + b"\0" + held).digest())
        told.update(f"{self.as_of} {self.search}".encode())
        return told.hexdigest()


@dataclass(frozen=True)
class Answer:
    """The parts of an inspection, as `auditkit inspect --json` gives them, and what could not be asked."""

    found: dict[str, Any]
    problems: tuple[AuditkitError, ...] = ()


def inspect(data: bytes, name: str, wish: Wish) -> Answer:
    """Everything that is said of an upload.

    Where keys, store or hash banks of this machine cannot be read, the manifest is judged without them.

    Raises:
        ImageError: it is empty. TrustError: a file of trust anchors, or a trust list that is kept, cannot be read.
    """
    if not data:
        raise ImageError("the file is empty", where=name, mend="ask for it again")
    added = [each for pem in wish.anchors for each in _certificates(*pem)]
    with ONE_AT_A_TIME:
        inspector, problems = _inspector(wish)
        try:
            held = read_certificates(inspector.anchors.encode()) if inspector.anchors else []
            inspector.anchors = to_pem(list({fingerprint(each): each for each in [*held, *added]}.values()))
            return Answer(inspector.inspect_bytes(data, name=name).as_dict(), problems)
        finally:
            if inspector.store is not None:
                inspector.store.__exit__()


def picture(data: bytes, *, blurred: bool) -> bytes | None:
    """The upload as a small PNG; blurred, only grey patches are left of it. None where it is no picture."""
    try:
        image = open_image(data)
    except AuditkitError:
        return None
    image.thumbnail((_SIZE, _SIZE))
    if blurred:
        size, coarse = image.size, image.convert("L")
        coarse.thumbnail((_COARSE, _COARSE))
        image = coarse.resize(size).filter(ImageFilter.GaussianBlur(_SIZE / _COARSE / 2))
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def _inspector(wish: Wish) -> tuple[Inspector, tuple[AuditkitError, ...]]:
    try:
        return Inspector(Settings(as_of=wish.as_of, search=wish.search)), ()
    except TrustError:
        raise
    except AuditkitError as error:
        return Inspector(Settings(as_of=wish.as_of, store="", keys="", banks=())), (error,)


def _certificates(name: str, held: bytes) -> list[Any]:
    try:
        return read_certificates(held)
    except TrustError as error:
        raise TrustError(error.what, where=name, mend=error.mend) from None
