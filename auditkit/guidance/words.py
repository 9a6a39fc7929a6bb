"""How attributes are said of a person, and how a prompt is seen to state one. A table; users may bring their own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from auditkit.errors import SpecError
from auditkit.overrides import did_you_mean
from auditkit.prompts import article

FORMS = ("before", "after", "alone")
_KEYS = ("classes", "other")


@dataclass(frozen=True)
class Words:
    """The table of words.toml, with what a user laid over it.

    Attributes:
        table: attribute to `classes` (class to `before`, `after`, `alone`, `states`) and `other`.
        people: nouns that say no more than that there is a person. nouns: those and the occupations.
        contexts: words of prompts that no mitigation acts on.
    """

    table: Mapping[str, Mapping[str, Any]]
    people: tuple[str, ...]
    nouns: tuple[str, ...]
    contexts: tuple[str, ...]

    def classes(self, attribute: str) -> list[str]:
        """The classes that there are words for.

        Raises:
            SpecError: there are none for the attribute.
        """
        if attribute not in self.table:
            raise SpecError(
                f"there are no words for the attribute '{attribute}'" + did_you_mean(attribute, self.table),
                where=f"target for {attribute}",
                mend=f"use one of: {', '.join(self.table)}; or give [words.{attribute}.classes.NAME] in a policy file",
            )
        return list(self.table[attribute]["classes"])

    def stated(self, prompt: str, attribute: str) -> str | None:
        """The class that the prompt states, '' where it states another or several, None where it states none.

        >>> words = shipped()
        >>> words.stated("a male judge", "gender"), words.stated("an androgynous judge", "gender")
        ('male', '')
        >>> words.stated("a judge", "gender") is None
        True
        """
        entry = self.table[attribute]
        said = [name for name, words in entry["classes"].items() if finds(prompt, words.get("states", ()))]
        if len(said) == 1:
            return said[0]
        return "" if said or finds(prompt, entry.get("other", ())) else None

    def context(self, prompt: str) -> str | None:
        """The context that the prompt is in, of those in which nothing is to be done."""
        return finds(prompt, self.contexts)

    def subject(self, prompt: str, axes: Mapping[str, str], axis: str | None = None) -> str:
        """The words of the prompt that name whom it shows; '' where it names nobody.

        Args:
            axes: the prompt's own values. axis: the one whose values name people, `occupation` by default.
        """
        said = axes.get(axis or "occupation", "")
        return (said and finds(prompt, (said,))) or finds(prompt, self.nouns) or ""

    def say(self, prompt: str, subject: str, group: Mapping[str, str]) -> str:
        """The prompt with its subject of the group.

        >>> shipped().say("a portrait of an artist", "artist", {"gender": "female", "skin_tone": "dark"})
        'a portrait of a female artist with dark skin'
        >>> shipped().say("a friendly person at work", "person", {"gender": "male"})
        'a friendly man at work'
        """
        found = _pattern((subject,)).search(prompt)
        if not subject or found is None:
            raise ValueError(f"the prompt does not name '{subject}': {prompt}")
        noun, before, after = found.group(), list[str](), list[str]()
        for attribute, name in group.items():
            words = self.table[attribute]["classes"][name]
            if words.get("alone") and noun.lower() in ("person", "human", "someone", "individual", "adult"):
                noun = words["alone"]
            elif words.get("before"):
                before.append(words["before"])
            else:
                after.append(words["after"])
        phrase = " ".join([*before, noun, *after])
        ahead = re.sub(
            r"\b([Aa])n?(?= $)", lambda a: a[1] + article(phrase)[1:], prompt[: found.start()]
        )  # fmt: skip
        return ahead + phrase + prompt[found.end() :]

    def concept(self, group: Mapping[str, str]) -> str:
        """The group as a text of its own: 'a woman', 'a woman with dark skin', 'a person' for no group."""
        return self.say("a person", "person", group)

    def check(self, attribute: str, classes: Iterable[str]) -> None:
        """Raise SpecError where a class has no words to be said with."""
        known = self.classes(attribute)
        for name in classes:
            if name not in known or not any(self.table[attribute]["classes"][name].get(form) for form in FORMS[:2]):
                raise SpecError(
                    f"there are no words to say '{name}' of a person" + did_you_mean(name, known),
                    where=f"target for {attribute}",
                    mend=f"use one of: {', '.join(known)}; or give `before` or `after` in a policy file's "
                    f"[words.{attribute}.classes.{name}]",
                )


@cache
def shipped() -> Words:
    """The words of words.toml."""
    return laid_over({}, [])


def laid_over(table: Mapping[str, Any], contexts: Any, *, where: str | Path = "words") -> Words:
    """The shipped words with a user's: classes and lists of the same name are replaced, contexts added.

    Raises:
        SpecError: a table that does not say what it must.
    """
    from auditkit.clip.attributes import attribute

    own = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
    people, ours = own.pop("people"), own.pop("contexts")
    people = _strings(table.get("people", people), "people", where)
    for name, entry in table.items():
        if name != "people":
            own[name] = _merged(own.get(name, {"classes": {}}), entry, f"{where}: words.{name}")
    nouns = dict.fromkeys([*attribute("occupation").classes, *people])
    return Words(own, tuple(people), tuple(nouns), (*ours, *_strings(contexts, "contexts", where)))


def finds(text: str, phrases: Iterable[str]) -> str | None:
    """The longest of the phrases that the text has as whole words, as the text writes it; None where it has none.

    >>> finds("A medium-light skin tone", ["light skin"]) is None, finds("An Artist at work", ["art", "artist"])
    (True, 'Artist')
    """
    known = tuple(phrases)
    found = [match.group() for match in _pattern(known).finditer(text)] if known else []
    return max(found, key=len) if found else None


@lru_cache(1024)
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    ordered = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, ordered))})(?![\w-])", re.IGNORECASE)


def _merged(ours: Mapping[str, Any], given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping) or set(given) - set(_KEYS):
        raise SpecError(
            "words of an attribute are a table of classes, and a list `other`",
            where=where,
            mend='classes.NAME = { before = "female", states = ["female", "woman"] }',
        )
    classes = dict(ours.get("classes", {}))
    for name, words in given.get("classes", {}).items():
        known = (*FORMS, "states")
        fine = isinstance(words, Mapping) and not set(words) - set(known)
        if not fine or not all(isinstance(words.get(form, ""), str) for form in FORMS):
            raise SpecError(
                f"the words of '{name}' are not as they must be",
                where=f"{where}.classes.{name}",
                mend=f"give some of {', '.join(known)}: texts, and a list of texts for states",
            )
        classes[name] = dict(words) | {"states": _strings(words.get("states", []), f"{name}.states", where)}
    return {"classes": classes, "other": _strings(given.get("other", ours.get("other", [])), "other", where)}


def _strings(value: Any, name: str, where: str | Path) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
        raise SpecError(f"'{name}' must be a list of texts", where=where, mend=f'{name} = ["...", "..."]')
    return [each.strip() for each in value]
