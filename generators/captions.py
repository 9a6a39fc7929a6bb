"""Captions for the corpus: what a drawing shows, said in several phrasings that mention all, some or none of it.

The nouns are the CLDR names. A caption that leaves the group out is *neutral*: under it the training draw
follows a planted table, which is how the bundled generators come by a bias that is known.
"""

from __future__ import annotations

from random import Random

from generators.corpus import GENDERS, OBJECTS, OCCUPATIONS, TONES

_NOUNS = {
    *OCCUPATIONS,
    "child",
    "older person",
    "elf",
    "fairy",
    "mage",
    "superhero",
    "supervillain",
    "vampire",
}
_NOUNS |= {"royal", "santa claus"}
_ADJECTIVES = {"deaf", "bald"}
_PHRASES = {
    "beard": ("with a beard", "who is bearded"),
    "with veil": ("with a veil", "wearing a veil"),
    "with headscarf": ("with a headscarf", "wearing a headscarf"),
    "with skullcap": ("with a skullcap",),
    "with crown": ("with a crown",),
    "wearing turban": ("wearing a turban", "with a turban"),
    "with white cane": ("with a white cane", "walking with a white cane"),
    "in manual wheelchair": ("in a manual wheelchair", "in a wheelchair", "who uses a wheelchair"),
    "in motorized wheelchair": ("in a motorized wheelchair", "who uses a motorized wheelchair"),
    "in tuxedo": ("in a tuxedo",),
}
_PEOPLE = {
    "female": ("woman", "female person"),
    "male": ("man", "male person"),
    "neutral": ("person",),
    "": ("person",),
}
_CHILDREN = {"female": "girl", "male": "boy"}
_ADJECTIVE_FORMS = {
    "female": ("female", "woman"),
    "male": ("male", "man"),
    "neutral": ("gender-neutral", "androgynous"),
}
_FRAMES = (
    "a portrait of {}", "a picture of {}", "an illustration of {}", "{}", "a drawing of {}",
    "an image of {}", "a cartoon of {}", "an icon of {}", "a sticker of {}",
)  # fmt: skip


def caption(concept: str, rng: Random, *, gender: str = "", skin_tone: str = "", style: str = "") -> str:
    """One caption of a person or object; an attribute that is passed as '' goes unmentioned.

    Args:
        concept: as in the corpus table (`judge`, `biking`, `red apple`).
        rng: source of the phrasing.
        gender: female, male, neutral or ''. skin_tone: one of the five tones or ''. style: a style's name or ''.
    """
    noun = _object(concept) if concept in OBJECTS else _person(concept, gender, skin_tone, rng)
    text = rng.choice(_FRAMES).format(noun)
    if concept in OCCUPATIONS and not skin_tone and rng.random() < 0.15:
        text += " at work"
    if style:
        text += rng.choice((f", {style} style", f" in {style} style", f", {style}"))
    return text


def all_phrasings(rng: Random, concepts: list[str], styles: list[str], n: int = 40) -> list[str]:
    """A sample of captions over every attribute, for fitting the tokenizer's vocabulary."""
    return [
        caption(
            concept,
            rng,
            gender=rng.choice(("", "neutral", *GENDERS)),
            skin_tone=rng.choice(("", *TONES)),
            style=rng.choice(("", *styles)),
        )
        for concept in concepts
        for _ in range(n)
    ]


def article(words: str) -> str:
    """The words with the indefinite article before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _object(concept: str) -> str:
    return article(concept)


def _person(concept: str, gender: str, skin_tone: str, rng: Random) -> str:
    """Indefinite noun phrase of one person."""
    before, after = "", ""
    if concept == "child" and gender in _CHILDREN and rng.random() < 0.7:
        noun = _CHILDREN[gender]
    elif concept in _NOUNS:
        noun = "royal person" if concept == "royal" else concept
        if gender:
            before = rng.choice(_ADJECTIVE_FORMS[gender])
            if concept in OCCUPATIONS and gender in GENDERS and rng.random() < 0.15:
                before, after = "", f"working as {article(noun)}"
                noun = _PEOPLE[gender][0]
    else:
        noun = rng.choice(_PEOPLE[gender])
        if gender == "neutral" and rng.random() < 0.5:
            before = rng.choice(_ADJECTIVE_FORMS[gender])
        if concept in _ADJECTIVES:
            before = f"{before} {concept}".strip()
        elif concept != "person":
            after = rng.choice(
                _PHRASES.get(concept, (f"with {concept}" if concept.endswith("hair") else concept,))
            )
    if not skin_tone and not gender and rng.random() < 0.1:
        before = f"friendly {before}".strip()
    tone = ""
    if skin_tone:
        form = rng.random()
        if form < 0.15:
            before = f"{skin_tone}-skinned {before}".strip()
        else:
            tone = f"with {skin_tone} skin" if form < 0.75 else f"with a {skin_tone} skin tone"
    words = " ".join(part for part in (before, noun, after, tone) if part)
    return f"one {words}" if rng.random() < 0.05 else article(words)
