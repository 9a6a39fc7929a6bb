"""Signals inside a file: XMP properties of IPTC, PLUS and TDMRep, copyright notices, and the training-mining assertion.

Sources: PLUS License Data Format 2.0.1 (Data Mining), IPTC Photo Metadata Standard 2023.1 and later, TDM Reservation
Protocol (W3C community group report of 10 May 2024), C2PA 1.4 and CAWG Training and Data Mining Assertion 1.1.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable
from typing import Any

from auditkit.errors import ProvenanceError
from auditkit.provenance import xmp, xmp_files
from auditkit.provenance.consent import MINING, TRAINING, Says, Signal
from auditkit.provenance.containers import media_type, png_chunks, riff_chunks

PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"
# The report names the first for PDF's XMP, the vocabulary the second; both are in use.
TDM = ("http://www.w3.org/ns/tdmrep/", "http://www.w3.org/ns/tdmrep#")
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"

_ALL_MINING = (*MINING, "search")
# PLUS counts indexing by search engines as data mining: one of its values makes an exception for it.
PLUS_VALUES: dict[str, list[tuple[Says, tuple[str, ...], str]]] = {
    "DMI-UNSPECIFIED": [("unspecified", _ALL_MINING, "unspecified: neither prohibited nor allowed")],
    "DMI-ALLOWED": [("allowed", _ALL_MINING, "allowed")],
    "DMI-PROHIBITED": [("prohibited", _ALL_MINING, "prohibited")],
    "DMI-PROHIBITED-AIMLTRAINING": [("prohibited", TRAINING, "prohibited for AI/ML training")],
    "DMI-PROHIBITED-GENAIMLTRAINING": [
        ("prohibited", ("generative-training",), "prohibited for generative AI/ML training")
    ],
    "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING": [
        ("prohibited", MINING, "prohibited except for search engine indexing"),
        ("allowed", ("search",), "prohibited except for search engine indexing"),
    ],
    "DMI-PROHIBITED-SEECONSTRAINT": [("constrained", _ALL_MINING, "prohibited, see plus:OtherConstraints")],
    "DMI-PROHIBITED-SEEEMBEDDEDRIGHTSEXPR": [
        ("constrained", _ALL_MINING, "prohibited, see the embedded rights expression")
    ],
    "DMI-PROHIBITED-SEELINKEDRIGHTSEXPR": [
        ("constrained", _ALL_MINING, "prohibited, see the linked rights expression")
    ],
}
CONTEXT = {
    f"{{{PLUS}}}OtherConstraints": ("plus:OtherConstraints", "PLUS"),
    f"{{{IPTC_EXT}}}EmbdEncRightsExpr": ("iptcExt:EmbdEncRightsExpr", "IPTC"),
    f"{{{IPTC_EXT}}}LinkedEncRightsExpr": ("iptcExt:LinkedEncRightsExpr", "IPTC"),
    f"{{{IPTC_EXT}}}DigitalSourceType": ("iptcExt:DigitalSourceType", "IPTC"),
    "{http://ns.adobe.com/xap/1.0/rights/}WebStatement": ("xmpRights:WebStatement", "XMP"),
    "{http://ns.adobe.com/xap/1.0/rights/}UsageTerms": ("xmpRights:UsageTerms", "XMP"),
    "{http://purl.org/dc/elements/1.1/}rights": ("dc:rights", "Dublin Core"),
}
"""Properties that say whose a work is, how it was made or where its terms are: context, not a signal on a use."""

ENTRIES: dict[str, tuple[str, ...]] = {
    "data_mining": ("data-mining",),
    "ai_inference": ("ai-inference",),
    "ai_training": ("ai-training",),
    "ai_generative_training": ("generative-training",),
}
_ENTRY_SAYS: dict[str, Says] = {"allowed": "allowed", "notAllowed": "prohibited", "constrained": "constrained"}
_ASSERTION = re.compile(r"(?:c2pa|cawg)\.training-mining(?:__\d+)?")
_EXIF_COPYRIGHT, _IIM_COPYRIGHT = 0x8298, (2, 116)


def embedded_signals(data: bytes) -> list[Signal]:
    """What the file's XMP, EXIF and IPTC-IIM say; an XMP packet that cannot be read is told, not passed over."""
    signals: list[Signal] = []
    for packet in xmp_files.packets(data):
        try:
            found = xmp.properties(packet)
        except ProvenanceError as error:
            signals.append(Signal("XMP", "packet", (), "unspecified", f"cannot be read: {error.what}", "XMP"))
            continue
        for value in found.get(f"{{{PLUS}}}DataMining", []):
            signals += plus_signals(value)
        signals += _tdm_signals(found)
        for key, (name, standard) in CONTEXT.items():
            signals += [Signal("XMP", name, (), "unspecified", text, standard) for text in found.get(key, []) if text]
    return signals + _copyright(data)


def plus_signals(value: str) -> list[Signal]:
    """What one value of plus:DataMining says; the last part of its URI counts."""
    # Upper case: the vocabulary is closed, and a wrong case has only one meaning.
    term = value.rstrip("/").rpartition("/")[2].upper()
    meant = PLUS_VALUES.get(term, [("unspecified", (), "a value that PLUS does not have")])
    return [
        Signal("XMP", "plus:DataMining", uses, says, f"{value} ({words})", "PLUS Data Mining (IPTC 2023.1)")
        for says, uses, words in meant
    ]


def reservation(source: str, where: str, value: str, policy: str = "") -> Signal:
    """TDMRep's two properties as a signal: 1 reserves the rights, 0 does not; else, by the protocol, it is unset."""
    known: dict[str, Says] = {"1": "reserved", "0": "allowed"}
    says = known.get(value.strip(), "unspecified")
    text = f"tdm-reservation: {value.strip()}" + (f"; tdm-policy: {policy}" if policy else "")
    return Signal(source, where, MINING, says, text, "TDMRep (W3C community group)")


def manifest_signals(assertions: Iterable[dict[str, Any]]) -> list[Signal]:
    """The training-mining assertions of a manifest, C2PA's of version 1 and CAWG's."""
    signals: list[Signal] = []
    for assertion in assertions:
        label = str(assertion.get("label") or "")
        if not _ASSERTION.fullmatch(label):
            continue
        data = assertion.get("data")
        entries = data.get("entries") if isinstance(data, dict) else None
        for name, entry in (entries if isinstance(entries, dict) else {}).items():
            signals.append(_entry(label, str(name), entry))
    return signals


def _entry(label: str, name: str, entry: Any) -> Signal:
    given = entry if isinstance(entry, dict) else {"use": entry}
    use = str(given.get("use") or "")
    # C2PA 1 writes constraint_info, CAWG's text constraints_info.
    info = given.get("constraint_info") or given.get("constraints_info")
    text = f"{name}: {use}" + (f" ({info})" if info else "")
    uses = ENTRIES.get(name.rpartition(".")[2], ()) if name.startswith(("c2pa.", "cawg.")) else ()
    standard = "CAWG training and data mining" if label.startswith("cawg.") else "C2PA 1 training and data mining"
    return Signal("C2PA", f"{label}: {name}", uses, _ENTRY_SAYS.get(use, "unspecified"), text, standard)


def _tdm_signals(found: dict[str, list[str]]) -> list[Signal]:
    policies = [value for namespace in TDM for value in found.get(f"{{{namespace}}}policy", [])]
    values = [value for namespace in TDM for value in found.get(f"{{{namespace}}}reservation", [])]
    return [reservation("XMP", "tdm:reservation", value, next(iter(policies), "")) for value in values]


def _copyright(data: bytes) -> list[Signal]:
    """Notices in EXIF and IPTC-IIM; they say whose a work is, and nothing of its uses."""
    from PIL import Image, IptcImagePlugin

    notices: list[tuple[str, str, Any]] = []
    try:
        exif = Image.Exif()
        if (kind := media_type(data)) == "image/jpeg":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                    exif = image.getexif()
                    iim = IptcImagePlugin.getiptcinfo(image) or {}
            notices.append(("IPTC-IIM", "2:116", iim.get(_IIM_COPYRIGHT)))
        else:  # Pillow would decode every pixel to see whether EXIF comes after them
            chunks = png_chunks(data) if kind == "image/png" else riff_chunks(data)
            for name, _, content, end, whole in chunks:
                if name in (b"eXIf", b"EXIF") and whole:
                    exif.load(data[content : end - 4] if name == b"eXIf" else data[content:end])
        notices.insert(0, ("EXIF", "Copyright", exif.get(_EXIF_COPYRIGHT)))
    except Exception:  # a stranger's EXIF may raise anything; it is context alone
        return [Signal("EXIF", "Copyright", (), "unspecified", "cannot be read", "EXIF")]
    signals = []
    for source, where, value in notices:
        text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value or "")
        if text := text.strip("\0 \r\n\t"):
            signals.append(Signal(source, where, (), "unspecified", text, source))
    return signals
