"""What can be done where a device's memory is short, before fewer images are made at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def is_out_of_memory(error: RuntimeError) -> bool:
    """Is this the device's memory that ran out? MPS and the CPU's allocator say so in words alone."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    named = isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)
    return named or should_reduce_batch_size(error)


def slice_work(pipeline: Any, device: torch.device) -> list[str]:
    """Do in turn what is done at once, without another result: what was switched on, empty where nothing is left.

    An autoencoder decodes one image at a time. Attention goes head by head, but not on CUDA, whose fused kernels never
    hold the attention matrix: slicing would be slower there, and save nothing.
    """
    done = []
    vae = getattr(pipeline, "vae", None)
    if vae is not None and not getattr(vae, "use_slicing", True):
        vae.enable_slicing()
        done.append("sliced decoding")
    unet = getattr(pipeline, "unet", None)
    if device.type != "cuda" and unet is not None and not getattr(unet, "sliced_attention", False):
        pipeline.enable_attention_slicing("max")
        unet.sliced_attention = True
        done.append("sliced attention")
    return done


DECODING = 2**12
"""Bytes that an autoencoder's decoder takes for a pixel: 3.9 kB of Stable Diffusion's, in half precision."""
SHARE = 8
"""Decoding takes at most one part in so many of a GPU's memory."""


def decode_in_parts(vae: Any, pixels: int, device: torch.device) -> None:
    """Let `vae.decode` take a batch in parts that are equally large, the last one filled up, and small enough for the
    memory: one image at a time leaves a large GPU idle, and a batch at once overflows a small one.

    Args:
        pixels: of an image.
        device: CUDA; on others one image at a time.
    """
    import torch

    vae.enable_slicing()  # of what is encoded as well
    if device.type != "cuda":
        return
    memory = torch.cuda.get_device_properties(device).total_memory
    most = max(1, memory // SHARE // (DECODING * pixels))
    if most > 1:
        vae.decode = in_parts(vae, vae.decode, most)


def in_parts(vae: Any, decode: Any, most: int) -> Any:
    """`decode`, called with equal parts of at most `most` latents; by itself it would take them one by one."""
    import torch

    def decode_parts(z: Any, return_dict: bool = True, **more: Any) -> Any:
        size = -(-len(z) // -(-len(z) // most))
        done = []
        vae.use_slicing = False
        try:
            for part in z.split(size):
                whole = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
                done.append(decode(whole, return_dict=False, **more)[0][: len(part)])
        finally:
            vae.use_slicing = True
        images = torch.cat(done)
        if not return_dict:
            return (images,)
        from diffusers.models.autoencoders.vae import DecoderOutput

        return DecoderOutput(sample=images)

    return decode_parts


def tile_work(pipeline: Any) -> list[str]:
    """Decode an image in overlapping tiles, which changes it a little where it is larger than one."""
    vae = getattr(pipeline, "vae", None)
    if vae is None or getattr(vae, "use_tiling", True):
        return []
    vae.enable_tiling()
    return ["tiled decoding"]
