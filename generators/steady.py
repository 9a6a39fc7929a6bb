"""How a CPU computes: quickly, and to the same bits whatever the batch size and the number of threads.

A library of kernels picks another one for a few rows than for many, and for one thread than for several; they differ in
the last bit, and a pixel of a million then differs by one level, which is another image id. Measured on the bundled
checkpoints (docs/generators_speed.md): from 16 images on, and for multiples of 4 on more than one thread, every kernel
of the denoiser gives the same bits; of the decoder, those for 4 images at a time in channels-last order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MANY = 16
"""Images from which on nothing changes, on any number of threads."""
FEW = 4
"""Images that the decoder takes at a time; more overflow the caches of a CPU and are slower each."""
SMALL = 2**15
"""Pixels of an image that is small enough to be made in company for the sake of its last bit."""


def settle(pipeline: Any, pixels: int) -> None:
    """Set a diffusers pipeline up for the CPU: convolutions in channels-last order, which is 5 % quicker in the
    denoiser and 30 % in the decoder; images decoded `FEW` at a time; activations of the autoencoder written over what
    they are made of, 15 % of its time.

    Images of more than `SMALL` pixels are decoded one by one.
    """
    import torch

    for name in ("unet", "vae"):
        network = getattr(pipeline, name, None)
        if network is not None:
            network.to(memory_format=torch.channels_last)
    if getattr(pipeline, "vae", None) is not None:
        for layer in pipeline.vae.modules():
            if isinstance(layer, torch.nn.SiLU):
                layer.inplace = True
        if pixels <= SMALL:
            pipeline.vae.decode = _in_few(pipeline.vae.decode)
        else:
            pipeline.vae.enable_slicing()


def company(count: int, pixels: int, threads: int) -> int:
    """How many images to make where `count` are wanted: the rest is thrown away.

    >>> company(25, 128 * 128, 1), company(6, 128 * 128, 2), company(1, 128 * 128, 1), company(1, 512 * 512, 1)
    (25, 8, 16, 1)
    """
    if pixels > SMALL or count >= MANY:
        return count
    return MANY if threads == 1 else -(-count // FEW) * FEW


def filled(jobs: Sequence[Any], size: int) -> list[Any]:
    """`jobs` and copies of the last of them, `size` in all."""
    return [*jobs, *[jobs[-1]] * (size - len(jobs))]


def _in_few(decode: Any) -> Any:
    """The autoencoder's `decode`, called with exactly FEW latents at a time."""
    import torch

    def decode_few(z: Any, return_dict: bool = True, **more: Any) -> Any:
        parts = []
        for part in z.split(FEW):
            whole = part if len(part) == FEW else torch.cat([part, part[-1:].expand(FEW - len(part), *part.shape[1:])])
            parts.append(decode(whole, return_dict=False, **more)[0][: len(part)])
        images = torch.cat(parts)
        if not return_dict:
            return (images,)
        from diffusers.models.autoencoders.vae import DecoderOutput

        return DecoderOutput(sample=images)

    return decode_few
