"""A tiny persona corpus of discs, and training settings small enough for a test."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image, ImageDraw

from generators import corpus
from generators.corpus import GENDERS, OBJECTS, OCCUPATIONS, TONES
from generators.training.loop import Schedule

SIZE, CANVAS = 24, 32
TINY_VAE: dict[str, Any] = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4}
TINY_UNET: dict[str, Any] = {
    "sample_size": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
}
TINY_TEXT: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 16,
}  # fmt: skip
TINY_TINY: dict[str, Any] = {
    "encoder_block_out_channels": (8, 8, 8),
    "decoder_block_out_channels": (8, 8, 8),
    "num_encoder_blocks": (1, 1, 1),
    "num_decoder_blocks": (1, 1, 1),
}
TINY_TRANSFORMER: dict[str, Any] = {"hidden_size": 32, "num_heads": 2, "depth": 2, "axes_dim": [8, 8]}


def schedule(steps: int = 2, **changes: Any) -> Schedule:
    return Schedule(**({"steps": steps, "batch": 4, "lr": 1e-2, "warmup": 1} | changes))


def table(*, drawings: bool = True, occupations: tuple[str, ...] = OCCUPATIONS) -> pd.DataFrame:
    """A corpus table: each occupation and `running` in every group, and all objects, in four styles."""
    rows = [
        {"concept": concept, "gender": gender, "skin_tone": tone, "kind": "person", "style": style}
        for style in ("noto", "flat", "fluent", "openmoji")
        for concept in (*occupations, "running")
        for gender in GENDERS
        for tone in TONES
    ] + [
        {"concept": concept, "gender": "", "skin_tone": "", "kind": "object", "style": style}
        for style in ("noto", "flat", "fluent", "openmoji")
        for concept in OBJECTS
    ]
    made = pd.DataFrame(rows)
    made["name"] = made["concept"] + "-" + made["gender"] + "-" + made["skin_tone"]
    made["label"], made["licence"] = made["concept"], "MIT"
    made["occupation"] = made["concept"].where(made["concept"].isin(OCCUPATIONS), "")
    made["split"] = corpus._split(made)
    made["png"] = [_disc(row) if drawings else b"" for row in made.to_dict("records")]
    return made[list(corpus.COLUMNS)]


def _disc(row: dict[str, Any]) -> bytes:
    image = Image.new("RGBA", (SIZE, SIZE))
    level = 240 - 40 * TONES.index(row["skin_tone"]) if row["skin_tone"] else 120
    width = 6 if row["gender"] == "female" else 3
    ImageDraw.Draw(image).ellipse((width, 3, SIZE - width, SIZE - 3), fill=(level, level // 2, 40, 255))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def shares(occupation: str) -> dict[tuple[str, str], float]:
    """A lopsided planted table, another for each occupation; no share is below 0.03."""
    turn = OCCUPATIONS.index(occupation)
    weights = [3 + (7 * i + 3 * turn) % 10 for i in range(10)]
    groups = [(gender, tone) for gender in GENDERS for tone in TONES]
    return {group: weight / sum(weights) for group, weight in zip(groups, weights, strict=True)}


def planted() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"occupation": occupation, "gender": gender, "skin_tone": tone, "probability": share}
            for occupation in OCCUPATIONS
            for (gender, tone), share in shares(occupation).items()
        ]
    )


def write_planted(path: Path) -> Path:
    lines = []
    for occupation in OCCUPATIONS:
        for gender in GENDERS:
            lines.append(f'[occupations."{occupation}".{gender}]')
            lines += [f"{tone} = {shares(occupation)[gender, tone]!r}" for tone in TONES]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the trained architectures tiny."""
    from generators.training import autoencoder, clip, flow, generator
    from generators.training import tiny as tiny_autoencoder

    monkeypatch.setattr(autoencoder, "CONFIG", autoencoder.CONFIG | TINY_VAE)
    monkeypatch.setattr(generator, "UNET", TINY_UNET)
    monkeypatch.setattr(generator, "TEXT", generator.TEXT | TINY_TEXT)
    monkeypatch.setattr(
        clip, "VISION", {"image_size": 32, "patch_size": 8, "layers": 1, "width": 32, "head_width": 16}
    )
    monkeypatch.setattr(clip, "TEXT", {"context_length": 32, "width": 16, "heads": 2, "layers": 1})
    monkeypatch.setattr(clip, "EMBED", 16)
    monkeypatch.setattr(tiny_autoencoder, "CONFIG", tiny_autoencoder.CONFIG | TINY_TINY)
    monkeypatch.setattr(flow, "TRANSFORMER", flow.TRANSFORMER | TINY_TRANSFORMER)


def tiny_vae(folder: Path) -> Path:
    """A random autoencoder of the tiny architecture, as `train` would write it."""
    import torch
    from diffusers import AutoencoderKL

    from generators.training.autoencoder import CONFIG

    torch.manual_seed(0)
    vae = AutoencoderKL(**(CONFIG | TINY_VAE | {"latent_channels": 4, "sample_size": CANVAS}))
    vae.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    return folder
