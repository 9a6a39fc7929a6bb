"""The weight files of a checkpoint folder: safetensors only, hashed, and checked against `weights.json`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from auditkit import places
from auditkit.errors import AuditkitError, GeneratorError
from auditkit.files import sha256_file, write_atomic

HASHES = "weights.json"
"""{file: sha256} of the weights, beside model_index.json."""
LARGE = 64 * 2**20
"""Bytes from which a file's hash is kept in the cache; smaller ones, all bundled ones too, are hashed each time."""

_NAME = re.compile(
    r"(?P<component>[^/]+)/(?P<stem>model|diffusion_pytorch_model)(\.(?P<variant>\w+))?"
    r"(?P<shard>-(?P<part>\d{5})-of-(?P<parts>\d{5}))?\.safetensors"
)
_PICKLED = (".bin", ".ckpt", ".pt", ".pth")
_HALF = ("fp16", "bf16")


@dataclass(frozen=True)
class Weights:
    """Which of a checkpoint's weight files are loaded."""

    files: dict[str, list[str]]
    """Paths in the checkpoint, by component; a component without weights is not there."""
    variant: str | None
    """What diffusers is to be asked for: `fp16` where some component comes in half precision alone."""


def choose_weights(names: Collection[str], components: Collection[str]) -> Weights:
    """The weight files that are loaded, of all the paths `names` in a checkpoint.

    The plain files wherever there are any; else those of one variant, such as `model.fp16.safetensors`.

    Raises:
        GeneratorError: a shard is missing.
    """
    found: dict[str, dict[str | None, list[re.Match[str]]]] = {}
    for name in sorted(names):
        match = _NAME.fullmatch(name)
        if match and match["component"] in components:
            found.setdefault(match["component"], {}).setdefault(match["variant"], []).append(match)
    halves = sorted({v for variants in found.values() for v in variants if v}, key=lambda v: (v not in _HALF, v))
    variant = next(
        (v for v in (None, *halves) if all(v in variants or None in variants for variants in found.values())), None
    )
    if variant is None and any(None not in variants for variants in found.values()):
        least = next(component for component, variants in found.items() if None not in variants)
        raise GeneratorError(
            f"the components come in different variants: {', '.join(halves)}",
            where=least,
            mend="fetch one variant of every component",
        )
    files = {
        component: _whole(variants[variant] if variant in variants else variants[None])
        for component, variants in found.items()
    }
    return Weights(files, variant)


def _whole(matches: list[re.Match[str]]) -> list[str]:
    """One file, or every shard of it: where there are both, what the component's library would take."""
    single = [match for match in matches if not match["shard"]]
    shards = [match for match in matches if match["shard"]]
    if single and not (shards and single[0]["stem"] == "diffusion_pytorch_model"):
        return [single[0].string]
    for part in range(1, int(shards[0]["parts"]) + 1):
        if not any(int(match["part"]) == part for match in shards):
            first = shards[0]
            missing = first.string.replace(f"-{first['part']}-of-", f"-{part:05d}-of-")
            raise GeneratorError("a weight file is missing", where=missing, mend="fetch the whole folder again")
    return [match.string for match in shards]


def find_weights(folder: Path, components: Collection[str]) -> Weights:
    """The weight files of the pipeline `components` in `folder`, each there and whole in its outline.

    Raises:
        GeneratorError: a component's folder or weights are missing, pickled, cut short or no safetensors.
    """
    for component in components:
        if not (folder / component).is_dir():
            raise GeneratorError(
                f"the component '{component}' of the checkpoint is missing",
                where=folder / component,
                mend="fetch the whole folder again",
            )
    names = [
        path.relative_to(folder).as_posix()
        for component in components
        for path in (folder / component).glob("*.safetensors")
    ]
    try:
        weights = choose_weights(names, components)
    except GeneratorError as error:
        raise GeneratorError(error.what, where=folder / str(error.where), mend=error.mend) from None
    for component in components:
        if component not in weights.files:
            _check_unweighted(folder / component)
    if not weights.files:
        raise GeneratorError(
            "the checkpoint has no safetensors weights",
            where=folder,
            mend="fetch the weights too (git lfs pull, or copy the whole folder)",
        )
    for files in weights.files.values():
        for file in files:
            _check_header(folder / file)
    return weights


def hash_weights(folder: Path, weights: Weights) -> dict[str, str]:
    """The sha256 of each weight file that is loaded, by its path in `folder`.

    Raises:
        GeneratorError: a file differs from weights.json, or one of those in there is missing.
    """
    hashes = {file: cached_sha256(folder / file) for files in weights.files.values() for file in files}
    _check(folder, hashes)
    return hashes


def cached_sha256(path: Path) -> str:
    """The file's sha256, from the user's cache where this file, unchanged since, was hashed before.

    Unchanged is: the same place, size, time of change and inode. So the cache spares time; it is no defence against
    somebody who can write to the checkpoint and set a file's time.
    """
    path = path.resolve()
    state = path.stat()
    if state.st_size < LARGE:
        return sha256_file(path)
    key = json.dumps([str(path), state.st_size, state.st_mtime_ns, state.st_ino])
    kept = places.cache() / "sha256" / hashlib.sha256(key.encode()).hexdigest()[:32]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        digest = kept.read_text(encoding="ascii")
        if re.fullmatch(r"[0-9a-f]{64}", digest):
            return digest
    digest = sha256_file(path)
    with contextlib.suppress(AuditkitError, OSError):  # a cache that cannot be written costs time, nothing else
        write_atomic(kept, digest.encode(), sync=False)
    return digest


def _check_unweighted(component: Path) -> None:
    pickled = [file for file in sorted(component.glob("*")) if file.suffix in _PICKLED]
    if pickled:
        raise GeneratorError(
            "the weights are pickled, which can run code when opened; only safetensors are read",
            where=pickled[0],
            mend="get the safetensors version of the checkpoint, or convert it with diffusers",
        )
    if (component / "config.json").is_file() and "tokenizer" not in component.name:
        raise GeneratorError(
            f"the component '{component.name}' has no safetensors weights",
            where=component,
            mend="fetch the weights too (git lfs pull, or copy the whole folder)",
        )


def _check_header(file: Path) -> None:
    """Raise GeneratorError where the file is no safetensors, or shorter or longer than its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise GeneratorError(
            f"the weight file is damaged or cut short: {error}",
            where=file,
            mend="fetch it again (git lfs pull, where it is a pointer to the file)",
        ) from None


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
            raise GeneratorError("a weight file is not the one in weights.json", where=folder / name, mend=mend)
