"""What is installed here, and what to do where something is wrong."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditkit.errors import AuditkitError

PACKAGES = ["torch", "diffusers", "open_clip_torch", "transformers", "numpy", "pandas", "pyarrow", "pandera"]
PACKAGES += ["pydantic", "streamlit", "altair", "vl-convert-python", "typer", "rich"]
BUNDLED = ("personas", "personas-balanced", "personas-dit", "personas-turbo", "personas-pixel")
OLDEST = (3, 11)
ROOM = 2 * 2**30  # bytes of free disk below which a run of some thousand images may not fit


@dataclass(frozen=True)
class Check:
    """One line of `auditkit doctor`."""

    name: str
    ok: bool
    found: str
    mend: str | None = None
    essential: bool = True


def examine() -> list[Check]:
    """Every check, none of which may stop the others."""
    parts: list[Callable[[], Iterator[Check]]] = [_python, _packages, _device, _disk, _encoders, _generators]
    parts += [_plugins, _chromium]
    found: list[Check] = []
    for part in parts:
        try:
            found += list(part())
        except Exception as error:  # a check that falls over is a finding, not a crash
            mend = error.mend if isinstance(error, AuditkitError) else "install auditkit again: make setup"
            what = error.what if isinstance(error, AuditkitError) else f"{type(error).__name__}: {error}"
            found.append(Check(part.__name__.strip("_"), False, what, mend))
    return found


def generator_rows() -> list[dict[str, Any]]:
    """What each registered generator is; one that cannot be loaded says why instead."""
    from auditkit import registry
    from generators.load import load_generator

    rows = []
    for name in registry.names("generators"):
        row: dict[str, Any] = {
            "generator": name,
            "kind": None,
            "resolution": None,
            "planted": None,
            "note": "",
        }
        try:
            info = load_generator(name, device="cpu").info
            row |= {"kind": info.kind, "resolution": info.resolution, "planted": bool(info.planted)}
        except AuditkitError as error:
            row["note"] = error.what
        rows.append(row)
    return rows


def chromium() -> str | None:
    """The browser that the real-browser tests drive, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


def _python() -> Iterator[Check]:
    ok = sys.version_info[:2] >= OLDEST
    mend = None if ok else f"install Python {'.'.join(map(str, OLDEST))} or later"
    yield Check("python", ok, f"{platform.python_version()} on {platform.system()} {platform.machine()}", mend)


def _packages() -> Iterator[Check]:
    absent, there = [], []
    for name in PACKAGES:
        try:
            there.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    found = ", ".join(there) + (f"; absent: {', '.join(absent)}" if absent else "")
    yield Check("packages", not absent, found, f"pip install {' '.join(absent)}" if absent else None)


def _device() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        parts = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            parts.append(f"cuda:{index} {properties.name}, {properties.total_memory / 2**30:.0f} GB")
        found = "; ".join(parts)
    else:
        found = "mps" if torch.backends.mps.is_available() else "cpu"
    yield Check("device", True, f"{found}; {os.cpu_count()} cores{_memory()}")


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return ""
    return f", {size / 2**30:.0f} GB of memory"


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path.cwd()).free
    mend = None if free >= ROOM else "make room, or write runs elsewhere with --out"
    yield Check("free disk", free >= ROOM, f"{free / 2**30:.1f} GB here", mend, essential=False)


def _encoders() -> Iterator[Check]:
    from auditkit.clip.attributes import attribute
    from auditkit.clip.calibration import load_calibration
    from auditkit.clip.encoders import load_encoder

    encoder = load_encoder("personas-clip", device="cpu")  # checks the weights against their sha256
    yield Check("encoder personas-clip", True, f"weights whole, {encoder.dim} dimensions")
    for name in ("gender", "skin_tone", "occupation"):
        held = load_calibration(encoder, attribute(name).name)
        found = "absent: corrected shares will be 'uncalibrated'" if held is None else f"{held.n_images} images"
        mend = "auditkit train clip --help" if held is None else None
        yield Check(f"calibration {name}", held is not None, found, mend, essential=name != "occupation")


def _generators() -> Iterator[Check]:
    for row in generator_rows():
        name = row["generator"]
        ok = row["kind"] is not None
        found = f"weights whole, {row['resolution']} pixels" if ok else row["note"]
        mend = None if ok else "fetch the repository again, weights included"
        yield Check(f"generator {name}", ok, found, mend, essential=name in BUNDLED)


def _plugins() -> Iterator[Check]:
    from auditkit import registry

    plugins = registry.plugins()
    broken = [plugin for plugin in plugins if plugin.error is not None]
    for plugin in broken:
        mend = f"mend or uninstall {plugin.distribution or plugin.target}"
        yield Check(f"plugin {plugin.name}", False, str(plugin.error), mend, essential=False)
    yield Check("plugins", bool(plugins), f"{len(plugins) - len(broken)} sound, {len(broken)} broken")


def _chromium() -> Iterator[Check]:
    path = chromium()
    mend = None if path else "apt-get install chromium (only the browser tests need it)"
    yield Check("chromium", path is not None, path or "none found", mend, essential=False)
