"""Checkpoints of well-known sizes with random weights, built from their configurations alone: speed needs no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

TOKENIZER = Path(__file__).parents[2] / "generators" / "bundled" / "personas" / "tokenizer"
SCHEDULER: dict[str, Any] = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False,
    "steps_offset": 1, "timestep_spacing": "leading",
}  # fmt: skip
_C, _D = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
SD: dict[str, Any] = {
    "unet": {
        "sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768,
        "attention_head_dim": 8, "blocks": (_C, _C, _C, _D),
    },
    "vae": {"block_out_channels": (128, 256, 512, 512), "sample_size": 512},
    "text": [{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}],
}  # fmt: skip
"""Stable Diffusion 1.5 (Rombach et al. 2022): 0.86 billion parameters in the UNet, 512 px."""
SDXL: dict[str, Any] = {
    "unet": {
        "sample_size": 128, "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20), "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True,
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816, "blocks": (_D, _C, _C),
    },
    "vae": {"block_out_channels": (128, 256, 512, 512), "sample_size": 1024, "scaling_factor": 0.13025},
    "text": [
        *SD["text"],
        {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20, "intermediate_size": 5120},
    ],
}  # fmt: skip
"""Stable Diffusion XL (Podell et al. 2023): 2.6 billion parameters in the UNet, 1024 px."""


def small(size: dict[str, Any]) -> dict[str, Any]:
    """The same shape a few thousand parameters large, to try the benchmark on a CPU."""
    unet, blocks = size["unet"], len(size["unet"]["blocks"])
    double = len(size["text"]) > 1
    narrow = {
        "sample_size": 16, "block_out_channels": (8, 16, 16, 16)[:blocks], "norm_num_groups": 4,
        "cross_attention_dim": 32 if double else 16, "attention_head_dim": 2,
    }  # fmt: skip
    narrow |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 64} if double else {}
    narrow |= {"transformer_layers_per_block": 1} if double else {}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return {
        "unet": unet | narrow,
        "vae": {"block_out_channels": (8, 8), "sample_size": 32, "norm_num_groups": 4},
        "text": [text] * len(size["text"]),
    }


def write(folder: Path, size: dict[str, Any], device: str) -> Path:
    """Save a random pipeline of that size into `folder`, bfloat16, in diffusers' own format."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(TOKENIZER), model_max_length=77)
    torch.manual_seed(0)
    unet = dict(size["unet"])
    down, up = zip(*unet.pop("blocks"), strict=True)
    stages = len(size["vae"]["block_out_channels"])
    texts = [
        CLIPTextConfig(
            vocab_size=49408, max_position_embeddings=77, projection_dim=each["hidden_size"],
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, **each,
        )
        for each in size["text"]
    ]  # fmt: skip
    with torch.device(device):
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(down_block_types=down, up_block_types=up[::-1], **unet),
            "vae": AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * stages, up_block_types=("UpDecoderBlock2D",) * stages,
                layers_per_block=2, latent_channels=4, **size["vae"],
            ),
            "text_encoder": CLIPTextModel(texts[0]),
        }  # fmt: skip
        if len(texts) > 1:
            parts["text_encoder_2"] = CLIPTextModelWithProjection(texts[1])
    with torch.no_grad():  # an untrained network's answers would soon leave the range of its own latents
        parts["unet"].conv_out.weight.mul_(0.1)
    kind = StableDiffusionXLPipeline if len(texts) > 1 else StableDiffusionPipeline
    more = {"tokenizer_2": tokenizer} if len(texts) > 1 else {"safety_checker": None, "feature_extractor": None}
    pipeline = kind(
        **{name: part.to(torch.bfloat16) for name, part in parts.items()}, **more, tokenizer=tokenizer,
        scheduler=DDIMScheduler(**SCHEDULER), **({} if len(texts) > 1 else {"requires_safety_checker": False}),
    )  # fmt: skip
    pipeline.save_pretrained(str(folder))
    return folder
