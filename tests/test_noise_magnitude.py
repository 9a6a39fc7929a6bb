"""The text-conditional noise of prompts: measured as defined, and refused where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import tiny_prx_checkpoint, tiny_sd_checkpoint

from auditkit.errors import GeneratorError
from auditkit.prompts import image_seed
from generators.latent import LatentGenerator
from generators.noise_magnitude import Magnitudes, memorisation, noise_magnitudes

PROMPTS = ["a portrait of a woman", "a picture of a man", "a person"]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return LatentGenerator(tiny_sd_checkpoint(tmp_path_factory.mktemp("sd")), device="cpu")


def test_the_first_step_is_the_difference_of_two_predictions_from_the_same_noise(generator: Any) -> None:
    found = noise_magnitudes(generator, PROMPTS[:1], steps=4, seeds=1)
    shape = generator.info.details["latent_shape"]
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(image_seed(0, PROMPTS[0], 0)))
    pipeline = generator.pipeline
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(4)
    with torch.inference_mode():
        wanted, empty = (
            pipeline.unet(noise, scheduler.timesteps[0], generator.encode(text)["prompt_embeds"]).sample
            for text in (PROMPTS[0], "")
        )
    expected = float((wanted - empty).square().mean().sqrt())
    assert found.sizes.shape == (1, 1, 1)
    assert float(found.sizes[0, 0, 0]) == pytest.approx(expected, rel=1e-4)
    assert expected > 0


def test_a_prompt_is_measured_alike_alone_and_among_others(generator: Any) -> None:
    together = noise_magnitudes(generator, PROMPTS, steps=3, first=3, seeds=2)
    alone = noise_magnitudes(generator, PROMPTS[2:], steps=3, first=3, seeds=2)
    assert together.sizes.shape == (3, 2, 3)
    assert np.allclose(together.sizes[2], alone.sizes[0], rtol=1e-3)


def test_a_generator_without_a_unet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="only of a UNet"):
        noise_magnitudes(LatentGenerator(tiny_prx_checkpoint(tmp_path), device="cpu"), PROMPTS)


def test_a_network_that_sees_no_text_is_refused(generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dict(generator.pipeline.unet.config) | {
        "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",),
    }
    monkeypatch.setattr(generator.pipeline.unet, "_internal_dict", type(generator.pipeline.unet.config)(config))
    with pytest.raises(GeneratorError, match="no cross-attention"):
        noise_magnitudes(generator, PROMPTS)


def test_a_network_with_guidance_built_in_is_refused(generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dict(generator.pipeline.unet.config) | {"time_cond_proj_dim": 8}
    monkeypatch.setattr(generator.pipeline.unet, "_internal_dict", type(generator.pipeline.unet.config)(config))
    with pytest.raises(GeneratorError, match="no unconditional prediction"):
        noise_magnitudes(generator, PROMPTS)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"seeds": 0}, {"guidance": 0}, {"steps": 2, "first": 3}])
def test_numbers_out_of_range_are_refused(generator: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(GeneratorError, match="out of range"):
        noise_magnitudes(generator, PROMPTS, **wrong)


def test_an_empty_prompt_is_refused(generator: Any) -> None:
    with pytest.raises(GeneratorError, match="empty"):
        noise_magnitudes(generator, ["a person", " "])


def sizes(prefix: str, values: list[float], **settings: Any) -> Magnitudes:
    prompts = [f"{prefix} {number}" for number in range(len(values))]
    return Magnitudes(prompts, np.array(values, np.float32)[:, None, None], settings)


def test_a_prompt_over_all_ordinary_ones_is_called_memorised_where_there_are_enough() -> None:
    ordinary = sizes("ordinary", list(np.linspace(0, 1, 19)))
    table, at = memorisation(sizes("asked", [0.5, 2.0]), ordinary, rate=0.05)
    assert table[["prompt", "verdict"]].to_numpy().tolist() == [["asked 1", "memorised"], ["asked 0", "no sign"]]
    assert at is not None
    assert at.expected == pytest.approx(0.05)


def test_too_few_ordinary_prompts_give_no_verdict() -> None:
    table, at = memorisation(sizes("asked", [2.0]), sizes("ordinary", [0.0, 1.0]), rate=0.05)
    assert table["verdict"].to_list() == ["insufficient"]
    assert at is not None
    assert at.needed == 19


def test_without_ordinary_prompts_they_are_ranked_alone() -> None:
    table, at = memorisation(sizes("asked", [1.0, 2.0]))
    assert table["prompt"].to_list() == ["asked 1", "asked 0"]
    assert set(table["verdict"]) == {"uncalibrated"}
    assert at is None


def test_prompts_measured_in_another_way_or_on_both_sides_are_refused() -> None:
    with pytest.raises(GeneratorError, match="another way"):
        memorisation(sizes("a", [1.0], steps=1), sizes("b", [1.0], steps=2))
    with pytest.raises(GeneratorError, match="among those asked"):
        memorisation(sizes("a", [1.0]), sizes("a", [1.0]))
