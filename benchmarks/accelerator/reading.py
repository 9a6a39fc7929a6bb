"""Images a second of what reads images: CLIP encoders, watermarks by inversion, detectors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.accelerator.figures import timed


def embedding(name: str, *, device: str, images: int, side: int, repeats: int) -> Iterator[dict[str, Any]]:
    """open_clip's loop from its README (one by one: open, preprocess, encode) against ours, random weights."""
    import open_clip
    from safetensors.torch import save_file

    from auditkit.clip.encoders import Encoder, load_encoder

    with tempfile.TemporaryDirectory() as folder:
        paths = _pictures(Path(folder), images, side)
        file = Path(folder) / f"{name}.safetensors"
        torch.manual_seed(0)
        save_file(open_clip.create_model(name).state_dict(), file)
        for bf16 in (False, True) if device.startswith("cuda") else (False,):
            encoder: Encoder = load_encoder(f"{name}:{file}", device=device, bf16=bf16)
            if not bf16:
                few = paths[: max(1, images // 8)]
                _plain_loop(encoder, paths[:4], device)
                done = timed(lambda e=encoder, f=few: _plain_loop(e, f, device), device, repeats)  # type: ignore[misc]
                yield {"encoder": name, "way": "open_clip, one by one", "side": side, **done.row()}
            encoder.embed_images(paths[:128])
            done = timed(lambda e=encoder: len(e.embed_images(paths)), device, repeats)  # type: ignore[misc]
            way = "auditkit, bfloat16" if bf16 else "auditkit"
            yield {"encoder": name, "way": way, "side": side, **done.row()}


def watermark(checkpoint: str, *, device: str, images: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Marked noise recovered by DDIM inversion and read: milliseconds an image, batched as by default."""
    from auditkit.watermark.gaussian_shading import GaussianShading
    from auditkit.watermark.keys import Key
    from generators.inversion import invert
    from generators.load import load_generator

    generator: Any = load_generator(checkpoint, device=device)
    side = generator.info.resolution
    given = [_picture(seed, side) for seed in range(images)]
    scheme, key = GaussianShading(), Key.from_secret(bytes(32))
    invert(generator, given[: generator.info.batch_size])
    done = timed(lambda: len(invert(generator, given)), device, repeats)
    noise = invert(generator, given[:4])
    read = timed(lambda: len([scheme.evidence(each, key) for each in noise]), "cpu", repeats)
    yield {
        "checkpoint": generator.info.name, "side": side, "batch": generator.info.batch_size, **done.row(),
        "inversion_ms": 1000 * done.seconds / done.count, "reading_ms": 1000 * read.seconds / read.count,
    }  # fmt: skip


def detector(name: str, *, device: str, images: int, sides: list[int], repeats: int) -> Iterator[dict[str, Any]]:
    """Images a second of a bundled detector's verdicts, from decoded pixels."""
    from detectors.trained import load

    found = load(name, device=device)
    for side in sides:
        given = [np.asarray(_picture(seed, side)) for seed in range(images)]
        found.judge(given)
        done = timed(lambda g=given: len(found.judge(g)), device, repeats)  # type: ignore[misc]
        yield {"detector": name, "side": side, **done.row()}


def _plain_loop(encoder: Any, paths: list[Path], device: str) -> int:
    model, preprocess = encoder._model, encoder._preprocess
    with torch.no_grad():
        for path in paths:
            features = model.encode_image(preprocess(Image.open(path)).unsqueeze(0).to(device))
            features /= features.norm(dim=-1, keepdim=True)
    return len(paths)


def _pictures(folder: Path, count: int, side: int) -> list[Path]:
    paths = [folder / f"{seed}.png" for seed in range(count)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda seed: _picture(seed, side).save(paths[seed]), range(count)))
    return paths


def _picture(seed: int, side: int) -> Image.Image:
    """Smooth colours with a little grain, which compress about as drawings and photographs do."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((side, side), Image.BICUBIC)
    grain = rng.integers(-3, 4, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(smooth, int) + grain, 0, 255).astype(np.uint8))
