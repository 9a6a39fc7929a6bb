"""Train `personas-clip`, the small open_clip encoder that the bundled audits see with."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.clip.folder import save_encoder
from auditkit.clip.tokenizer import train_bpe
from generators.captions import all_phrasings
from generators.training import loop, pixels
from generators.training.draws import Draw, EncoderDraws

if TYPE_CHECKING:
    from torch import Tensor

VISION: dict[str, Any] = {"image_size": 96, "patch_size": 8, "layers": 6, "width": 256, "head_width": 64}
TEXT: dict[str, Any] = {"context_length": 32, "width": 192, "heads": 3, "layers": 4}
EMBED = 256
PREPROCESS: dict[str, Any] = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
MAX_LOGIT_SCALE = 100.0


def train(
    table: pd.DataFrame,
    out: Path,
    schedule: loop.Schedule,
    *,
    device: str,
    patch: int = 8,
    progress: loop.Progress | None = None,
) -> Path:
    """Train on the corpus's training rows; write the encoder folder to `<out>/export` (fp16 safetensors).

    The loss is the contrastive one of CLIP with every true pair as a positive (UniCL, Yang et al. 2022,
    equation 3): in a batch, 'a judge' describes each judge, not only the one it was drawn for.
    """
    import torch
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer

    torch.manual_seed(schedule.seed)
    rows = table[table["split"] == "train"].reset_index(drop=True)
    draws = EncoderDraws(rows)
    out.mkdir(parents=True, exist_ok=True)
    bpe = out / "bpe.txt.gz"
    if not bpe.is_file():
        train_bpe(
            all_phrasings(Random(0), sorted(rows["concept"].unique()), sorted(rows["style"].unique())),
            1500,
            bpe,
        )
    tokenizer = SimpleTokenizer(bpe_path=str(bpe), context_length=TEXT["context_length"])
    config = {
        "embed_dim": EMBED,
        "vision_cfg": VISION | {"patch_size": patch},
        "text_cfg": TEXT | {"vocab_size": tokenizer.vocab_size},
    }
    model = CLIP(**config, quick_gelu=False).to(device)  # type: ignore[arg-type]
    drawings = pixels.load(rows, device)
    codes = Codes(rows, device)
    mean, std = (torch.tensor(PREPROCESS[k], device=device)[:, None, None] for k in ("mean", "std"))
    ids: dict[str, Tensor] = {}

    def tokens(texts: list[str]) -> Tensor:
        for text in texts:
            if text not in ids:
                ids[text] = tokenizer([text])[0]
        return torch.stack([ids[text] for text in texts]).to(device, non_blocking=True)

    def step(index: int) -> dict[str, Tensor]:
        random = torch.Generator(device).manual_seed(schedule.seed * 1_000_003 + index)
        batch = draws.batch(index, schedule.batch, seed=schedule.seed)
        chosen = torch.tensor([draw.row for draw in batch]).to(device, non_blocking=True)
        images, tone_kept = pixels.augmented(drawings[chosen], VISION["image_size"], random)
        with loop.autocast(device, schedule):
            seen = model.encode_image((images - mean) / std, normalize=True)
            said = model.encode_text(tokens([draw.caption for draw in batch]), normalize=True)
        scale = model.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        loss = unicl(scale * said.float() @ seen.float().T, codes.describes(batch, chosen, tone_kept))
        return {"loss": loss, "scale": scale}

    encoder = loop.run(step, {"clip": model}, schedule, out=out, progress=progress)["clip"]
    encoder.logit_scale.data.clamp_(max=math.log(MAX_LOGIT_SCALE))  # type: ignore[operator, union-attr]
    return save_encoder(out / "export", config, PREPROCESS, encoder.state_dict(), bpe)


def unicl(logits: Tensor, positive: Tensor) -> Tensor:
    """Bidirectional contrastive loss with many positives.

    Args:
        logits: float [texts, images]. positive: bool [texts, images], does the text describe the image?

    Texts and images without a positive in the batch do not count.
    """

    def one_way(scores: Tensor, truth: Tensor) -> Tensor:
        counts = truth.sum(1)
        weights = truth / counts.clamp(min=1)[:, None]
        losses = -(weights * scores.log_softmax(1)).sum(1)
        return losses[counts > 0].mean()

    return (one_way(logits, positive) + one_way(logits.T, positive.T)) / 2


class Codes:
    """The corpus's labels as numbers, to tell which captions of a batch describe which of its images."""

    def __init__(self, rows: pd.DataFrame, device: str) -> None:
        import torch

        self._device = device
        self._fields = ("concept", "gender", "skin_tone", "style")
        self._numbers = {f: {v: i for i, v in enumerate(sorted(set(rows[f]) - {""}))} for f in self._fields}
        labels = [[self._number(f, value) for value in rows[f]] for f in self._fields]
        self._labels = torch.tensor(labels, device=device)
        self._person = torch.tensor((rows["kind"] == "person").to_numpy(), device=device)

    def _number(self, name: str, value: str) -> int:
        return self._numbers[name].get(value, -1)

    def describes(self, batch: list[Draw], rows: Tensor, tone_kept: Tensor) -> Tensor:
        """Bool [captions, images]: is everything that the caption says true of the image as it was augmented?"""
        import torch

        said = torch.tensor(
            [[self._number(f, getattr(d, f)) for d in batch] for f in self._fields], device=self._device
        )
        shown = self._labels[:, rows].clone()
        shown[self._fields.index("skin_tone"), ~tone_kept] = -2
        agrees = ((said[:, :, None] < 0) | (said[:, :, None] == shown[:, None, :])).all(0)
        # A caption without a concept speaks of a person.
        return agrees & ((said[0] >= 0)[:, None] | self._person[rows][None, :])
