"""Train the autoencoder of `personas-dit`: diffusers' AutoencoderTiny, of another kind and latent than the others'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from generators.training import loop, pixels
from generators.training.autoencoder import gradient_l1

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CONFIG: dict[str, Any] = {
    "encoder_block_out_channels": (48, 48, 48),
    "decoder_block_out_channels": (48, 48, 48),
    "num_encoder_blocks": (1, 2, 3),
    "num_decoder_blocks": (3, 2, 1),
    "upsampling_scaling_factor": 2,
}
MAGNITUDE = 1e-2  # weight of the latents' mean square, which keeps them near unit spread
SPREAD = 0.1  # noise on the latents in training, so that the decoder forgives a generator's small errors


def train(
    table: pd.DataFrame,
    out: Path,
    schedule: loop.Schedule,
    *,
    device: str,
    latent_channels: int = 4,
    canvas: int = 128,
    progress: loop.Progress | None = None,
) -> Path:
    """Train on the rows of the corpus table and write `<out>/vae` in diffusers' layout.

    TAESD's architecture (Bohan 2023) of factor 4: convolutions and ReLU alone, no posterior. The loss is that of
    `autoencoder.train`, L1 + the L1 of the image gradients at two scales; in place of the KL term stand a penalty on
    the latents' magnitude and noise of a fixed spread, which is what a KL term with a fixed variance comes to.
    `scaling_factor` and `shift_factor` make the latents of zero mean and unit spread; `<out>/autoencoder.json` records
    the PSNR in dB on the held-out rows.
    """
    import torch
    from diffusers import AutoencoderTiny

    torch.manual_seed(schedule.seed)
    vae: Any = AutoencoderTiny(**(CONFIG | {"latent_channels": latent_channels}))
    vae.to(device)
    drawings = pixels.load(table[table["split"] == "train"], device)
    factor = 2 ** (len(CONFIG["encoder_block_out_channels"]) - 1)

    def encode_decode(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        latents = vae.encoder(images)
        return vae.decoder(latents + SPREAD * noise).float(), latents.float()

    roundtrip = loop.compiled(encode_decode)

    def step(index: int) -> dict[str, Tensor]:
        random = torch.Generator(device).manual_seed(schedule.seed * 1_000_003 + index)
        rows = torch.randint(len(drawings), (schedule.batch,), generator=random, device=device)
        images = pixels.on_paper(drawings[rows], canvas, random)
        side = canvas // factor
        noise = torch.randn(len(images), latent_channels, side, side, generator=random, device=device)
        with loop.autocast(device, schedule):
            restored, latents = roundtrip(images, noise)
        l1 = (restored - images).abs().mean()
        edges = gradient_l1(restored, images) + gradient_l1(
            *(torch.nn.functional.avg_pool2d(x, 2) for x in (restored, images))
        )
        size = latents.square().mean()
        return {"loss": l1 + edges + MAGNITUDE * size, "l1": l1, "edges": edges, "size": size}

    trained: Any = loop.run(step, {"vae": vae}, schedule, out=out, progress=progress)["vae"]
    held = pixels.load(table[table["split"].isin(["calibration", "test"])], device)
    mean, scale, psnr = measure(trained, held, canvas)
    trained.register_to_config(scaling_factor=scale, shift_factor=mean)
    trained.to(torch.float16).save_pretrained(out / "vae", safe_serialization=True)
    figures = {"psnr_held_out_db": psnr, "scaling_factor": scale, "shift_factor": mean}
    (out / "autoencoder.json").write_text(json.dumps(figures) + "\n")
    return out / "vae"


def measure(vae: torch.nn.Module, drawings: Tensor, canvas: int) -> tuple[float, float, float]:
    """(mean of the latents, 1 / their standard deviation, mean PSNR in dB over the images), drawings put on paper."""
    import torch

    random = torch.Generator(drawings.device).manual_seed(0)
    latents, errors = [], []
    with torch.no_grad():
        for chunk in drawings.split(64):
            images = pixels.on_paper(chunk, canvas, random)
            z = vae.encode(images).latents  # type: ignore[operator]
            restored = vae.decode(z).sample.clamp(-1, 1)  # type: ignore[operator]
            latents.append(z.flatten())
            errors.append(((restored - images) / 2).square().mean((1, 2, 3)))
    every = torch.cat(latents)
    return float(every.mean()), float(1 / every.std()), float(-10 * torch.cat(errors).log10().mean())
