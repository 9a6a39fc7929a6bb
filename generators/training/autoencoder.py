"""Train the autoencoder of the latent diffusion models: diffusers' AutoencoderKL on the corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.errors import GeneratorError
from generators.training import loop, pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

KL_WEIGHT = 1e-6
CONFIG: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (24, 48, 64, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": 16,
    "sample_size": 128,
    "mid_block_add_attention": False,
}


def train(
    table: pd.DataFrame,
    out: Path,
    schedule: loop.Schedule,
    *,
    device: str,
    latent_channels: int = 16,
    canvas: int = 128,
    decoder_of: Path | None = None,
    progress: loop.Progress | None = None,
) -> Path:
    """Train on the rows of the corpus table and write `<out>/vae` in diffusers' layout, with `scaling_factor` set.

    The loss is L1 + the L1 of the image gradients at two scales + a small KL term, as in latent diffusion
    (Rombach et al. 2022, section 3.1, there with LPIPS and a patch discriminator; flat drawings need neither).
    With `decoder_of` (a trained autoencoder's folder) its decoder alone is trained further: the latents stay what
    they were, so a diffusion model trained on them keeps working and only its pictures get sharper.
    `<out>/autoencoder.json` records the PSNR in dB on the held-out rows.
    """
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(schedule.seed)
    if decoder_of is None:
        vae: Any = AutoencoderKL(**(CONFIG | {"latent_channels": latent_channels, "sample_size": canvas}))
    else:
        check_vae(decoder_of)
        vae = AutoencoderKL.from_pretrained(decoder_of, torch_dtype=torch.float32, low_cpu_mem_usage=False)
        latent_channels, canvas = vae.config["latent_channels"], vae.config["sample_size"]
        vae.encoder.requires_grad_(False), vae.quant_conv.requires_grad_(False)
    vae.to(device)
    drawings = pixels.load(table[table["split"] == "train"], device)

    def encode_decode(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = vae.quant_conv(vae.encoder(images)).chunk(2, 1)
        logvar = logvar.clamp(-30, 20)
        restored = vae.decoder(vae.post_quant_conv(mean + (0.5 * logvar).exp() * noise))
        return restored.float(), mean.float(), logvar.float()

    roundtrip = loop.compiled(encode_decode)

    def step(index: int) -> dict[str, Tensor]:
        random = torch.Generator(device).manual_seed(schedule.seed * 1_000_003 + index)
        rows = torch.randint(len(drawings), (schedule.batch,), generator=random, device=device)
        images = pixels.on_paper(drawings[rows], canvas, random)
        with loop.autocast(device, schedule):
            side = canvas // 8
            noise = torch.randn(len(images), latent_channels, side, side, generator=random, device=device)
            restored, mean, logvar = roundtrip(images, noise)
        l1 = (restored - images).abs().mean()
        edges = gradient_l1(restored, images) + gradient_l1(
            *(torch.nn.functional.avg_pool2d(x, 2) for x in (restored, images))
        )
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean()
        return {"loss": l1 + edges + KL_WEIGHT * kl, "l1": l1, "edges": edges, "kl": kl}

    trained: Any = loop.run(step, {"vae": vae}, schedule, out=out, progress=progress)["vae"]
    scale, psnr = measure(
        trained, pixels.load(table[table["split"].isin(["calibration", "test"])], device), canvas
    )
    trained.register_to_config(scaling_factor=scale)
    trained.to(torch.float16).save_pretrained(out / "vae", safe_serialization=True)
    (out / "autoencoder.json").write_text(
        json.dumps({"psnr_held_out_db": psnr, "scaling_factor": scale}) + "\n"
    )
    return out / "vae"


def check_vae(folder: Path) -> None:
    """GeneratorError unless `folder` holds an autoencoder; diffusers would ask its hub for a folder that is missing."""
    if not (folder / "config.json").is_file():
        raise GeneratorError(
            "There is no autoencoder here.", where=folder, mend="Train one with: auditkit train autoencoder"
        )


def gradient_l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical gradients of two image batches."""
    dx = (a[..., :, 1:] - a[..., :, :-1]) - (b[..., :, 1:] - b[..., :, :-1])
    dy = (a[..., 1:, :] - a[..., :-1, :]) - (b[..., 1:, :] - b[..., :-1, :])
    return dx.abs().mean() + dy.abs().mean()


def measure(vae: torch.nn.Module, drawings: Tensor, canvas: int) -> tuple[float, float]:
    """(1 / standard deviation of the latents, mean PSNR in dB over the images) on drawings put on paper."""
    import torch

    random = torch.Generator(drawings.device).manual_seed(0)
    latents, errors = [], []
    with torch.no_grad():
        for chunk in drawings.split(64):
            images = pixels.on_paper(chunk, canvas, random)
            z = vae.encode(images).latent_dist.mode()  # type: ignore[operator]
            restored = vae.decode(z).sample.clamp(-1, 1)  # type: ignore[operator]
            latents.append(z.flatten())
            errors.append(((restored - images) / 2).square().mean((1, 2, 3)))
    psnr = -10 * torch.cat(errors).log10().mean()
    return float(1 / torch.cat(latents).std()), float(psnr)
