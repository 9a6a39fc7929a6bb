"""Device, precision, and what is done on each where memory is short."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_checkpoints import tiny_flux_checkpoint, tiny_sd_checkpoint

from generators.device import pick_device
from generators.latent import LatentGenerator
from generators.memory import is_out_of_memory, slice_work, tile_work


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_cuda_is_preferred_and_computes_in_bfloat16_where_it_can(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert pick_device() == (torch.device("cuda"), dtype)
    assert pick_device("cuda", "float32") == (torch.device("cuda"), torch.float32)
    assert pick_device("cpu") == (torch.device("cpu"), torch.float32)


def test_attention_is_sliced_but_on_cuda_where_it_would_save_nothing(tmp_path: Path) -> None:
    pipeline = LatentGenerator(tiny_sd_checkpoint(tmp_path), device="cpu").pipeline
    pipeline.vae.disable_slicing()
    assert slice_work(pipeline, torch.device("cuda")) == ["sliced decoding"]
    assert slice_work(pipeline, torch.device("mps")) == ["sliced attention"]
    assert slice_work(pipeline, torch.device("mps")) == []


def test_a_transformer_has_its_decoding_sliced_and_at_last_tiled(tmp_path: Path) -> None:
    pipeline = LatentGenerator(tiny_flux_checkpoint(tmp_path), device="cpu").pipeline
    pipeline.vae.disable_slicing()
    assert slice_work(pipeline, torch.device("mps")) == ["sliced decoding"]
    assert tile_work(pipeline) == ["tiled decoding"]
    assert tile_work(pipeline) == []


def test_running_out_of_memory_is_known_on_every_device() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA: tried to allocate 2 GiB"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
