"""Which prompt of a spec an imported prompt is: what it says, whatever stands around it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from auditkit.prompts import Prompt, expand
from auditkit.spec import RunSpec

MAX_PARTS = 64
"""Parts of an imported prompt, between its punctuation marks, that are looked at."""

_WORDS = re.compile(r"[\w'’-]+")
_PARTS = re.compile(r"[^\w\s'’-]+|\n+")


@dataclass(frozen=True)
class Match:
    """A prompt of the spec, and whether the imported one is it ('equal') or holds it among other parts ('within')."""

    prompt: Prompt
    how: str


class Matcher:
    """The prompts of a spec, to be known again in other tools' prompts.

    Case, spaces and punctuation do not count. A prompt is known within a longer one where it stands between
    punctuation marks: 'a portrait of a judge' in '(a portrait of a judge:1.2), 8k', and not in 'a portrait of a judge
    at sea'. Where several stand there the longest is meant; two of equal length are no match.
    """

    def __init__(self, spec: RunSpec):
        self.spec = spec
        self._known: dict[tuple[str, ...], Prompt | None] = {}
        for prompt in expand(spec):
            words = _words(prompt.text)
            self._known[words] = None if words in self._known else prompt  # two that differ by punctuation alone
        self._longest = max(map(len, self._known))

    def match(self, text: str) -> Match | None:
        """The prompt of the spec that `text` says, or None."""
        prompt = self._known.get(_words(text))
        if prompt is not None:
            return Match(prompt, "equal")
        parts = [words for part in _PARTS.split(text)[: 4 * MAX_PARTS] if (words := _words(part))][:MAX_PARTS]
        best: dict[int, Prompt] = {}
        length = 0
        for start in range(len(parts)):
            joined: tuple[str, ...] = ()
            for part in parts[start:]:
                joined += part
                if len(joined) > self._longest:
                    break
                found = self._known.get(joined)
                if found is None or len(joined) < length:
                    continue
                best = best if len(joined) == length else {}
                length = len(joined)
                best[found.prompt_id] = found
        return Match(next(iter(best.values())), "within") if len(best) == 1 else None


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORDS.findall(unicodedata.normalize("NFKC", text).casefold()))
