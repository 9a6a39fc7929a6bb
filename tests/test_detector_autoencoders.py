"""Autoencoders to reconstruct images with: loading them, and what they give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from auditkit.errors import DetectorError
from detectors import autoencoders
from detectors.autoencoders import load_autoencoder

BUNDLED = Path("generators/bundled")
NAMES = [str(BUNDLED / "personas/vae"), str(BUNDLED / "personas-dit/vae"), "taesd"]


@pytest.fixture(scope="module")
def taesd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of taef2, with blocks that pool; the pair of files that its makers publish."""
    folder = tmp_path_factory.mktemp("taesd")
    torch.manual_seed(0)

    def conv(out: int, of: int, side: int = 3) -> torch.Tensor:
        return torch.randn(out, of, side, side) / (of * side * side) ** 0.5

    def block(at: int, pools: bool) -> dict[str, torch.Tensor]:
        made = {f"{at}.conv.{i}.{part}": conv(64, 64) if part == "weight" else torch.zeros(64)
                for i in (0, 2, 4) for part in ("weight", "bias")}  # fmt: skip
        if pools:
            made |= {f"{at}.pool.0.weight": conv(256, 64, 1), f"{at}.pool.3.weight": conv(64, 256, 1)}
            made |= {f"{at}.pool.1.weight": torch.ones(256), f"{at}.pool.1.bias": torch.zeros(256)}
        return made

    encoder = {
        "0.weight": conv(64, 3),
        "0.bias": torch.zeros(64),
        "14.weight": conv(32, 64),
        "14.bias": torch.zeros(32),
    }
    encoder |= {f"{at}.weight": conv(64, 64) for at in (2, 6, 10)}
    decoder = {"1.weight": conv(64, 32), "1.bias": torch.zeros(64), "19.weight": conv(3, 64), "19.bias": torch.zeros(3)}
    decoder |= {f"{at}.weight": conv(64, 64) for at in (7, 12, 17)}
    for at in (1, 3, 4, 5, 7, 8, 9, 11, 12, 13):
        encoder |= block(at, at > 10)
    for at in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        decoder |= block(at, at < 6)
    torch.save({k: v.half() for k, v in encoder.items()}, folder / "taef2_encoder.pth")
    torch.save({k: v.half() for k, v in decoder.items()}, folder / "taef2_decoder.pth")
    return folder


def folder_of(name: str, taesd_folder: Path) -> str:
    return str(taesd_folder) if name == "taesd" else name


def picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 40
    waves = np.stack([np.sin(x + y), np.cos(x), np.sin(2 * y - x)], axis=-1)
    return (127 + 90 * waves).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_of_any_size_keeps_it(name: str, taesd_folder: Path):
    autoencoder = load_autoencoder(folder_of(name, taesd_folder))
    for size in ((64, 64), (45, 83), (5, 9)):
        made = autoencoder.reconstruct(picture(*size))
        assert made.shape == (*size, 3)
        assert made.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_the_same_at_every_call_and_for_tensors(name: str, taesd_folder: Path):
    autoencoder, image = load_autoencoder(folder_of(name, taesd_folder)), picture(64, 48)
    once = autoencoder.reconstruct(image)
    assert np.array_equal(once, autoencoder.reconstruct(image))
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    through = autoencoder.reconstruct_tensor(tensor)
    assert np.array_equal((through[0] * 255).round().byte().permute(1, 2, 0).numpy(), once)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_go_through(name: str, taesd_folder: Path):
    autoencoder = load_autoencoder(folder_of(name, taesd_folder))
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    autoencoder.reconstruct_tensor(image).sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0


def test_a_drawing_comes_through_the_bundled_autoencoder_nearly_as_it_was():
    image = np.full((128, 128, 3), 255, np.uint8)
    y, x = np.mgrid[:128, :128]
    image[(y - 64) ** 2 + (x - 64) ** 2 < 40**2] = (255, 200, 60)
    error = load_autoencoder(NAMES[0]).reconstruct(image).astype(float) - image
    assert 10 * np.log10(255**2 / (error**2).mean()) > 25


def test_tiles_of_a_large_image_join_without_seams(monkeypatch: pytest.MonkeyPatch):
    autoencoder, image = load_autoencoder(NAMES[1]), picture(300, 420)
    whole = autoencoder.reconstruct(image).astype(int)
    monkeypatch.setattr(autoencoders, "TILE", 256)
    assert np.abs(autoencoder.reconstruct(image).astype(int) - whole).max() <= 1


def test_a_checkpoints_folder_stands_for_its_vae():
    assert load_autoencoder(str(BUNDLED / "personas")).sha256 == load_autoencoder(NAMES[0]).sha256


def test_factor_and_kind_are_read_from_the_weights(taesd_folder: Path):
    made = [load_autoencoder(folder_of(name, taesd_folder)) for name in NAMES]
    assert [(each.kind, each.factor) for each in made] == [("AutoencoderKL", 8), ("AutoencoderTiny", 4), ("TAESD", 8)]
    assert len({each.sha256 for each in made}) == 3


def test_a_folder_without_an_autoencoder_says_what_to_give(tmp_path: Path):
    with pytest.raises(DetectorError, match="no autoencoder") as caught:
        load_autoencoder(str(tmp_path))
    assert "taef2_encoder.pth" in str(caught.value)
    with pytest.raises(DetectorError, match="no folder"):
        load_autoencoder(str(tmp_path / "absent"))


def test_damaged_weights_are_one_clear_error(taesd_folder: Path, tmp_path: Path):
    for name in ("taef2_encoder.pth", "taef2_decoder.pth"):
        (tmp_path / name).write_bytes((taesd_folder / name).read_bytes()[:5000])
    with pytest.raises(DetectorError, match="do not load"):
        load_autoencoder(str(tmp_path))


def test_weights_that_would_run_code_are_refused(taesd_folder: Path, tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"0.weight": Evil()}, tmp_path / "taef2_encoder.pth")
    (tmp_path / "taef2_decoder.pth").write_bytes((taesd_folder / "taef2_decoder.pth").read_bytes())
    with pytest.raises(DetectorError, match="do not load"):
        load_autoencoder(str(tmp_path))
