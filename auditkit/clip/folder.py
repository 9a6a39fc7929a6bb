"""An encoder on disk: a folder in open_clip's own layout, safetensors only, with hashes to check.

open_clip_config.json         {"model_cfg": ..., "preprocess_cfg": ...}, as in open_clip's hub folders
open_clip_model.safetensors   weights, fp16
bpe.txt.gz                    merges for open_clip's SimpleTokenizer
weights.json                  {file: sha256} of the three above
calibration/                  what auditkit.clip.calibration fits and saves
README.md                     model card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.clip.tokenizer import read_merges
from auditkit.errors import EncoderError
from auditkit.files import sha256_file, write_atomic, write_json

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS, BPE, HASHES = (
    "open_clip_config.json",
    "open_clip_model.safetensors",
    "bpe.txt.gz",
    "weights.json",
)
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
_RESTORE = "Restore the folder from where it came (for a bundled encoder: git checkout)."
ADAPTER, ADAPTER_WEIGHTS = "adapter.json", "adapter.safetensors"
BUNDLED = Path(__file__).parent / "bundled"


def save_encoder(
    folder: str | Path,
    model_cfg: Mapping[str, Any],
    preprocess_cfg: Mapping[str, Any],
    state_dict: Mapping[str, torch.Tensor],
    bpe_source: str | Path,
) -> Path:
    """Write an encoder folder that `load_encoder` and open_clip's `local-dir:` scheme load.

    Matrices and vectors are stored in fp16; single numbers (the logit scale) keep fp32.

    Args:
        folder: made if missing; the files of an encoder there are replaced, its calibration is left alone.
        model_cfg: embed_dim, vision_cfg, text_cfg, as open_clip's model configurations.
        preprocess_cfg: mean, std, interpolation, resize_mode.
        state_dict: of the open_clip model that model_cfg describes.
        bpe_source: the merges, written by `train_bpe`.

    Raises:
        EncoderError: text_cfg.vocab_size is not that of the merges, or a weight is not finite in fp16.
    """
    import torch
    from safetensors.torch import save

    size = 512 + len(read_merges(bpe_source)) + 2
    built_for = model_cfg["text_cfg"].get("vocab_size")
    if built_for != size:
        raise EncoderError(
            f"The vocabulary has {size} entries, the model was built for {built_for}.",
            where="model_cfg.text_cfg.vocab_size",
            mend=f"Build the model with vocab_size={size}.",
        )
    tensors = {}
    for name, tensor in state_dict.items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float16 if tensor.ndim else torch.float32)
            if not bool(torch.isfinite(tensor).all()):
                raise EncoderError(
                    "A weight is not finite in half precision.",
                    where=name,
                    mend="Train again with a smaller step.",
                )
        tensors[name] = tensor.clone().contiguous()
    # A relative path: open_clip alone, started elsewhere, then stops rather than use the wrong merges.
    text_cfg = {**model_cfg["text_cfg"], "tokenizer_kwargs": {"bpe_path": BPE}}
    config = {"model_cfg": {**model_cfg, "text_cfg": text_cfg}, "preprocess_cfg": dict(preprocess_cfg)}

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    merges = Path(bpe_source).read_bytes()
    (folder / HASHES).unlink(missing_ok=True)
    write_json(folder / CONFIG, config)
    write_atomic(folder / BPE, merges)
    write_atomic(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_json(folder / HASHES, {name: sha256_file(folder / name) for name in (CONFIG, WEIGHTS, BPE)})
    return folder


def check_folder(folder: Path) -> str:
    """Check an encoder folder before anything in it is loaded; return the sha256 of its weights.

    A folder without weights.json (one downloaded from a hub) has nothing to be checked against, and passes.

    Raises:
        EncoderError: no configuration, no safetensors weights, or a file that differs from weights.json.
    """
    if not (folder / CONFIG).is_file():
        raise EncoderError(
            "The folder is not an open_clip encoder.",
            where=folder / CONFIG,
            mend="Name a folder that holds open_clip_config.json and open_clip_model.safetensors.",
        )
    if not (folder / WEIGHTS).is_file():
        for path in sorted(folder.iterdir()):
            refuse_pickle(path)
    return _check_hashes(folder) if (folder / HASHES).is_file() else weights_sha256(folder)


def refuse_pickle(path: Path) -> None:
    """Raise EncoderError where a file's name says that it is a pickle."""
    if path.suffix.lower() in _PICKLES:
        raise EncoderError(
            "Pickled weights are not loaded: opening a pickle runs whatever code its author put in it.",
            where=path,
            mend="Convert it once: safetensors.torch.save_file("
            "torch.load(FILE, weights_only=True), 'open_clip_model.safetensors').",
        )


def bundled() -> list[str]:
    """Names of the encoders that came with auditkit."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG}"))


def find_folder(name: str) -> Path | None:
    """The folder of a bundled encoder, or the folder at that path; None where the name is of neither."""
    if name in bundled():
        return BUNDLED / name
    path = Path(name).expanduser()
    return path.resolve() if path.is_dir() else None


def weights_sha256(folder: Path) -> str:
    """The sha256 of an encoder's weights, from weights.json where there is one (nothing is checked); for an
    adapter's folder that of its encoder's weights, `+`, and its own.

    Raises:
        EncoderError: weights.json cannot be read, or there are no weights.
    """
    if is_adapter(folder):
        return _adapter_sha256(folder)
    if (folder / HASHES).is_file():
        return _read_hashes(folder)[WEIGHTS]
    if not (folder / WEIGHTS).is_file():
        raise EncoderError("The encoder's weights are missing.", where=folder / WEIGHTS, mend=_RESTORE)
    return sha256_file(folder / WEIGHTS)


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter for an encoder (auditkit.clip.adapter) in place of an encoder."""
    return (folder / ADAPTER).is_file()


def adapted_sha256(encoder: str, adapter: str) -> str:
    """What identifies an encoder with an adapter behind it: both hashes, so that either can be read off."""
    return f"{encoder}+{adapter}"


def _adapter_sha256(folder: Path) -> str:
    try:
        facts = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
        return adapted_sha256(str(facts["encoder_sha256"]), str(facts["sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"The adapter cannot be read: {error}", where=folder / ADAPTER, mend="Train it again."
        ) from error


def _read_hashes(folder: Path) -> dict[str, str]:
    try:
        hashes = json.loads((folder / HASHES).read_text(encoding="utf-8"))
        files = {str(name): str(digest) for name, digest in hashes.items()}
        if not {CONFIG, WEIGHTS} <= files.keys():
            raise ValueError(f"{CONFIG} and {WEIGHTS} must be among its files")
    except (ValueError, AttributeError) as error:
        raise EncoderError(
            f"The encoder's hashes cannot be read: {error}.", where=folder / HASHES, mend=_RESTORE
        ) from error
    return files


def _check_hashes(folder: Path) -> str:
    files = _read_hashes(folder)
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            fault = "differs from the one that was published" if path.is_file() else "is missing"
            raise EncoderError(f"A file of the encoder {fault}.", where=path, mend=_RESTORE)
    return files[WEIGHTS]
