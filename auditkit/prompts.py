"""Templates x axes: the prompts of a run, and the seed of each image."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditkit.spec import RunSpec

FIELD = re.compile(r"\{(?P<article>an? )?(?P<axis>[a-z][a-z0-9_]*)\}")
"""A field of a template: `{occupation}`, or `{a occupation}` with the article that fits."""

# Vowels that sound like consonants, and the other way round.
_TAKES_A = re.compile(r"(uni(?!n|m)|eu|us[eu]|one\b|once\b|ut[ie]|u\b)", re.IGNORECASE)
_TAKES_AN = re.compile(r"(hour|honest|honou?r|heir)", re.IGNORECASE)


@dataclass(frozen=True)
class Prompt:
    """One prompt: its text, the template it came from, and the value of each axis in it."""

    prompt_id: int
    text: str
    template: str
    axes: dict[str, str]


def expand(spec: RunSpec) -> list[Prompt]:
    """Every template crossed with the values of the axes it names, in the order of the spec.

    The last axis of a template varies fastest. `prompt_id` counts from 0.
    """
    prompts: list[Prompt] = []
    for template in spec.templates:
        axes = fields(template)
        for values in itertools.product(*(spec.axes[axis] for axis in axes)):
            chosen = dict(zip(axes, values, strict=True))
            prompts.append(Prompt(len(prompts), fill(template, chosen), template, chosen))
    return prompts


def fields(template: str) -> list[str]:
    """The axes that a template names, each once, in order of appearance."""
    return list(dict.fromkeys(match["axis"] for match in FIELD.finditer(template)))


def fill(template: str, axes: dict[str, str]) -> str:
    """The template with its fields replaced: fill('{a job}', {'job': 'artist'}) -> 'an artist'."""

    def value(match: re.Match[str]) -> str:
        text = axes[match["axis"]]
        return f"{article(text)} {text}" if match["article"] else text

    return FIELD.sub(value, template)


def article(text: str) -> str:
    """The English indefinite article of `text`: 'a' or 'an'."""
    vowel = text[:1].lower() in set("aeiou") and not _TAKES_A.match(text)
    return "an" if vowel or _TAKES_AN.match(text) else "a"


def image_seed(spec_seed: int, prompt: str, replicate: int) -> int:
    """The seed of one image, in [0, 2^63): prompts share no noise, runs of one spec are paired.

    The first 8 bytes (big-endian) of sha256("<spec_seed>|<prompt>|<replicate>"), modulo 2^63.
    """
    digest = hashlib.sha256(f"{spec_seed}|{prompt}|{replicate}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 2**63
