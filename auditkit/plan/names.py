"""The names under which a plan's encoder and target may stand in the rows of measurements."""

from __future__ import annotations

from pathlib import Path

from auditkit.files import slug


def encoder_names(encoder: str) -> set[str]:
    """Of `personas-clip`, a folder, `MODEL:TAG` or `MODEL:FILE.safetensors`."""
    model, _, weights = encoder.partition(":")
    tag = Path(weights).stem if weights.endswith(".safetensors") else weights
    return {encoder, slug(Path(encoder).name), slug(f"{model.replace('/', '-')}-{tag}")}


def target_names(target: str) -> set[str]:
    """Of a named target, a CSV or the folder of a run; rows that are held against nothing have none."""
    return {target, Path(target).name, Path(target).stem, ""}
