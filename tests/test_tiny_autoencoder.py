"""Checkpoints whose autoencoder is diffusers' AutoencoderTiny: generating, inverting, regenerating, rooting."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit.watermark.keys import Key
from auditkit.watermark.payload import SHORT_WORD, Payload
from auditkit.watermark.signature.extractor import Extractor
from generators.base import Job
from generators.inversion import invert
from generators.latent import LatentGenerator
from generators.regeneration import autoencoder
from generators.rooting import root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 x 16 px, latents of 4 x 8 x 8."""
    from diffusers import AutoencoderTiny

    folder = tiny_sd_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")
    shutil.rmtree(folder / "vae")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            upsampling_scaling_factor=2,
            latent_channels=4,
        ).save_pretrained(folder / "vae")
    index = json.loads((folder / "model_index.json").read_text())
    index["vae"] = ["diffusers", "AutoencoderTiny"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "auditkit.toml").write_text('name = "tiny"\nsampler = "ddim"\nsteps = 2\nguidance = 1.0\n')
    return folder


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> LatentGenerator:
    return LatentGenerator(checkpoint, device="cpu")


def test_noise_is_recovered_from_its_images(generator: LatentGenerator) -> None:
    images = list(generator.generate([Job("a judge", 1), Job("a pilot", 2)], generator.info.defaults))
    found = invert(generator, images)
    assert found.shape == (2, *generator.info.details["latent_shape"])
    assert np.isfinite(found).all()


def test_images_pass_through_it_as_an_attack(generator: LatentGenerator) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 24, 3)).astype(np.uint8)
    assert autoencoder(generator)(image).shape == image.shape


def test_its_decoder_is_rooted(checkpoint: Path, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, SHORT_WORD))
    extractor = Extractor(network.requires_grad_(False), torch.zeros(SHORT_WORD), torch.eye(SHORT_WORD))
    done = root(
        checkpoint, key=Key.from_secret(bytes(32)), payload=Payload(1), out=tmp_path / "new", steps=3, images=16,
        device="cpu", extractor=extractor,
    )  # fmt: skip
    assert done.images == 2
    assert LatentGenerator(tmp_path / "new", device="cpu").info.name == "tiny-rooted"
