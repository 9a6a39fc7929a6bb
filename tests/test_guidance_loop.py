"""The denoising loop: with no mitigation the pipeline's own latents and images, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from guidance_helpers import JOBS, aimed, plain, same, steered
from tiny_checkpoints import CHECKPOINTS

from auditkit.guidance import Batch, Mitigation, Model
from auditkit.guidance.base import Aim
from auditkit.guidance.loop import Step, denoise
from auditkit.guidance.networks import UNet
from generators.base import Settings
from generators.latent import LatentGenerator
from generators.load import load_generator
from generators.samplers import make_scheduler


class Idle(Mitigation):
    """Watches, and changes nothing."""

    name = title = reference = "idle"

    def prepare(self, *_: Any) -> None:
        self.steps: list[Step] = []

    def predict(self, step: Step) -> torch.Tensor:
        self.steps.append(step)
        return step.guided


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CHECKPOINTS["sd"](tmp_path_factory.mktemp("tiny") / "sd")


@pytest.fixture(scope="module")
def generator(sd: Path) -> LatentGenerator:
    return LatentGenerator(sd, device="cpu")


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++2m", "dpm++2m-karras", "unipc", "euler", "euler-a", "lcm"])
def test_a_unets_latents_are_those_of_diffusers_own_pipeline(sd: Path, sampler: str, guidance: float) -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(sd, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, unwanted = pipe.encode_prompt(["a judge", "a pilot"], "cpu", 1, True)
        pipe.scheduler = make_scheduler(sampler, pipe.scheduler)
        expected = pipe(
            prompt_embeds=wanted, negative_prompt_embeds=unwanted, latents=noise, guidance_scale=guidance,
            num_inference_steps=4, generator=_draws(), output_type="latent",
        ).images  # fmt: skip
        found = denoise(
            UNet(pipe.unet), make_scheduler(sampler, pipe.scheduler), noise, {"prompt_embeds": wanted},
            {"prompt_embeds": unwanted} if guidance > 1 else None, steps=4, guidance=guidance, draws=_draws(),
        )  # fmt: skip
    assert torch.equal(found, expected)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("kind", ["sd", "sdxl", "prx", "prx-pixel"])
def test_every_kind_that_it_runs_gives_the_same_images_under_an_idle_mitigation(
    tmp_path: Path, kind: str, guidance: float
) -> None:
    tiny = LatentGenerator(CHECKPOINTS[kind](tmp_path / kind), device="cpu")
    settings = Settings("as-shipped", 3, guidance)
    method = Idle()
    assert all(same(steered(tiny, method, aimed(["female", "male", None]), settings), plain(tiny, JOBS, settings)))
    assert len(method.steps) == 3


@pytest.mark.parametrize("name", ["personas", "personas-turbo", "personas-dit", "personas-pixel"])
def test_a_bundled_models_images_are_its_own(name: str) -> None:
    bundled = load_generator(name, device="cpu")
    settings = Settings(bundled.info.defaults.sampler, 2, bundled.info.defaults.guidance)
    assert isinstance(bundled, LatentGenerator)
    assert all(same(steered(bundled, Idle(), aimed(["female"] * 3), settings), plain(bundled, JOBS, settings)))


def test_a_prompt_of_its_own_negative_goes_through_the_loop(generator: LatentGenerator) -> None:
    from dataclasses import replace

    jobs = [replace(job, negative="a cook") for job in JOBS]
    settings = Settings("ddim", 3, 3.0)
    expected = plain(generator, jobs, settings)
    assert all(same(steered(generator, Idle(), aimed(["female"] * 3, jobs), settings), expected))
    assert not any(same(expected, plain(generator, JOBS, settings)))


def test_hooks_see_the_steps_in_order_with_what_was_predicted(generator: LatentGenerator) -> None:
    method = Idle()
    steered(generator, method, aimed(["female"] * 3), Settings("ddim", 4, 3.0))
    assert [step.number for step in method.steps] == [0, 1, 2, 3]
    assert [step.progress for step in method.steps] == [0, 0.25, 0.5, 0.75]
    step = method.steps[1]
    assert step.unconditional is not None
    assert torch.equal(step.guided, step.unconditional + 3.0 * (step.conditional - step.unconditional))
    with torch.inference_mode():
        assert torch.allclose(step.predict(step.text), step.conditional, atol=1e-5)


def test_without_guidance_there_is_no_unconditional_answer(generator: LatentGenerator) -> None:
    method = Idle()
    steered(generator, method, aimed(["female"] * 3), Settings("ddim", 2, 1.0))
    assert all(step.unconditional is None and step.guided is step.conditional for step in method.steps)


def test_the_clean_latents_of_the_last_step_are_the_images(generator: LatentGenerator) -> None:
    method, ended = Idle(), list[torch.Tensor]()
    method.move = lambda step, x: ended.append(x) or x  # type: ignore[method-assign, func-returns-value]
    steered(generator, method, aimed(["female"] * 3), Settings("ddim", 8, 1.0))
    last = method.steps[-1]
    assert torch.allclose(last.clean(last.guided), ended[-1], atol=0.05)
    assert not torch.allclose(last.x, ended[-1], atol=0.05)


@pytest.mark.parametrize("kind", ["prx", "prx-pixel"])
def test_the_clean_latents_of_a_flow_lie_where_its_velocity_leads(tmp_path: Path, kind: str) -> None:
    tiny, method = LatentGenerator(CHECKPOINTS[kind](tmp_path / kind), device="cpu"), Idle()
    steered(tiny, method, aimed(["female"] * 3), Settings("as-shipped", 3, 1.0))
    step = method.steps[0]
    t = step.time / step.scheduler.config.num_train_timesteps
    velocity = step.network.output(step.guided, step.x, step.time, step.scheduler)
    assert torch.allclose(step.clean(step.guided), step.x - t * velocity, atol=1e-4)


def test_a_hook_can_take_gradients_through_the_network(generator: LatentGenerator) -> None:
    class Downhill(Idle):
        def predict(self, step: Step) -> torch.Tensor:
            with torch.inference_mode(False), torch.enable_grad():
                x = step.x.clone().requires_grad_()
                text = {name: tensor.clone() for name, tensor in step.text.items()}
                clean = step.clean(step.predict(text, x), x)
                (slope,) = torch.autograd.grad(clean.square().mean(), x)
            return step.guided + slope

    settings = Settings("ddim", 2, 1.0)
    assert not any(
        same(steered(generator, Downhill(), aimed(["female"] * 3), settings), plain(generator, JOBS, settings))
    )


@pytest.mark.parametrize("kind", ["sd", "prx", "prx-pixel"])
def test_a_hook_can_take_gradients_through_the_decoder(tmp_path: Path, kind: str) -> None:
    class Darker(Idle):
        def predict(self, step: Step) -> torch.Tensor:
            decode = step.batch.model.decode
            assert decode is not None
            with torch.inference_mode(False), torch.enable_grad():
                x = step.x.clone().requires_grad_()
                images = decode(step.clean(step.guided.clone(), x) + x)
                assert images.shape == (len(x), 3, 16, 16)
                (slope,) = torch.autograd.grad(images.mean(), x)
            return step.guided + slope

    tiny, settings = LatentGenerator(CHECKPOINTS[kind](tmp_path / kind), device="cpu"), Settings("as-shipped", 2, 1.0)
    method = Darker()
    model = tiny.model(1.0)
    with tiny.mitigated(method, model):
        assert len(plain(tiny, JOBS, settings)) == 3


def test_a_mitigation_without_a_batch_is_a_mistake_of_the_caller(generator: LatentGenerator) -> None:
    with pytest.raises(ValueError, match="what is to be done"):
        denoise(UNet(None), None, torch.zeros(1), {}, steps=1, mitigation=Idle())


def test_a_batch_knows_which_images_are_acted_on() -> None:
    aims = [Aim("a", True), Aim("b", False), Aim("c", True)]
    assert Batch(Model("m", 1.0), aims).acting == [0, 2]


def _draws() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]
