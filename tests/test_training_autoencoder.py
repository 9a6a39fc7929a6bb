"""The autoencoder's training: its export, and training the decoder alone."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
import training_helpers as tiny
from diffusers import AutoencoderKL

from auditkit.errors import GeneratorError
from generators.training import autoencoder


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    tiny.shrink(monkeypatch)


def train(out, **changes):
    table = tiny.table(occupations=("judge",))
    options = {"device": "cpu", "latent_channels": 4, "canvas": tiny.CANVAS} | changes
    return autoencoder.train(table, out, tiny.schedule(), **options)


def test_two_steps_write_a_folder_that_diffusers_loads(tmp_path):
    folder = train(tmp_path)
    vae = AutoencoderKL.from_pretrained(folder)
    record = json.loads((tmp_path / "autoencoder.json").read_text())
    assert vae.config["latent_channels"] == 4
    assert vae.config["sample_size"] == tiny.CANVAS
    assert vae.config["scaling_factor"] == record["scaling_factor"] > 0
    assert record["psnr_held_out_db"] > 0
    assert vae.encode(torch.zeros(1, 3, 32, 32)).latent_dist.mode().shape == (1, 4, 4, 4)


def test_training_the_decoder_further_leaves_the_encoder_as_it_was(tmp_path):
    start = AutoencoderKL.from_pretrained(tiny.tiny_vae(tmp_path / "start")).state_dict()
    end = AutoencoderKL.from_pretrained(train(tmp_path / "more", decoder_of=tmp_path / "start")).state_dict()
    changed = {key for key in start if not torch.equal(start[key], end[key])}
    assert changed
    assert {key.split(".")[0] for key in changed} <= {"decoder", "post_quant_conv"}


def test_a_decoder_that_is_not_there_is_named_without_asking_the_network(tmp_path):
    with pytest.raises(GeneratorError) as caught:
        train(tmp_path, decoder_of=tmp_path / "nowhere")
    assert caught.value.where == tmp_path / "nowhere"


def test_the_gradient_loss_is_zero_for_pictures_a_constant_apart():
    picture = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert autoencoder.gradient_l1(picture, picture + 0.25) < 1e-6
    assert autoencoder.gradient_l1(picture, picture.flip(-1)) > 0.1


def test_psnr_and_scale_are_measured_on_the_latents_and_pictures():
    class TooDark(torch.nn.Module):
        """Latents are the pictures; what is restored is 0.2 too dark of a range of 2, so 20 dB."""

        def encode(self, images):
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: images))

        def decode(self, latents):
            return SimpleNamespace(sample=latents - 0.2)

    drawings = torch.randint(60, 200, (70, 4, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    drawings[:, 3] = 255
    scale, psnr = autoencoder.measure(TooDark(), drawings, 8)
    assert psnr == pytest.approx(20, abs=1e-3)
    assert scale == pytest.approx(float(1 / (drawings[:, :3] / 127.5).std()), rel=1e-3)
