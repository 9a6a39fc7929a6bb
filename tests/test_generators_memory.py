"""Decoding in parts: equal ones, so that a compiled decoder sees one size, and the same images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from generators.memory import in_parts


@pytest.mark.parametrize(("count", "sizes"), [(25, [9, 9, 9]), (10, [10]), (11, [6, 6]), (1, [1])])
def test_parts_are_equally_large_and_no_image_is_lost(count: int, sizes: list[int]) -> None:
    seen: list[int] = []
    vae: Any = SimpleNamespace(use_slicing=True)

    def decode(z: torch.Tensor, *, return_dict: bool) -> tuple[torch.Tensor]:
        assert not vae.use_slicing  # it would take the part one by one
        seen.append(len(z))
        return (2 * z,)

    z = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1, 1)
    images = in_parts(vae, decode, 10)(z, return_dict=False)[0]
    assert seen == sizes
    assert torch.equal(images, 2 * z)
    assert vae.use_slicing


def test_slicing_is_on_again_after_running_out_of_memory() -> None:
    vae: Any = SimpleNamespace(use_slicing=True)

    def decode(z: torch.Tensor, *, return_dict: bool) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        in_parts(vae, decode, 4)(torch.zeros(2, 1, 1, 1))
    assert vae.use_slicing
