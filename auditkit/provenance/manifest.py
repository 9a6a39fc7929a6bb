"""What a manifest claims: its definition for the signing library, from what is known of an image.

Labels and fields follow the C2PA specification 2.x (actions.v2, soft-binding) and CAWG's training and data mining
assertion. `auditkit.generation` is an assertion of our own: what made the image, as far as an audit needs it.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from auditkit import __version__
from auditkit.errors import ProvenanceError
from auditkit.files import sha256
from auditkit.provenance import vocabulary

PDQ_ALGORITHM = "auditkit.pdq.1"
GENERATION = "auditkit.generation"
USES = ("ai_generative_training", "ai_training", "ai_inference", "data_mining")
PERMISSIONS = ("allowed", "notAllowed", "constrained")
SALT_BYTES = 16


def watermark_algorithm(scheme: str) -> str:
    """The soft-binding algorithm that stands for one of our watermark schemes. Not in C2PA's public list."""
    return f"auditkit.watermark.{scheme}.1"


@dataclass(frozen=True)
class SoftBinding:
    """A value that finds the manifest again once it was stripped: of a watermark or a fingerprint."""

    algorithm: str
    value: bytes
    kind: str
    """'watermark' or 'fingerprint'."""

    def assertion(self) -> dict[str, Any]:
        value = base64.b64encode(self.value).decode()
        return {
            "label": "c2pa.soft-binding",
            "data": {"alg": self.algorithm, "blocks": [{"scope": {}, "value": value}]},
        }


@dataclass(frozen=True)
class Generation:
    """What is known of how an image was generated; None where it is not known."""

    generator: str | None = None
    version: str | None = None
    weights_sha256: str | None = None
    seed: int | None = None
    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    prompt: str | None = field(default=None, repr=False)
    """Never written: only its salted hash is."""
    run: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Claim:
    """What is to be claimed of an image, and signed.

    Attributes:
        source_type: how the image came to be, a term of `vocabulary.SOURCE_TYPES`; None where it was opened, not made.
        actions: further actions, in order: 'cropped', 'c2pa.resized'.
        training: permission for AI training and data mining: 'allowed', 'notAllowed', 'constrained', or None for none.
    """

    title: str
    source_type: str | None = None
    actions: Sequence[str] = ()
    generation: Generation | None = None
    bindings: Sequence[SoftBinding] = ()
    watermarked: bool = False
    training: str | None = None
    training_terms: str = ""


@dataclass(frozen=True)
class Definition:
    """A manifest's definition, and the salt that opens its prompt hash ('' where no prompt was given)."""

    data: dict[str, Any]
    salt: str = ""


PARENT = "parent"


def define(claim: Claim, *, components: Sequence[str] = ()) -> Definition:
    """The definition of a manifest.

    Args:
        components: labels of ingredients that were placed into the image. The parent, where there is one, is the
            ingredient `PARENT`; without a `source_type` there must be one.

    Raises:
        ProvenanceError: a term that is not in its vocabulary.
    """
    generation = claim.generation or Generation()
    agent: dict[str, Any] = {"name": generation.generator} if generation.generator else {"name": "auditkit"}
    if generation.version:
        agent["version"] = generation.version
    if claim.source_type is not None:
        uri = vocabulary.source_type(claim.source_type)
        first: dict[str, Any] = {"action": "c2pa.created", "digitalSourceType": uri, "softwareAgent": agent}
    else:
        first = {"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}
    actions = [first]
    actions += [{"action": "c2pa.placed", "parameters": {"ingredientIds": [label]}} for label in components]
    actions += [{"action": vocabulary.action(name)} for name in claim.actions]
    if claim.watermarked:
        actions.append({"action": "c2pa.watermarked.bound"})
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
    assertions += [binding.assertion() for binding in claim.bindings]
    if claim.training is not None:
        assertions.append(_training(claim))
    salt = ""
    if claim.generation is not None:
        data, salt = _generation(claim.generation)
        if data:
            assertions.append({"label": GENERATION, "data": data})
    return Definition(
        {
            "claim_version": 2,
            "claim_generator_info": [{"name": "auditkit", "version": __version__}],
            "title": claim.title,
            "assertions": assertions,
        },
        salt,
    )


def prompt_hash(prompt: str, salt: str) -> str:
    """sha256 over the salt's bytes and the prompt in UTF-8: 64 hex digits.

    The salt stays with the publisher, who shows it to prove a prompt; without it, nobody can try prompts out.
    """
    return sha256(bytes.fromhex(salt) + prompt.encode())


def weights_hash(weights: dict[str, str]) -> str | None:
    """One sha256 for a checkpoint of several files: over their names and hashes, sorted. None where there are none."""
    if not weights:
        return None
    return sha256("".join(f"{name} {weights[name]}\n" for name in sorted(weights)).encode())


def check_training(training: str | None, terms: str = "") -> None:
    """
    Raises:
        ProvenanceError: no such permission, or a constrained one without its terms.
    """
    if training is not None and training not in PERMISSIONS:
        raise ProvenanceError(
            f"'{training}' is no permission", where="training", mend=f"use one of: {', '.join(PERMISSIONS)}"
        )
    if training == "constrained" and not terms:
        raise ProvenanceError(
            "a constrained use needs its terms", where="training", mend="say where the terms are (--training-terms)"
        )


def _generation(known: Generation) -> tuple[dict[str, Any], str]:
    if known.weights_sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", known.weights_sha256):
        raise ProvenanceError(
            "the weights' hash is no sha256", where=f"weights_sha256={known.weights_sha256}",
            mend="give 64 hex digits, lower case: sha256sum FILE",
        )  # fmt: skip
    data: dict[str, Any] = {
        "generator": known.generator, "version": known.version, "weights_sha256": known.weights_sha256,
        # As text: a 64-bit seed is no JSON number that every reader keeps.
        "seed": None if known.seed is None else str(known.seed), "sampler": known.sampler, "steps": known.steps,
        "guidance": None if known.guidance is None else str(known.guidance), "run": known.run, "image": known.image,
    }  # fmt: skip
    salt = ""
    if known.prompt is not None:
        salt = secrets.token_hex(SALT_BYTES)
        data["prompt_hash"] = {"alg": "sha256", "salted": True, "value": prompt_hash(known.prompt, salt)}
    return {name: value for name, value in data.items() if value is not None}, salt


def _training(claim: Claim) -> dict[str, Any]:
    check_training(claim.training, claim.training_terms)
    entry = {"use": claim.training} | ({"constraint_info": claim.training_terms} if claim.training_terms else {})
    return {"label": "cawg.training-mining", "data": {"entries": {f"cawg.{use}": entry for use in USES}}}
