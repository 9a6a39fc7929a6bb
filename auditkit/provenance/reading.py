"""Reading C2PA manifests with the reference library, under defaults that are safe for strangers' files.

No network (an upload's remote-manifest URL would be fetched otherwise, loopback included), the extended key usages of
C2PA's certificate profile, and one reader a call: handles are not shared between threads.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from auditkit.provenance import slack
from auditkit.provenance.containers import SIDECAR, find, media_type

EKU = (
    "1.3.6.1.4.1.62558.2.1",  # C2PA claim signing
    "1.3.6.1.5.5.7.3.36",  # document signing (RFC 9336)
    "1.3.6.1.5.5.7.3.4",  # email protection
    "1.3.6.1.5.5.7.3.8",  # time stamping
    "1.3.6.1.5.5.7.3.9",  # OCSP signing
    "1.3.6.1.4.1.311.76.59.1.9",  # MS C2PA signing
)
"""Extended key usages of certificates that may sign claims, stamp times or answer for revocation."""

NO_DECODER = frozenset({"image/bmp", "audio/flac", SIDECAR})
"""Not read: no decoder, or a manifest without the file that it is about, which would be taken for a changed one."""


@dataclass(frozen=True)
class Report:
    """What the reader says of one file.

    Attributes:
        state: 'Trusted', 'Valid' or 'Invalid'; '' where there is no manifest or it could not be read.
        store: the reader's JSON (manifests, validation results), {} where there is none.
        details: the JSON with certificates and times (crJSON), {} where there is none.
        error: what the reader raised, '' where nothing.
        remote: the URL of a manifest that is kept elsewhere; it was not fetched.
        container: 'embedded', 'sidecar', 'remote' or 'none'.
        whole: False where a manifest was found that is cut off.
    """

    media_type: str | None
    state: str = ""
    store: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    remote: str = ""
    container: str = "none"
    whole: bool = True
    slack: tuple[str, ...] = ()
    """What is wrong with bytes of the manifest that no signature covers; see `auditkit.provenance.slack`."""
    fit: bool = True
    """False where the signer's certificate was not issued for signing claims: the library lets a time-stamping
    authority's pass, whose purpose must be among those that it is given."""


def read(data: bytes, *, anchors: str = "", sidecar: bytes | None = None) -> Report:
    """Read the manifest in a file's bytes, or in the bytes of its sidecar; never raises on what they hold.

    Args:
        anchors: trust anchors, PEM; '' trusts nobody.
        sidecar: a manifest store that is kept beside the file; used where it is given.
    """
    kind = media_type(data)
    if kind is None or kind not in supported():
        return Report(kind)
    found = find(data) if sidecar is None else None
    container = "sidecar" if sidecar is not None else "embedded" if found is not None else "none"
    whole = found is None or found.whole
    try:
        reader = _open(kind, data, anchors, sidecar)
        if reader is None:
            return Report(kind, container=container, whole=whole)
        with reader:
            store, details = json.loads(reader.json()), json.loads(reader.crjson())
            state = str(reader.get_validation_state() or "")
            if container == "none":  # a format that we have no scanner for
                container = "embedded" if reader.is_embedded() else "remote"
            held = sidecar if sidecar is not None else found.store if found is not None else None
            faults = [] if held is None else [*slack.faults(held), *slack.carrier_faults(data)]
            fit = state != "Trusted" or held is None or _fit(held, str(store.get("active_manifest")))
            return Report(kind, state, store, details, container=container, whole=whole, slack=tuple(faults), fit=fit)
    except _library().C2paError as error:
        text = str(error)
        if remote := _remote_url(text):
            return Report(kind, remote=remote, container="remote")
        return Report(kind, error=text or type(error).__name__, container=container, whole=whole)
    except (ValueError, RecursionError) as error:  # JSON that cannot be read
        return Report(kind, error=f"{type(error).__name__}: {error}", container=container, whole=whole)


@lru_cache(maxsize=1)
def supported() -> frozenset[str]:
    """Media types that the reader takes."""
    return frozenset(_library().Reader.get_supported_mime_types()) - NO_DECODER


@lru_cache(maxsize=8)
def context(anchors: str) -> Any:
    """The library's settings for one set of anchors; building one costs more than reading a small file."""
    trust = {"trust_config": "\n".join(EKU) + "\n"} | ({"user_anchors": anchors} if anchors else {})
    return _library().Context.from_dict(
        {
            "trust": trust,
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
            "builder": {
                "thumbnail": {"enabled": False},
                "created_assertion_labels": [
                    "c2pa.actions.v2", "c2pa.soft-binding", "cawg.training-mining", "auditkit.generation",
                ],
            },
        }
    )  # fmt: skip


def _fit(store: bytes, label: str) -> bool:
    from auditkit.provenance.certificates import may_sign
    from auditkit.provenance.jumbf import signing_chain

    chain = signing_chain(store, label)
    return not chain or may_sign(chain[0])


def _open(kind: str, data: bytes, anchors: str, sidecar: bytes | None) -> Any:
    library = _library()
    if sidecar is not None:
        return library.Reader(kind, io.BytesIO(data), manifest_data=sidecar, context=context(anchors))
    return library.Reader.try_create(kind, io.BytesIO(data), context=context(anchors))


def _remote_url(message: str) -> str:
    """The URL in the reader's refusal to fetch a manifest; '' where it is another error."""
    if "remote" not in message.lower():
        return ""
    return next((word.strip("\"'(),") for word in message.split() if "://" in word), "unknown")


def _library() -> Any:
    import c2pa

    return c2pa
