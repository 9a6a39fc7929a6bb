"""Low-rank adapters (LoRA, Hu et al. 2022) on the attention of a denoiser, each image with a scale of its own.

An adapter adds (alpha / r) s_i x A^T B^T to what a linear layer makes of image i; weights stay as they are. Tensors by
name: `<group>/<layer>/down` A [r, in] and `<group>/<layer>/up` B [out, r].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LAYERS = ("cross", "all")
"""Adapted linear layers: those of the attention that reads the text, or of all attention."""


def attention_layers(denoiser: Any, layers: str = "cross") -> dict[str, Any]:
    """The linear layers of a network's attention, by name.

    Args:
        layers: `cross`: those of diffusers' attn2 blocks alone, where there are any; `all`: every one.
    """
    import torch

    found = {
        name: module
        for name, module in denoiser.named_modules()
        if isinstance(module, torch.nn.Linear)
        and any("attn" in part or "attention" in part for part in name.split("."))
    }
    cross = {name: module for name, module in found.items() if "attn2" in name.split(".")}
    return cross if layers == "cross" and cross else found


def new_adapter(modules: Mapping[str, Any], rank: int, *, seed: int) -> dict[str, torch.Tensor]:
    """An adapter that changes nothing yet: A random, B zero; names `<layer>/down`, `<layer>/up`."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    made = {}
    for name, module in modules.items():
        made[f"{name}/down"] = torch.randn(rank, module.in_features, generator=draw) / math.sqrt(module.in_features)
        made[f"{name}/up"] = torch.zeros(module.out_features, rank)
    return made


@contextmanager
def adapted(
    denoiser: Any, adapters: Mapping[str, Mapping[str, torch.Tensor]], scales: Callable[[], torch.Tensor | None]
) -> Iterator[None]:
    """Inside, the network answers with the adapters.

    Args:
        adapters: group to its tensors.
        scales: of the call that is running: [groups, n] in the order of `adapters`, for a network that is called with
            a multiple of n images (the halves of a guided batch); None is no adapter.
    """
    modules = dict(denoiser.named_modules())
    layers = dict.fromkeys(name.rpartition("/")[0] for tensors in adapters.values() for name in tensors)
    hooks = []
    for layer in layers:
        pairs = [(each[f"{layer}/down"], each[f"{layer}/up"]) for each in adapters.values()]
        hooks.append(modules[layer].register_forward_hook(_adding(pairs, scales)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _adding(
    pairs: list[tuple[torch.Tensor, torch.Tensor]], scales: Callable[[], torch.Tensor | None]
) -> Callable[..., Any]:
    def add(module: Any, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor:
        import torch

        by = scales()
        if by is None:
            return out
        x, times = args[0], len(out) // by.shape[1]
        added = out
        for (down, up), row in zip(pairs, by, strict=True):
            if bool((row != 0).any()):
                each = row.repeat(times).view(-1, *[1] * (out.dim() - 1)).to(out.dtype)
                change = torch.nn.functional.linear(torch.nn.functional.linear(x, down.to(x.dtype)), up.to(x.dtype))
                # An image without a scale keeps its bits: adding 0 to -0.0 would not.
                added = torch.where(each != 0, added + each * change, added)
        return added

    return add
