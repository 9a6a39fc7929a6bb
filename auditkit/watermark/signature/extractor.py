"""The extractor of rooted marks: `codec`'s decoder, its outputs whitened on unmarked images.

    python -m auditkit.watermark.signature.extractor FOLDER... [--out FILE]

computes the whitening anew from the images below the folders (never from images that figures are reported on) and
writes `whitening.safetensors`; do so whenever the decoder is trained anew. It depends on no key.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.files import write_atomic

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FILE = Path(__file__).with_name("whitening.safetensors")
COMMAND = "python -m auditkit.watermark.signature.extractor FOLDER..."
SHRINKAGE = 0.02
"""Towards equal variances: directions in which unmarked images hardly differ would be blown up otherwise."""


@dataclass(frozen=True)
class Extractor:
    """A network with the whitening of its outputs; differentiable.

    Attributes:
        network: images, float [n, 3, h, w] in [0, 1], to logits [n, bits].
        mean, matrix: float32 [bits], [bits, bits]: a whitened output is `(logits - mean) @ matrix`.
    """

    network: nn.Module
    mean: Tensor
    matrix: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Whitened outputs [n, bits]: mean 0, variance 1 and uncorrelated over unmarked images."""
        return (self.network(images).float() - self.mean) @ self.matrix

    def to(self, device: torch.device | str) -> Extractor:
        return replace(
            self, network=self.network.to(device), mean=self.mean.to(device), matrix=self.matrix.to(device)
        )


def load(device: str = "cpu") -> Extractor:
    """The bundled extractor, frozen, on that device.

    Raises:
        WatermarkError: the whitening is missing, damaged, or of another network than the bundled one.
    """
    return _bundled().to(device) if device == "cpu" else _load().to(device)


def read(image: np.ndarray) -> np.ndarray:
    """Whitened outputs for one image, uint8 [h, w, 3]: float64 [bits]."""
    import torch

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    extractor = _bundled()  # loaded outside inference mode: rooting asks the same one for gradients
    with torch.inference_mode():
        return extractor(pixels)[0].double().numpy()


def fit(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean [bits], matrix [bits, bits]), float32, that whiten `logits` [n, bits] of unmarked images.

    Of all whitenings it is the symmetric one (ZCA), whose outputs stay nearest to the network's own bits.
    """
    mean = logits.mean(0)
    covariance = np.cov(logits, rowvar=False)
    size = len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / size * np.eye(size)
    values, vectors = np.linalg.eigh(covariance)
    matrix = vectors / np.sqrt(np.maximum(values, 1e-12 * values.max())) @ vectors.T
    return mean.astype(np.float32), matrix.astype(np.float32)


@lru_cache(maxsize=1)
def _bundled() -> Extractor:
    return _load()


def _load() -> Extractor:
    import torch
    from safetensors import SafetensorError, safe_open

    from auditkit.watermark.codec.network import load_decoder

    network = load_decoder().eval().requires_grad_(False)
    try:
        with safe_open(FILE, framework="np") as file:
            mean, matrix = file.get_tensor("mean"), file.get_tensor("matrix")
            of = (file.metadata() or {}).get("network")
    except (OSError, SafetensorError) as error:
        raise WatermarkError("the signature's whitening is missing or damaged", where=FILE, mend=COMMAND) from error
    if of != digest(network):
        raise WatermarkError("the signature's whitening is that of another extractor", where=FILE, mend=COMMAND)
    return Extractor(network, torch.from_numpy(mean), torch.from_numpy(matrix))


def digest(network: nn.Module) -> str:
    """The sha256 of a network's weights."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode() + np.ascontiguousarray(value.cpu().numpy()).tobytes())
    return found.hexdigest()


def views(images: Sequence[Path], *, each: int = 8, seed: int = 0) -> Iterator[np.ndarray]:
    """`each` views of every image, uint8 [h, w, 3]: crops of 40% to 100% of the side at 96 to 512 px, some mirrored."""
    from PIL import Image

    from auditkit.images import open_image

    rng = np.random.default_rng(seed)
    for path in images:
        image = open_image(path)
        for _ in range(each):
            share = rng.uniform(0.4, 1.0)
            w, h = round(share * image.width), round(share * image.height)
            x, y = int(rng.integers(image.width - w + 1)), int(rng.integers(image.height - h + 1))
            scale = min(1.0, rng.uniform(96, 512) / min(w, h)) if min(w, h) > 96 else 1.0
            view = image.crop((x, y, x + w, y + h)).resize(
                (max(64, round(scale * w)), max(64, round(scale * h))), Image.Resampling.BICUBIC
            )
            yield np.asarray(view)[:, :: rng.choice([-1, 1])]


def whiten(folders: Sequence[Path], out: Path = FILE, *, each: int = 8) -> int:
    """Fit the whitening to the images below `folders`, write it to `out`; how many views it was fitted to."""
    import torch
    from safetensors.numpy import save

    from auditkit.watermark.codec.network import load_decoder

    files = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix in (".png", ".jpg", ".webp"))
    network: Any = load_decoder().eval()
    logits = []
    with torch.inference_mode():
        for view in views(files, each=each):
            pixels = torch.from_numpy(view.copy()).permute(2, 0, 1)[None].float() / 255
            logits.append(network(pixels)[0].double().numpy())
    if len(logits) < 2 * len(logits[0] if logits else [0]):
        raise WatermarkError(
            f"{len(files)} images are too few to whiten by", where=", ".join(map(str, folders)), mend="add images"
        )
    mean, matrix = fit(np.array(logits))
    write_atomic(out, save({"mean": mean, "matrix": matrix}, {"network": digest(network), "views": str(len(logits))}))
    return len(logits)


if __name__ == "__main__":
    named = sys.argv[1:]
    where = Path(named.pop(named.index("--out") + 1)) if "--out" in named else FILE
    print(f"{whiten([Path(name) for name in named if name != '--out'], where)} views")
