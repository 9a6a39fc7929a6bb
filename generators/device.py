"""Which device and precision to compute with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditkit.errors import GeneratorError

if TYPE_CHECKING:
    import torch


PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def pick_device(name: str = "auto", precision: str = "auto") -> tuple[torch.device, torch.dtype]:
    """The device called `name`, and the precision to compute in.

    `auto` is CUDA where there is one, else MPS, else the CPU. CUDA computes in bfloat16 (float16 on cards
    without it). MPS and the CPU compute in float32: float16 overflows in some autoencoders, and bfloat16
    on a CPU would make the images depend on its model.

    Args:
        name: auto, cpu, mps, cuda or cuda:N.
        precision: one of PRECISIONS. bfloat16 is quicker on a CPU that has it in hardware (AVX512_BF16,
            AMX) and slower on others.

    Raises:
        GeneratorError: there is no such device here, or no such precision.
    """
    import torch

    if precision not in PRECISIONS:
        raise GeneratorError(
            f"there is no precision '{precision}'",
            where=precision,
            mend=f"use one of: {', '.join(PRECISIONS)}",
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    there = device is not None and {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
    }.get(device.type, False)
    if device is None or not there:
        raise GeneratorError(
            f"there is no device '{name}' here", where=f"device={name}", mend="use auto, or cpu"
        )
    if precision != "auto":
        return device, getattr(torch, precision)
    if device.type == "cuda":
        return device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return device, torch.float32
