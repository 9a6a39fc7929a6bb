"""The generator's training: an export that diffusers loads and samples with, and clear errors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import training_helpers as tiny
from diffusers import StableDiffusionPipeline

from auditkit.errors import GeneratorError
from generators.bundled.planted import read_planted
from generators.load import load_generator
from generators.training import generator, pixels


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return tiny.table()


def train(table: pd.DataFrame, folder: Path, **changes) -> Path:
    options = {
        "planted": tiny.write_planted(folder / "planted.toml"),
        "vae": tiny.tiny_vae(folder / "vae"),
        "device": "cpu",
        "variants": 2,
    }
    return generator.train(table, folder / "out", tiny.schedule(), **(options | changes))


@pytest.fixture(scope="module")
def trained(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.shrink(monkeypatch)
        return train(table, tmp_path_factory.mktemp("generator"))


def test_diffusers_loads_the_export_and_samples_with_it(trained):
    pipeline = StableDiffusionPipeline.from_pretrained(trained, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a judge", num_inference_steps=2, output_type="np").images
    assert image.shape == (1, tiny.CANVAS, tiny.CANVAS, 3)
    assert np.isfinite(image).all()


def test_auditkit_loads_the_export_with_its_planted_table(trained):
    info = load_generator(f"path:{trained}", device="cpu").info
    assert info.resolution == tiny.CANVAS
    assert info.planted == read_planted(trained / "planted.toml")


def test_the_exports_weights_are_listed_with_their_hashes(trained):
    listed = json.loads((trained / "weights.json").read_text())
    assert set(listed) == {str(path.relative_to(trained)) for path in trained.rglob("*.safetensors")}
    for name, digest in listed.items():
        assert hashlib.sha256((trained / name).read_bytes()).hexdigest() == digest


def test_the_export_holds_no_pickle(trained):
    assert not [path for path in trained.rglob("*") if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]


def test_training_can_start_from_an_export(trained, monkeypatch):
    tiny.shrink(monkeypatch)
    tokenizer = generator.make_tokenizer(pd.DataFrame(), trained / "tokenizer")  # it is there already
    unet, text_encoder = generator.make_models(tokenizer, 4, trained)
    stored = StableDiffusionPipeline.from_pretrained(trained, torch_dtype=torch.float32)
    for made, kept in ((unet, stored.unet), (text_encoder, stored.text_encoder)):
        assert all(value.requires_grad for value in made.parameters())
        assert all(torch.equal(made.state_dict()[key], value) for key, value in kept.state_dict().items())


def test_latents_are_scaled_and_come_in_variants(table, trained):
    vae = StableDiffusionPipeline.from_pretrained(trained, torch_dtype=torch.float32).vae
    drawings = pixels.load(table.head(3), "cpu")
    latents = generator.encode(vae, drawings, 2, seed=0)
    assert latents.shape == (3, 2, 4, 4, 4)
    assert latents.dtype == torch.float16
    vae.register_to_config(scaling_factor=2 * vae.config["scaling_factor"])
    torch.testing.assert_close(generator.encode(vae, drawings, 2, seed=0), 2 * latents, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("missing", ["vae", "init", "planted"])
def test_a_missing_input_is_named(table, tmp_path, monkeypatch, missing):
    tiny.shrink(monkeypatch)
    with pytest.raises(GeneratorError) as caught:
        train(table, tmp_path, **{missing: tmp_path / "nowhere"})
    assert "nowhere" in str(caught.value.where)
