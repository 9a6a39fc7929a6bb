"""Random-weight checkpoints of every pipeline class that can be loaded, written in diffusers' own format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_parts import (
    WIDTH,
    autoencoder,
    clip_text,
    clip_tokenizer,
    gemma_text,
    gemma_tokenizer,
    t5_text,
    t5_tokenizer,
)  # fmt: skip

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
    "text": WIDTH,
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


def tiny_sd_checkpoint(
    folder: Path, *, seed: int = 0, context: int = 16, size: dict[str, Any] = TINY, checker: bool | None = None
) -> Path:
    """Save a random StableDiffusionPipeline (v-prediction, zero terminal SNR) into `folder`.

    Args:
        checker: add a safety checker that flags every image (True) or none (False).
    """
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    tokenizer = clip_tokenizer(folder, context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = clip_text(tokenizer, width=size["text"], layers=size["text_layers"])
        unet = _unet(size)
        vae = autoencoder(size["vae"], latents=size["latents"], groups=size["groups"])
        checking = _no_checker() if checker is None else _checker(flags=checker)
    return _saved(
        folder,
        StableDiffusionPipeline(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet,
            scheduler=DDIMScheduler(**SCHEDULER), **checking,
        ),
    )  # fmt: skip


def tiny_prx_checkpoint(folder: Path, *, pixel: bool = False, seed: int = 0, context: int = 16) -> Path:
    """Save a random PRXPipeline (latents of 4 x 8 x 8) or PRXPixelPipeline into `folder`; images of 16 x 16 px."""
    import torch
    from diffusers import (
        AutoencoderTiny,
        FlowMatchEulerDiscreteScheduler,
        PRXPipeline,
        PRXPixelPipeline,
        PRXTransformer2DModel,
    )

    tokenizer = clip_tokenizer(folder, context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = clip_text(tokenizer)
        transformer = PRXTransformer2DModel(
            in_channels=3 if pixel else 4, patch_size=2, context_in_dim=WIDTH, hidden_size=32, num_heads=2, depth=2,
            axes_dim=[8, 8], theta=100,
        )  # fmt: skip
        with torch.no_grad():  # gates start at zero, and prompts would make no difference
            for block in transformer.blocks:
                block.modulation.lin.weight.normal_(0, 0.5)
                block.modulation.lin.bias.normal_(0, 0.5)
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
        "default_sample_size": 16,
    }
    pipeline: Any
    if pixel:
        pipeline = PRXPixelPipeline(**parts, prompt_max_tokens=context, noise_scale=2.0)
    else:
        pipeline = PRXPipeline(**parts, vae=vae)
    return _saved(folder, pipeline, sampler="as-shipped", steps=3, guidance=1.0, name="tiny-flow")


def tiny_sdxl_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    tokenizer = clip_tokenizer(folder)
    size = TINY | {"text": 2 * WIDTH}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionXLPipeline(
            vae=autoencoder(), text_encoder=clip_text(tokenizer), tokenizer=tokenizer,
            text_encoder_2=clip_text(tokenizer, projected=True), tokenizer_2=tokenizer,
            unet=_unet(
                size, addition_embed_type="text_time", addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + WIDTH, transformer_layers_per_block=1,
            ),
            scheduler=EulerDiscreteScheduler(
                beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="leading",
                steps_offset=1,
            ),
        )  # fmt: skip
    return _saved(folder, pipeline)


def tiny_sd3_checkpoint(folder: Path, *, t5: bool = True, seed: int = 0) -> Path:
    """With T5 or, as many keep it for its size, without."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    tokenizer, tokenizer_3 = clip_tokenizer(folder), t5_tokenizer(256)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusion3Pipeline(
            transformer=SD3Transformer2DModel(
                sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
                num_attention_heads=4, joint_attention_dim=2 * WIDTH,
                caption_projection_dim=32, pooled_projection_dim=2 * WIDTH, pos_embed_max_size=16,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=autoencoder(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
            text_encoder=clip_text(tokenizer, projected=True), tokenizer=tokenizer,
            text_encoder_2=clip_text(tokenizer, projected=True), tokenizer_2=tokenizer,
            text_encoder_3=t5_text(tokenizer_3, 2 * WIDTH) if t5 else None, tokenizer_3=tokenizer_3 if t5 else None,
        )  # fmt: skip
    return _saved(folder, pipeline)


def tiny_flux_checkpoint(folder: Path, *, guidance_embeds: bool = True, seed: int = 0) -> Path:
    """Guidance-distilled as FLUX.1-dev, or as schnell."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    tokenizer, tokenizer_2 = clip_tokenizer(folder), t5_tokenizer(512)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = FluxPipeline(
            transformer=FluxTransformer2DModel(
                patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
                num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH,
                guidance_embeds=guidance_embeds, axes_dims_rope=(4, 4, 8),
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=guidance_embeds),
            vae=autoencoder(shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False),
            text_encoder=clip_text(tokenizer), tokenizer=tokenizer,
            text_encoder_2=t5_text(tokenizer_2), tokenizer_2=tokenizer_2,
        )  # fmt: skip
    return _saved(folder, pipeline, resolution=16)


def tiny_pixart_checkpoint(folder: Path, *, sigma: bool = False, seed: int = 0) -> Path:
    import torch
    from diffusers import (
        DPMSolverMultistepScheduler,
        PixArtAlphaPipeline,
        PixArtSigmaPipeline,
        PixArtTransformer2DModel,
    )

    tokenizer = t5_tokenizer(300 if sigma else 120)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: dict[str, Any] = {
            "tokenizer": tokenizer,
            "text_encoder": t5_text(tokenizer),
            "vae": autoencoder(),
            "transformer": PixArtTransformer2DModel(
                num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=2,
                cross_attention_dim=32, sample_size=8, patch_size=2, caption_channels=WIDTH,
                use_additional_conditions=False,
            ),
            "scheduler": DPMSolverMultistepScheduler(beta_schedule="linear"),
        }  # fmt: skip
    return _saved(folder, (PixArtSigmaPipeline if sigma else PixArtAlphaPipeline)(**parts))


def tiny_sana_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    import torch
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel

    tokenizer = gemma_tokenizer()
    blocks: dict[str, Any] = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("block_types", "ResBlock"),
            ("block_out_channels", (8, 16)),
            ("layers_per_block", (1, 1)),
            ("qkv_multiscales", ((), ())),
        )
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = SanaPipeline(
            tokenizer=tokenizer, text_encoder=gemma_text(tokenizer),
            vae=AutoencoderDC(latent_channels=4, attention_head_dim=8, scaling_factor=0.4, **blocks),
            transformer=SanaTransformer2DModel(
                in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=2,
                num_cross_attention_heads=2, cross_attention_head_dim=16, cross_attention_dim=32,
                caption_channels=WIDTH, sample_size=16,
            ),
            scheduler=DPMSolverMultistepScheduler(
                use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction", num_train_timesteps=1000,
            ),
        )  # fmt: skip
    return _saved(folder, pipeline)


CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "sd": tiny_sd_checkpoint,
    "sdxl": tiny_sdxl_checkpoint,
    "sd3": tiny_sd3_checkpoint,
    "sd3-without-t5": lambda folder: tiny_sd3_checkpoint(folder, t5=False),
    "flux-dev": tiny_flux_checkpoint,
    "flux-schnell": lambda folder: tiny_flux_checkpoint(folder, guidance_embeds=False),
    "pixart-alpha": tiny_pixart_checkpoint,
    "pixart-sigma": lambda folder: tiny_pixart_checkpoint(folder, sigma=True),
    "sana": tiny_sana_checkpoint,
    "prx": tiny_prx_checkpoint,
    "prx-pixel": lambda folder: tiny_prx_checkpoint(folder, pixel=True),
}
"""A writer for every pipeline class, by a short name."""


def _unet(size: dict[str, Any], **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
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
        **more,
    )


def _no_checker() -> dict[str, Any]:
    return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def _checker(flags: bool) -> dict[str, Any]:
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
        "patch_size": 8,
    }  # fmt: skip
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    checker = StableDiffusionSafetyChecker(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    with torch.no_grad():
        # Similarities are in -1..1, and an image is flagged where one is above its concept's weight.
        checker.concept_embeds_weights.fill_(-2.0 if flags else 2.0)
        checker.special_care_embeds_weights.fill_(2.0)
    size = {"shortest_edge": 16}
    extractor = CLIPImageProcessor(size=size, crop_size={"height": 16, "width": 16})
    return {"safety_checker": checker, "feature_extractor": extractor}


def _saved(folder: Path, pipeline: Any, **notes: Any) -> Path:
    import json

    pipeline.save_pretrained(folder, safe_serialization=True)
    if notes:
        (folder / "auditkit.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in notes.items()))
    return folder
