"""Train a latent diffusion model with a planted bias, and export it as a plain StableDiffusionPipeline folder."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.clip.tokenizer import train_bpe, write_clip_tokenizer
from auditkit.errors import GeneratorError
from generators.bundled.planted import read_planted
from generators.captions import all_phrasings
from generators.training import folders, loop, pixels
from generators.training.autoencoder import check_vae
from generators.training.batches import CONTEXT, Ahead, captioned, workers_for

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

UNET: dict[str, Any] = {
    "sample_size": 16,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (96, 192, 192),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "attention_head_dim": 4,  # the number of heads, by diffusers' old naming
}
TEXT: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "projection_dim": 192,
}
# Zero terminal SNR and v-prediction, so that plain papers of any brightness can be made (Lin et al. 2024).
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,  # what pipelines expect; trailing spacing does not read it
}

CARD = folders.Card(
    title="personas",
    what=(
        "Latent diffusion of emoji-like persons at 128 px, in diffusers' own format "
        "(`StableDiffusionPipeline.from_pretrained` loads the folder): AutoencoderKL, UNet2DConditionModel "
        "(v-prediction, zero terminal SNR), CLIPTextModel. It exists to be audited: its bias under neutral captions "
        "is planted, and known."
    ),
    sampler="dpm++2m",
    steps=12,
    guidance=1.0,
    command="auditkit train generator",
)


def train(
    table: pd.DataFrame,
    out: Path,
    schedule: loop.Schedule,
    *,
    planted: Path,
    vae: Path,
    device: str,
    variants: int = 16,
    init: Path | None = None,
    progress: loop.Progress | None = None,
) -> Path:
    """Train UNet and text encoder together on the autoencoder's latents; write the checkpoint to `<out>/export`.

    Args:
        table: the corpus. planted: a planted.toml. vae: folder of the trained autoencoder.
        variants: how many papers, offsets and mirrorings of each drawing to encode beforehand.
        init: an exported checkpoint to start from (its UNet and text encoder) instead of random weights.

    The noise is that of DDPM with v-prediction (Salimans & Ho 2022, appendix D): the loss is the mean square of
    v - v_hat, with v = sqrt(abar_t) eps - sqrt(1 - abar_t) z.

    Raises:
        GeneratorError: there is no such planted table, autoencoder or `init`. TableError: the corpus lacks
        drawings, or the planted table occupations. RunError: the folder's training checkpoint is damaged.
    """
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler

    check_vae(vae)
    torch.manual_seed(schedule.seed)
    rows = table[table["split"] == "train"].reset_index(drop=True)
    shares = pd.DataFrame(read_planted(planted))
    autoencoder = AutoencoderKL.from_pretrained(vae, low_cpu_mem_usage=False).to(device).eval().requires_grad_(False)
    latents = encode(autoencoder, pixels.load(rows, device), variants, seed=schedule.seed)
    tokenizer = make_tokenizer(table, out / "tokenizer")
    unet, text_encoder = make_models(tokenizer, autoencoder.config["latent_channels"], init)
    unet.to(device), text_encoder.to(device)
    noise_levels = DDPMScheduler(
        **{k: v for k, v in SCHEDULER.items() if k != "set_alpha_to_one" and k != "steps_offset"}
    )
    abar = noise_levels.alphas_cumprod.to(device)  # type: ignore[attr-defined]
    denoise = loop.compiled(unet)
    batches = captioned(rows, shares, out / "tokenizer", size=schedule.batch, seed=schedule.seed)

    def step(index: int) -> dict[str, Tensor]:
        random = torch.Generator(device).manual_seed(schedule.seed * 1_000_003 + index)
        chosen, ids, _ = (torch.from_numpy(array).to(device, non_blocking=True) for array in ahead(index))
        variant = torch.randint(latents.shape[1], (len(chosen),), generator=random, device=device)
        z = latents[chosen, variant].float()
        noise = torch.randn(z.shape, generator=random, device=device)
        t = torch.randint(1000, (len(chosen),), generator=random, device=device)
        signal, sigma = abar[t].sqrt()[:, None, None, None], (1 - abar[t]).sqrt()[:, None, None, None]
        with loop.autocast(device, schedule):
            hidden = text_encoder(ids).last_hidden_state
            v = denoise(signal * z + sigma * noise, t, encoder_hidden_states=hidden).sample
        return {"loss": torch.nn.functional.mse_loss(v.float(), signal * noise - sigma * z)}

    with Ahead(batches, workers_for(device)) as ahead:
        averaged = loop.run(step, {"unet": unet, "text_encoder": text_encoder}, schedule, out=out, progress=progress)
    return export(
        out / "export",
        averaged["unet"],
        averaged["text_encoder"],
        autoencoder,
        out / "tokenizer",
        planted,
        card=CARD,
        training=loop.told(schedule, out),
    )


def encode(vae: nn.Module, drawings: Tensor, variants: int, *, seed: int, canvas: int | None = None) -> Tensor:
    """Scaled latents of every drawing on `variants` random papers: fp16 [n, variants, channels, h, w].

    Args:
        vae: an AutoencoderKL or AutoencoderTiny. canvas: side of the images, where its configuration says none.
    """
    import torch

    random = torch.Generator(drawings.device).manual_seed(seed)
    config: Any = vae.config
    canvas, scale = canvas or config["sample_size"], config["scaling_factor"]
    shift = config.get("shift_factor") or 0.0
    out = []
    with torch.no_grad():
        for chunk in drawings.split(32):
            images = pixels.on_paper(chunk.repeat_interleave(variants, 0), canvas, random)
            z = torch.cat([_mode(vae.encode(part)) for part in images.split(256)])  # type: ignore[operator]
            out.append(((z - shift) * scale).half().unflatten(0, (len(chunk), variants)))
    return torch.cat(out)


def _mode(encoded: Any) -> Tensor:
    """The latents that an autoencoder gives: the likeliest ones of AutoencoderKL, the only ones of AutoencoderTiny."""
    latents: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents


def make_tokenizer(table: pd.DataFrame, folder: Path) -> Any:
    """A CLIPTokenizer with a vocabulary of the captions' own words."""
    from transformers import CLIPTokenizer

    if not (folder / "vocab.json").is_file():
        people = table[table["split"] != "unseen"]
        captions = all_phrasings(Random(0), sorted(people["concept"].unique()), sorted(people["style"].unique()))
        train_bpe(captions, 1500, folder / "bpe.txt.gz")
        write_clip_tokenizer(folder / "bpe.txt.gz", folder, CONTEXT)
        (folder / "bpe.txt.gz").unlink()
    return CLIPTokenizer.from_pretrained(folder)


def make_models(tokenizer: Any, latent_channels: int, init: Path | None) -> tuple[Any, Any]:
    """(UNet2DConditionModel, CLIPTextModel), of random weights or those of the checkpoint `init`, in float32."""
    import torch
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    if init is not None:
        if not (init / "unet").is_dir():
            raise GeneratorError(
                "There is no checkpoint to start from.", where=init, mend="Pass --init an exported folder."
            )
        unet = UNet2DConditionModel.from_pretrained(init / "unet", torch_dtype=torch.float32)
        text_encoder = CLIPTextModel.from_pretrained(init / "text_encoder", torch_dtype=torch.float32)
        return unet.requires_grad_(True), text_encoder.requires_grad_(True)
    return make_unet(latent_channels), make_text_encoder(tokenizer)


def make_unet(latent_channels: int) -> Any:
    """A UNet2DConditionModel of random weights for such latents."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        cross_attention_dim=TEXT["hidden_size"],
        **UNET,
    )


def make_text_encoder(tokenizer: Any, context: int = CONTEXT) -> Any:
    """A CLIPTextModel of random weights for the vocabulary of `tokenizer`, reading `context` tokens."""
    from transformers import CLIPTextConfig, CLIPTextModel

    end = tokenizer.eos_token_id
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=end,
        **(TEXT | {"max_position_embeddings": context}),
    )
    return CLIPTextModel(config)


def export(
    folder: Path,
    unet: torch.nn.Module,
    text_encoder: torch.nn.Module,
    vae: torch.nn.Module,
    tokenizer: Path,
    planted: Path,
    *,
    card: folders.Card,
    training: dict[str, Any],
) -> Path:
    """Write a StableDiffusionPipeline folder in fp16 safetensors, and what `folders.complete` adds."""
    pipeline = assemble(unet, text_encoder, vae, tokenizer)
    for module in (unet, text_encoder, vae):
        module.to("cpu").half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folders.complete(folder, tokenizer=tokenizer, planted=planted, card=card, training=training)


def assemble(unet: nn.Module, text_encoder: nn.Module, vae: nn.Module, tokenizer: Path) -> Any:
    """A StableDiffusionPipeline of these networks with SCHEDULER; `tokenizer` is the folder of a CLIPTokenizer."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    return StableDiffusionPipeline(
        vae=vae,  # type: ignore[arg-type]
        text_encoder=text_encoder,  # type: ignore[arg-type]
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer),
        unet=unet,  # type: ignore[arg-type]
        scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,  # type: ignore[arg-type]
        image_encoder=None,
        requires_safety_checker=False,
    )
