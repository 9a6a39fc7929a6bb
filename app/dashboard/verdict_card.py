"""The card of a file: C2PA, watermark, hash, detector and opt-out signals, apart, each with its words and evidence.

Every text on it may come from a stranger's file: it is cleaned, and Markdown reads nothing into it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st
from pydantic import BaseModel, ConfigDict, ValidationError

from app.dashboard import widgets
from app.dashboard.widgets import clean, stranger
from auditkit.errors import ProvenanceError
from auditkit.provenance.codes import kind
from auditkit.provenance.sentences import NAMES
from reports import charts, words
from reports.provenance_charts import MOST_BOXES, ingredient_tree, ingredients_alt, ingredients_chart
from reports.render import to_json

BANNERS = {
    "trusted": (st.success, ":material/verified:"),
    "valid-untrusted": (st.warning, ":material/person_alert:"),
    "expired": (st.warning, ":material/schedule:"),
    "tampered-content": (st.error, ":material/gpp_bad:"),
    "tampered-manifest": (st.error, ":material/gpp_bad:"),
    "tampered-ancestor": (st.error, ":material/gpp_bad:"),
    "malformed": (st.warning, ":material/broken_image:"),
    "remote-only": (st.warning, ":material/cloud_off:"),
    "recovered-exact": (st.info, ":material/settings_backup_restore:"),
    "recovered-soft": (st.info, ":material/settings_backup_restore:"),
}
TABLE = 440
"""Pixels: width of the table of the signer."""
MARKS = {
    "present": "Found", "abstain": "No verdict", "absent": "Not found", "not looked for": "Not looked for",
    "not readable": "Not looked for",
}  # fmt: skip
HASHES = {"match": "In a hash bank", "no match": "In no hash bank", "not compared": "Compared with nothing"}
KINDS = {
    "content": "the image was changed", "credential": "about the signer", "expired": "the certificate",
    "timestamp": "the timestamp", "malformed": "cannot be read", "unsupported": "not known here",
    "ancestor": "an ingredient", "extension": "of another validator", "manifest": "the manifest was changed",
}  # fmt: skip


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Node(_Open):
    label: str
    title: str
    signer: str
    actions: list[str]
    source_types: list[str]
    active: bool


class _Edge(_Open):
    # 'from' is a word of Python's.
    title: str
    relationship: str
    codes: list[str]
    to: str | None


class _Graph(_Open):
    nodes: list[_Node] = []
    edges: list[_Edge] = []


class _C2pa(_Open):
    verdict: str
    sentence: str
    codes: list[str]
    notes: list[str]
    signer: dict[str, Any] | None
    graph: _Graph
    recovery: dict[str, Any] | None


class _Part(_Open):
    verdict: str
    sentence: str


class _Watermark(_Part):
    detections: list[dict[str, Any]]


class _Hash(_Part):
    sha256: str
    pdq: str | None
    matches: list[dict[str, Any]]


class _Consent(_Open):
    sentence: str
    signals: list[dict[str, Any]]


class _Shape(_Open):
    """What the card needs of an inspection."""

    file: str
    sha256: str
    media_type: str | None
    bytes: int
    c2pa: _C2pa
    watermark: _Watermark
    hash: _Hash
    detector: _Part
    consent: _Consent
    label: dict[str, Any] | None = None


def checked(found: Any, *, where: str) -> dict[str, Any]:
    """The inspection, if it has the shape of one: what was read from a file may be anything.

    Raises:
        ProvenanceError: it has not.
    """
    try:
        _Shape.model_validate(found)
        if any(not isinstance(edge.get("from"), str) for edge in found["c2pa"]["graph"].get("edges", [])):
            raise ValueError("edges")
    except (ValidationError, ValueError):
        raise ProvenanceError(
            "what was found of this file is damaged", where=where, mend="inspect the file again"
        ) from None
    return dict(found)


def draw(found: dict[str, Any], key: str) -> None:
    """Draw the card of an inspection; `key` tells its widgets from those of other cards."""
    kind_of_file = found["media_type"] or "unknown kind"
    st.subheader(stranger(found["file"], longest=120))
    st.caption(f"{widgets.plain(kind_of_file)}, {found['bytes']:,} bytes")
    _c2pa(found["c2pa"], key)
    left, right = st.columns(2)
    with left.container(border=True):
        _watermark(found["watermark"])
    with right.container(border=True):
        _hash(found["hash"])
    left, right = st.columns(2)
    with left.container(border=True):
        _detector(found["detector"])
    with right.container(border=True):
        _consent(found["consent"], found.get("label"))
    name = clean(found["file"], longest=80).rsplit("/", 1)[-1] or "file"
    widgets.download(
        "Evidence (JSON)", to_json(found), file_name=f"{name}.provenance.json", mime="application/json",
        key=f"evidence {key}",
    )  # fmt: skip


def _head(name: str, verdict: str, sentence: str) -> None:
    st.markdown(f"**{name}: {stranger(verdict)}**")
    st.markdown(stranger(sentence, longest=1000))


def _c2pa(part: dict[str, Any], key: str) -> None:
    verdict = part["verdict"]
    banner, icon = BANNERS.get(verdict, (st.info, ":material/remove_circle:"))
    with st.container(border=True):
        told = stranger(NAMES.get(verdict, verdict))
        banner(f"**C2PA: {told}** ({stranger(verdict)})  \n{stranger(part['sentence'], longest=1000)}", icon=icon)
        if part["notes"]:
            widgets.sentences([clean(note) for note in part["notes"]])
        _codes(part["codes"])
        with st.container(horizontal=True, gap="medium"):  # beside one another where there is room
            _graph(part["graph"], verdict)
            with st.container(width=TABLE):
                _signer(part["signer"])
                if part["recovery"]:
                    _recovery(part["recovery"])


def _signer(signer: Mapping[str, Any] | None) -> None:
    if signer is None:
        return
    kept = "development, **not for production**" if signer.get("development") else ""
    stamp = stranger(signer.get("signed_at") or "")
    by = stranger(signer.get("timestamp_authority") or "")
    organization = signer.get("organization")
    facts = {
        "Signer": stranger(signer.get("name") or ""),
        "Organization": stranger(organization) if organization and organization != signer.get("name") else "",
        "Certified by": stranger(signer.get("issuer") or "unknown"),
        "Certificate": kept,
        "Valid": f"{_day(signer.get('valid_from'))} to {_day(signer.get('valid_to'))}",
        "Timestamp": f"{stamp} ({by})" if stamp and by else stamp or "none: the time of signing is not shown",
        "Algorithm": stranger(signer.get("algorithm") or ""),
        "Serial number": " ".join(textwrap.wrap(stranger(signer.get("serial") or "", longest=60), 10)),
    }
    _facts(facts, "The signer, as the certificate says")


def _codes(codes: Sequence[str]) -> None:
    if codes:
        said = [f"`{clean(code, longest=80).replace('`', '')}` ({KINDS[kind(code)]})" for code in codes[:20]]
        more = f" and {len(codes) - 20} more" if len(codes) > 20 else ""
        told = "Validation codes" if any(_failure(code) for code in codes) else "Validation code"
        st.markdown(f"{told}: {', '.join(said)}{more}" if _failure(codes[0]) else f"Validation: `{clean(codes[0])}`")


def _failure(code: str) -> bool:
    return not code.endswith(".trusted") and not code.startswith("auditkit.recovered")


def _recovery(found: Mapping[str, Any]) -> None:
    stored, evidence = _mapping(found.get("stored")), _mapping(found.get("evidence"))
    facts = {
        "Found by": stranger(found.get("how")),
        "Said before the store was asked": stranger(NAMES.get(str(found.get("before")), found.get("before"))),
        "Title when signed": stranger(stored.get("title") or ""),
        "Signed": stranger(stored.get("signed") or ""),
        "Run": stranger(stored.get("run") or ""),
        "Image of the run": stranger(stored.get("image") or ""),
        **{str(name).replace("_", " ").capitalize(): stranger(_shown(value)) for name, value in evidence.items()},
    }
    _facts(facts, "From the manifest store")


def _graph(graph: dict[str, Any], verdict: str) -> None:
    root = ingredient_tree(_cleaned(graph), verdict)
    if root is None or not root.below:
        return
    chart, width = ingredients_chart(root)
    rows = [
        {"used in": upper.title, "as": lower.relation, "ingredient": lower.title, "said": "; ".join(lower.lines)}
        for upper in root.walk()
        for lower in upper.below
    ]
    width = min(width, 880)
    with st.container(width=max(width, TABLE)):
        st.image(charts.to_svg(chart), width=width, alt=ingredients_alt(root))
        cut = f" Only {MOST_BOXES} are drawn." if len(graph["edges"]) >= MOST_BOXES else ""
        st.caption(f"Above: this file. Below it: what it was made from, as the manifests say.{cut}")
        with st.expander("The same as a table"):
            st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Ingredients")


def _cleaned(graph: dict[str, Any]) -> dict[str, Any]:
    """The graph with its texts as single lines; names of manifests, which tie it together, stay."""
    nodes = [
        node | {"title": clean(node["title"], longest=80), "signer": clean(node["signer"], longest=80),
                "actions": [clean(each, longest=40) for each in node["actions"][:6]],
                "source_types": [clean(each, longest=80) for each in node["source_types"][:3]]}
        for node in graph.get("nodes", [])
    ]  # fmt: skip
    edges = [
        edge | {"title": clean(edge["title"], longest=80), "relationship": clean(edge["relationship"], longest=30)}
        for edge in graph.get("edges", [])
    ]
    return {"nodes": nodes, "edges": edges}


def _watermark(part: dict[str, Any]) -> None:
    _head("Watermark", MARKS.get(part["verdict"], part["verdict"]), part["sentence"])
    rows = part["detections"]
    if rows:
        with st.expander(f"Evidence: {words.plural(len(rows), 'verdict')}"):
            columns = ["scheme", "key_id", "verdict", "p_value", "payload", "rotation", "scale", "forgery", "note"]
            told = [{name: _cell(row.get(name)) for name in columns} for row in rows]
            st.dataframe(pd.DataFrame(told), hide_index=True, alt="Watermarks that were looked for")


def _hash(part: dict[str, Any]) -> None:
    _head("Hash", HASHES.get(part["verdict"], part["verdict"]), part["sentence"])
    with st.expander("Evidence: hashes and matches"):
        st.caption("sha256 of the file")
        st.code(clean(part["sha256"], longest=64), language=None, wrap_lines=True)
        if part["pdq"]:
            st.caption(f"PDQ, a perceptual hash (quality {clean(part.get('pdq_quality'))} of 100)")
            st.code(clean(part["pdq"], longest=64), language=None, wrap_lines=True)
        if part["matches"]:
            columns = ["bank", "kind", "hash_type", "label", "distance", "form", "exact"]
            told = [{name: _cell(row.get(name)) for name in columns} for row in part["matches"][:100]]
            st.dataframe(pd.DataFrame(told), hide_index=True, alt="Entries of hash banks that are near")


def _detector(part: dict[str, Any]) -> None:
    _head("Detector", part["verdict"].capitalize(), part["sentence"])
    rows = part.get("judgements") or []  # an earlier version kept none
    if rows:
        with st.expander(f"Evidence: {words.plural(len(rows), 'verdict')}"):
            columns = ["detector", "verdict", "score", "threshold", "fpr", "probability", "unfamiliar", "why"]
            told = [{name: _cell(_mapping(row).get(name)) for name in columns} for row in rows[:100]]
            st.dataframe(pd.DataFrame(told), hide_index=True, alt="What each detector says")


def _consent(part: dict[str, Any], label: Mapping[str, Any] | None) -> None:
    signals = part["signals"]
    _head("Opt-out", words.plural(len(signals), "signal") if signals else "No signal", part["sentence"])
    if signals:
        with st.expander("Evidence: each signal in its own words"):
            columns = ["source", "where", "says", "text", "standard"]
            told = [{name: _cell(row.get(name)) for name in columns} for row in signals[:100]]
            st.dataframe(pd.DataFrame(told), hide_index=True, alt="Opt-out signals")
    if label:
        st.markdown("**Label in the metadata (GB 45438)**")
        _facts({clean(name): stranger(_shown(value)) for name, value in label.items()}, "Label in the metadata")


def _facts(facts: Mapping[str, str], title: str) -> None:
    known = {name: value for name, value in facts.items() if value}
    st.caption(title)
    frame = pd.DataFrame([(widgets.plain(name), value) for name, value in known.items()], columns=["what", "value"])
    st.table(frame, hide_index=True, hide_header=True, alt=title)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _day(text: object) -> str:
    return stranger(str(text or "unknown")[:10])


def _cell(value: object) -> str:
    return clean(_shown(value))


def _shown(value: object) -> str:
    """A value for people: short numbers, nothing where there is nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return words.power(value) if isinstance(value, float) and abs(value) < 1 else str(value)
