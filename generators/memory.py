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


def tile_work(pipeline: Any) -> list[str]:
    """Decode an image in overlapping tiles, which changes it a little where it is larger than one."""
    vae = getattr(pipeline, "vae", None)
    if vae is None or getattr(vae, "use_tiling", True):
        return []
    vae.enable_tiling()
    return ["tiled decoding"]
