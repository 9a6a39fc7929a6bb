"""The text that AUTOMATIC1111's web UI, Forge, SD.Next and many others write into their images.

The prompt, then a line `Negative prompt: ...`, then one line of settings, `Steps: 20, Sampler: Euler a, CFG scale: 7,
Seed: 1, Size: 512x512, Model hash: ..., Model: ...`, whose values are quoted where they hold commas or colons.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from generators.importing.facts import Facts, digest, name, number, seed, steps, text

NEGATIVE = "Negative prompt:"
_SETTINGS = re.compile(r"\s*Steps: *\d+\s*(,|$)")
_MAX_TEXT = 200_000


def looks_like(source: str) -> bool:
    """Whether the text has a line of settings."""
    return any(_SETTINGS.match(line) for line in source[:_MAX_TEXT].split("\n"))


def parse(source: str) -> Facts:
    """Facts out of such a text; without a line of settings all of it is prompt and negative prompt."""
    lines = source[:_MAX_TEXT].replace("\r\n", "\n").split("\n")
    at = next((i for i in reversed(range(len(lines))) if _SETTINGS.match(lines[i])), len(lines))
    settings: dict[str, str] = {}
    for key, value in _pairs(lines[at]) if at < len(lines) else ():
        settings.setdefault(key, value)
    start = next((i for i in range(at) if lines[i].strip().startswith(NEGATIVE)), at)
    negative = "\n".join(lines[start:at]).strip().removeprefix(NEGATIVE)
    sampler = name(settings.get("Sampler"))
    schedule = name(settings.get("Schedule type"))  # apart from the sampler since version 1.9
    if sampler and schedule and schedule != "Automatic" and schedule.lower() not in sampler.lower():
        sampler = f"{sampler} {schedule}"
    return Facts(
        prompt=text("\n".join(lines[:start])),
        negative=text(negative),
        seed=seed(settings.get("Seed")),
        steps=steps(settings.get("Steps")),
        guidance=number(settings.get("CFG scale")),
        sampler=sampler,
        model=name(settings.get("Model")),
        model_hash=digest(settings.get("Model hash")),
        source="a1111",
    )


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """`key: value` parts of the line of settings; commas within double quotes part nothing."""
    for part in _split(line):
        key, colon, value = part.partition(":")
        if colon:
            yield key.strip(), value.strip().strip('"')


def _split(line: str) -> Iterator[str]:
    start, quoted, escaped = 0, False, False
    for i, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == "\\" and quoted:
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            yield line[start:i]
            start = i + 1
    yield line[start:]
