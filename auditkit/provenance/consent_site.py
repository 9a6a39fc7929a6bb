"""Signals of a site, from files that the caller has: robots.txt, ai.txt, tdmrep.json, HTTP headers and HTML.

Sources: RFC 9309 (robots.txt); Content-Signal (Cloudflare's Content Signals Policy of 2025); Content-Usage (IETF drafts
draft-ietf-aipref-attach-05 and -vocab-08 of 2026, without consensus so far); ai.txt as Spawning's generator writes it
(no specification was found: robots.txt's grammar with patterns of file types); TDM Reservation Protocol (W3C community
group report of 10 May 2024); `noai` and `noimageai` (DeviantArt 2022, no standard).
"""

from __future__ import annotations

import json
import tomllib
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from auditkit.errors import ProvenanceError
from auditkit.provenance.consent import MINING, TRAINING, USES, Says, Signal
from auditkit.provenance.consent_file import reservation
from auditkit.provenance.robots import Group, Rule, groups, matches, strongest

PURPOSES: dict[str, tuple[str, ...]] = {
    "training": TRAINING,
    "search": ("ai-inference", "search"),
    "user": ("ai-inference",),
    "dataset": MINING,
}
# Both vocabularies ask for unknown words to be passed over; they are shown as words that speak of no use we know.
_SIGNAL_USES: dict[str, tuple[str, ...]] = {"search": ("search",), "ai-input": ("ai-inference",), "ai-train": TRAINING}
_USAGE_USES: dict[str, tuple[str, ...]] = {
    "search": ("search",),
    "ai-use": ("ai-inference",),
    "train-ai": ("generative-training",),
}
PREFERENCES: dict[str, tuple[dict[str, tuple[str, ...]], str]] = {
    "content-signal": (_SIGNAL_USES, "Content Signals (Cloudflare)"),
    "content-usage": (_USAGE_USES, "Content-Usage (IETF AIPREF draft)"),
}
_ANSWERS: dict[str, Says] = {"y": "allowed", "yes": "allowed", "n": "prohibited", "no": "prohibited"}
_NOBODY = "a-crawler-that-no-group-names"


@lru_cache(maxsize=1)
def crawlers() -> list[dict[str, str]]:
    """Rows `name`, `operator`, `purpose` (a key of PURPOSES) of the AI crawlers that are looked for."""
    text = Path(__file__).with_name("crawlers.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text)["crawler"])


def checked_path(path: str) -> str:
    """Raises: ProvenanceError: the path does not begin with '/'."""
    if not path.startswith("/"):
        raise ProvenanceError(
            "the path on the site begins with '/'", where=repr(path), mend="give the URL's path, such as /img/a.jpg"
        )
    return path


def robots_signals(text: str, path: str) -> list[Signal]:
    """What robots.txt says to each AI crawler that it names, and to all that it does not; then the newer lines.

    Only a rule counts. That no rule forbids a path says nothing: RFC 9309 lets it be crawled, and is silent on uses.
    An Allow for every crawler is about crawling too; one in the group of an AI crawler is taken at its word.
    """
    from protego import Protego

    found, judge = groups(text), Protego.parse(text)
    standard = "robots.txt (RFC 9309)"
    signals: list[Signal] = []
    unnamed: list[dict[str, str]] = []
    for crawler in crawlers():
        own = [rule for group in found if group.names(crawler["name"]) for rule in group.rules]
        if not any(group.names(crawler["name"]) for group in found):
            unnamed.append(crawler)
            continue
        rule = strongest(own, path)
        blocked = not judge.can_fetch(f"https://site.invalid{path}", crawler["name"])
        says: Says = "prohibited" if blocked else "allowed" if _lets_in(own, rule) else "unspecified"
        where = f"User-agent: {crawler['name']} ({crawler['operator']}, {crawler['purpose']})"
        words = rule.line if rule else "Disallow:" if says == "allowed" else "no rule for this path"
        signals.append(Signal("robots.txt", where, PURPOSES[crawler["purpose"]], says, words, standard))
    everyone = [rule for group in found if "*" in group.agents for rule in group.rules]
    if everyone and unnamed:
        rule = strongest(everyone, path)
        blocked = not judge.can_fetch(f"https://site.invalid{path}", _NOBODY)
        uses = tuple(use for use in USES if any(use in PURPOSES[one["purpose"]] for one in unnamed))
        where = f"User-agent: * (every crawler without a group; {len(unnamed)} of {len(crawlers())} known AI crawlers)"
        words = rule.line if rule else "no rule for this path"
        signals.append(Signal("robots.txt", where, uses, "prohibited" if blocked else "unspecified", words, standard))
    return signals + [one for group in found for one in _group_preferences(group, path)]


def ai_txt_signals(text: str, path: str) -> list[Signal]:
    """What ai.txt says of the path's file type: patterns such as '*.jpg', which the longest of wins."""
    signals = []
    for group in groups(text):
        rule = strongest(group.rules, path)
        says: Says = "unspecified" if rule is None else "prohibited" if rule.key == "disallow" else "allowed"
        words = rule.line if rule else "no rule for this path"
        where = f"User-Agent: {', '.join(group.agents)}"
        signals.append(Signal("ai.txt", where, TRAINING, says, words, "ai.txt (Spawning)"))
    return signals


def tdmrep_signals(text: str, path: str) -> list[Signal]:
    """What tdmrep.json says of the path.

    Where several locations match, the longest pattern is taken, as in robots.txt; which one the report means could not
    be confirmed, so the others are told in the text.
    """
    mend = "give the site's /.well-known/tdmrep.json: an array of {location, tdm-reservation, tdm-policy}"
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProvenanceError(f"tdmrep.json is no JSON: {error}", where="tdmrep.json", mend=mend) from None
    if not isinstance(entries, list):
        raise ProvenanceError("tdmrep.json is not an array", where="tdmrep.json", mend=mend)
    rows = [one for one in entries if isinstance(one, dict) and isinstance(one.get("location"), str)]
    held = sorted((one for one in rows if matches(one["location"], path)), key=lambda one: -len(one["location"]))
    if not held:
        return []
    first = held[0]
    value, policy = first.get("tdm-reservation"), first.get("tdm-policy")
    made = reservation("tdmrep.json", f"location {first['location']}", _plain(value), _plain(policy))
    others = ", ".join(f"{one['location']}: {_plain(one.get('tdm-reservation'))}" for one in held[1:])
    text = made.text + (f" (less specific: {others})" if others else "")
    return [Signal(made.source, made.where, made.uses, made.says, text, made.standard)]


def header_signals(text: str, path: str) -> list[Signal]:
    """tdm-reservation, X-Robots-Tag, Content-Usage and Content-Signal in HTTP headers."""
    fields = _headers(text)
    policy = next((value for name, value in fields if name == "tdm-policy"), "")
    signals: list[Signal] = []
    for name, value in fields:
        if name == "tdm-reservation":
            signals.append(reservation("HTTP header", name, value, policy))
        elif name == "x-robots-tag":
            signals += noai_signals("HTTP header", "X-Robots-Tag", value)
        elif name in PREFERENCES:
            signals += _preferences("HTTP header", name, name, value, path)
    return signals


def html_signals(text: str) -> list[Signal]:
    """Meta elements of a page: robots (or a crawler's name) with noai and noimageai, tdm-reservation, tdm-policy."""
    reader = _Meta()
    reader.feed(text)
    policy = next((content for name, content in reader.found if name == "tdm-policy"), "")
    signals: list[Signal] = []
    for name, content in reader.found:
        if name == "tdm-reservation":
            signals.append(reservation("HTML meta", name, content, policy))
        elif name != "tdm-policy":
            signals += noai_signals("HTML meta", f'name="{name}"', content)
    return signals


def noai_signals(source: str, where: str, value: str) -> list[Signal]:
    """`noai` (the page's content) and `noimageai` (its images) among the words of a robots directive."""
    words = {word.strip().lower() for part in value.split(",") for word in (part, part.rpartition(":")[2])}
    standard = "noai (DeviantArt's proposal)"
    return [
        Signal(source, f"{where}: {word}", TRAINING, "prohibited", value.strip(), standard)
        for word in ("noai", "noimageai")
        if word in words
    ]


def _lets_in(rules: list[Rule], rule: Rule | None) -> bool:
    """An Allow that holds, or an empty Disallow, which lets a crawler in everywhere."""
    return rule.key == "allow" if rule else any(one.key == "disallow" and not one.value for one in rules)


def _group_preferences(group: Group, path: str) -> list[Signal]:
    where = f"User-agent: {', '.join(group.agents)}"
    signals = []
    for key in PREFERENCES:
        lines = [rule for rule in group.rules if rule.key == key]
        held = [(len(_pattern(rule.value)), rule) for rule in lines if matches(_pattern(rule.value), path)]
        longest = max((length for length, _ in held), default=0)
        for length, rule in held:
            if length == longest:
                signals += _preferences("robots.txt", where, key, rule.value, path)
    return signals


def _pattern(value: str) -> str:
    """The path that a Content-Usage rule begins with; '/' where there is none, as in Content-Signal."""
    return value.split()[0] if value.startswith("/") else "/"


def _preferences(source: str, where: str, key: str, value: str, path: str) -> list[Signal]:
    uses, standard = PREFERENCES[key]
    words = value.removeprefix(_pattern(value)) if value.startswith("/") else value
    answers = {}  # of a key that is there twice the last counts (RFC 9651)
    for part in words.split(","):
        name, _, answer = part.partition(";")[0].partition("=")
        if name.strip():
            answers[name.strip()] = answer.strip()
    return [
        Signal(source, where, uses.get(name, ()), _ANSWERS.get(answer, "unspecified"), f"{key}: {value}", standard)
        for name, answer in answers.items()
    ]


def _headers(text: str) -> list[tuple[str, str]]:
    """(name in lower case, value) of the last block of headers."""
    blocks: list[list[tuple[str, str]]] = [[]]
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if not line.strip() or line.startswith("HTTP/"):
            blocks.append([])
        elif colon:
            blocks[-1].append((name.strip().lower(), value.strip()))
    return next((block for block in reversed(blocks) if block), [])


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


class _Meta(HTMLParser):
    """(name in lower case, content) of each meta element."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "meta" and given.get("name"):
            self.found.append((given["name"].strip().lower(), given.get("content", "")))
