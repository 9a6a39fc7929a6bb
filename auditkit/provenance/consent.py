"""Opt-out and consent signals: may this image or site be used for text and data mining, or to train AI?

Several standards say it, in the file, beside it and on its site, and no law or standard ranks them. So each signal is
kept with its very words, what the sources say is set side by side, and no verdict is drawn from it. Where nothing is
found that is *not* consent: most works carry no signal, whatever their authors want. Nothing is fetched: what a site
says is read from files that the caller has.

In a file: the XMP properties of IPTC and PLUS, and C2PA or CAWG's training-mining assertion (`consent_file`). On a
site: robots.txt, ai.txt, TDMRep, headers and meta elements (`consent_site`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Says = Literal["allowed", "prohibited", "constrained", "reserved", "unspecified"]

USES = {
    "ai-training": "AI training",
    "generative-training": "generative AI training",
    "data-mining": "text and data mining",
    "ai-inference": "AI inference (input to a model)",
    "search": "search indexing",
}
TRAINING = ("ai-training", "generative-training")
MINING = (*TRAINING, "data-mining")
"""What a reservation of rights under Article 4 of Directive (EU) 2019/790 reaches; training counts as mining there."""

NONE = "no signal found, which is not consent"
DISAGREE = "the sources disagree"


@dataclass(frozen=True)
class Signal:
    """What one source says.

    Attributes:
        source: the kind of source: 'XMP', 'C2PA', 'robots.txt' ...
        where: the property, line, rule or element in it.
        uses: keys of USES that it speaks of; () where it is context, such as a copyright notice.
        says: 'reserved' keeps the right for its holder, 'constrained' allows under conditions that `text` names or
            points at, 'unspecified' says nothing of the uses.
        text: the very words.
        standard: the standard that gives them meaning.
    """

    source: str
    where: str
    uses: tuple[str, ...]
    says: Says
    text: str
    standard: str


def read_file_signals(data: bytes, *, assertions: Iterable[dict[str, Any]] = ()) -> list[Signal]:
    """Signals in a file's own bytes, and in the assertions of its C2PA manifest.

    Args:
        data: a PNG, JPEG or WebP file.
        assertions: those of the active manifest, `{'label': ..., 'data': ...}` as the reader's JSON has them. Whether
            that manifest is to be believed is for its validation to say.

    Raises:
        ProvenanceError: the file is of another format.
    """
    from auditkit.provenance.consent_file import embedded_signals, manifest_signals

    return [*embedded_signals(data), *manifest_signals(assertions)]


def read_site_signals(
    *,
    robots: str | None = None,
    ai_txt: str | None = None,
    tdmrep: str | None = None,
    headers: str | None = None,
    html: str | None = None,
    path: str = "/",
) -> list[Signal]:
    """Signals of a site, from the content of files that were fetched by whoever calls.

    Args:
        robots: /robots.txt.
        ai_txt: /ai.txt.
        tdmrep: /.well-known/tdmrep.json.
        headers: the answer's HTTP headers, one a line; of several answers (redirects) the last one counts.
        html: the page. What it says holds for the page; that it holds for images on it is for `noimageai` alone.
        path: of the image or page on the site, beginning with '/'.

    Raises:
        ProvenanceError: tdmrep.json is no JSON array, or `path` does not begin with '/'.
    """
    from auditkit.provenance import consent_site as site

    path = site.checked_path(path)
    signals: list[Signal] = []
    for given, read in ((robots, site.robots_signals), (ai_txt, site.ai_txt_signals), (tdmrep, site.tdmrep_signals)):
        if given is not None:
            signals += read(given, path)
    if headers is not None:
        signals += site.header_signals(headers, path)
    if html is not None:
        signals += site.html_signals(html)
    return signals


def summary(signals: Iterable[Signal]) -> list[dict[str, Any]]:
    """For each use, what each source says of it, and whether they agree; no verdict.

    Returns:
        Rows `use`, `name`, `state` (a sentence) and `says`: rows `source`, `where`, `says` and `text`.
    """
    signals = list(signals)
    rows = []
    for use, name in USES.items():
        about = [one for one in signals if use in one.uses]
        said = [{"source": o.source, "where": o.where, "says": o.says, "text": o.text} for o in about]
        rows.append({"use": use, "name": name, "state": _state(about), "says": said})
    return rows


def _state(about: list[Signal]) -> str:
    if not about:
        return NONE
    spoken = [one for one in about if one.says != "unspecified"]
    if not spoken:
        return "a source is there, and says nothing of this use, which is not consent"
    words = list(dict.fromkeys(one.says for one in spoken))
    if "allowed" not in words:
        return " or ".join(words)
    if len(words) == 1:
        return "allowed"
    # One robots.txt that treats crawlers differently does not contradict itself.
    if {one.source for one in spoken} == {"robots.txt"}:
        return "it depends on the crawler"
    return DISAGREE
