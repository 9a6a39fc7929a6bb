"""Marks in the initial noise: true positives on an ideal channel, and from images of a generator by inversion.

    python -m benchmarks.watermark_latent ideal [--trials 200]
    python -m benchmarks.watermark_latent images [--generator personas] [--images 60] [--out FILE]
    python -m benchmarks.watermark_latent losses [--generator personas] [--images 16]

`ideal`: z' = rho z + sqrt(1 - rho^2) n on latents of 16x16x16 and 4x64x64. `images`: each scheme's images, attacked,
their noise recovered by `generators.inversion`: share with p <= 1e-6 (without and with the payload looked for among
1,000), payload read, agreement of signs, correlation of recovered with true noise; then unmarked images and
photographs against many keys. `losses`: the correlation of recovered with true noise, with the latents that the decoder
was given in place of those recovered from pixels, and with the true prompt in place of the empty one.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageFilter

from auditkit.prompts import expand
from auditkit.spec import load_spec
from auditkit.watermark.gaussian_shading import GaussianShading
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload
from auditkit.watermark.prc import Prc
from auditkit.watermark.tree_ring import TreeRing

SCHEMES = (TreeRing(), GaussianShading(), Prc())
FPR = 1e-6
OWN = Payload(1, 42)
LISTED = [OWN, *(Payload(2, user) for user in range(999))]


def ideal(trials: int) -> list[dict[str, Any]]:
    """A row a scheme, shape and correlation."""
    rows, draw = [], np.random.default_rng(0)
    for scheme in SCHEMES:
        for shape in ((16, 16, 16), (4, 64, 64)):
            for rho in (1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1):
                seen = []
                for trial in range(trials):
                    key = _key(trial % 10)
                    z = scheme.noise(shape, key, OWN, seed=trial)
                    noisy = rho * z + np.sqrt(1 - rho**2) * draw.standard_normal(shape)
                    seen.append(_read(scheme, noisy, key))
                rows.append({"scheme": scheme.name, "shape": "x".join(map(str, shape)), "rho": rho, **_mean(seen)})
    return rows


def images(
    name: str, count: int, photographs: str, schemes: Sequence[Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of a scheme and attack; rows of unmarked material, a scheme each."""
    from generators.base import Job, pictures
    from generators.inversion import invert
    from generators.latent import LatentGenerator
    from generators.load import load_generator
    from generators.regeneration import autoencoder

    generator = load_generator(name, device="cpu")
    if not isinstance(generator, LatentGenerator):
        raise SystemExit(f"{name} is not a latent diffusion checkpoint")
    shape, rows = generator.info.details["latent_shape"], []
    prompts = [prompt.text for prompt in expand(load_spec("occupations"))]
    remade = autoencoder(generator)
    attacks: dict[str, Callable[[Image.Image], Image.Image]] = {
        **ATTACKS, "autoencoder": lambda image: Image.fromarray(np.asarray(remade(np.asarray(image))))
    }  # fmt: skip
    for scheme in schemes:
        keys = [_key(i % 10) for i in range(count)]
        noise = [scheme.noise(shape, key, OWN, seed=i) for i, key in enumerate(keys)]
        jobs = [Job(prompts[7 * i % len(prompts)], i, noise=z) for i, z in enumerate(noise)]
        marked = pictures(generator.generate(jobs, generator.info.defaults))
        for attack, change in attacks.items():
            back = invert(generator, [change(image).resize(image.size) for image in marked])
            seen = [_read(scheme, z, key) | _signs(z, true) for z, true, key in zip(back, noise, keys, strict=True)]
            rows.append({"scheme": scheme.name, "attack": attack, **_mean(seen)})
            print(rows[-1], flush=True)
    size = (generator.info.resolution,) * 2
    plain = pictures(generator.generate([Job(prompts[i], 10_000 + i) for i in range(24)], generator.info.defaults))
    files = sorted(Path(photographs).glob("*.png")) if photographs else []
    unmarked = {"generated": plain, "photographs": [Image.open(f).convert("RGB").resize(size) for f in files]}
    found = {kind: invert(generator, each) for kind, each in unmarked.items() if each}
    return rows, [row for kind, each in found.items() for row in _null(kind, each, schemes)]


def losses(name: str, count: int) -> list[dict[str, Any]]:
    """A row for latents and prompts recovered, and for the true ones: where inversion loses the noise."""
    import torch

    from generators import inversion
    from generators.base import Job, pictures
    from generators.load import load_generator

    generator: Any = load_generator(name, device="cpu")
    prompts = [prompt.text for prompt in expand(load_spec("occupations"))]
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((count, *generator.info.details["latent_shape"])).astype(np.float32)
    jobs = [Job(prompts[7 * i % len(prompts)], i, noise=z) for i, z in enumerate(noise)]
    vae, given = generator.pipeline.vae, []
    hook = vae.post_quant_conv.register_forward_pre_hook(lambda _, values: given.append(values[0].detach().clone()))
    images = pictures(generator.generate(jobs, generator.info.defaults, batch_size=1))
    hook.remove()
    schedule = inversion._schedule(generator, inversion.STEPS)
    encode, rows = generator._encode, []
    with torch.inference_mode():
        true = torch.cat(given) * vae.config.scaling_factor
        recovered = inversion._encoded(generator, images, inversion.REFINEMENTS)
        for latents, prompted in itertools.product(("recovered", "true"), (False, True)):
            found = []
            for i, job in enumerate(jobs):
                text = encode(job.prompt if prompted else "")
                generator._encode = lambda _, text=text: text
                one = (true if latents == "true" else recovered)[i : i + 1]
                found.append(inversion._backwards(generator, one, *schedule).numpy()[0])
            rho = np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found, noise, strict=True)])
            rows.append({"latents": latents, "prompt": "true" if prompted else "empty", "correlation": float(rho)})
    return rows


def _null(kind: str, noise: np.ndarray, schemes: Sequence[Any], keys: int = 250) -> list[dict[str, Any]]:
    rows = []
    for scheme in schemes:
        p = np.array([scheme.evidence(z, _key(1000 + k)).p_value for k in range(keys) for z in noise])
        shares = {f"p <= {level:g}": float((p <= level).mean()) for level in (1e-1, 1e-2, 1e-3, 1e-4)}
        rows.append({"scheme": scheme.name, "unmarked": kind, "pairs": len(p), **shares})
        print(rows[-1], flush=True)
    return rows


def _read(scheme: Any, noise: np.ndarray, key: Key) -> dict[str, float]:
    began = time.perf_counter()
    blind = scheme.evidence(noise, key)
    ms = 1000 * (time.perf_counter() - began)
    listed = scheme.evidence(noise, key, payloads=LISTED)
    return {
        "tpr": blind.p_value <= FPR,
        "tpr_listed": listed.p_value <= FPR,
        "payload": blind.payload == OWN,
        "payload_listed": listed.payload == OWN,
        "log10_p": float(np.log10(blind.p_value)),
        "ms": ms,
    }


def _signs(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    same = float((np.sign(found) == np.sign(true)).mean())
    return {"bit_accuracy": same, "rho": float(np.corrcoef(found.ravel(), true.ravel())[0, 1])}


def _mean(seen: list[dict[str, float]]) -> dict[str, float]:
    table = pd.DataFrame(seen).astype(float)
    middle = {"median_log10_p": float(table["log10_p"].median()), "ms": float(table["ms"].median())}
    return {**table.drop(columns=["log10_p", "ms"]).mean().to_dict(), **middle}


def _key(i: int) -> Key:
    return Key.from_secret(i.to_bytes(32, "big"))


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("RGB")


def _noisy(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image, float) + 10 * np.random.default_rng(0).standard_normal((*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


ATTACKS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "jpeg 50": _jpeg,
    "resize 0.5": lambda image: image.resize((image.width // 2, image.height // 2)),
    "blur 1": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "noise 10": _noisy,
    "brightness 1.5": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
    "crop 0.8": lambda image: image.crop([round(image.width * each) for each in (0.1, 0.1, 0.9, 0.9)]),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["ideal", "images", "losses"])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--generator", default="personas")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--scheme", choices=[scheme.name for scheme in SCHEMES], help="one of them alone")
    parser.add_argument("--photographs", default="", help="a folder of PNG for false positives")
    parser.add_argument("--out", type=Path, help="write JSON there")
    args = parser.parse_args(argv)
    if args.part == "ideal":
        tables = {"ideal": ideal(args.trials)}
    elif args.part == "losses":
        tables = {"losses": losses(args.generator, args.images)}
    else:
        schemes = [scheme for scheme in SCHEMES if scheme.name in (args.scheme or scheme.name)]
        found = images(args.generator, args.images, args.photographs, schemes)
        tables = dict(zip(("images", "unmarked"), found, strict=True))
    for rows in tables.values():
        print(pd.DataFrame(rows).round(3).to_string(index=False))
    if args.out:
        args.out.write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
