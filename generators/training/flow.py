"""Train a diffusion transformer with flow matching: in the latent (`personas-dit`) or in the pixels (`personas-pixel`).

Both are diffusers' PRX, since its pipelines fit a small model as they are: one text encoder of any kind that gives
`last_hidden_state`, the tokenizer's own length, padding masked out of attention, the image size kept in
model_index.json, any autoencoder or none. SD3 wants two CLIP encoders and attends to 256 tokens of padding, AuraFlow
pads to 256 unmasked, Sana puts an instruction before the prompt, Flux and Chroma know no image size but 1024 px.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.errors import GeneratorError
from generators.bundled.planted import read_planted
from generators.training import folders, loop, pixels
from generators.training.autoencoder import check_vae
from generators.training.batches import Ahead, captioned, workers_for
from generators.training.generator import encode, make_text_encoder, make_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CANVAS = 128
TRANSFORMER: dict[str, Any] = {
    "hidden_size": 256,
    "mlp_ratio": 2.75,
    "num_heads": 4,
    "depth": 9,
    "axes_dim": [32, 32],
    "theta": 100,  # turns per token that suit grids of 8 to 16 tokens a side
}
PATCHES: dict[str, dict[str, Any]] = {
    "dit": {"patch_size": 4},
    "pixel": {"patch_size": 8, "bottleneck_size": 96},
}
MEAN, SPREAD = {"dit": 0.8, "pixel": 0.8}, {"dit": 1.2, "pixel": 1.0}
"""Of the logit of t, normal. What is large in an image, such as a face's tone, is decided where noise hides nearly all
else: at t of .8 to .97, which a standard normal draws in 8 of 100 steps, and this one in 30. Neighbouring pixels are
alike, too, so that noise hides less of them."""
SHIFT = {"dit": 2.0, "pixel": 2.0}
CUT = 25.0

CARDS = {
    "dit": folders.Card(
        title="personas-dit",
        what=(
            "A diffusion transformer with rectified flow (Liu et al. 2023; times drawn logit-normal, Esser et al. "
            "2024) in the latent of a small autoencoder, 128 px, in diffusers' own format (`PRXPipeline."
            "from_pretrained` loads the folder; call it with `use_resolution_binning=False`): AutoencoderTiny (factor "
            "4, 4 channels), PRXTransformer2DModel, CLIPTextModel, FlowMatchEulerDiscreteScheduler. It exists to be "
            "audited: its bias under neutral captions is planted, and known."
        ),
        sampler="as-shipped",
        steps=16,
        guidance=1.0,
        command="auditkit train generator --family dit",
    ),
    "pixel": folders.Card(
        title="personas-pixel",
        what=(
            "A diffusion transformer on the pixels themselves, without an autoencoder, 128 px, in diffusers' own "
            "format (`PRXPixelPipeline.from_pretrained` loads the folder; call it with `use_resolution_binning=False`)"
            ": PRXTransformer2DModel on patches of 8 x 8 px, CLIPTextModel, FlowMatchEulerDiscreteScheduler. It "
            "predicts the clean image (Li & He 2025, JiT) under flow matching. It exists to be audited: its bias under "
            "neutral captions is planted, and known."
        ),
        sampler="as-shipped",
        steps=16,
        guidance=1.0,
        command="auditkit train generator --family pixel",
    ),
}


def train(
    table: pd.DataFrame,
    out: Path,
    schedule: loop.Schedule,
    *,
    planted: Path,
    device: str,
    vae: Path | None = None,
    canvas: int | None = None,
    variants: int = 16,
    init: Path | None = None,
    progress: loop.Progress | None = None,
) -> Path:
    """Train transformer and text encoder together; write the checkpoint to `<out>/export`.

    Args:
        table: the corpus. planted: a planted.toml. canvas: side of the images, by default 128 px.
        vae: folder of the autoencoder in whose latent to work (`tiny.train`); None works in the pixels.
        variants: how many papers, offsets and mirrorings of each drawing to encode beforehand (pixels: drawn anew).
        init: an exported checkpoint of the same family to start from.

    x_t = (1 - t) x + t eps with t = sigmoid(n), n normal. In the latent the network gives the velocity eps - x and the
    loss is its mean square error. In the pixels it gives x, whose error is weighed by min(1 / t^2, 25): 1 / t^2 is the
    velocity's own weight, cut for nearly clean images as min-SNR-gamma cuts it (Hang et al. 2023).

    Raises:
        GeneratorError: there is no such planted table, autoencoder or `init`. TableError: the corpus lacks
        drawings, or the planted table occupations. RunError: the folder's training checkpoint is damaged.
    """
    import torch

    family, canvas = "pixel" if vae is None else "dit", canvas or CANVAS
    torch.manual_seed(schedule.seed)
    rows = table[table["split"] == "train"].reset_index(drop=True)
    shares = pd.DataFrame(read_planted(planted))
    autoencoder, clean = _source(rows, vae, canvas, variants, schedule.seed, device)
    tokenizer = make_tokenizer(table, out / "tokenizer")
    channels = 3 if autoencoder is None else autoencoder.config["latent_channels"]
    transformer, text_encoder = make_models(family, tokenizer, channels, init)
    transformer.to(device), text_encoder.to(device)
    denoise = loop.compiled(transformer)
    batches = captioned(rows, shares, out / "tokenizer", size=schedule.batch, seed=schedule.seed)

    def step(index: int) -> dict[str, Tensor]:
        random = torch.Generator(device).manual_seed(schedule.seed * 1_000_003 + index)
        chosen, ids, mask = (torch.from_numpy(array).to(device, non_blocking=True) for array in ahead(index))
        x = clean(chosen, random)
        noise = torch.randn(x.shape, generator=random, device=device)
        t = (torch.randn(len(x), generator=random, device=device) * SPREAD[family] + MEAN[family]).sigmoid()
        at = t[:, None, None, None]
        with loop.autocast(device, schedule):
            hidden = text_encoder(ids, attention_mask=mask).last_hidden_state
            given = denoise((1 - at) * x + at * noise, t, hidden, mask).sample.float()
        if family == "dit":
            return {"loss": (given - (noise - x)).square().mean()}
        weight = at.square().reciprocal().clamp(max=CUT)
        return {"loss": (weight * (given - x).square()).mean()}

    modules = {"transformer": transformer, "text_encoder": text_encoder}
    with Ahead(batches, workers_for(device)) as ahead:
        averaged = loop.run(step, modules, schedule, out=out, progress=progress)
    told = loop.told(schedule, out)
    return export(out / "export", family, averaged, autoencoder, out / "tokenizer", planted, canvas, told)


def _source(
    rows: pd.DataFrame, vae: Path | None, canvas: int, variants: int, seed: int, device: str
) -> tuple[Any, Callable[[Tensor, torch.Generator], Tensor]]:
    """(autoencoder or None, (rows, random) -> what is denoised, float [n, channels, h, w])."""
    import torch
    from diffusers import AutoModel

    if vae is None:
        drawings = pixels.load(rows, device)
        return None, lambda chosen, random: pixels.on_paper(drawings[chosen], canvas, random)
    check_vae(vae)
    # Of the class that its configuration names.
    loaded: Any = AutoModel.from_pretrained(str(vae), low_cpu_mem_usage=False)
    autoencoder: Any = loaded.to(device, torch.float32).eval().requires_grad_(False)
    latents = encode(autoencoder, pixels.load(rows, device), variants, seed=seed, canvas=canvas)

    def latent(chosen: Tensor, random: torch.Generator) -> Tensor:
        variant = torch.randint(latents.shape[1], (len(chosen),), generator=random, device=chosen.device)
        return latents[chosen, variant].float()

    return autoencoder, latent


def make_models(family: str, tokenizer: Any, channels: int, init: Path | None) -> tuple[Any, Any]:
    """(PRXTransformer2DModel, CLIPTextModel), of random weights or those of the checkpoint `init`, in float32."""
    import torch
    from diffusers import PRXTransformer2DModel
    from transformers import CLIPTextModel

    if init is None:
        text = make_text_encoder(tokenizer)
        own = {"in_channels": channels, "context_in_dim": text.config.hidden_size}
        return PRXTransformer2DModel(**(TRANSFORMER | PATCHES[family] | own)), text
    if not (init / "transformer").is_dir():
        mend = "Pass --init an exported folder of the same family."
        raise GeneratorError("There is no checkpoint of a transformer to start from.", where=init, mend=mend)
    transformer = PRXTransformer2DModel.from_pretrained(init / "transformer", torch_dtype=torch.float32)
    text_encoder = CLIPTextModel.from_pretrained(init / "text_encoder", torch_dtype=torch.float32)
    return transformer.requires_grad_(True), text_encoder.requires_grad_(True)


def export(
    folder: Path,
    family: str,
    networks: dict[str, Any],
    vae: Any,
    tokenizer: Path,
    planted: Path,
    canvas: int,
    training: dict[str, Any],
) -> Path:
    """Write a PRXPipeline or PRXPixelPipeline folder in fp16 safetensors, and what `folders.complete` adds."""
    from diffusers import FlowMatchEulerDiscreteScheduler, PRXPipeline, PRXPixelPipeline
    from transformers import CLIPTokenizer

    for module in (*networks.values(), *([] if vae is None else [vae])):
        module.to("cpu").half()
    parts = {
        **networks,
        "tokenizer": CLIPTokenizer.from_pretrained(tokenizer),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=SHIFT[family]),
        "default_sample_size": canvas,
    }
    pipeline: Any
    if family == "dit":
        pipeline = PRXPipeline(**parts, vae=vae)
    else:
        length = parts["tokenizer"].model_max_length
        pipeline = PRXPixelPipeline(**parts, prompt_max_tokens=length, noise_scale=1.0)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folders.complete(
        folder, tokenizer=tokenizer, planted=planted, card=CARDS[family], training=training
    )
