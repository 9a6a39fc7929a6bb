"""Autoencoders of latent generators, to reconstruct images with: AutoencoderKL, AutoencoderTiny, the TAESD family.

An image that was decoded from latents comes through the same autoencoder again with less error than one that was not
(Ricker et al. 2024, arXiv 2401.17879); a real image's reconstruction is the closest generated image to it (Rajan et
al. 2024, arXiv 2410.11835).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.errors import DetectorError
from auditkit.files import sha256_file

if TYPE_CHECKING:
    from torch import Tensor, nn

TILE, MARGIN = 1024, 64
"""Larger images are reconstructed in tiles of TILE pixels, of which MARGIN is seen beyond each inner edge."""

KINDS = ("AutoencoderKL", "AutoencoderTiny")


@dataclass(frozen=True)
class Autoencoder:
    """An autoencoder that can be asked for reconstructions.

    Attributes:
        name: the folder that it was loaded from, as given.
        kind: 'AutoencoderKL', 'AutoencoderTiny' or 'TAESD'.
        factor: pixels a latent's side.
        sha256: of its weights; of two files, of their two hashes.
    """

    name: str
    kind: str
    factor: int
    sha256: str
    device: str
    _through: Callable[[Tensor], Tensor]

    def reconstruct_tensor(self, images: Tensor) -> Tensor:
        """D(E(x)) of float32 [n, 3, h, w] in 0..1, the same shape and range; gradients go through.

        Sides that are no multiple of `factor` are padded by reflection at the right and the bottom, so that latents
        stay where they lie in an image that was decoded from them.
        """
        from torch.nn.functional import pad

        height, width = images.shape[-2:]
        down, right = -height % self.factor, -width % self.factor
        if down or right:
            kind = "reflect" if down < height and right < width else "replicate"
            images = pad(images, (0, right, 0, down), mode=kind)
        return self._through(images)[..., :height, :width].clamp(0, 1)

    def reconstruct(self, image: np.ndarray) -> np.ndarray:
        """D(E(x)) of an image, uint8 [h, w, 3] of any size: the same shape, rounded as when an image is saved."""
        import torch

        out = np.empty_like(image)
        with torch.inference_mode():
            for seen, kept, inner in _tiles(*image.shape[:2]):
                tile = torch.from_numpy(image[seen].copy()).to(self.device).permute(2, 0, 1)[None]
                made = self.reconstruct_tensor(tile.float() / 255)[0].permute(1, 2, 0)
                out[kept] = (made * 255).round().to(torch.uint8).cpu().numpy()[inner]
        return out


def load_autoencoder(name: str, *, device: str = "cpu") -> Autoencoder:
    """The autoencoder in a folder: one of diffusers (config.json and safetensors; a checkpoint's folder, whose `vae`
    is taken), or a pair of TAESD's files, `taef2_encoder.pth` and `taef2_decoder.pth` or the like.

    Weights are read as tensors alone, never unpickled. Float32.

    Raises:
        DetectorError: there is no such folder, no autoencoder in it, or weights that do not fit.
    """
    folder = Path(name)
    if (folder / "model_index.json").exists() and (folder / "vae").is_dir():
        folder = folder / "vae"
    if not folder.is_dir():
        raise _no_autoencoder(name, "there is no folder of that name")
    if (folder / "config.json").is_file():
        return _diffusers(name, folder, device)
    pairs = [
        (file, file.with_name(file.name.replace("_encoder.", "_decoder.")))
        for file in sorted(folder.glob("*_encoder.*"))
        if file.suffix in (".pth", ".safetensors")
    ]
    pairs = [pair for pair in pairs if pair[1].is_file()]
    if len(pairs) != 1:
        found = "no autoencoder" if not pairs else f"{len(pairs)} pairs of encoder and decoder"
        raise _no_autoencoder(name, f"there is {found} in the folder")
    return _taesd(name, pairs[0], device)


def _diffusers(name: str, folder: Path, device: str) -> Autoencoder:
    import diffusers
    from diffusers.utils import logging

    try:
        kind = json.loads((folder / "config.json").read_text()).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise _no_autoencoder(name, f"its config.json cannot be read ({error})") from None
    if kind not in KINDS:
        raise _no_autoencoder(name, f"a {kind or 'model without a class'} is none of {' and '.join(KINDS)}")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise _no_autoencoder(name, "it has no weights in safetensors")
    verbosity = logging.get_verbosity()
    try:
        logging.set_verbosity_error()  # it warns of entries of config.json that it wrote itself
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: Any = getattr(diffusers, kind).from_pretrained(
                folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
            )
    except Exception as error:  # diffusers and safetensors raise of many kinds at damaged weights
        raise _no_autoencoder(name, f"its weights do not load: {str(error).splitlines()[0]}") from error
    finally:
        logging.set_verbosity(verbosity)
    model = _still(model, device)
    blocks = "block_out_channels" if kind == "AutoencoderKL" else "encoder_block_out_channels"
    factor = 2 ** (len(model.config[blocks]) - 1)

    def through(images: Tensor) -> Tensor:
        encoded = model.encode(2 * images - 1)
        # The mean of the posterior, not a draw from it: the reconstruction is the same at every call.
        latents = encoded.latent_dist.mode() if kind == "AutoencoderKL" else encoded.latents
        return model.decode(latents).sample / 2 + 0.5

    return Autoencoder(name, kind, factor, _hash(files), device, through)


def _taesd(name: str, pair: tuple[Path, Path], device: str) -> Autoencoder:
    import torch

    from detectors import taesd

    try:
        parts: list[nn.Module] = []
        for file, build in zip(pair, (taesd.encoder, taesd.decoder), strict=True):
            if file.suffix == ".safetensors":
                from safetensors.torch import load_file

                weights = load_file(file)
            else:
                weights = torch.load(file, map_location="cpu", weights_only=True)
            parts.append(_still(build(weights), device))
    except Exception as error:  # torch and safetensors raise of many kinds at damaged weights
        raise _no_autoencoder(name, f"its weights do not load: {str(error).splitlines()[0]}") from error
    encode, decode = parts
    return Autoencoder(name, "TAESD", 8, _hash(list(pair)), device, lambda images: decode(encode(images)))


def _still(model: Any, device: str) -> Any:
    """In float32, on the device, without gradients of its weights."""
    return model.float().to(device).eval().requires_grad_(False)


def _hash(files: list[Path]) -> str:
    hashes = [sha256_file(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _tiles(height: int, width: int) -> Iterator[tuple[Any, Any, Any]]:
    """What is seen, what of the image is kept of it, and where that lies in the tile: slices of rows and columns.

    An image of up to TILE pixels a side is one tile. Tiles begin at multiples of 64, whatever the factor.
    """
    for top, down, row in _spans(height):
        for left, right, column in _spans(width):
            yield (top, left), (down, right), (row, column)


def _spans(length: int) -> Iterator[tuple[slice, slice, slice]]:
    if length <= TILE:
        yield slice(0, length), slice(0, length), slice(0, length)
        return
    step = TILE - 2 * MARGIN
    for start in range(0, length, step):
        stop = min(start + step, length)
        first, last = max(start - MARGIN, 0), min(stop + MARGIN, length)
        yield slice(first, last), slice(start, stop), slice(start - first, stop - first)


def _no_autoencoder(name: str, why: str) -> DetectorError:
    return DetectorError(
        f"no autoencoder can be loaded: {why}",
        where=name,
        mend="give a folder of diffusers' AutoencoderKL or AutoencoderTiny (a checkpoint's vae), "
        "or one with a pair like taef2_encoder.pth and taef2_decoder.pth",
    )
