"""Match an image against hash banks: exactly by SHA-256, and by PDQ as it is, rotated and flipped."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np

from auditkit.errors import ImageError, ProvenanceError
from auditkit.files import sha256
from auditkit.provenance.bank_entries import Entry, entry
from auditkit.provenance.banks import Bank
from auditkit.provenance.pdq import BITS, FORMS, Pdq, Source, hash_forms, hash_image

THRESHOLD = 31
"""At most so many of the 256 bits differ in a match: the threshold that PDQ's authors recommend."""

MAX_THRESHOLD = 63
LOOSE = "above 31 bits PDQ also matches images that only look alike: have a person look at each match"


@dataclass(frozen=True)
class Hashes:
    """The hashes of one image.

    Attributes:
        pdq: in the order of `FORMS`, one or eight; or none.
        sha256: 64 hexadecimal digits, of the file's bytes; None for pixels without a file.
    """

    pdq: tuple[Pdq, ...] = ()
    sha256: str | None = None

    @property
    def unusable(self) -> bool:
        """Whether the image is too flat for PDQ, which then matches nothing."""
        return bool(self.pdq) and not self.pdq[0].usable


@dataclass(frozen=True)
class Match:
    """A hash of a bank that an image matches.

    Attributes:
        bank, kind: the bank's name and kind.
        entry: the hash matched.
        distance: bits that differ; 0 for SHA-256.
        form: the orientation of the image that matched, one of `FORMS`, the nearest where there are more.
        exact: whether it is the same file, byte for byte.
    """

    bank: str
    kind: str
    entry: Entry
    distance: int
    form: str
    exact: bool


def hashes(source: Source, *, dihedral: bool = True) -> Hashes:
    """PDQ and SHA-256 of an image.

    Args:
        source: a file, its bytes, an opened image, or pixels, as in `pdq.hash_image`.
        dihedral: also of the image rotated and flipped.

    Raises:
        ImageError: it cannot be opened.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        try:
            source = path.read_bytes()
        except OSError as error:
            what = f"the image cannot be read: {error.strerror}"
            raise ImageError(what, where=path, mend="check the path") from None
        try:
            return hashes(source, dihedral=dihedral)
        except ImageError as error:
            raise ImageError(error.what, where=path, mend=error.mend) from None
    whole = sha256(source) if isinstance(source, bytes) else None
    return Hashes(hash_forms(source) if dihedral else (hash_image(source),), whole)


def match(
    image: Source | Hashes, banks: Sequence[Bank], *, threshold: int = THRESHOLD, dihedral: bool = True
) -> list[Match]:
    """All hashes of the banks that an image matches: exact matches first, then the nearest.

    Every hash within the threshold is found: the search is exact. An image of low PDQ quality (`Hashes.unusable`) is
    matched by SHA-256 only. A match says that two images share their coarse structure, not that their content is the
    same; none says that the bank has no near copy, not that the image is harmless: a crop of 5% on each side is
    enough to be missed.

    Args:
        image: an image, or hashes made before.
        threshold: 0..63 bits of 256. More than 31 comes with a warning.
        dihedral: match the image rotated and flipped too.

    Raises:
        ProvenanceError: a threshold out of range, or a bank that cannot be read.
        ImageError: the image cannot be opened.
    """
    if not 0 <= threshold <= MAX_THRESHOLD:
        raise ProvenanceError(
            "the threshold is out of range", where=f"{threshold} bits", mend=f"choose 0 to {MAX_THRESHOLD}; 31 is usual"
        )
    if threshold > THRESHOLD:
        warnings.warn(LOOSE, stacklevel=2)
    known = image if isinstance(image, Hashes) else hashes(image, dihedral=dihedral)
    found = [one for bank in banks for one in _matches(known, bank, threshold, dihedral)]
    return sorted(found, key=lambda one: (not one.exact, one.distance, one.bank, one.entry.value))


def _matches(known: Hashes, bank: Bank, threshold: int, dihedral: bool) -> list[Match]:
    found = []
    if known.sha256 and (same := bank.find("sha256", known.sha256)):
        found.append(Match(bank.name, bank.kind, same, 0, FORMS[0], exact=True))
    forms = () if known.unusable else known.pdq if dihedral else known.pdq[:1]
    if not forms:
        return found
    queries = np.frombuffer(b"".join(form.bits for form in forms), dtype=np.uint8).reshape(-1, 32)
    nearest: dict[str, tuple[int, str]] = {}
    for form, near in zip(FORMS, bank.near(queries, radius=threshold), strict=False):
        for value, distance in near:
            if value not in nearest or distance < nearest[value][0]:
                nearest[value] = (distance, form)
    for value, (distance, form) in nearest.items():
        one = bank.find("pdq", value) or entry("pdq", value)  # removed by another process meanwhile
        found.append(Match(bank.name, bank.kind, one, distance, form, exact=False))
    return found


def expected_chance_matches(size: int, *, threshold: int = THRESHOLD, forms: int = len(FORMS)) -> float:
    """How many of `size` random hashes one image matches on average, if all 256 bits were fair coins: exact.

    Hashes of images are no random bits: images share light skies and dark ground, flat areas, frames and text, so real
    false matches are far more frequent than this says. It is a lower bound to think with; `python -m
    benchmarks.hash_banks` counts matches between distinct photographs.

    >>> expected_chance_matches(1_000_000, forms=1) < 1e-30
    True
    """
    tail = sum(comb(BITS, k) for k in range(threshold + 1))
    return float(size * forms * Fraction(tail, 2**BITS))
