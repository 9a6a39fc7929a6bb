"""Random-weight Stable Diffusion folders, written in diffusers' own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SCHEDULER: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "steps_offset": 1,  # what diffusers asks for; trailing spacing does not use it
}

TINY: dict[str, Any] = {
    "sample": 8,
    "latents": 4,
    "unet": (16, 32),
    "vae": (8, 16),
    "blocks": "CD",
    "heads": 2,
    "text": 32,
    "text_layers": 2,
    "groups": 4,
}
"""16 x 16 px, a few thousand parameters."""

REALISTIC: dict[str, Any] = {
    "sample": 16,
    "latents": 8,
    "unet": (96, 192, 192),
    "vae": (32, 64, 64, 64),
    "blocks": "DCC",
    "heads": 4,
    "text": 192,
    "text_layers": 4,
    "groups": 8,
}
"""128 px, the shape of the bundled generators."""

_DOWN = {"C": "CrossAttnDownBlock2D", "D": "DownBlock2D"}
_UP = {"C": "CrossAttnUpBlock2D", "D": "UpBlock2D"}
_CAPTIONS = [
    f"{frame} of a {who} {job}"
    for frame in ("a portrait", "a picture", "a drawing")
    for who in ("female", "male")
    for job in ("judge", "pilot", "artist", "teacher")
]


def tiny_sd_checkpoint(
    folder: Path, *, seed: int = 0, context: int = 16, size: dict[str, Any] = TINY
) -> Path:
    """Save a random StableDiffusionPipeline (v-prediction, zero terminal SNR) into `folder`."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from auditkit.clip.tokenizer import train_bpe, write_clip_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    merges = folder / "bpe.txt.gz"
    train_bpe(_CAPTIONS, 40, merges)
    tokenizer = CLIPTokenizer.from_pretrained(write_clip_tokenizer(merges, folder / "tokenizer", context))
    merges.unlink()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=size["text"],
            intermediate_size=4 * size["text"],
            num_hidden_layers=size["text_layers"],
            num_attention_heads=4,
            max_position_embeddings=context,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
        unet = UNet2DConditionModel(
            sample_size=size["sample"],
            in_channels=size["latents"],
            out_channels=size["latents"],
            block_out_channels=size["unet"],
            down_block_types=tuple(_DOWN[b] for b in size["blocks"]),
            up_block_types=tuple(_UP[b] for b in reversed(size["blocks"])),
            layers_per_block=1,
            cross_attention_dim=size["text"],
            attention_head_dim=size["heads"],
            norm_num_groups=size["groups"],
        )
        vae = AutoencoderKL(
            block_out_channels=size["vae"],
            down_block_types=("DownEncoderBlock2D",) * len(size["vae"]),
            up_block_types=("UpDecoderBlock2D",) * len(size["vae"]),
            latent_channels=size["latents"],
            norm_num_groups=size["groups"],
        )
        text_encoder = CLIPTextModel(text)
        with torch.no_grad():  # random text weights are small, and prompts would hardly differ
            text_encoder.get_input_embeddings().weight.mul_(20)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder
