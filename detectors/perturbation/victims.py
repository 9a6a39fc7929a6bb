"""Encoders as differentiable functions of pixels: what a perturbation is made against, and what probes for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from auditkit.errors import DetectorError
from auditkit.files import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "diffusion_pytorch_model.safetensors"


class Victim(Protocol):
    """An image encoder."""

    name: str
    sha256: str
    """Of the weights file."""

    def view(self, images: Tensor) -> Tensor:
        """What the encoder sees of images [n, 3, h, w] in [0, 1]: float32 [n, 3, h', w'] in [0, 1]."""
        ...

    def embed_view(self, view: Tensor) -> Tensor:
        """Embeddings of views, float32 [n, d], unit length."""
        ...

    def embed(self, images: Tensor) -> Tensor:
        """`embed_view(view(images))`."""
        ...


class ClipVictim:
    """A CLIP encoder's image tower; resizing is part of it, so that gradients reach every pixel of the image.

    Args:
        named: as for `auditkit.clip.encoders.load_encoder`.
    """

    def __init__(self, named: str, *, device: str = "cpu"):
        from auditkit.clip.encoders import load_encoder

        encoder = load_encoder(named, device=device)
        self.name, self.sha256, self.device = encoder.name, encoder.sha256, device
        self._side = encoder.image_size
        # The public methods of `Encoder` take files and give arrays; a gradient needs the tower itself.
        self._tower = encoder.tower
        settings = getattr(self._tower, "preprocess_cfg", None) or {}
        self._mean, self._std = settings.get("mean", (0.5,) * 3), settings.get("std", (0.5,) * 3)

    def view(self, images: Tensor) -> Tensor:
        from torch.nn.functional import interpolate

        height, width = images.shape[-2:]
        scale = self._side / min(height, width)
        size = (max(self._side, round(height * scale)), max(self._side, round(width * scale)))
        resized = interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - self._side) // 2, (size[1] - self._side) // 2
        return resized[..., top : top + self._side, left : left + self._side]

    def embed_view(self, view: Tensor) -> Tensor:
        from torch.nn.functional import normalize

        mean, std = (view.new_tensor(value).reshape(3, 1, 1) for value in (self._mean, self._std))
        return normalize(self._tower((view - mean) / std).float(), dim=-1)

    def embed(self, images: Tensor) -> Tensor:
        return self.embed_view(self.view(images))


class LatentVictim:
    """The encoder of a diffusers autoencoder (AutoencoderKL, AutoencoderTiny); an embedding is its mean latent, flat.

    Args:
        folder: the `vae` folder of a checkpoint.
        side: look at the middle of an image only, at most so many pixels square; the whole by default, cut to the
            autoencoder's factor, never resized.

    Raises:
        DetectorError: no autoencoder with safetensors weights is there.
    """

    def __init__(self, folder: str | Path, *, side: int | None = None, device: str = "cpu"):
        folder = Path(folder)
        if not (folder / WEIGHTS).is_file():
            raise DetectorError(
                "there is no autoencoder here", where=folder, mend=f"name a diffusers vae folder that holds {WEIGHTS}"
            )
        from diffusers import AutoencoderKL, AutoencoderTiny

        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self._tiny = settings["_class_name"] == "AutoencoderTiny"
            kind: Any = AutoencoderTiny if self._tiny else AutoencoderKL
            self._model: Any = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        except Exception as error:  # a damaged folder raises what diffusers, safetensors or json raise
            raise DetectorError(
                f"the autoencoder cannot be loaded: {str(error).splitlines()[0]}",
                where=folder,
                mend="restore the folder",
            ) from error
        self._model = self._model.to(device).eval().requires_grad_(False)
        self.name, self.device = f"{folder.resolve().parent.name}/{folder.name}", device
        self.sha256 = sha256_file(folder / WEIGHTS)
        self.side = side
        config = self._model.config
        self.factor = 2 ** (len(config.encoder_block_out_channels if self._tiny else config.block_out_channels) - 1)

    def view(self, images: Tensor) -> Tensor:
        most = self.side or max(images.shape[-2:])
        height, width = (min(most, side) // self.factor * self.factor for side in images.shape[-2:])
        top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
        return images[..., top : top + height, left : left + width]

    def latents(self, view: Tensor) -> Tensor:
        """Mean latents of views, float32 [n, c, h', w'], unscaled."""
        found = self._model.encode(view * 2 - 1)
        mean: Tensor = found.latents if self._tiny else found.latent_dist.mean
        return mean

    def embed_view(self, view: Tensor) -> Tensor:
        from torch.nn.functional import normalize

        return normalize(self.latents(view).flatten(1), dim=-1)

    def embed(self, images: Tensor) -> Tensor:
        return self.embed_view(self.view(images))

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents, [n, 3, h, w] in [0, 1]."""
        decoded: Tensor = self._model.decode(latents).sample
        return (decoded / 2 + 0.5).clamp(0, 1)


def to_tensor(images: Any, device: str = "cpu") -> Tensor:
    """uint8 [n, h, w, 3] (or a list of equal sizes) to float32 [n, 3, h, w] in [0, 1]."""
    import numpy as np
    import torch

    array = np.ascontiguousarray(np.stack(list(images)))
    return torch.from_numpy(array).to(device).permute(0, 3, 1, 2).float() / 255


def to_uint8(images: Tensor) -> Any:
    """float32 [n, 3, h, w] in [0, 1] to uint8 [n, h, w, 3], rounded."""
    import numpy as np

    return (images.detach().clamp(0, 1) * 255).round().permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
