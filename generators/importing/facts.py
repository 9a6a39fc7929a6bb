"""What is known of how one image was made, cleaned of all that a stranger's file may hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

MAX_PROMPT = 32_000
"""Characters; the longest prompt that an API takes. What is longer is no prompt."""
MAX_NAME = 200
"""Characters of a sampler's or a model's name."""
MAX_JSON = 8_000_000
"""Characters of a JSON text; the workflows of the largest graphs stay below 1 MB."""

_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff]")
"""What steers a terminal, turns text around or cannot be written as UTF-8; tabs and line breaks are text."""


@dataclass(frozen=True)
class Facts:
    """How an image was made, as far as is told; None where it is not, or is out of range."""

    prompt: str | None = None
    negative: str | None = None
    seed: int | None = None
    """In [0, 2^63)."""
    steps: int | None = None
    """>= 1."""
    guidance: float | None = None
    """>= 0."""
    sampler: str | None = None
    model: str | None = None
    model_hash: str | None = None
    source: str = "none"
    """Which text told the prompt: csv, sidecar, a1111, comfyui, invokeai, fooocus, novelai, swarmui or none."""
    axes: dict[str, str | None] = field(default_factory=dict)

    def over(self, below: Facts) -> Facts:
        """These facts, and those of `below` where these are silent."""
        filled = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}
        if self.prompt is None:
            del filled["source"]
        return replace(below, **filled | {"axes": below.axes | self.axes})

    @property
    def model_label(self) -> str | None:
        """`name (hash)`, as models are counted in run.json."""
        if self.model and self.model_hash:
            return f"{self.model} ({self.model_hash.rpartition(':')[2][:12]})"
        return self.model or self.model_hash


def text(value: Any, most: int = MAX_PROMPT) -> str | None:
    """`value` as clean text of at most `most` characters; None where it is none, empty, or longer."""
    if not isinstance(value, str) or len(value) > 4 * most:
        return None
    cleaned = _STEERS.sub("", value.replace("\r\n", "\n").replace("\r", "\n")).strip()
    return cleaned if 0 < len(cleaned) <= most else None


def name(value: Any) -> str | None:
    """The name of a model or sampler, on one line; of a path its last part, without the suffix of a weight file."""
    found = text(value, 4 * MAX_NAME)
    if found is None:
        return None
    last = re.split(r"[\\/]", " ".join(found.split()))[-1]
    return re.sub(r"\.(safetensors|ckpt|pt|pth|gguf|sft)$", "", last)[:MAX_NAME] or None


def digest(value: Any) -> str | None:
    """A model's hash: hex digits, `blake3:` and the like before them."""
    found = text(value, MAX_NAME)
    return found if found is not None and re.fullmatch(r"[\w+-]{0,20}:?[0-9A-Fa-f]{4,128}", found) else None


def whole(value: Any, least: int, most: int = 2**63 - 1) -> int | None:
    """An integer in [least, most], also one written as text or as 20.0; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if not re.fullmatch(r"[+-]?\d{1,20}(\.0{1,6})?", value, re.ASCII):
            return None
        value = int(value.split(".")[0])
    if isinstance(value, float):
        if not math.isfinite(value) or value != int(value):
            return None
        value = int(value)
    return value if isinstance(value, int) and least <= value <= most else None


def number(value: Any, least: float = 0.0, most: float = 1e6) -> float | None:
    """A finite number in [least, most], also one written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?\d{1,20}(\.\d{0,20})?\s*", value, re.ASCII):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and least <= found <= most else None


def seed(value: Any) -> int | None:
    return whole(value, 0)


def steps(value: Any) -> int | None:
    return whole(value, 1, 1_000_000)


def load_json(source: str | None) -> Any:
    """The JSON in `source`; None where there is none, or it is too long or too deep."""
    if source is None or len(source) > MAX_JSON or source.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(source)
    except (ValueError, RecursionError):
        return None


_KEYS: dict[str, tuple[str, ...]] = {
    "prompt": ("positive_prompt", "prompt", "Prompt", "positive", "caption", "text"),
    "negative": ("negative_prompt", "negativeprompt", "negative", "Negative prompt", "uc"),
    "seed": ("seed", "Seed", "noise_seed"),
    "steps": ("steps", "Steps", "num_inference_steps"),
    "guidance": ("cfg_scale", "cfgscale", "guidance_scale", "guidance", "CFG scale", "cfg", "scale"),
    "sampler": ("sampler", "sampler_name", "Sampler", "scheduler"),
    "model": ("model", "model_name", "base_model", "sd_model_name", "model_weights", "Model"),
    "model_hash": ("model_hash", "base_model_hash", "sd_model_hash", "Model hash"),
}
"""What tools call these, in the order in which they are looked for."""

_CLEAN: dict[str, Callable[[Any], Any]] = {
    "prompt": text,
    "negative": text,
    "seed": seed,
    "steps": steps,
    "guidance": number,
    "sampler": name,
    "model": name,
    "model_hash": digest,
}


def from_dict(record: dict[str, Any], source: str) -> Facts:
    """Facts out of a flat record of settings, whatever the tool calls them."""
    found: dict[str, Any] = {}
    for fact, keys in _KEYS.items():
        found[fact] = first(_CLEAN[fact](record.get(key)) for key in keys)
    model = record.get("model")
    if isinstance(model, dict):  # InvokeAI: {"model_name", "base_model"} until version 3, {"name", "hash", "key"} since
        found["model"] = first(name(model.get(key)) for key in ("name", "model_name", "key"))
        found["model_hash"] = digest(model.get("hash")) or found["model_hash"]
    return Facts(**found, source=source)


def first(values: Iterable[Any]) -> Any:
    """The first of `values` that is not None; None where there is none."""
    return next((value for value in values if value is not None), None)
