"""Compiled generators: which networks, how batches are filled, what is recorded; the compiler itself is stood in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit import registry
from auditkit.errors import GeneratorError
from auditkit.runs.record import make_run_id
from generators.base import Job, Settings
from generators.compiled import Compiled
from generators.latent import LatentGenerator
from generators.load import load_generator

SETTINGS = Settings("ddim", 2, 3.0)


def jobs(count: int) -> list[Job]:
    return [Job("a portrait of a judge", seed) for seed in range(count)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each call of a compiled network, made by a compiler that changes nothing."""
    rows: list[int] = []

    def compiler(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        assert options == {"dynamic": False, "mode": "reduce-overhead"}

        def call(*args: Any, **kwargs: Any) -> Any:
            rows.append(len(args[0]))
            return forward(*args, **kwargs)

        return call

    monkeypatch.setattr(torch, "compile", compiler)
    return rows


@pytest.fixture
def compiled(checkpoint: Path, seen: list[int]) -> LatentGenerator:
    """A generator on the CPU, compiled as one on a GPU would be."""
    generator = LatentGenerator(checkpoint, device="cpu")
    generator._compiled = Compiled(generator.pipeline, torch.device("cuda"))
    return generator


def test_only_a_cuda_device_compiles(checkpoint: Path) -> None:
    with pytest.raises(GeneratorError, match="CUDA"):
        load_generator(f"path:{checkpoint}", device="cpu", compile=True)


def test_a_generator_that_does_not_know_of_compiling_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def plugin(*, device: str = "auto") -> None:
        raise AssertionError("it was asked all the same")

    monkeypatch.setattr(registry, "names", lambda group: ["plain"])
    monkeypatch.setattr(registry, "load", lambda group, name: plugin)
    for name in ("plain", "api:model"):
        with pytest.raises(GeneratorError, match="cannot be compiled"):
            load_generator(name, compile=True)


def test_the_denoiser_and_the_decoder_are_compiled(compiled: LatentGenerator, seen: list[int]) -> None:
    assert compiled._compiled is not None
    assert compiled._compiled.names == ["unet", "vae.decoder"]
    list(compiled.generate(jobs(4), SETTINGS))
    assert seen == [8, 8, 4]  # two guided steps, one decoding


def test_images_are_those_of_the_plain_networks(compiled: LatentGenerator, checkpoint: Path) -> None:
    plain = LatentGenerator(checkpoint, device="cpu").generate(jobs(4), SETTINGS)
    for ours, theirs in zip(compiled.generate(jobs(4), SETTINGS), plain, strict=True):
        np.testing.assert_allclose(np.asarray(ours, int), np.asarray(theirs, int), atol=1)


def test_a_batch_is_filled_up_to_a_size_that_is_compiled_already(compiled: LatentGenerator, seen: list[int]) -> None:
    assert len(list(compiled.generate(jobs(6), SETTINGS))) == 6
    seen.clear()
    assert len(list(compiled.generate(jobs(5), SETTINGS))) == 5
    assert seen[:2] == [12, 12]  # guided: two rows an image


def test_a_much_smaller_batch_gets_a_size_of_its_own(compiled: LatentGenerator, seen: list[int]) -> None:
    list(compiled.generate(jobs(6), SETTINGS))
    seen.clear()
    list(compiled.generate(jobs(2), SETTINGS))
    assert seen[:2] == [4, 4]


def test_a_mitigation_reaches_into_the_plain_networks(compiled: LatentGenerator, seen: list[int]) -> None:
    method: Any = SimpleNamespace(weights=lambda model: nullcontext())
    unet = compiled.pipeline.unet
    with compiled.mitigated(method, compiled.model(3.0)):
        unet(torch.zeros(1, 4, 8, 8), 1, torch.zeros(1, 16, unet.config.cross_attention_dim))
        assert seen == []
    list(compiled.generate(jobs(1), SETTINGS))
    assert seen != []


def test_a_compiled_run_has_another_id(checkpoint: Path) -> None:
    info = LatentGenerator(checkpoint, device="cpu").info.as_dict()
    plain = make_run_id({"name": "suite"}, info)
    info["details"]["compiled"] = ["unet"]
    assert make_run_id({"name": "suite"}, info) != plain
