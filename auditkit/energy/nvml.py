"""The meter of an NVIDIA card, by NVIDIA's own binding of NVML."""

from __future__ import annotations

import hashlib
from typing import Any

from auditkit.energy.meters import NVML_LAG, NVML_SPREAD, SAMPLED_SPREAD, Meter, _integral


def meter(device: str) -> tuple[Meter | None, str]:
    """The meter of the card that torch calls `device`, or None and why there is none."""
    try:
        import pynvml
    except ImportError:
        return None, "nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
        handle, name = _handle(pynvml, device)
        label = f"nvml:{hashlib.sha256(name.encode()).hexdigest()[:8]}"  # tells cards apart without naming them
        try:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except pynvml.NVMLError_NotSupported:
            pynvml.nvmlDeviceGetPowerUsage(handle)
            watts = _integral(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
            how = "NVML power of the card, sampled twice a second, all that ran on it"
            return Meter(label, "gpu", "measured", "machine", how, SAMPLED_SPREAD, watts, lag=0.5, every=0.5), ""
        return Meter(
            label, "gpu", "measured", "machine", "NVML energy counter of the card, all that ran on it", NVML_SPREAD,
            lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000, lag=NVML_LAG,
        ), ""  # fmt: skip
    except (pynvml.NVMLError, OSError, RuntimeError, LookupError) as error:
        return None, f"NVML does not tell ({error})"


def _handle(pynvml: Any, device: str) -> tuple[Any, str]:
    """NVML's handle and UUID of a torch device. By its UUID: CUDA_VISIBLE_DEVICES renumbers torch's, not NVML's."""
    import torch

    place = torch.device(device)
    index = torch.cuda.current_device() if place.index is None else place.index
    uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
    return pynvml.nvmlDeviceGetHandleByUUID(uuid), uuid
