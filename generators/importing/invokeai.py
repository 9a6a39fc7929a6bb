"""What InvokeAI wrote into its PNG files: `invokeai_metadata` since version 3, `sd-metadata` and `Dream` before."""

from __future__ import annotations

import re
from typing import Any

from generators.importing.facts import Facts, digest, from_dict, load_json, name, number, seed, steps, text

_DREAM = re.compile(r'\s*"([^"]{0,32000})"(.*)', re.DOTALL)
_SWITCH = re.compile(r"\s-([sSCA])\s?(\S{1,60})")
_UNWANTED = re.compile(r"\[([^\[\]]*)\]")


def parse(texts: dict[str, str]) -> Facts | None:
    """Facts out of the newest of the three that is there; None where none is."""
    record = load_json(texts.get("invokeai_metadata"))
    if isinstance(record, dict):
        return from_dict(record, "invokeai")
    record = load_json(texts.get("sd-metadata"))
    if isinstance(record, dict) and isinstance(record.get("image"), dict):
        return _second(record, record["image"])
    found = _DREAM.match(texts.get("Dream", "")[:64_000])
    return _dream(found[1], found[2]) if found else None


def _second(record: dict[str, Any], image: dict[str, Any]) -> Facts:
    """Version 2: a list of prompts with weights, the model beside the image."""
    parts = image.get("prompt")
    if isinstance(parts, list):
        said = [part.get("prompt") for part in parts[:100] if isinstance(part, dict)]
        parts = ", ".join(part for part in said if isinstance(part, str))
    prompt, negative = _parted(parts if isinstance(parts, str) else "")
    return Facts(
        prompt=prompt,
        negative=negative,
        seed=seed(image.get("seed")),
        steps=steps(image.get("steps")),
        guidance=number(image.get("cfg_scale")),
        sampler=name(image.get("sampler")),
        model=name(record.get("model_weights")),
        model_hash=digest(record.get("model_hash")),
        source="invokeai",
    )


def _dream(said: str, switches: str) -> Facts:
    """Version 1: the command that was typed, `"a prompt [what is unwanted]" -s 50 -S 123 -C 7.5 -A k_lms`."""
    given = dict(reversed(_SWITCH.findall(" " + switches[:4000])))
    prompt, negative = _parted(said)
    return Facts(
        prompt=prompt,
        negative=negative,
        seed=seed(given.get("S")),
        steps=steps(given.get("s")),
        guidance=number(given.get("C")),
        sampler=name(given.get("A")),
        source="invokeai",
    )


def _parted(said: str) -> tuple[str | None, str | None]:
    """Prompt and negative prompt, which stood in square brackets within it."""
    said = said[:64_000]
    unwanted = ", ".join(_UNWANTED.findall(said))
    return text(" ".join(_UNWANTED.sub(" ", said).split()).strip(" ,")), text(unwanted)
