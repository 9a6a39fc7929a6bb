"""Contrastive adapters of the encoder by what `score` is asked: which one, whose it is, what it may score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import EncoderError

if TYPE_CHECKING:
    from auditkit.clip.adapter import Adapter


def find_adapter(encoder: str, adapter: str | Path | None) -> tuple[Adapter | None, Path]:
    """The adapter that was asked for, by --adapter or by an encoder that is one's folder, and its folder."""
    from auditkit.clip.adapter import load_adapter
    from auditkit.clip.folder import find_folder, is_adapter

    folder = find_folder(encoder) if adapter is None else Path(adapter).expanduser().resolve()
    if folder is None or (adapter is None and not is_adapter(folder)):
        return None, Path()
    return load_adapter(folder), folder


def adapter_used(encoder: str, adapter: str | Path | None = None) -> dict[str, Any] | None:
    """What `score` says of an adapter: folder, attribute, sha256, encoder, encoder_sha256, calibrated; None without.

    Raises:
        EncoderError, CalibrationError: it is damaged, or its calibration is, or is that of another adapter.
    """
    from auditkit.clip.calibration import load_calibration

    held, folder = find_adapter(encoder, adapter)
    if held is None:
        return None
    return {
        "folder": str(adapter or encoder), "attribute": held.attribute, "sha256": held.sha256, "encoder": held.encoder,
        "encoder_sha256": held.encoder_sha256, "calibrated": load_calibration(str(folder), held.attribute) is not None,
    }  # fmt: skip


def check_attribute(adapter: Adapter | None, folder: Path, scorers: Sequence[str]) -> None:
    """Raise EncoderError where a scorer is of another attribute than the adapter's."""
    strange = [name for name in scorers if adapter is not None and name != adapter.attribute]
    if adapter is not None and strange:
        raise EncoderError(
            f"The adapter was trained for {adapter.attribute}, and says nothing of {strange[0]}.", where=folder,
            mend=f"Score {', '.join(strange)} without it.",
        )  # fmt: skip
