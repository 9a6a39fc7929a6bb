"""Present, absent or abstain: what an image says to the keys of a ring, with p-values corrected for all that was tried.

Each pair of a scheme and a key is a look at the image, and every p-value is multiplied by their number (Bonferroni), as
by the readings a scheme chose from. A word is looked for twice: among the payloads that are known (registered with the
key, or given), at an exact tail times their number; and among all 2^64, by soft decoding, at the same tail times 2^64.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.errors import AuditkitError, WatermarkError
from auditkit.watermark import forgery
from auditkit.watermark import schemes as known_schemes
from auditkit.watermark.base import GREY, Detection, Evidence, Reading, Verdict, unpadded
from auditkit.watermark.identification import Registry
from auditkit.watermark.keys import KeyEntry, KeyRing, Registered
from auditkit.watermark.null import null_text
from auditkit.watermark.payload import PAYLOAD_BITS, Payload, encode
from auditkit.watermark.soft_decoding import likeliest
from auditkit.watermark.statistics import Tail, binomial_p_value, combine

if TYPE_CHECKING:
    import pandas as pd

FPR = 1e-6
"""False positive rate for an image unless told otherwise, over all schemes and keys tried on it."""

Progress = Callable[[int, int], None]
"""Called with how many files are done, and of how many."""


@dataclass(frozen=True)
class _Asked:
    """What one key is asked for."""

    entry: KeyEntry
    payloads: tuple[Payload, ...]
    names: dict[Payload, str]


def detect(
    image: np.ndarray,
    *,
    ring: KeyRing | Sequence[KeyEntry],
    schemes: Sequence[Any] | None = None,
    fpr: float = FPR,
    payloads: Sequence[Payload] = (),
    search: bool = True,
    noise: Callable[[], np.ndarray] | None = None,
) -> list[Detection]:
    """Look for marks of the ring's keys: one `Detection` for each scheme and key, retired keys included.

    Args:
        image: uint8 [h, w, 3], RGB.
        schemes: names or schemes; None: every scheme in the pixels, and the latent ones where `noise` is given.
        fpr: the rate at which an unmarked image may be called marked, over all schemes and keys together, in (0, .01].
        payloads: to look for under every key, besides those registered with it.
        search: also look for rotations, scales and crops.
        noise: makes the noise that the image came from, float [c, h, w], by inversion; called once, if a latent scheme
            is asked.

    Raises:
        WatermarkError: no key, no such rate, not an 8-bit RGB image, or a scheme of another tool.
        PluginError: no scheme has that name.
    """
    image = known_schemes.checked_image(image)
    chosen = known_schemes.chosen(schemes, latent=noise is not None)
    asked = _asked(ring, payloads)
    _check_rate(fpr)
    tried = len(chosen) * len(asked)
    recovered: np.ndarray | None = None
    found: list[Detection] = []
    for scheme in chosen:
        start = time.perf_counter()
        checks: list[forgery.Check] = []
        if scheme.family == "latent":
            if noise is not None and recovered is None:
                recovered = noise()
            seen = [_latent(scheme, recovered, one) for one in asked]
            checks = [forgery.Check("not checked")] * len(asked)
        else:
            seen = []
            for one, reading in zip(asked, _readings(scheme, image, asked, search=search), strict=True):
                evidence, check = _word(scheme, reading, one, fpr / tried)
                seen.append(evidence)
                checks.append(check)
        ms = 1000 * (time.perf_counter() - start) / len(asked)
        rows = [_detection(scheme, *each, tried, fpr, ms) for each in zip(seen, asked, checks, strict=True)]
        found += _several(rows)
    return found


def detect_many(
    files: Iterable[str | Path],
    *,
    ring: KeyRing | Sequence[KeyEntry],
    schemes: Sequence[Any] | None = None,
    fpr: float = FPR,
    payloads: Sequence[Payload] = (),
    search: bool = True,
    invert: Callable[[np.ndarray], np.ndarray] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """`detect` for files: a row for each file, scheme and key, and one row with `error` for a file that cannot be read.

    Args:
        invert: the noise that an image (uint8 [h, w, 3]) came from, for latent schemes.
        workers: files read at a time.

    Returns:
        Columns file, those of `row`, and error ('' where all went well); in the order of `files`.
    """
    asked = list(files)
    _check_rate(fpr)
    chosen = known_schemes.chosen(schemes, latent=invert is not None)
    keys = [one.entry for one in _asked(ring, ())]

    def one_file(path: str | Path) -> list[dict[str, Any]]:
        from auditkit.images import open_image

        try:
            image = np.asarray(open_image(path))
            noise = None if invert is None else lambda: invert(image)
            seen = detect(
                image, ring=keys, schemes=chosen, fpr=fpr, payloads=payloads, search=search, noise=noise
            )  # fmt: skip
        except AuditkitError as error:
            return [{"file": str(path), "error": error.what}]
        return [{"file": str(path), **row(each), "error": ""} for each in seen]

    return _table(asked, one_file, workers, progress)


def detect_folder(folder: str | Path, **options: Any) -> pd.DataFrame:
    """`detect_many` for all images below a folder, `file` relative to it; links out of it are rows with an error."""
    import pandas as pd

    from auditkit.watermark.folders import image_files

    listed = list(image_files(folder))
    root = Path(folder)
    table = detect_many([root / path for path, problem in listed if not problem], **options)
    table["file"] = [str(Path(file).relative_to(root)) for file in table["file"]]
    refused = [{"file": str(path), "error": problem} for path, problem in listed if problem]
    if refused:
        table = pd.concat([table, pd.DataFrame(refused, columns=table.columns)], ignore_index=True)
    return table


def row(detection: Detection) -> dict[str, Any]:
    """A detection as a row of the table `watermarks`, without the image's id."""
    return {
        "scheme": detection.scheme,
        "scheme_version": detection.scheme_version,
        "key_id": detection.key_id,
        "verdict": detection.verdict,
        "p_value": detection.p_value,
        "p_kind": detection.p_kind,
        "fpr": detection.fpr,
        "looks": detection.looks,
        "payload": None if detection.payload is None else str(detection.payload),
        "payload_name": detection.payload_name,
        "bits": detection.bits,
        "matched": detection.matched,
        "corrected": detection.corrected,
        "rotation": detection.geometry.get("rotation", np.nan),
        "scale": detection.geometry.get("scale", np.nan),
        "forgery": detection.forgery,
        "null": detection.null,
        "note": detection.note,
        "ms": detection.ms,
    }


def read_foreign(image: np.ndarray, names: Sequence[Any], expected: bytes | None = None) -> list[Detection]:
    """The bits that readers of other tools' marks find; a verdict is never given on them.

    Args:
        image: uint8 [h, w, 3].
        names: foreign schemes.
        expected: the mark that should be there, whose bits are compared with as many as the tool reads.

    Raises:
        PluginError: the tool's package is not installed.
        WatermarkError: it is no foreign scheme, or `expected` is too short.
    """
    image = known_schemes.checked_image(image)
    found = []
    for scheme in map(known_schemes.scheme, names):
        if scheme.family != "foreign":
            raise WatermarkError(
                f"'{scheme.name}' is a scheme with keys", where=f"scheme={scheme.name}", mend="use detect, with a key"
            )
        start = time.perf_counter()
        bits = np.asarray(scheme.read_bits(image), np.uint8)
        note = f"read {np.packbits(bits).tobytes().hex()} ({len(bits)} bits)"
        matched = 0
        if expected is not None:
            wanted = np.unpackbits(np.frombuffer(expected, np.uint8))[: len(bits)]
            if len(wanted) < len(bits):
                raise WatermarkError(
                    f"the expected mark has {len(wanted)} bits, and {scheme.name} reads {len(bits)}",
                    where="expected", mend=f"give {-(-len(bits) // 8)} bytes",
                )  # fmt: skip
            matched = int((bits == wanted).sum())
            chance = binomial_p_value(len(bits), matched)
            note += f"; {matched} agree with the expected ones: p = {chance:.1e} if bits of unmarked images were"
            note += " fair coins, which this tool's are not: no key whitens them"
        found.append(
            Detection(
                scheme.name, scheme.version, "", "abstain", float("nan"), "none", FPR, 1,
                bits=len(bits) if expected is not None else 0, matched=matched, note=note,
                ms=1000 * (time.perf_counter() - start),
            )
        )  # fmt: skip
    return found


def _check_rate(fpr: float) -> None:
    if not 0 < fpr <= GREY:
        raise WatermarkError(
            f"a false positive rate lies above 0 and up to {GREY:g}", where=f"fpr={fpr:g}", mend="1e-6 is usual"
        )


def _asked(ring: KeyRing | Sequence[KeyEntry], payloads: Sequence[Payload]) -> list[_Asked]:
    entries = ring.entries if isinstance(ring, KeyRing) else tuple(ring)
    if not entries:
        raise WatermarkError("there is no key to look with", where="keys", mend="auditkit watermark keys new")
    asked = []
    for entry in entries:
        listed = [*entry.registered, *(Registered(payload) for payload in payloads)]
        names: dict[Payload, str] = {}
        for one in listed:
            names[one.payload] = names.get(one.payload) or one.name
        asked.append(_Asked(entry, tuple(sorted(names)), names))
    return asked


@lru_cache(maxsize=16)
def _register(payloads: tuple[Payload, ...], bits: int) -> Registry:
    return Registry(np.array([int(payload) for payload in payloads], np.uint64), bits)


def _readings(scheme: Any, image: np.ndarray, asked: list[_Asked], *, search: bool) -> list[Reading]:
    keys = [one.entry.key for one in asked]
    return known_schemes.readings(scheme, image, keys, search=search)


def _word(scheme: Any, reading: Reading, asked: _Asked, level: float) -> tuple[Evidence, forgery.Check]:
    """Evidence of a word, p-value for this pair alone; the payload is named at a p-value of `level`."""
    unchecked = forgery.Check("not checked")
    if reading.unusable:
        return Evidence(1.0, "bound", geometry=reading.geometry, unusable=reading.unusable), unchecked
    soft = unpadded(np.asarray(reading.soft, float), scheme.name, asked.entry.key)
    tail = Tail(soft)
    ways: list[tuple[float, Payload]] = []
    if asked.payloads:
        register = _register(asked.payloads, len(soft))
        at, agreement = register.best(tail)
        nearest = Payload.from_int(int(register.payloads[at[0]]))
        ways.append((tail.p_value(agreement[0], looks=len(register)), nearest))
    decoded = likeliest(soft)
    if decoded is not None and decoded not in asked.names:
        agreement_of_it = int(tail.agreement(encode(decoded, len(soft))))
        ways.append((tail.p_value(agreement_of_it, looks=2.0**PAYLOAD_BITS), decoded))
    if not ways:
        return Evidence(1.0, "bound", reading.looks, geometry=reading.geometry), unchecked
    smallest, best = min(ways)
    known = best in asked.names
    # Known payloads and all others are two families of hypotheses, each with half of the error rate.
    families = 2 if asked.payloads else 1
    looks = reading.looks * families
    p_value = combine(smallest, looks)
    evidence = Evidence(
        p_value, "exact" if known else "bound", looks * (len(asked.payloads) if known else 1), geometry=reading.geometry
    )
    if p_value > level:
        return evidence, unchecked
    matched = int((encode(best, len(soft)) == tail.hard).sum())
    evidence = replace(
        evidence, payload=best, bits=len(soft), matched=matched, corrected=None if known else len(soft) - matched
    )
    return evidence, forgery.check(reading, soft, best)


def _latent(scheme: Any, noise: np.ndarray | None, asked: _Asked) -> Evidence:
    if noise is None:
        return Evidence(1.0, "bound", unusable="the noise it came from is needed: name the generator, for inversion")
    try:
        evidence: Evidence = scheme.evidence(noise, asked.entry.key, payloads=asked.payloads)
    except WatermarkError as error:
        return Evidence(1.0, "bound", unusable=error.what)
    return evidence


def _detection(
    scheme: Any, seen: Evidence, asked: _Asked, check: forgery.Check, tried: int, fpr: float, ms: float
) -> Detection:
    p_value = 1.0 if seen.unusable or np.isnan(seen.p_value) else combine(seen.p_value, tried)
    verdict: Verdict = "present" if p_value <= fpr else "absent" if p_value > GREY else "abstain"
    if seen.unusable:
        verdict, note = "abstain", seen.unusable
    elif verdict == "absent":
        note = "no mark of this key was found; that does not show that there never was one"
    elif verdict == "abstain":
        note = f"too weak a sign for a false positive rate of {fpr:g}"
    else:
        note = check.note
    payload = seen.payload if verdict == "present" else None
    return Detection(
        scheme=scheme.name,
        scheme_version=scheme.version,
        key_id=asked.entry.key.id,
        verdict=verdict,
        p_value=p_value,
        p_kind=seen.p_kind if seen.p_kind != "none" else "bound",
        fpr=fpr,
        looks=seen.looks * tried,
        payload=payload,
        payload_name="" if payload is None else asked.names.get(payload, ""),
        bits=seen.bits if payload is not None else 0,
        matched=seen.matched if payload is not None else 0,
        corrected=seen.corrected if payload is not None else None,
        geometry=dict(seen.geometry) if verdict == "present" else {},  # of no mark it means nothing
        forgery=check.outcome if verdict == "present" else "not checked",
        null=null_text(scheme.name, scheme.version, fpr),
        note=note,
        ms=ms,
    )


def _several(rows: list[Detection]) -> list[Detection]:
    """Marks of several keys of one scheme in one image: somebody marked what was marked."""
    present = [one.key_id for one in rows if one.verdict == "present"]
    if len(present) < 2:
        return rows
    note = f"re-marked: marks of {len(present)} keys lie in this image"
    return [replace(one, forgery="suspect", note=note) if one.verdict == "present" else one for one in rows]


def _table(
    files: Sequence[str | Path],
    one_file: Callable[[str | Path], list[dict[str, Any]]],
    workers: int,
    progress: Progress | None,
) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        done = map(one_file, files) if workers <= 1 else pool.map(one_file, files)
        for count, found in enumerate(done, start=1):
            rows += found
            if progress is not None:
                progress(count, len(files))
    empty = row(Detection("", 1, "", "abstain", 1.0, "bound", FPR, 1))
    table = pd.DataFrame(rows, columns=["file", *empty, "error"])
    return table.astype({"corrected": "Int64"})
