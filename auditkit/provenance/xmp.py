"""XMP packets (ISO 16684-1): their properties, and one property set while every other byte stays as it was.

Packets come from strangers: a document type declaration, the only place that entities can be declared in, is refused
before any parser sees it, so that an entity bomb has nothing to go off with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from auditkit.errors import ProvenanceError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
LARGEST = 8 << 20
"""Bytes of a packet; those of cameras and editors hold some kilobytes."""

_TAG = re.compile(rb"<[^>\"']*(?:\"[^\"]*\"[^>\"']*|'[^']*'[^>\"']*)*>")
_DECLARATION = re.compile(r"<!(?:DOCTYPE|ENTITY)")
_PADDING = re.compile(rb"\s{2,}(?=<\?xpacket end)")


def properties(packet: bytes) -> dict[str, list[str]]:
    """The values of each property, keyed '{namespace}name': one of a simple one, each item of an array or alternative.

    Raises:
        ProvenanceError: the packet is not well-formed XML, too large, or has a document type declaration.
    """
    try:
        root = ElementTree.fromstring(_text(packet))
    except (ElementTree.ParseError, ValueError) as error:
        raise _damaged(error) from None
    found: dict[str, list[str]] = {}
    for rdf in root.iter(f"{{{RDF}}}RDF"):
        for description in rdf.findall(f"{{{RDF}}}Description"):
            for key, value in description.attrib.items():
                if key.startswith("{") and not key.startswith((f"{{{RDF}}}", "{http://www.w3.org/XML/")):
                    found.setdefault(key, []).append(value.strip())
            for one in description:
                found.setdefault(one.tag, []).extend(_values(one))
    return found


def set_property(packet: bytes | None, namespace: str, name: str, *, prefix: str, text: str) -> bytes:
    """A packet with the simple property set to `text`, in place of earlier ones; all else is kept to the byte.

    Args:
        packet: the packet to change; None makes a new one.

    Raises:
        ProvenanceError: as for `properties`.
    """
    outline = _Outline() if packet is None else _Outline.read(_text(packet).encode(), f"{namespace} {name}")
    description = (
        f'<rdf:Description xmlns:rdf="{RDF}" rdf:about={quoteattr(outline.about)} '
        f"xmlns:{prefix}={quoteattr(namespace)}><{prefix}:{name}>{escape(text)}</{prefix}:{name}></rdf:Description>"
    ).encode()
    if outline.rdf_end is None:  # no RDF, so no property that could be lost
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            f'<rdf:RDF xmlns:rdf="{RDF}">{description.decode()}</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
        ).encode()
    body = outline.body
    for start, end, new in sorted([*outline.old, (outline.rdf_end, outline.rdf_end, description)], reverse=True):
        body = body[:start] + new + body[end:]
    return _PADDING.sub(b"\n", body)


@dataclass
class _Outline:
    """Where things lie in a packet, in bytes."""

    body: bytes = b""
    about: str = ""
    """What the packet's descriptions are about; XMP wants the same in all of them."""
    rdf_end: int | None = None
    """Start of the end tag of rdf:RDF."""
    old: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(start, end, what stays) of each place that holds the property."""

    @classmethod
    def read(cls, body: bytes, wanted: str) -> _Outline:
        """Args: wanted: 'namespace name'."""
        made = cls(body)
        parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
        parser.namespace_prefixes = True  # a name is then 'namespace name prefix'
        path: list[tuple[str, int]] = []
        others = 0  # what the description being read holds beside the property

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal others
            at, key = parser.CurrentByteIndex, _key(name)
            inside = [one for one, _ in path[-2:]] == [f"{RDF} RDF", f"{RDF} Description"]
            path.append((key, at))
            if key == f"{RDF} Description" and len(path) > 1 and path[-2][0] == f"{RDF} RDF":
                others = made._describe(at, attributes, wanted)
            elif inside and key != wanted:
                others += 1

        def end(_: str) -> None:
            key, began = path.pop()
            at, above = parser.CurrentByteIndex, path[-1][0] if path else ""
            if key == f"{RDF} RDF" and made.rdf_end is None and at != began:  # the same where the tag is <rdf:RDF/>
                made.rdf_end = at
            elif key == wanted and above == f"{RDF} Description":
                made.old.append((began, made._tag(at)[1], b""))
            elif key == f"{RDF} Description" and above == f"{RDF} RDF" and others == 0:
                # Nothing else was in it, so it goes as a whole: labelling again and again must not make files grow.
                inner = [one for one in made.old if one[0] >= began]
                if inner:
                    made.old = [one for one in made.old if one[0] < began] + [(began, made._tag(at)[1], b"")]

        parser.StartElementHandler, parser.EndElementHandler = start, end
        try:
            parser.Parse(body, True)
        except (expat.ExpatError, ValueError) as error:
            raise _damaged(error) from None
        return made

    def _describe(self, at: int, attributes: dict[str, str], wanted: str) -> int:
        """Note the property where it is an attribute of a description; how many other properties are."""
        others = 0
        for name, value in attributes.items():
            if _key(name) in (f"{RDF} about", "about"):
                self.about = self.about or value
            elif _key(name) == wanted:
                start, end = self._tag(at)
                qualified = ":".join(reversed(name.split(" ")[1:])).encode()
                pattern = rb"\s+" + re.escape(qualified) + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')"
                self.old.append((start, end, re.sub(pattern, b"", self.body[start:end], count=1)))
            else:
                others += 1
        return others

    def _tag(self, at: int) -> tuple[int, int]:
        found = _TAG.match(self.body, at)
        return (at, found.end()) if found else (at, at)


def _key(name: str) -> str:
    return " ".join(name.split(" ")[:2])


def _values(element: Any) -> list[str]:
    resource = element.get(f"{{{RDF}}}resource")
    if resource is not None:
        return [resource.strip()]
    items = list(element.iter(f"{{{RDF}}}li"))
    if items:
        return [item.get(f"{{{RDF}}}resource") or "".join(item.itertext()).strip() for item in items]
    return ["".join(element.itertext()).strip()]


def _text(packet: bytes) -> str:
    mend = "remove the packet with a metadata tool (exiftool -xmp:all= FILE), or take an earlier copy of the file"
    if len(packet) > LARGEST:
        what = f"the XMP packet is larger than {LARGEST >> 20} MiB"
        raise ProvenanceError(what, where="XMP packet", mend=mend)
    try:
        # UTF-8 in PNG, JPEG and WebP (XMP part 3); some writers use UTF-16 all the same.
        text = packet.decode("utf-16" if packet[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(error) from None
    if _DECLARATION.search(text):
        raise ProvenanceError(
            "the XMP packet has a document type declaration, which could hide an entity bomb; it is not read",
            where="XMP packet", mend=mend,
        )  # fmt: skip
    return text.strip("\ufeff\0 \t\r\n")


def _damaged(error: Exception) -> ProvenanceError:
    mend = "remove the packet with a metadata tool (exiftool -xmp:all= FILE), or take an earlier copy of the file"
    return ProvenanceError(f"the XMP packet is not well-formed: {error}", where="XMP packet", mend=mend)
