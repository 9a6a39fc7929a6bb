"""What run.json says about where a run came from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import auditkit
from auditkit.files import slug
from auditkit.schemas import SCHEMA_VERSION
from auditkit.spec import RunSpec

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "accelerate",
    "transformers",
    "open-clip-torch",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "pillow",
)


def make_record(run_id: str, spec: dict[str, Any] | None, generator: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The content of run.json; `more` is added to it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": spec,
        "generator": generator,
        "code": {"version": auditkit.__version__, "revision": revision()},
        "packages": package_versions(),
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
        },
        "seconds": None,
        **more,
    }


def resolve(spec: RunSpec, generator: dict[str, Any]) -> dict[str, Any]:
    """The spec as a dict, with the generator's own defaults where the spec leaves them open."""
    resolved = spec.model_dump()
    for key, value in (generator.get("defaults") or {}).items():
        if key in ("sampler", "steps", "guidance") and resolved[key] is None:
            resolved[key] = value
    return resolved


def make_run_id(
    resolved: dict[str, Any],
    generator: dict[str, Any],
    watermark: dict[str, Any] | None = None,
    mitigation: dict[str, Any] | None = None,
) -> str:
    """The id that a spec and a generator always get: '<spec>-<generator>-<8 hex>'.

    The 8 digits stand for all that can change a pixel: the resolved spec, the weights, precision, kind of
    device, whether it was compiled, watermark and mitigation. The description is left out, and where the weights
    lie on the disk.
    """
    weights = generator.get("weights") or {"source": generator.get("source")}
    identity: dict[str, Any] = {
        "spec": {key: value for key, value in resolved.items() if key not in ("description", "generator")},
        "generator": [generator["name"], weights, generator.get("dtype")],
        "device": str(generator.get("device")).split(":")[0],
    }
    identity |= {"compiled": True} if (generator.get("details") or {}).get("compiled") else {}
    identity |= {"watermark": watermark} if watermark else {}
    identity |= {"mitigation": mitigation["resolved"]} if mitigation else {}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{resolved['name']}-{slug(str(generator['name']))}-{digest[:8]}"


def revision() -> str | None:
    """The git commit of this code, with '-dirty' where it was changed; None outside a checkout."""
    root = Path(auditkit.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def package_versions() -> dict[str, str | None]:
    """Installed versions of the packages that numbers depend on, read without importing them."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
