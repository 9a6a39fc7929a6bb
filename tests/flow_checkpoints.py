"""Random-weight PRX folders, in a latent and in the pixels, written in diffusers' own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE = 16
_CAPTIONS = [f"a {what} of a {who} {job}" for what in ("portrait", "picture") for who in ("female", "male")
             for job in ("judge", "pilot", "artist", "teacher")]  # fmt: skip


def flow_checkpoint(folder: Path, *, pixel: bool = False, seed: int = 0, context: int = 16) -> Path:
    """Save a random PRXPipeline (latents of 4 x 8 x 8) or PRXPixelPipeline into `folder`; images of 16 x 16 px."""
    import torch
    from diffusers import (
        AutoencoderTiny,
        FlowMatchEulerDiscreteScheduler,
        PRXPipeline,
        PRXPixelPipeline,
        PRXTransformer2DModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from auditkit.clip.tokenizer import train_bpe, write_clip_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    merges = folder / "bpe.txt.gz"
    train_bpe(_CAPTIONS, 40, merges)
    tokenizer = CLIPTokenizer.from_pretrained(write_clip_tokenizer(merges, folder / "tokenizer", context))
    merges.unlink()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=context,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.eos_token_id,
            )
        )
        transformer = PRXTransformer2DModel(
            in_channels=3 if pixel else 4, patch_size=2, context_in_dim=32, hidden_size=32, num_heads=2, depth=2,
            axes_dim=[8, 8], theta=100,
        )  # fmt: skip
        with torch.no_grad():  # gates start at zero, and prompts would make no difference
            for block in transformer.blocks:
                block.modulation.lin.weight.normal_(0, 0.5)
                block.modulation.lin.bias.normal_(0, 0.5)
            text_encoder.get_input_embeddings().weight.mul_(20)
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1), upsampling_scaling_factor=2, latent_channels=4, scaling_factor=0.5,
            shift_factor=0.1,
        )  # fmt: skip
    parts: dict[str, Any] = {
        "transformer": transformer,
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=2.0),
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "default_sample_size": SIDE,
    }
    pipeline: Any
    if pixel:
        pipeline = PRXPixelPipeline(**parts, prompt_max_tokens=context, noise_scale=2.0)
    else:
        pipeline = PRXPipeline(**parts, vae=vae)
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "auditkit.toml").write_text('name = "tiny-flow"\nsampler = "as-shipped"\nsteps = 3\nguidance = 1.0\n')
    return folder
