"""Small tokenizers and networks of random weights, that tiny checkpoints are put together from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CAPTIONS = [
    f"{frame} of a {who} {job}"
    for frame in ("a portrait", "a picture", "a drawing")
    for who in ("female", "male")
    for job in ("judge", "pilot", "artist", "teacher")
]
WIDTH = 32
"""Of every text encoder here."""


def clip_tokenizer(folder: Path, context: int = 16) -> Any:
    """A CLIPTokenizer trained on CAPTIONS."""
    from transformers import CLIPTokenizer

    from auditkit.clip.tokenizer import train_bpe, write_clip_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    merges = folder / "bpe.txt.gz"
    train_bpe(CAPTIONS, 40, merges)
    tokenizer = CLIPTokenizer.from_pretrained(write_clip_tokenizer(merges, folder / "tokenizer", context))
    merges.unlink()
    return tokenizer


def clip_text(tokenizer: Any, *, projected: bool = False, width: int = WIDTH, layers: int = 2) -> Any:
    """A CLIPTextModel, or one with a projection of the pooled text."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        projection_dim=width,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    return loud((CLIPTextModelWithProjection if projected else CLIPTextModel)(config))


def t5_tokenizer(limit: int) -> Any:
    """A T5TokenizerFast whose pieces are letters and the words of CAPTIONS."""
    from transformers import T5TokenizerFast

    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -1.0) for word in words]
    pieces += [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz.,:->'"]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=limit)


def t5_text(tokenizer: Any, width: int = WIDTH) -> Any:
    """A T5EncoderModel."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=64, num_layers=1, num_heads=2,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return T5EncoderModel(config)


def gemma_tokenizer() -> Any:
    """A GemmaTokenizerFast whose pieces are letters and the words of CAPTIONS."""
    from transformers import GemmaTokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    words = sorted({"▁" + word for caption in CAPTIONS for word in caption.split()})
    merges, pieces = [], ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters]
    for word in words:
        for i in range(1, len(word)):
            if word[: i + 1] not in pieces:
                pieces.append(word[: i + 1])
                merges.append((word[:i], word[i]))
    return GemmaTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges)


def gemma_text(tokenizer: Any) -> Any:
    """A Gemma2Model."""
    from transformers import Gemma2Config, Gemma2Model

    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=2048, sliding_window=2048,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return Gemma2Model(config)


def autoencoder(channels: tuple[int, ...] = (8, 16), *, latents: int = 4, groups: int = 4, **more: Any) -> Any:
    """An AutoencoderKL that halves the side at each of `channels` but the first."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        latent_channels=latents,
        norm_num_groups=groups,
        **more,
    )


def loud(encoder: Any) -> Any:
    """The text encoder with larger embeddings: random ones are small, and prompts would hardly differ."""
    import torch

    with torch.no_grad():
        encoder.get_input_embeddings().weight.mul_(20)
    return encoder
