"""Latents of own images: each image keeps its own, in any order, mirrored or not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from generators.training.own import latents
from generators.training.own.reading import read


class Plain(torch.nn.Module):
    """An autoencoder that keeps every eighth pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(scaling_factor=1.0, shift_factor=0.0)

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def encode(self, images: torch.Tensor) -> SimpleNamespace:
        small = images[..., ::8, ::8]
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: small))

    def decode(self, small: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=small.repeat_interleave(8, -1).repeat_interleave(8, -2))


def _encoded(tmp_path, *, mirror: bool):
    """Twelve images of two shapes in turn, each of a colour of its own, dark on its left half."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["file_name,text"]
    for number in range(12):
        size = (64, 64) if number % 2 else (96, 64)
        picture = Image.new("RGB", size, (20 * number + 10, 0, 0))
        picture.paste((0, 0, 0), (0, 0, size[0] // 2, size[1]))
        picture.save(folder / f"{number:02d}.png")
        lines.append(f"{number:02d}.png,caption {number}")
    (folder / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    items = read(folder).items
    buckets = np.array([number % 2 for number in range(12)])
    return items, latents.encode(Plain(), items, [(96, 64), (64, 64)], buckets, mirror=mirror)


def test_each_image_keeps_the_latents_of_its_own_picture_in_any_order(tmp_path):
    items, made = _encoded(tmp_path, mirror=False)
    rows = np.array([9, 1, 11, 5, 3, 7])
    taken = made.take(1, rows, torch.Generator().manual_seed(0), "cpu")
    for row, latent in zip(rows, taken, strict=True):
        red = (float(latent[0, 0, -1]) + 1) * 127.5
        assert abs(red - (20 * int(items[row].caption.split()[1]) + 10)) < 1


def test_mirrored_images_are_kept_beside_those_as_they_are(tmp_path):
    _, made = _encoded(tmp_path, mirror=True)
    for bucket in made.buckets:
        assert bucket.shape[1] == 2
        assert bucket[:, 0, 0, :, 0].eq(-1).all()
        assert bucket[:, 1, 0, :, -1].eq(-1).all()
    taken = made.take(1, np.array([1] * 40), torch.Generator().manual_seed(0), "cpu")
    assert 5 < int(taken[:, 0, 0, 0].eq(-1).sum()) < 35
