"""The Python verbs of watermarks; `auditkit watermark ...` mirrors them.

    import auditkit as ak
    ak.embed_watermark("picture.png", "marked.png", payload="1:42")
    ak.detect_watermark("upload.jpg")          # a DataFrame: a row for each scheme and key
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditkit.watermark.keys import KeyEntry, KeyRing
    from auditkit.watermark.marking import Mark
    from auditkit.watermark.payload import Payload


def choose_mark(
    scheme: str,
    *,
    key: str | None = None,
    payload: str | None = None,
    keys: str | Path | None = None,
    name: str = "",
    psnr: float | None = None,
) -> Mark:
    """The mark meant by a scheme, a key's id and a payload, which is registered under the key.

    Args:
        key: an id, or the beginning of one; the active key by default.
        payload: "MODEL" or "MODEL:USER"; by default the payload registered under `name`, or the next free model.
        name: whom the payload stands for; for a run, its generator.

    Raises:
        KeyFileError, PluginError, WatermarkError.
    """
    from auditkit.watermark.keys import load, register
    from auditkit.watermark.marking import make_mark

    ring = load(keys)
    entry = ring.get(key) if key else ring.active
    wanted = _payload(entry, payload, name)
    mark = make_mark(scheme, entry.key, wanted) if psnr is None else make_mark(scheme, entry.key, wanted, psnr=psnr)
    if all(one.payload != wanted or (name and one.name != name) for one in entry.registered):
        register(entry.key.id, wanted, name=name, path=ring.path)
    return mark


def _payload(entry: KeyEntry, payload: str | None, name: str) -> Payload:
    from auditkit.watermark.payload import Payload

    if payload is not None:
        return Payload.parse(payload)
    for one in entry.registered:
        if name and one.name == name:
            return one.payload
    return Payload(1 + max((one.payload.model for one in entry.registered), default=0))


def _ring(keys: str | Path | None, key: str | None) -> KeyRing:
    """The keys to try: those of the file, or the one named."""
    import dataclasses

    from auditkit.watermark.keys import load

    ring = load(keys)
    return ring if key is None else dataclasses.replace(ring, entries=(ring.get(key),))
