"""Checkpoint folders: safetensors only, hashed, and checked against `weights.json` where there is one."""

from __future__ import annotations

import json
from pathlib import Path

from auditkit.errors import GeneratorError
from auditkit.files import sha256_file

HASHES = "weights.json"
"""{file: sha256} of the weights, beside model_index.json."""

_PICKLED = (".bin", ".ckpt", ".pt", ".pth")


def hash_weights(folder: Path, components: list[str]) -> dict[str, str]:
    """The sha256 of each safetensors file of the pipeline `components`, by its path in `folder`.

    Raises:
        GeneratorError: a component has pickled weights alone, there are no weights at all, or a file
            differs from weights.json.
    """
    hashes: dict[str, str] = {}
    for component in components:
        files = sorted((folder / component).glob("*.safetensors"))
        pickled = [f for f in sorted((folder / component).glob("*")) if f.suffix in _PICKLED]
        if pickled and not files:
            raise GeneratorError(
                "the weights are pickled, which can run code when opened; only safetensors are read",
                where=pickled[0],
                mend="get the safetensors version of the checkpoint, or convert it with diffusers",
            )
        hashes |= {f.relative_to(folder).as_posix(): sha256_file(f) for f in files}
    if not hashes:
        raise GeneratorError(
            "the checkpoint has no safetensors weights",
            where=folder,
            mend="fetch the weights too (git lfs pull, or copy the whole folder)",
        )
    _check(folder, hashes)
    return hashes


def _check(folder: Path, hashes: dict[str, str]) -> None:
    file = folder / HASHES
    if not file.is_file():
        return  # a checkpoint from elsewhere has nothing to be checked against
    mend = f"restore it: 'git checkout -- {folder.name}' in the folder above, or install auditkit again"
    try:
        expected = dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        raise GeneratorError("weights.json is damaged", where=file, mend=mend) from None
    for name in sorted(expected.keys() | hashes.keys()):
        if name not in hashes:
            raise GeneratorError("a weight file is missing", where=folder / name, mend=mend)
        if hashes[name] != expected.get(name):
            raise GeneratorError(
                "a weight file is not the one in weights.json", where=folder / name, mend=mend
            )
