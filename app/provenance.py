"""The Python verbs of provenance; `auditkit sign`, `inspect`, `scan`, `disclose` and others mirror them.

Example:
    import auditkit as ak
    ak.sign("picture.png", "signed.png", source_type="trainedAlgorithmicMedia")
    ak.inspect("upload.jpg").c2pa["verdict"]
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.output import Progress, progress_bar
from auditkit.errors import ProvenanceError

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.provenance.credentials import Credentials
    from auditkit.provenance.disclosure import Disclosure
    from auditkit.provenance.inspection import Inspection, Settings
    from auditkit.provenance.manifest import Claim, Generation
    from auditkit.provenance.pki import Pki
    from auditkit.provenance.publishing import Published, Publisher
    from auditkit.provenance.scanning import Scan
    from auditkit.runs import Run


def make_pki(out: str | Path | None = None, *, name: str = "development signer", days: int = 365) -> Pki:
    """Make a development PKI, not for production, in a new folder (by default where `sign` looks for it).

    Raises:
        TrustError: the folder holds keys already.

    Example:
        make_pki("pki").root
    """
    from auditkit.places import home
    from auditkit.provenance.pki import make_pki as make

    return make(home() / "pki" if out is None else out, name=name, days=days)


@contextlib.contextmanager
def publisher(
    *,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    command: str | None = None,
    timestamp: str | None = None,
    store: str | Path | None = None,
    log: str | Path | None = None,
) -> Iterator[Publisher]:
    """What signs images and remembers them: credentials, a manifest store, and the transparency log.

    Args:
        cert, key, command: see `auditkit.provenance.credentials.load_credentials`.
        timestamp: URL of an RFC 3161 authority, the only use of the network.
        store: folder of the manifest store, made where it is missing; "" keeps none, None is the default one.
        log: folder of the transparency log, made where it is missing; "" keeps none, None is the default one.

    Raises:
        TrustError, ProvenanceError.
    """
    from auditkit.provenance.credentials import load_credentials
    from auditkit.provenance.publishing import Publisher

    credentials: Credentials = load_credentials(cert, key, command=command)
    with Publisher.open(credentials, timestamp=timestamp, store=store, log=log) as made:
        yield made


def sign(
    source: str | Path,
    out: str | Path | None = None,
    *,
    source_type: str | None = None,
    actions: Sequence[str] = (),
    parent: str | Path | None = None,
    components: Sequence[str | Path] = (),
    generation: Generation | None = None,
    training: str | None = None,
    training_terms: str = "",
    watermark: str | None = None,
    watermark_key: str | None = None,
    keys: str | Path | None = None,
    sidecar: bool = False,
    overwrite: bool = False,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    command: str | None = None,
    timestamp: str | None = None,
    store: str | Path | None = None,
    log: str | Path | None = None,
) -> Published:
    """Sign an image file with a C2PA manifest, and keep the manifest in the store.

    Args:
        out: the signed file; by default `picture-signed.png` beside the source. The source itself where `overwrite`
            says so: it is replaced only when the new file verifies.
        source_type: how the image came to be, a term of the vocabulary; without one the image is 'opened', which says
            only that you had it before you.
        actions: further actions: "cropped", "resized".
        parent, components: images that it was made from, or that were placed into it.
        training: "allowed", "notAllowed" or "constrained", the last with `training_terms`.
        watermark: a scheme to mark the image with first, with a payload of its own: "spread" or "codec".
        sidecar: keep the manifest beside the image, in a .c2pa file.
        cert, key, command, timestamp, store, log: see `publisher`.

    Raises:
        ProvenanceError, TrustError, ImageError, WatermarkError, KeyFileError.

    Example:
        sign("picture.png", source_type="trainedAlgorithmicMedia", watermark="spread")
    """
    from auditkit.provenance.publishing import Marker

    source = Path(source)
    marker = None if watermark is None else Marker.load(watermark, key=watermark_key, keys=keys)
    claim = _claim(source, source_type, actions, generation, training, training_terms)
    with publisher(cert=cert, key=key, command=command, timestamp=timestamp, store=store, log=log) as made:
        return made.publish_file(
            source, _target(source, out), claim, parent=parent, components=components, marker=marker, sidecar=sidecar,
            overwrite=overwrite,
        )  # fmt: skip


def sign_folder(
    folder: str | Path,
    out: str | Path,
    *,
    progress: bool | Progress = False,
    source_type: str | None = None,
    training: str | None = None,
    training_terms: str = "",
    watermark: str | None = None,
    watermark_key: str | None = None,
    keys: str | Path | None = None,
    sidecar: bool = False,
    **signer: Any,
) -> pd.DataFrame:
    """Sign every image below a folder into the same place below `out`; a second call does only what is missing.

    Args:
        signer: see `publisher`; the rest as in `sign`.

    Returns:
        A row for each image: file, out, status ('signed', 'kept', 'failed'), manifest, note.

    Raises:
        ProvenanceError, TrustError, KeyFileError.
    """
    from auditkit.provenance.publishing import Marker

    marker = None if watermark is None else Marker.load(watermark, key=watermark_key, keys=keys)
    claim = _claim(Path(folder), source_type, (), None, training, training_terms)
    with publisher(**signer) as made, progress_bar("sign", progress) as show:
        return made.publish_folder(folder, out, claim, marker=marker, sidecar=sidecar, progress=show)


def sign_run(run: Run | str | Path, *, progress: bool | Progress = False, training: str | None = None,
             training_terms: str = "", **signer: Any) -> pd.DataFrame:  # fmt: skip
    """Sign every image of a run: copies that carry their manifests in its folder `signed`; the images stay as they are.

    Args:
        signer: see `publisher`.

    Returns:
        The run's table `provenance`: a row an image.

    Raises:
        ProvenanceError, TrustError, RunError.

    Example:
        sign_run("runs/occupations-personas-a8756adc")
    """
    from app.api import find_run

    found = find_run(run)
    with publisher(**signer) as made, progress_bar("sign", progress) as show:
        return made.publish_run(found, training=training, training_terms=training_terms, progress=show)


def inspect(
    path: str | Path,
    *,
    trust: Sequence[str | Path] = (),
    as_of: date | None = None,
    store: str | Path | None = None,
    keys: str | Path | None = None,
    schemes: Sequence[str] = (),
    search: bool = True,
    banks: Sequence[str] | None = None,
    detectors: Sequence[str] | None = None,
) -> Inspection:
    """Ask an image where it came from: its manifest, watermarks, hashes, detector and opt-out signals, kept apart.

    Args:
        trust: PEM files of trust anchors for this call, besides the lists that are kept.
        as_of: the day to judge the signer on.
        store: folder of the manifest store to ask; "" asks none, None the default one if it exists.
        keys: watermark key file; "" reads none, None the default one if it exists.
        banks: hash banks to compare with; None is all that are kept.
        detectors: names, or path:FOLDER; None asks every one that is installed, () none.

    Raises:
        ImageError: the file is missing, empty or unreadable. What is wrong inside it is a verdict.
        DetectorError: a detector that was named is missing or damaged.

    Example:
        inspect("upload.jpg", trust=["anchors.pem"]).c2pa["verdict"]
    """
    from auditkit.provenance.inspection import Inspector

    return Inspector(_settings(trust, as_of, store, keys, schemes, search, banks, detectors)).inspect(path)


def scan(
    folder: str | Path,
    out: str | Path = "verdicts.parquet",
    *,
    trust: Sequence[str | Path] = (),
    as_of: date | None = None,
    store: str | Path | None = None,
    keys: str | Path | None = None,
    schemes: Sequence[str] = (),
    search: bool = True,
    banks: Sequence[str] | None = None,
    detectors: Sequence[str] | None = None,
    workers: int = 2,
    progress: bool | Progress = False,
) -> Scan:
    """Inspect every file below a folder into a Parquet table; resumable. See `inspect` for the other arguments.

    Raises:
        ProvenanceError, TrustError, KeyFileError, DetectorError.

    Example:
        scan("uploads/", "verdicts.parquet").errors
    """
    from auditkit.provenance.scanning import scan as run

    settings = _settings(trust, as_of, store, keys, schemes, search, banks, detectors)
    with progress_bar("scan", progress) as show:
        return run(folder, out, settings=settings, workers=workers, progress=show)


def disclose(run: Run | str | Path, *, statements: str | Path | None = None) -> Disclosure:
    """The fields that disclosure rules ask for, filled from a run's record, each with its source or 'unknown'.

    Raises:
        RunError, ProvenanceError.
    """
    from app.api import find_run
    from auditkit.provenance.disclosure import disclose as fill

    return fill(find_run(run), statements=statements)


def _settings(
    trust: Sequence[str | Path],
    as_of: date | None,
    store: str | Path | None,
    keys: str | Path | None,
    schemes: Sequence[str],
    search: bool,
    banks: Sequence[str] | None,
    detectors: Sequence[str] | None,
) -> Settings:
    from auditkit.provenance.inspection import Settings

    return Settings(
        tuple(str(each) for each in trust), as_of, None if store is None else str(store),
        None if keys is None else str(keys), tuple(schemes), search, None if banks is None else tuple(banks),
        None if detectors is None else tuple(detectors),
    )  # fmt: skip


def _claim(
    source: Path,
    source_type: str | None,
    actions: Sequence[str],
    generation: Generation | None,
    training: str | None,
    terms: str,
) -> Claim:
    from auditkit.provenance import vocabulary
    from auditkit.provenance.manifest import Claim, check_training

    check_training(training, terms)
    if source_type is not None:
        vocabulary.source_type(source_type)  # a wrong word is told before any file is touched
    for name in actions:
        vocabulary.action(name)
    return Claim(
        source.name, source_type=source_type, actions=tuple(actions), generation=generation, training=training,
        training_terms=terms,
    )  # fmt: skip


def _target(source: Path, out: str | Path | None) -> Path:
    target = source.with_name(f"{source.stem}-signed{source.suffix}") if out is None else Path(out)
    if target.is_dir():
        raise ProvenanceError("this is a folder", where=target, mend="name the file to write")
    return target
