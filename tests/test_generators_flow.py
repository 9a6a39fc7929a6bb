"""Flow-matching checkpoints: the plain pipeline's images, in any batch; guidance; clear errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from tiny_checkpoints import tiny_prx_checkpoint

from auditkit.errors import GeneratorError
from auditkit.spec import RunSpec
from generators import samplers
from generators.base import Generator, Job, Settings
from generators.inversion import invert
from generators.latent import LatentGenerator
from generators.load import load_generator
from generators.make import generate

PLAIN = Settings("as-shipped", 3, 1.0)
GUIDED = Settings("as-shipped", 3, 3.0)
WHO = ("judge", "pilot", "artist", "female teacher", "")
JOBS = [Job(f"a portrait of a {who}", seed) for seed, who in enumerate(WHO)]


@pytest.fixture(scope="module", params=["latent", "pixel"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_prx_checkpoint(tmp_path_factory.mktemp("flow") / request.param, pixel=request.param == "pixel")


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> LatentGenerator:
    loaded = load_generator(f"path:{checkpoint}", device="cpu")
    assert isinstance(loaded, LatentGenerator)
    return loaded


def arrays(generator: Generator, jobs: list[Job], settings: Settings, batch: int | None = None) -> np.ndarray:
    made = list(generator.generate(jobs, settings, batch_size=batch))
    return np.stack([np.asarray(image, dtype=int) for image in made])


def test_it_is_a_generator_that_says_what_it_is(generator, checkpoint):
    assert isinstance(generator, Generator)
    info = generator.info
    assert info.kind == ("latent-flow" if checkpoint.name == "latent" else "pixel-flow")
    assert info.resolution == 16
    assert info.details["latent_shape"] == ([4, 8, 8] if checkpoint.name == "latent" else [3, 16, 16])
    assert set(info.weights) >= {"transformer/diffusion_pytorch_model.safetensors"}


FLOWS = [Settings(name, 3, 3.0) for name in ("flow-euler", "flow-heun")]


@pytest.mark.parametrize("settings", [PLAIN, GUIDED, *FLOWS], ids=lambda each: f"{each.sampler} {each.guidance:g}")
def test_an_image_is_the_one_of_the_plain_pipeline(generator, checkpoint, settings):
    pipeline = DiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
    pipeline.scheduler = samplers.make_scheduler(settings.sampler, pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    job = Job("a portrait of a judge", 7, "a picture of a pilot")
    theirs = pipeline(
        job.prompt,
        job.negative,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=torch.Generator().manual_seed(job.seed),
        use_resolution_binning=False,
        output_type="np",
    ).images[0]
    ours = arrays(generator, [job], settings)[0]
    assert np.abs(ours - np.round(theirs * 255)).max() <= 1


@pytest.mark.parametrize("settings", [PLAIN, GUIDED])
def test_a_job_gives_the_same_image_whatever_the_batch_size(generator, settings):
    alone = arrays(generator, JOBS, settings, 1)
    for size in (2, 5):
        assert np.abs(arrays(generator, JOBS, settings, size) - alone).max() <= 1
    assert np.abs(arrays(generator, JOBS[::-1], settings, 3)[::-1] - alone).max() <= 1


def test_a_run_has_the_same_ids_again(generator, tmp_path):
    spec = RunSpec(
        name="tiny", templates=["a portrait of a {job}"], axes={"job": ["judge", "pilot"]}, images_per_prompt=2
    )
    runs = [generate(spec, out=tmp_path / name, generator=generator) for name in ("one", "two")]
    first, second = (run.images()["id"].tolist() for run in runs)
    assert first == second
    assert len(set(first)) == 4


def test_prompts_seeds_guidance_and_negative_prompts_each_change_the_image(generator):
    base = Job("a portrait of a judge", 1)
    first = arrays(generator, [base], GUIDED)
    for job in (Job("a portrait of a pilot", 1), Job(base.prompt, 2), Job(base.prompt, 1, "a picture of a male pilot")):
        assert np.abs(arrays(generator, [job], GUIDED) - first).max() > 1
    assert np.abs(arrays(generator, [base], PLAIN) - first).max() > 1


def test_the_seeds_own_noise_given_by_hand_gives_the_same_image(generator):
    shape = generator.info.details["latent_shape"]
    noise = torch.randn([1, *shape], generator=torch.Generator().manual_seed(3))[0].numpy()
    seeded, given = arrays(generator, [Job("a judge", 3), Job("a judge", 9, noise=noise)], PLAIN)
    assert np.abs(seeded - given).max() <= 1


def test_images_are_rgb_of_the_checkpoints_size(generator):
    image = next(iter(generator.generate(JOBS[:1], PLAIN)))
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (16, 16))


def test_a_sampler_of_another_kind_is_an_error_before_any_work(generator):
    with pytest.raises(GeneratorError, match="beta schedule") as caught:
        generator.generate(JOBS, Settings("ddim", 3, 1.0))
    assert "as-shipped, flow-euler, flow-heun" in caught.value.mend


def test_flow_samplers_differ(generator):
    euler, heun = (arrays(generator, JOBS[:1], settings) for settings in FLOWS)
    assert np.abs(euler - heun).max() > 0


def test_its_noise_cannot_be_recovered_and_that_is_said(generator):
    with pytest.raises(GeneratorError):
        invert(generator, [Image.new("RGB", (16, 16))])


def test_a_folder_of_an_unknown_class_is_one_clear_error(checkpoint, tmp_path):
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"_class_name": "NoSuchPipeline"}))
    with pytest.raises(GeneratorError, match="NoSuchPipeline") as caught:
        load_generator(f"path:{copy}", device="cpu")
    assert "PRXPipeline" in caught.value.mend


def test_a_folder_without_its_transformer_is_one_clear_error(checkpoint, tmp_path):
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    shutil.rmtree(copy / "transformer")
    with pytest.raises(GeneratorError, match="component 'transformer'"):
        load_generator(f"path:{copy}", device="cpu")
