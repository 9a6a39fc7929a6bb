"""The C2PA Soft Binding Resolution API over a manifest store: who finds a watermark or a copy gets its manifest.

After C2PA's OpenAPI document for soft binding resolution (version 1.0.0): /matches/byBinding (GET and POST),
/matches/byContent, /manifests/{id} and /services/supportedAlgorithms. The store is read-only here, and what is uploaded
is looked at in memory and kept nowhere.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

import auditkit
from auditkit.errors import AuditkitError, ImageError
from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.manifest import PDQ_ALGORITHM
from auditkit.provenance.recovery import Candidate, candidates
from auditkit.provenance.store import Entry, Store, open_store

MAX_UPLOAD = 32 * 1024 * 1024
MOST = 100
MANIFEST_TYPE = "application/c2pa"


class Match(BaseModel):
    """A manifest that fits, with how near it is: 100 is the same."""

    manifestId: str = Field(description="The manifest's name, for /manifests/{manifestId}.")
    similarityScore: int | None = Field(None, ge=0, le=100, description="0 to 100, where the algorithm has degrees.")


class Matches(BaseModel):
    """What was found; an empty list where nothing was."""

    matches: list[Match]


class Binding(BaseModel):
    """A soft binding to look up."""

    alg: str = Field(max_length=200, description="Name of the algorithm, as /services/supportedAlgorithms gives it.")
    value: str = Field(max_length=4096, description="Its value, base64.")


class Algorithm(BaseModel):
    """A soft-binding algorithm."""

    alg: str


class Algorithms(BaseModel):
    """What can be looked up."""

    watermarks: list[Algorithm]
    fingerprints: list[Algorithm]


Results = Annotated[int, Query(ge=1, le=MOST, alias="maxResults")]


def create_app(store: str | Path | None = None, *, keys: str | None = None) -> FastAPI:
    """The service over a manifest store.

    Args:
        store: its folder; the default one if None.
        keys: watermark key file for /matches/byContent; None is the default one if it exists, "" reads no watermark.

    Raises:
        ProvenanceError: there is no store there.
    """
    folder = open_store(store).folder
    service = FastAPI(
        title="auditkit soft binding resolution",
        version=auditkit.__version__,
        description="Finds the C2PA manifests of images that lost theirs. Nothing that is uploaded is kept.",
    )
    looking = Inspector(Settings(store="", keys=keys, banks=()))

    def opened() -> Store:
        # Opened for each request: SQLite connections and our index are for one thread.
        return open_store(folder)

    @service.exception_handler(AuditkitError)
    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, AuditkitError)
        status = 422 if isinstance(error, ImageError) else 500
        body = {"detail": error.what}  # where and mend may name folders of ours
        return Response(json.dumps(body), status, media_type="application/json")

    @service.get("/matches/byBinding", response_model=Matches, tags=["query"])
    def by_binding(
        alg: Annotated[str, Query(max_length=200)],
        value: Annotated[str, Query(max_length=4096, description="base64")],
        most: Results = 10,
    ) -> Matches:
        """Manifests with a soft binding: of a watermark the same value, of PDQ one within 31 bits."""
        with opened() as held:
            return Matches(matches=_bound(held, alg, value, most))

    @service.post("/matches/byBinding", response_model=Matches, tags=["query"])
    def by_binding_body(binding: Binding, most: Results = 10) -> Matches:
        """As GET, for values that are too long for an address."""
        with opened() as held:
            return Matches(matches=_bound(held, binding.alg, binding.value, most))

    @service.post(
        "/matches/byContent",
        response_model=Matches,
        tags=["query"],
        openapi_extra={"requestBody": {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def by_content(request: Request, most: Results = 10) -> Matches:
        """Manifests of the image in the request's body: by its pixels, watermarks and perceptual hash."""
        from starlette.concurrency import run_in_threadpool

        data = await _body(request)
        return await run_in_threadpool(_by_content, opened, looking, data, most)

    @service.get("/manifests/{manifest_id}", tags=["manifests"], response_class=Response)
    def manifest(manifest_id: str) -> Response:
        """A manifest store, application/c2pa."""
        with opened() as held:
            entry = held.get(manifest_id)
        if entry is None:
            raise HTTPException(404, "there is no manifest of that name here")
        return Response(entry.manifest, media_type=MANIFEST_TYPE)

    @service.get("/services/supportedAlgorithms", response_model=Algorithms, tags=["services"])
    def supported() -> Algorithms:
        """Algorithms that can be looked up."""
        with opened() as held:
            names = held.algorithms()
        marks = [Algorithm(alg=name) for name in names if name != PDQ_ALGORITHM]
        return Algorithms(watermarks=marks, fingerprints=[Algorithm(alg=PDQ_ALGORITHM)])

    return service


def _bound(held: Store, algorithm: str, value: str, most: int) -> list[Match]:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(400, "value is not base64") from None
    if algorithm not in held.algorithms():
        raise HTTPException(400, "the algorithm is not supported; /services/supportedAlgorithms lists those that are")
    if algorithm == PDQ_ALGORITHM:
        from auditkit.provenance.pdq import Pdq

        if len(raw) != 32:
            raise HTTPException(400, "a PDQ hash has 32 bytes")
        return [_match(entry, _closeness(apart)) for entry, apart in held.by_pdq([Pdq(raw)], limit=most)]
    return [_match(entry, 100) for entry in held.by_binding(algorithm, raw, limit=most)]


def _by_content(opened: Callable[[], Store], looking: Inspector, data: bytes, most: int) -> Matches:
    from auditkit.images import open_image
    from auditkit.provenance.pdq import hash_forms

    image = open_image(data)
    forms, marks = hash_forms(image), looking.marks(image)
    with opened() as held:
        ranked = candidates(lambda: image, held, forms=forms, marks=marks, most=most)
        found = [_match(each.entry, _score(each)) for each in ranked if each.fits]
    return Matches(matches=sorted(found, key=lambda match: -(match.similarityScore or 0))[:most])


async def _body(request: Request) -> bytes:
    """The request's body, refused as soon as it is too long."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_UPLOAD:
            raise HTTPException(413, f"the image is larger than {MAX_UPLOAD // 2**20} MiB")
        parts.append(part)
    if not size:
        raise HTTPException(400, "the body holds no image")
    return b"".join(parts)


def _match(entry: Entry, score: int) -> Match:
    return Match(manifestId=entry.label, similarityScore=max(0, min(100, score)))


def _score(found: Candidate) -> int:
    if found.how == "hash" and found.distance is not None:
        return _closeness(found.distance)
    return 100 if found.seen is None else round(100 * found.seen.correlation)


def _closeness(apart: int) -> int:
    """Of PDQ: 100 at no difference, 0 at 256 of 256 bits."""
    return round(100 * (1 - apart / 256))
