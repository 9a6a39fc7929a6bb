"""Finding a generator by what a user calls it."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit import registry
from auditkit.errors import GeneratorError
from generators.base import Generator
from generators.hub import PREFIX, fetch

if TYPE_CHECKING:
    from generators.latent import LatentGenerator


def load_generator(
    name: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    allow_network: bool = False,
) -> Generator:
    """Load a generator.

    Args:
        name: a registered name (`personas`), `path:FOLDER` or a folder that exists (a diffusers
            text-to-image checkpoint), `hf:OWNER/MODEL` for one from the Hugging Face hub, or `api:MODEL` for one
            behind the API at $AUDITKIT_API_URL.
        device, precision: see `device.pick_device`.
        compile: compile its networks for a CUDA device; quicker in runs of more than some minutes.
        allow_network: let `hf:` download; without it only what is in the local cache is used.

    Raises:
        GeneratorError: no such generator, a checkpoint that is damaged or cannot be used, or one that cannot be
            compiled.
        PluginError: a registered generator cannot be imported.
    """
    # A plugin need not know of precisions.
    options: dict[str, Any] = {"device": device} if precision == "auto" else {"device": device, "precision": precision}
    options |= {"compile": True} if compile else {}
    known = registry.names("generators")
    if name in known:
        make = registry.load("generators", name)
        if compile and "compile" not in inspect.signature(make).parameters:
            raise _not_compiled(name)
        generator: Generator = make(**options)
        return generator
    if name.startswith("api:"):
        if compile:
            raise _not_compiled(name)
        from generators.api import ApiGenerator

        return ApiGenerator(name)  # its address and key are the environment's; see ApiOptions for the rest
    if name.startswith(PREFIX):
        folder = fetch(name, allow_network=allow_network)
        loaded = open_checkpoint(folder, name=name, source=name, **options)
        loaded.info.details["revision"] = folder.name
        return loaded
    if name.startswith("path:") or Path(name).is_dir() or name.endswith((".safetensors", ".ckpt")):
        return open_checkpoint(Path(name.removeprefix("path:")).expanduser(), **options)
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    raise GeneratorError(
        f"there is no generator '{name}'" + (f"; did you mean {' or '.join(near)}?" if near else ""),
        where=f"generator={name}",
        mend=f"use one of: {', '.join(known) or 'none registered'}; or path:FOLDER of a diffusers checkpoint",
    )


def _not_compiled(name: str) -> GeneratorError:
    return GeneratorError(
        f"the generator '{name}' cannot be compiled", where=f"generator={name}", mend="leave out --compile"
    )


def open_checkpoint(folder: Path, **options: Any) -> LatentGenerator:
    """The generator of a checkpoint folder, by the pipeline class that its model_index.json names.

    Args:
        options: name, source, device, precision, compile; see `LatentGenerator`.

    Raises:
        GeneratorError: no such folder, no checkpoint, or a pipeline class that cannot be loaded.
    """
    from generators.latent import LatentGenerator

    return LatentGenerator(folder, **options)
