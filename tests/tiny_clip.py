"""A tiny random open_clip encoder, saved as a folder, and small things to feed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from auditkit.clip.folder import save_encoder
from auditkit.clip.tokenizer import train_bpe

PREPROCESS = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def model_cfg(vocab_size: int) -> dict[str, Any]:
    return {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 24, "vocab_size": vocab_size, "width": 32, "heads": 2, "layers": 2},
    }


def save_tiny(folder: Path, *, seed: int = 0) -> tuple[Path, dict[str, Any]]:
    """Save a random encoder; returns its folder and the float32 state that was saved."""
    import open_clip
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    bpe = folder.parent / f"{folder.name}-bpe.txt.gz"
    size = train_bpe(["a portrait of a woman with dark skin", "a picture of a man", "a person"], 30, bpe)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**model_cfg(size))
    state = model.state_dict()
    save_encoder(folder, model_cfg(size), PREPROCESS, state, bpe)
    return folder, state


def random_images(n: int, *, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)) for _ in range(n)]


class MemoryRun:
    """The part of a run that embedding and scoring use, kept in memory."""

    path = Path("memory")

    def __init__(self, folder: Path, images: list[Image.Image]):
        self.kept: dict[tuple[str, str], tuple[list[str], np.ndarray]] = {}
        self.folder = folder
        self.ids: list[str] = []
        self.add(images)

    def add(self, images: list[Image.Image]) -> None:
        for image in images:
            id = f"{len(self.ids):064x}"
            image.save(self.folder / f"{id}.png")
            self.ids.append(id)

    def images(self) -> pd.DataFrame:
        return pd.DataFrame(
            {"id": pd.Series([*self.ids, *self.ids[:1]], dtype=str)}
        )  # the first one comes twice

    def image_path(self, id: str) -> Path:
        return self.folder / f"{id}.png"

    def embeddings(self, encoder: str, *, fingerprint: str = "") -> tuple[list[str], np.ndarray] | None:
        return self.kept.get((encoder, fingerprint))

    def write_embeddings(
        self, encoder: str, ids: list[str], array: np.ndarray, *, fingerprint: str = ""
    ) -> None:
        self.kept[encoder, fingerprint] = (list(ids), array)
