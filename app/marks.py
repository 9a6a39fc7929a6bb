"""The Python verbs of watermarks; `auditkit watermark ...` mirrors them.

import auditkit as ak
ak.embed_watermark("picture.png", "marked.png", payload="1:42")
ak.detect_watermark("upload.jpg")          # a DataFrame: a row for each scheme and key
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.api import RUNS, find_run
from app.output import Progress, progress_bar
from auditkit.errors import TableError, WatermarkError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from auditkit.runs import Run
    from auditkit.watermark.embedding import Marked
    from auditkit.watermark.identification import Identification
    from auditkit.watermark.keys import KeyEntry, KeyRing
    from auditkit.watermark.label import LabelBox
    from auditkit.watermark.marking import Mark
    from auditkit.watermark.payload import Payload
    from generators.rooting import RootReport

BATCH = 16
"""Images of a run whose noise is recovered together."""
WORKERS = 2
"""Images marked or read at a time: numpy and torch let go of the interpreter."""


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
        payload: "MODEL" or "MODEL:USER"; by default the one registered under `name` (without a name: under none), or
            the next free model.
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
    for one in entry.registered:  # the same name, or the same lack of one, the same payload
        if one.name == name:
            return one.payload
    return Payload(1 + max((one.payload.model for one in entry.registered), default=0))


def _ring(keys: str | Path | None, key: str | None) -> KeyRing:
    """The keys to try: those of the file, or the one named."""
    from auditkit.watermark.keys import load

    ring = load(keys)
    return ring if key is None else dataclasses.replace(ring, entries=(ring.get(key),))


def embed_watermark(
    source: str | Path,
    out: str | Path,
    *,
    scheme: str = "spread",
    key: str | None = None,
    payload: str | None = None,
    keys: str | Path | None = None,
    name: str = "",
    psnr: float = 42.0,
    progress: bool | Progress = False,
) -> Marked | pd.DataFrame:
    """Mark an image file, or every image of a folder, with a payload under a key.

    Args:
        out: the file, or the folder, to write; PNG, WebP (lossless) or JPEG by its ending.
        scheme: spread or codec; latent schemes mark images as they are made (`generate --watermark`).
        key, payload, name: see `choose_mark`.
        psnr: quality to keep, dB.

    Returns:
        Of a file what was written (`Marked`); of a folder a row a file, those that failed with why.

    Raises:
        KeyFileError, WatermarkError, ImageError.

    Example:
        embed_watermark("picture.png", "marked.png", payload="1:42")
    """
    from auditkit.watermark.embedding import embed_file, embed_folder

    mark = choose_mark(scheme, key=key, payload=payload, keys=keys, name=name, psnr=psnr)
    what: dict[str, Any] = {"scheme": mark.scheme, "key": mark.key, "payload": mark.payload, "psnr": psnr}
    if not Path(source).is_dir():
        return embed_file(source, out, **what)
    with progress_bar("embed", progress) as show:
        return embed_folder(source, out, **what, workers=WORKERS, progress=show)


def detect_watermark(
    target: str | Path | Run,
    *,
    schemes: Sequence[str] = (),
    key: str | None = None,
    keys: str | Path | None = None,
    payloads: Sequence[str] = (),
    fpr: float = 1e-6,
    search: bool = True,
    generator: str | None = None,
    device: str = "auto",
    runs: str | Path = RUNS,
    progress: bool | Progress = False,
) -> pd.DataFrame:
    """Look for watermarks in an image file, a folder of images, or a run: a row an image, scheme and key.

    Args:
        target: a file, a folder, or a run (its folder, its id, 'latest'); a run keeps the rows (`run.watermarks()`).
        schemes: those to look for; by default every scheme in the pixels, for a run the one it was made with.
        key: the only key to try, by id; by default every key of the file, for a run the one it was made with.
        payloads: "MODEL:USER" to look for besides those registered.
        fpr: false positive rate of an image, over all schemes and keys tried on it.
        search: also look for rotated, scaled and cropped marks.
        generator: the checkpoint whose noise latent schemes are read from; for a run its own.

    Raises:
        KeyFileError, WatermarkError, RunError, ImageError.

    Example:
        detect_watermark("upload.jpg")
    """
    import numpy as np
    import pandas as pd

    from auditkit.images import open_image
    from auditkit.watermark.payload import Payload
    from auditkit.watermark.verdict import detect, detect_folder, row

    asked = [Payload.parse(text) for text in payloads]
    run = _run(target, runs)
    if run is not None:
        return _detect_run(run, schemes, key, keys, asked, fpr, search, generator, device, progress)
    options: dict[str, Any] = {
        "ring": _ring(keys, key),
        "schemes": list(schemes) or None,
        "fpr": fpr,
        "payloads": asked,
        "search": search,
        "invert": None,
    }
    if generator:
        recover = _inverter(generator, device)
        options["invert"] = lambda image: recover([image])[0]
    target = Path(str(target))
    if target.is_dir():
        with progress_bar("detect", progress) as show:
            # A network or a pipeline is not shared between threads.
            return detect_folder(target, **options, workers=1 if generator else WORKERS, progress=show)
    image = np.asarray(open_image(target))
    invert = options.pop("invert")
    seen = detect(image, **options, noise=None if invert is None else partial(invert, image))
    return pd.DataFrame([{"file": str(target), **row(each), "error": ""} for each in seen])


def identify_watermark(
    image: str | Path,
    *,
    users: str | Path | None = None,
    scheme: str = "spread",
    key: str | None = None,
    keys: str | Path | None = None,
    fpr: float = 1e-6,
) -> tuple[Identification, str]:
    """Whose image is it, among the users registered with a key or listed in a CSV file with columns model, user, name?

    Returns:
        The identification, and the name that goes with its payload ('' where there is none).

    Raises:
        KeyFileError, WatermarkError, ImageError, TableError.

    Example:
        found, name = identify_watermark("upload.jpg", users="users.csv")
    """
    import numpy as np

    from auditkit.images import open_image
    from auditkit.watermark.base import unpadded
    from auditkit.watermark.identification import Registry
    from auditkit.watermark.keys import load
    from auditkit.watermark.schemes import scheme as named

    ring = load(keys)
    entry = ring.get(key) if key else ring.active
    reader = named(scheme)
    if reader.family != "word":
        raise WatermarkError(
            f"'{scheme}' is not read bit by bit", where=f"scheme={scheme}", mend="use spread, codec or signature"
        )
    names = _users(users) if users else {int(one.payload): one.name for one in entry.registered}
    registry = Registry(np.fromiter(names, np.uint64, len(names)), reader.bits)
    reading = reader.read(np.asarray(open_image(image)), entry.key)
    if reading.unusable:
        raise WatermarkError(f"nothing can be read: {reading.unusable}", where=image, mend="ask for a larger original")
    found = registry.identify(unpadded(reading.soft, reader.name, entry.key), fpr=fpr, looks=reading.looks)
    return found, names.get(int(found.payload), "") if found.payload else ""


def _users(path: str | Path) -> dict[int, str]:
    """Names by payload, of a CSV file with the columns model, user and perhaps name."""
    import pandas as pd

    from auditkit.watermark.payload import Payload

    mend = "write a CSV with a header and the columns model, user, name"
    try:
        table = pd.read_csv(path, dtype={"name": str})
    except FileNotFoundError:
        raise TableError("the list of users does not exist", where=path, mend="check the path") from None
    except (OSError, ValueError) as error:
        raise TableError(f"the list of users cannot be read: {error}", where=path, mend=mend) from None
    for column in ("model", "user"):
        if column not in table or not pd.api.types.is_integer_dtype(table[column]):
            raise TableError(f"the list of users has no column of whole numbers '{column}'", where=path, mend=mend)
    names = table["name"].fillna("") if "name" in table else [""] * len(table)
    return {
        int(Payload(int(model), int(user))): str(name)
        for model, user, name in zip(table["model"], table["user"], names, strict=True)
    }


def _run(target: str | Path | Run, runs: str | Path) -> Run | None:
    """The run that is meant, or None where it is a file or a folder of images."""
    from auditkit.runs import Run

    if isinstance(target, Run):
        return target
    path = Path(target)
    if path.is_file() or (path.is_dir() and not (path / "run.json").exists()):
        return None
    if not path.exists() and str(target) != "latest" and not (Path(runs) / str(target)).exists():
        raise WatermarkError("there is no such file, folder or run", where=target, mend="check the path")
    return find_run(str(target), folder=runs)


def _detect_run(
    run: Run,
    schemes: Sequence[str],
    key: str | None,
    keys: str | Path | None,
    payloads: Sequence[Payload],
    fpr: float,
    search: bool,
    generator: str | None,
    device: str,
    progress: bool | Progress,
) -> pd.DataFrame:
    import numpy as np

    from auditkit.images import open_image
    from auditkit.watermark.schemes import chosen
    from auditkit.watermark.table import watermarks_table
    from auditkit.watermark.verdict import detect

    made = run.record.get("watermark") or {}
    wanted = chosen(list(schemes) or ([made["scheme"]] if made else None), latent=bool(generator))
    ring = _ring(keys, key or made.get("key_id"))
    latent = any(one.family == "latent" for one in wanted)
    source = generator or run.record["generator"].get("source") or ""
    if latent and source == "bundled":
        source = run.record["generator"]["name"]
    ids = list(dict.fromkeys(run.images()["id"]))
    found = []
    with progress_bar("detect", progress) as show:
        recover = _inverter(source, device) if latent else None
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            images = [np.asarray(open_image(run.image_path(id))) for id in some]
            began = time.perf_counter()
            noises = None if recover is None else recover(images)  # together: quicker than one by one
            shared = 1000 * (time.perf_counter() - began) / len(some)
            for place, (id, image) in enumerate(zip(some, images, strict=True)):
                noise = None if noises is None else partial(noises.__getitem__, place)
                seen = detect(image, ring=ring, schemes=wanted, fpr=fpr, payloads=payloads, search=search, noise=noise)
                found += [(id, dataclasses.replace(each, ms=each.ms + shared)) for each in seen]
                if show is not None:
                    show(start + place + 1, len(ids))
    table = watermarks_table(found)
    run.write_watermarks(table)
    return table


def _inverter(generator: str, device: str) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """The noise that images (uint8 [h, w, 3] each) came from, float32 [n, c, h, w], by that generator's inversion."""
    from PIL import Image

    from generators.inversion import invert
    from generators.load import load_generator

    loaded: Any = load_generator(generator, device=device)

    def recover(images: Sequence[np.ndarray]) -> np.ndarray:
        return invert(loaded, [Image.fromarray(image) for image in images])

    return recover


def root_watermark(
    generator: str,
    out: str | Path,
    *,
    key: str | None = None,
    payload: str | None = None,
    keys: str | Path | None = None,
    steps: int | None = None,
    device: str = "auto",
    progress: bool | Progress = False,
) -> RootReport:
    """Make a checkpoint folder whose decoder puts a key's mark on every image (Stable Signature).

    Args:
        generator: a bundled name, or the folder of a diffusers checkpoint; it is not changed.
        payload: by default the one registered under the generator's name, or the next free model number.

    Raises:
        KeyFileError, GeneratorError, WatermarkError.

    Example:
        root_watermark("personas", "rooted/personas")
    """
    from auditkit.watermark.keys import load, register
    from generators.load import load_generator
    from generators.rooting import root

    ring = load(keys)
    entry = ring.get(key) if key else ring.active
    wanted = _payload(entry, payload, generator)
    folder = _checkpoint(load_generator(generator, device=device))
    more: dict[str, Any] = {} if steps is None else {"steps": steps}
    with progress_bar("root", progress) as show:
        # The loop tells its share done, its step and its losses; the bar takes whole numbers.
        told = None if show is None else (lambda share, step, losses: show(round(100 * share), 100))
        done = root(folder, key=entry.key, payload=wanted, out=Path(out), device=device, progress=told, **more)
    register(entry.key.id, wanted, name=generator, path=ring.path)
    return done


def bench_watermark(
    out: str | Path,
    *,
    photographs: str | Path | None = None,
    generated: str | Path | None = None,
    graphics: str | Path | None = None,
    schemes: Sequence[str] = ("spread", "codec"),
    peers: Sequence[str] = (),
    attacks: Sequence[str] = (),
    thorough: bool = False,
    regenerate: str | None = None,
    psnr: float = 42.0,
    fpr: float = 1e-6,
    seed: int = 0,
    device: str = "auto",
    progress: bool | Progress = False,
) -> Path:
    """Mark, attack and read images, and write tables and a page into the folder `out`, which is returned.

    Raises:
        ImageError, PluginError, WatermarkError, RunError.

    Example:
        bench_watermark("bench", photographs="photographs/test", peers=["dwtdctsvd"])
    """
    from auditkit.watermark.bench import run
    from reports.watermark_page import write_page

    images: dict[str, Any] = {"photographs": photographs, "generated": generated, "graphics": graphics}
    images = {content: folder for content, folder in images.items() if folder is not None} or _shipped()
    again = {}
    if regenerate is not None:
        from generators.load import load_generator
        from generators.regeneration import regenerations

        again = regenerations(load_generator(regenerate, device=device))
    with progress_bar("bench", progress) as show:
        folder = run(
            schemes,
            images,
            out=out,
            peers=peers,
            attacks=list(attacks) or None,
            thorough=thorough,
            regenerate=again,
            psnr=psnr,
            fpr=fpr,
            seed=seed,
            progress=show,
        )
    write_page(folder)
    return folder


def label_image(
    source: str | Path,
    out: str | Path,
    *,
    text: str = "AI-generated",
    height: float = 0.05,
    corner: str = "bottom-right",
    font: str | Path | None = None,
) -> LabelBox:
    """Write a copy of an image with a visible label; see `auditkit.watermark.label`.

    Raises:
        WatermarkError, ImageError.
    """
    import io

    from auditkit.files import write_atomic
    from auditkit.images import open_image
    from auditkit.watermark.embedding import WRITERS
    from auditkit.watermark.label import add_label

    options = WRITERS.get(Path(out).suffix.lower())
    if options is None:
        raise WatermarkError(
            f"images are not written as '{Path(out).suffix}'", where=out, mend="use one of: " + ", ".join(WRITERS)
        )
    if Path(out).exists() and Path(out).samefile(source):
        raise WatermarkError("the labelled image would replace its source", where=out, mend="name another file")
    labelled, box = add_label(open_image(source), text, height_share=height, corner=corner, font=font)
    buffer = io.BytesIO()
    labelled.save(buffer, **options)
    write_atomic(Path(out), buffer.getvalue())
    return box


def _shipped() -> dict[str, Any]:
    """The photographs that scikit-learn brings along."""
    from sklearn.datasets import load_sample_images

    return {"photographs": list(load_sample_images().images)}


def _checkpoint(generator: Any) -> Path:
    """The folder that a generator was loaded from."""
    folder = getattr(generator, "folder", None)
    if folder is None:
        raise WatermarkError(
            f"'{generator.info.name}' is no diffusers checkpoint", where=generator.info.source, mend="name a folder"
        )
    return Path(folder)
