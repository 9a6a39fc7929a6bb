"""Samplers: every name gives sane images at any number of steps, on the checkpoints that it fits."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_checkpoints import SCHEDULER, tiny_prx_checkpoint, tiny_sd_checkpoint

from auditkit.errors import GeneratorError
from generators import samplers
from generators.base import Job, Settings
from generators.load import load_generator

BETA = ["as-shipped", "ddpm", "ddim", "dpm++2m", "dpm++2m-karras", "unipc", "euler", "euler-a", "lcm"]
FLOW = ["as-shipped", "flow-euler", "flow-heun"]


@pytest.fixture(scope="module")
def rescaled(tmp_path_factory):
    """A checkpoint of v-prediction with zero terminal SNR, as the bundled ones are."""
    return load_generator(f"path:{tiny_sd_checkpoint(tmp_path_factory.mktemp('sd'))}", device="cpu")


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    return load_generator(f"path:{tiny_prx_checkpoint(tmp_path_factory.mktemp('flow'))}", device="cpu")


def pixels(generator, sampler, steps):
    images = generator.generate([Job("a judge", 1), Job("a pilot", 2)], Settings(sampler, steps, 1.0))
    return np.stack([np.asarray(image, dtype=float) for image in images])


def test_every_named_sampler_is_tried_here(rescaled, flow):
    assert samplers.fitting(rescaled.pipeline.scheduler) == BETA
    assert samplers.fitting(flow.pipeline.scheduler) == FLOW
    assert set(samplers.names()) == {*BETA, *FLOW}


@pytest.mark.parametrize("steps", [1, 2, 12, 40])
@pytest.mark.parametrize("sampler", BETA)
def test_a_sampler_makes_two_different_images_that_are_no_plain_areas(rescaled, sampler, steps):
    made = pixels(rescaled, sampler, steps)
    assert made.std(axis=(1, 2, 3)).min() > 5
    assert np.abs(made[0] - made[1]).max() > 5


@pytest.mark.parametrize("steps", [1, 2, 12, 40])
@pytest.mark.parametrize("sampler", FLOW)
def test_a_flow_sampler_makes_two_different_images_that_are_no_plain_areas(flow, sampler, steps):
    made = pixels(flow, sampler, steps)
    assert made.std(axis=(1, 2, 3)).min() > 1
    assert np.abs(made[0] - made[1]).max() > 1


@pytest.mark.parametrize("steps", [2, 25, 100])
def test_karras_steps_begin_at_pure_noise_and_go_on_below_the_unscaled_largest_sigma(steps):
    from diffusers import DDIMScheduler

    scheduler = samplers.make_scheduler("dpm++2m-karras", DDIMScheduler(**SCHEDULER))
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.numpy()
    assert len(sigmas) == steps + 1
    assert sigmas[0] > 1000
    assert sigmas[1] == pytest.approx(14.615, abs=0.001)  # of the unscaled schedule of Stable Diffusion
    assert (np.diff(sigmas) < 0).all()
    assert scheduler.timesteps[0] == 999
    assert scheduler.timesteps[1] < 999


def test_karras_steps_of_a_plain_schedule_are_diffusers_own():
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    plain = DDIMScheduler(**SCHEDULER | {"rescale_betas_zero_snr": False})
    ours = samplers.make_scheduler("dpm++2m-karras", plain)
    theirs = DPMSolverMultistepScheduler.from_config(plain.config, use_karras_sigmas=True)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(20)
    assert (ours.sigmas == theirs.sigmas).all()


def test_a_sampler_of_the_other_kind_is_refused(rescaled, flow):
    for generator, sampler in ((rescaled, "flow-heun"), (flow, "ddim")):
        with pytest.raises(GeneratorError, match="needs a checkpoint trained"):
            pixels(generator, sampler, 4)
