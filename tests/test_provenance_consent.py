"""Opt-out and consent signals: the very words of each source, side by side, and never a verdict."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from auditkit.errors import ProvenanceError
from auditkit.provenance import xmp_files
from auditkit.provenance.consent import DISAGREE, NONE, Signal, read_file_signals, read_site_signals, summary
from auditkit.provenance.consent_file import PLUS_VALUES
from auditkit.provenance.consent_site import PURPOSES, crawlers
from auditkit.provenance.robots import matches

VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
OPEN = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" '
    'xmlns:tdm="http://www.w3.org/ns/tdmrep/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"'
)
CLOSE = "</rdf:Description></rdf:RDF></x:xmpmeta>"


def image(kind: str = "JPEG", xmp: str = "", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, kind, **options)
    return xmp_files.embed(buffer.getvalue(), xmp.encode()) if xmp else buffer.getvalue()


def mining(value: str, *, kind: str = "JPEG") -> list[Signal]:
    return read_file_signals(image(kind, f'{OPEN} plus:DataMining="{VOCABULARY}{value}">{CLOSE}'))


def said(signals: list[Signal]) -> dict[str, str]:
    """What is said of each use; of one that is told twice the last."""
    return {use: one.says for one in signals for use in one.uses}


def state(signals: list[Signal], use: str) -> str:
    return next(row["state"] for row in summary(signals) if row["use"] == use)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_data_mining_of_plus_is_read_in_each_format(kind: str) -> None:
    (signal,) = mining("DMI-PROHIBITED-GENAIMLTRAINING", kind=kind)
    assert (signal.uses, signal.says, signal.where) == (("generative-training",), "prohibited", "plus:DataMining")
    assert f"{VOCABULARY}DMI-PROHIBITED-GENAIMLTRAINING" in signal.text


@pytest.mark.parametrize("value", PLUS_VALUES)
def test_every_value_of_the_vocabulary_has_a_meaning(value: str) -> None:
    assert {one.says for one in mining(value)} <= {"allowed", "prohibited", "constrained", "unspecified"}
    assert all(one.uses for one in mining(value))


def test_except_search_engines_prohibits_training_and_allows_search() -> None:
    found = said(mining("DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING"))
    assert (found["generative-training"], found["data-mining"], found["search"]) == (
        "prohibited", "prohibited", "allowed",
    )  # fmt: skip


def test_a_value_that_plus_does_not_have_says_nothing() -> None:
    (signal,) = mining("DMI-PERHAPS")
    assert (signal.uses, signal.says) == ((), "unspecified")


def test_the_resource_form_of_a_property_is_read() -> None:
    xmp = f'{OPEN}><plus:DataMining rdf:resource="{VOCABULARY}DMI-PROHIBITED"/>{CLOSE}'
    assert said(read_file_signals(image(xmp=xmp)))["data-mining"] == "prohibited"


def test_constraints_point_at_the_words_that_hold_them() -> None:
    words = "<plus:OtherConstraints><rdf:Alt><rdf:li xml:lang='x-default'>Research only</rdf:li></rdf:Alt>"
    xmp = f'{OPEN} plus:DataMining="{VOCABULARY}DMI-PROHIBITED-SEECONSTRAINT">{words}</plus:OtherConstraints>{CLOSE}'
    main, context = read_file_signals(image(xmp=xmp))
    assert main.says == "constrained"
    assert (context.where, context.uses, context.text) == ("plus:OtherConstraints", (), "Research only")


def test_tdm_reservation_in_xmp_reserves_with_its_policy() -> None:
    xmp = f'{OPEN} tdm:reservation="1" tdm:policy="https://example.org/p.json">{CLOSE}'
    (signal,) = read_file_signals(image(xmp=xmp))
    assert signal.says == "reserved"
    assert "https://example.org/p.json" in signal.text


def test_rights_and_source_type_are_context_and_no_answer() -> None:
    xmp = (
        f'{OPEN} xmpRights:WebStatement="https://example.org/terms" Iptc4xmpExt:DigitalSourceType='
        f'"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia" dc:rights="© Ada">{CLOSE}'
    )
    exif = Image.Exif()
    exif[0x8298] = "© Ada"
    signals = read_file_signals(image(xmp=xmp, exif=exif))
    assert {one.where for one in signals} == {
        "xmpRights:WebStatement", "iptcExt:DigitalSourceType", "dc:rights", "Copyright",
    }  # fmt: skip
    assert {row["state"] for row in summary(signals)} == {NONE}


def test_a_packet_in_a_compressed_text_chunk_is_read() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", f'{OPEN} plus:DataMining="{VOCABULARY}DMI-PROHIBITED">{CLOSE}', zip=True)
    assert said(read_file_signals(image("PNG", pnginfo=info)))["data-mining"] == "prohibited"


def test_a_property_in_a_jpegs_extended_xmp_is_read() -> None:
    long = f'{OPEN} plus:DataMining="{VOCABULARY}DMI-PROHIBITED" dc:rights="{"x" * 70_000}">{CLOSE}'.encode()
    plain, parts = image(), b""
    for at in range(0, len(long), 60_000):
        body = xmp_files.JPEG_EXTENSION + b"A" * 32 + len(long).to_bytes(4, "big") + at.to_bytes(4, "big")
        body += long[at : at + 60_000]
        parts = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + parts  # out of order, which is allowed
    assert said(read_file_signals(plain[:2] + parts + plain[2:]))["data-mining"] == "prohibited"


@pytest.mark.parametrize("packet", ['<!DOCTYPE x [<!ENTITY a "aa">]><x>&a;&a;</x>', "<x>", "\xff\xff"])
def test_a_packet_that_cannot_be_read_is_told_and_not_passed_over(packet: str) -> None:
    (signal,) = read_file_signals(xmp_files.embed(image(), packet.encode("latin-1")))
    assert signal.uses == ()
    assert "cannot be read" in signal.text


def test_another_format_is_refused() -> None:
    with pytest.raises(ProvenanceError, match="PNG, JPEG and WebP"):
        read_file_signals(b"GIF89a")


@pytest.mark.parametrize("prefix", ["c2pa", "cawg"])
def test_the_training_mining_assertion_is_read_entry_by_entry(prefix: str) -> None:
    entries = {
        f"{prefix}.ai_generative_training": {"use": "notAllowed"},
        f"{prefix}.ai_training": {"use": "allowed"},
        f"{prefix}.ai_inference": {"use": "constrained", "constraint_info": "CC BY-NC"},
        f"{prefix}.data_mining": {"use": "notAllowed"},
        "org.example.resale": {"use": "notAllowed"},
    }
    assertion = {"label": f"{prefix}.training-mining", "data": {"entries": entries}}
    signals = read_file_signals(image(), assertions=[assertion, {"label": "c2pa.actions.v2", "data": {}}])
    assert said(signals) == {
        "generative-training": "prohibited", "ai-training": "allowed", "ai-inference": "constrained",
        "data-mining": "prohibited",
    }  # fmt: skip
    assert any("CC BY-NC" in one.text for one in signals)
    assert [one.uses for one in signals if "resale" in one.where] == [()]


@pytest.mark.parametrize("data", [None, [], {"entries": None}, {"entries": {"cawg.ai_training": 3}}])
def test_an_assertion_of_another_shape_says_nothing(data: object) -> None:
    signals = read_file_signals(image(), assertions=[{"label": "cawg.training-mining", "data": data}])
    assert {one.says for one in signals} <= {"unspecified"}


ROBOTS = """
User-agent: GPTBot
User-agent: CCBot
Disallow: /img/
Allow: /img/press/

User-agent: PerplexityBot
Disallow:

User-agent: *
Disallow: /private/
Allow: /
"""


def robots(path: str, text: str = ROBOTS) -> dict[str, Signal]:
    return {one.where.split(" ")[1]: one for one in read_site_signals(robots=text, path=path)}


def test_robots_txt_tells_for_each_named_crawler_by_the_longest_rule() -> None:
    found = robots("/img/a.jpg")
    assert (found["GPTBot"].says, found["GPTBot"].text) == ("prohibited", "Disallow: /img/")
    assert found["GPTBot"].uses == PURPOSES["training"]
    assert (robots("/img/press/a.jpg")["GPTBot"].says, found["PerplexityBot"].says) == ("allowed", "allowed")


def test_a_path_that_no_rule_names_is_no_permission() -> None:
    assert robots("/about")["GPTBot"].says == "unspecified"
    assert state(read_site_signals(robots="User-agent: *\nAllow: /\n"), "generative-training") != "allowed"


def test_crawlers_without_a_group_follow_the_star() -> None:
    assert robots("/private/a.jpg")["*"].says == "prohibited"
    assert robots("/private/a.jpg")["PerplexityBot"].says == "allowed"


def test_a_site_that_treats_crawlers_differently_does_not_contradict_itself() -> None:
    text = "User-agent: GPTBot\nDisallow: /\n\nUser-agent: ClaudeBot\nAllow: /\n"
    assert state(read_site_signals(robots=text), "generative-training") == "it depends on the crawler"


def test_content_signal_speaks_of_the_uses_that_it_names() -> None:
    signals = read_site_signals(robots="User-Agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /\n")
    told = {one.uses: one.says for one in signals if "content-signal" in one.text}
    assert told == {("search",): "allowed", PURPOSES["training"]: "prohibited"}


def test_content_usage_takes_the_most_specific_path() -> None:
    text = "User-Agent: *\nContent-Usage: / train-ai=n\nContent-Usage: /open/ train-ai=y, other=n\n"
    found = {path: said(read_site_signals(robots=text, path=path)) for path in ("/a", "/open/a")}
    assert (found["/a"]["generative-training"], found["/open/a"]["generative-training"]) == ("prohibited", "allowed")


@pytest.mark.parametrize(("path", "says"), [("/a.jpg", "prohibited"), ("/a.png", "allowed"), ("/a.py", "unspecified")])
def test_ai_txt_speaks_by_file_type(path: str, says: str) -> None:
    text = "# Spawning AI\nUser-Agent: *\nDisallow: *.jpg\nAllow: *.png\n"
    (signal,) = read_site_signals(ai_txt=text, path=path)
    assert signal.says == says


def test_tdmrep_json_takes_the_most_specific_location_and_tells_of_the_others() -> None:
    text = '[{"location": "/", "tdm-reservation": 1, "tdm-policy": "https://e.org/p"}, {"location": "/free/*.jpg$", "tdm-reservation": 0}]'  # noqa: E501
    (reserved,) = read_site_signals(tdmrep=text, path="/a.jpg")
    (free,) = read_site_signals(tdmrep=text, path="/free/a.jpg")
    assert (reserved.says, free.says) == ("reserved", "allowed")
    assert "https://e.org/p" in reserved.text
    assert "/: 1" in free.text


@pytest.mark.parametrize("text", ["{", "{}", "[" * 100_000])
def test_a_tdmrep_json_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(ProvenanceError, match=r"tdmrep\.json"):
        read_site_signals(tdmrep=text)


def test_headers_of_the_last_answer_count() -> None:
    text = (
        "HTTP/1.1 301 Moved\ntdm-reservation: 0\n\nHTTP/2 200\nTDM-Reservation: 1\ntdm-policy: https://e.org/p\n"
        "X-Robots-Tag: otherbot: noai, noindex\nContent-Usage: train-ai=n\n\n"
    )
    signals = read_site_signals(headers=text)
    assert {(one.where.split(":")[0], one.says) for one in signals} == {
        ("tdm-reservation", "reserved"), ("X-Robots-Tag", "prohibited"), ("content-usage", "prohibited"),
    }  # fmt: skip


def test_meta_elements_are_read_whatever_their_case() -> None:
    text = '<html><head><META NAME="Robots" content="NOAI, noimageai"><meta name="tdm-reservation" content="1"></head>'
    signals = read_site_signals(html=text)
    assert [one.says for one in signals] == ["prohibited", "prohibited", "reserved"]
    assert {one.source for one in signals} == {"HTML meta"}


def test_a_tdm_reservation_that_is_neither_0_nor_1_counts_as_unset() -> None:
    (signal,) = read_site_signals(html='<meta name="tdm-reservation" content="2">')
    assert signal.says == "unspecified"


def test_no_signal_is_not_consent() -> None:
    assert {row["state"] for row in summary([])} == {NONE}
    assert "not consent" in NONE


def test_sources_that_differ_are_shown_side_by_side() -> None:
    signals = [*mining("DMI-ALLOWED"), *read_site_signals(tdmrep='[{"location": "/", "tdm-reservation": 1}]')]
    row = next(row for row in summary(signals) if row["use"] == "generative-training")
    assert row["state"] == DISAGREE
    assert [(one["source"], one["says"]) for one in row["says"]] == [("XMP", "allowed"), ("tdmrep.json", "reserved")]


def test_restrictions_in_different_words_are_no_disagreement() -> None:
    signals = [*mining("DMI-PROHIBITED"), *read_site_signals(tdmrep='[{"location": "/", "tdm-reservation": 1}]')]
    assert state(signals, "data-mining") == "prohibited or reserved"


def test_every_crawler_has_an_operator_and_a_known_purpose() -> None:
    assert all(one["operator"] and one["purpose"] in PURPOSES for one in crawlers())
    assert {"GPTBot", "ClaudeBot", "CCBot", "Google-Extended"} <= {one["name"] for one in crawlers()}


@pytest.mark.parametrize(
    ("pattern", "path", "held"),
    [
        ("/a", "/ab", True), ("/a$", "/ab", False), ("/a$", "/a", True), ("*.jpg", "/x/y.jpg", True),
        ("/*/z$", "/x/y/z", True), ("/*/z$", "/x/y/zz", False), ("/a*a$", "/a", False), ("*", "/", True),
        ("*a" * 300 + "$", "/" + "a" * 300 + "b", False),
    ],
)  # fmt: skip
def test_patterns_match_as_in_robots_txt(pattern: str, path: str, held: bool) -> None:
    assert matches(pattern, path) is held


def test_a_path_that_is_no_path_is_refused() -> None:
    with pytest.raises(ProvenanceError, match="begins with '/'"):
        read_site_signals(path="img/a.jpg")
