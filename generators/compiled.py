"""A pipeline's networks compiled for a GPU: fewer passes over memory, and no waiting for Python between kernels.

`torch.compile` fuses the norms, activations and additions between convolutions, attention and matrix products, and
each call is replayed as a CUDA graph (Ansel et al. 2024, ASPLOS). Every size of batch is compiled anew, which takes
about a minute for a network of a billion parameters, so batches are filled up to a size that there is already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from auditkit.errors import GeneratorError

if TYPE_CHECKING:
    import torch

SPARE = 1.2
"""A batch is filled up by at most this factor; compiling for its own size costs more only in short runs."""


class Compiled:
    """The denoiser and the decoder of a diffusers pipeline, compiled in place; hooks on the networks stay outside.

    Pixels may differ by a level from those of the plain networks, and, as kernels are chosen by timing them, from those
    of another process.
    """

    def __init__(self, pipeline: Any, device: torch.device):
        """
        Raises:
            GeneratorError: the device is no CUDA device.
        """
        import torch

        if device.type != "cuda":
            raise GeneratorError(
                "compiling is for CUDA devices alone", where=f"device={device}", mend="leave out --compile"
            )
        vae = getattr(pipeline, "vae", None)
        networks = {
            "unet": getattr(pipeline, "unet", None),
            "transformer": getattr(pipeline, "transformer", None),
            "vae.decoder": getattr(vae, "decoder", None),
        }
        self._networks = {name: network for name, network in networks.items() if network is not None}
        for part in (self._networks.get("unet"), vae):
            if part is not None:
                part.to(memory_format=torch.channels_last)
        self._forwards = {name: graphed(network.forward) for name, network in self._networks.items()}
        self._sizes: set[int] = set()
        self._switch(on=True)

    @property
    def names(self) -> list[str]:
        """What is compiled: `unet`, `vae.decoder`, ..."""
        return list(self._networks)

    def size(self, count: int) -> int:
        """How many images to make where `count` are wanted: the rest is thrown away.

        The smallest size made so far that is not much larger; else `count` itself, for which is compiled.
        """
        near = [size for size in self._sizes if count <= size <= SPARE * count]
        size = min(near, default=count)
        self._sizes.add(size)
        return size

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside, the networks are as they were: for what changes their weights or reaches into them."""
        self._switch(on=False)
        try:
            yield
        finally:
            self._switch(on=True)

    def _switch(self, *, on: bool) -> None:
        for name, network in self._networks.items():
            if on:
                network.forward = self._forwards[name]
            else:
                del network.forward  # the class's own again


def graphed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A network's `forward`, compiled and replayed as a CUDA graph; what it gives is the caller's own to keep."""
    import torch
    from torch.utils._pytree import tree_map_only

    compiled = torch.compile(forward, dynamic=False, mode="reduce-overhead")

    def call(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        # A graph writes every answer into the same memory, and samplers keep earlier answers.
        with quickest_convolutions():
            return tree_map_only(torch.Tensor, torch.Tensor.clone, compiled(*args, **kwargs))

    return call


@contextmanager
def quickest_convolutions() -> Iterator[None]:
    """Inside, cuDNN times its ways to compute a convolution of a new shape, and takes the quickest."""
    import torch

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
