"""Rooting a watermark in a decoder: Stable Signature (Fernandez et al. 2023) for AutoencoderKL and AutoencoderTiny."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.errors import GeneratorError
from auditkit.plan.document import to_toml
from auditkit.watermark import payload as payloads
from auditkit.watermark.base import padded
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import SHORT_WORD, Payload
from generators.base import Job
from generators.cards import CARD
from generators.checkpoint import read_index, read_notes
from generators.families import FAMILIES
from generators.latent import LatentGenerator
from generators.training import loop
from generators.weights import HASHES, find_weights, hash_weights

if TYPE_CHECKING:
    from torch import Tensor

    from auditkit.watermark.signature.extractor import Extractor

PROMPTS = ("a portrait of a person", "a picture of a judge", "a drawing of an artist", "a picture of an apple")
EASY_PSNR, PSNR = 22.0, 34.7
"""dB against the unmarked decoder that the training holds to, at its start and from `SETTLED` of its steps on: bits are
learned where there is room for them, and then made small. What is measured afterwards is reported."""
SETTLED = 0.6


@dataclass(frozen=True)
class RootReport:
    """What rooting gave, on held-out images of the new checkpoint as it was written, rounded to 8 bits.

    Attributes:
        bit_accuracy, worst: mean and least share of the word's bits read right, over the images.
        psnr: mean, dB against the unmarked decoder on the same latents.
    """

    folder: str
    name: str
    key_id: str
    payload: str
    bits: int
    bit_accuracy: float
    worst: float
    psnr: float
    images: int
    steps: int
    cpu_seconds: float
    seconds: float


def root(
    generator_folder: str | Path,
    *,
    key: Key,
    payload: Payload,
    out: str | Path,
    steps: int = 900,
    images: int = 256,
    prompts: tuple[str, ...] = PROMPTS,
    lr: float = 1e-3,
    batch: int = 4,
    device: str = "auto",
    extractor: Extractor | None = None,
    progress: loop.Progress | None = None,
) -> RootReport:
    """Write to `out` the checkpoint of `generator_folder` with a decoder whose every image carries the key's word.

    Only the decoder's weights differ, in the precision they had; the rest is copied. Cut off, the same call goes on.

    Args:
        images: latents sampled from the generator under `prompts`; an eighth of them is held out.
        extractor: what the mark will be read with; None is the bundled one.

    Raises:
        GeneratorError: no such checkpoint, or `out` exists. RunError: the loss is no longer finite.
        WatermarkError: the bundled extractor is missing or damaged.
    """
    source, out = Path(generator_folder), Path(out)
    if out.exists():
        raise GeneratorError("the folder exists already", where=out, mend="name another with --out")
    if images < 16:
        raise GeneratorError("rooting needs at least 16 images", where=f"images={images}", mend="use 256")
    import torch

    if extractor is None:
        from auditkit.watermark.signature import extractor as bundled

        extractor = bundled.load("cpu")
    began, cpu = time.monotonic(), time.process_time()
    generator = LatentGenerator(source, device=device, precision="float32")
    where = generator.info.device
    extractor = extractor.to(where)
    word = padded(payloads.encode(payload, SHORT_WORD), "signature", key)
    work = _work(out, generator, key, payload, steps, images)
    latents = _latents(generator, images, prompts, work)
    held = max(2, images // 8)
    decoder: Any = generator.pipeline.vae.decoder
    plain = copy.deepcopy(decoder).eval().requires_grad_(False)
    decoder.requires_grad_(True)
    target = torch.from_numpy(word.astype(np.float32)).to(where)
    step = _step(decoder, plain, latents[held:].to(where), target, extractor, batch, steps)
    schedule = loop.Schedule(steps, batch, lr, warmup=20, weight_decay=0.0, ema=0.98)
    trained = loop.run(step, {"decoder": decoder}, schedule, out=work, progress=progress)["decoder"]

    name = f"{generator.info.name}-rooted"
    draft = work / "checkpoint"
    _write(source, draft, trained.state_dict(), name, key)
    rooted: Any = LatentGenerator(draft, device=device, precision="float32").pipeline.vae.decoder
    with torch.inference_mode():
        marked, unmarked = (
            torch.cat([_pixels(net(z.to(where))).clamp(0, 1).mul(255).round() / 255 for z in latents[:held].split(4)])
            for net in (rooted, plain)
        )
        read = torch.cat([extractor(part) for part in marked.split(4)]) > 0
        right = (read == (target > 0.5)).float().mean(1)
        psnr = -10 * (marked - unmarked).square().mean((1, 2, 3)).clamp(min=1e-10).log10()
    report = RootReport(
        str(out), name, key.id, str(payload), SHORT_WORD, float(right.mean()), float(right.min()), float(psnr.mean()),
        held, steps, time.process_time() - cpu, time.monotonic() - began,
    )  # fmt: skip
    _card(draft, source, report, batch, where)
    draft.replace(out)
    shutil.rmtree(work)
    return report


def _step(decoder: Any, plain: Any, latents: Tensor, word: Tensor, extractor: Extractor, batch: int, steps: int) -> Any:
    """The training step for `loop.run`: bits, and distance from the unmarked decoder at the PSNR to hold."""
    import torch
    import torch.nn.functional as F

    def step(index: int) -> dict[str, Tensor]:
        decibels = EASY_PSNR + (PSNR - EASY_PSNR) * min(1.0, index / (SETTLED * steps))
        allowed = 10 ** (-decibels / 10)
        random = torch.Generator().manual_seed(index)
        z = latents[torch.randint(len(latents), (batch,), generator=random).to(latents.device)]
        with torch.no_grad():
            before = _pixels(plain(z)).clamp(0, 1)
        after = _pixels(decoder(z))
        seen = after + (after.clamp(0, 1) - after).detach()  # clipped, with the gradient of what was not
        read = extractor(_degraded(seen, random))
        bits = F.binary_cross_entropy_with_logits(read, word.expand_as(read))
        error = (after.clamp(-0.05, 1.05) - before).square().mean()
        # Free until the PSNR is reached, steep beyond: the mark uses what it is allowed, and no more.
        distance = 0.02 * error / allowed + 2 * F.relu(error / allowed - 1)
        loss = bits + distance
        return {"loss": loss, "bits": bits, "psnr": -10 * error.detach().clamp(min=1e-10).log10()}

    return step


def _degraded(images: Tensor, random: Any) -> Tensor:
    """One of: nothing, noise, another brightness."""
    import torch

    kind = int(torch.randint(3, (1,), generator=random))
    if kind == 1:
        return images + 0.02 * torch.randn(images.shape, generator=random).to(images.device)
    return (images * (0.8 + 0.4 * float(torch.rand(1, generator=random)))) if kind == 2 else images


def _pixels(decoded: Tensor) -> Tensor:
    return decoded.float() / 2 + 0.5


def _work(out: Path, generator: LatentGenerator, key: Key, payload: Payload, steps: int, images: int) -> Path:
    """Where the work is kept until it is done; of its own name for each thing that is asked for."""
    asked = json.dumps([generator.info.weights, key.id, str(payload), steps, images], sort_keys=True)
    work = out.parent / f".{out.name}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}.rooting"
    work.mkdir(parents=True, exist_ok=True)
    return work


def _latents(generator: LatentGenerator, images: int, prompts: tuple[str, ...], work: Path) -> Tensor:
    """What the decoder is given when the generator makes `images` images: float32 [images, c, h, w]."""
    import torch
    from safetensors.torch import load_file, save_file

    path = work / "latents.safetensors"
    if not path.is_file():
        seen: list[Tensor] = []
        hook = generator.pipeline.vae.decoder.register_forward_pre_hook(
            lambda _, given: seen.append(given[0].detach().float().cpu())
        )
        try:
            jobs = [Job(prompts[i % len(prompts)], i) for i in range(images)]
            list(generator.generate(jobs, generator.info.defaults))
        finally:
            hook.remove()
        save_file({"latents": torch.cat(seen).contiguous()}, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
    return load_file(path)["latents"]


def _write(source: Path, draft: Path, weights: dict[str, Tensor], name: str, key: Key) -> None:
    """A copy of `source` with these decoder weights, its own name and its own hashes."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft)
    for path in sorted((draft / "vae").glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata()
        for k, old in tensors.items():
            if k.startswith("decoder."):
                tensors[k] = weights[k.removeprefix("decoder.")].detach().cpu().to(old.dtype).contiguous()
        save_file(tensors, path, metadata)
    notes = read_notes(draft)
    kept = {k: v for k, v in notes.model_dump().items() if k in notes.model_fields_set and v is not None}
    said = f"{notes.note} Its decoder marks every image with the key {key.id}.".strip()
    (draft / "auditkit.toml").write_text(to_toml(kept | {"name": name, "note": said}), encoding="utf-8")
    (draft / HASHES).unlink(missing_ok=True)
    hashes = hash_weights(draft, find_weights(draft, read_index(draft, FAMILIES)[1]))
    (draft / HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def _card(draft: Path, source: Path, report: RootReport, batch: int, device: str) -> None:
    card = draft / "README.md"
    before = card.read_text(encoding="utf-8").rstrip() + "\n\n" if card.is_file() else ""
    if (draft / CARD).is_file():
        # Unmetered, so that the energy in the copied card does not pass for all that this checkpoint took.
        entry = {
            "part": "decoder, rooted in a watermark",
            "command": "auditkit watermark root",
            "minutes": report.seconds / 60,
            "steps": report.steps,
            "batch": batch,
            "device": device,
        }
        with (draft / CARD).open("a", encoding="utf-8") as file:
            file.write(f"\n[[training]]\n{to_toml(entry)}")
    facts = ", ".join(f"{k} {v:.4g}" for k, v in asdict(report).items() if k in ("bit_accuracy", "worst", "psnr"))
    card.write_text(
        f"{before}## Rooted watermark\n\nThis is `{source.name}` with another decoder: every image carries a word "
        f"under the key {report.key_id} (Stable Signature). On {report.images} held-out images: {facts}. "
        "What stands above was measured on the unmarked generator.\n",
        encoding="utf-8",
    )
