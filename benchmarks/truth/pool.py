"""The population that simulated audits are drawn from: labelled drawings at several image qualities, embedded once."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auditkit.clip.attributes import attribute
from auditkit.clip.posteriors import class_embeddings
from auditkit.errors import GeneratorError, TableError
from auditkit.files import sha256_file, write_atomic

if TYPE_CHECKING:
    from PIL import Image

    from auditkit.clip.encoders import Encoder

ATTRIBUTES = ("gender", "skin_tone")
STYLES = ("seen", "unseen")
QUALITIES = ("clean", "soft", "jpeg", "blurred", "smeared", "ruined")
"""As drawn; through the bundled autoencoder, as a generator's images are; JPEG at quality 8; Gaussian blur of 3, 6 and
10 pixels radius on 128. The last leaves little to see."""
UNSEEN_QUALITIES = ("clean",)
"""At which the unseen style is shown; fewer, since embedding takes the time."""
COPIES = {"clean": 2, "soft": 2}
"""Papers and offsets that each drawing is shown on at a quality; 1 where it is not named."""
CANVAS = 128
VERSION = 1

Progress = Callable[[int, int], None]
BLUR = {"blurred": 3, "smeared": 6, "ruined": 10}


@dataclass(frozen=True)
class Pool:
    """Embedded drawings of known truth.

    Attributes:
        table: a row an image: `source` int (which drawing), `style` (seen: of the sets that the encoder was trained
            on, from cells held out of training; unseen: of a set that no model was trained on), `quality`, `copy`,
            and a column for each attribute with its class as int.
        embeddings: float32 [n, dim], unit rows.
        texts: by attribute the classes' unit vectors, float32 [K, dim].
        name, sha256, logit_scale: of the encoder.
    """

    table: pd.DataFrame
    embeddings: np.ndarray
    texts: dict[str, np.ndarray]
    name: str
    sha256: str
    logit_scale: float

    def cosines(self, name: str, noise: float = 0.0) -> np.ndarray:
        """Cosines of the images with an attribute's classes, float32 [n, K].

        Args:
            noise: standard deviation of what is added to each cosine, as a multiple of their own; the same for an
                image however often it is drawn. At 10 the classes cannot be told apart.
        """
        found = np.asarray(self.embeddings @ self.texts[name].T)
        if noise:
            found = found + noise * found.std() * np.random.default_rng(0).standard_normal(found.shape, np.float32)
        return found.astype(np.float32)

    def _distance(self, reference: np.ndarray, k: int = 5) -> np.ndarray:
        source, rows = self.table["source"].to_numpy(), []
        for start in range(0, len(source), 1024):
            part = slice(start, start + 1024)
            cosine = self.embeddings[part] @ self.embeddings[reference].T
            cosine[source[part, None] == source[reference]] = -np.inf
            rows.append(1 - np.partition(cosine, -k, axis=1)[:, -k:].mean(axis=1))
        return np.concatenate(rows)

    @cached_property
    def _domains(self) -> dict[tuple[str, tuple[str, ...]], np.ndarray]:
        return {}

    def inside(self, style: str, qualities: tuple[str, ...]) -> np.ndarray:
        """Whether each image is in the domain of a calibration on that style at those qualities: bool [n].

        As `auditkit.clip.domain.Domain`, but no image is a neighbour to copies of itself: an audit's images are not
        among the calibration's.
        """
        key = (style, qualities)
        if key not in self._domains:
            chosen = ((self.table["style"] == style) & self.table["quality"].isin(qualities)).to_numpy()
            distance = self._distance(np.flatnonzero(chosen))
            self._domains[key] = distance <= np.quantile(distance[chosen], 0.99)
        return self._domains[key]


def load_pool(
    corpus: Path, folder: Path, *, encoder: str = "personas-clip", vae: Path, progress: Progress | None = None
) -> Pool:
    """The pool of a corpus, embedded by an encoder; kept in `folder`, a file a quality and copy, so that nothing is
    embedded twice and a stopped run goes on.

    Args:
        corpus: as `auditkit corpus build` wrote it. vae: folder of the autoencoder behind the quality `soft`.

    Raises:
        TableError: there is no corpus, or it holds no held-out people; names the command that makes it.
        EncoderError, GeneratorError: no such encoder or autoencoder.
    """
    people = _people(corpus)
    from auditkit.clip.folder import find_folder, weights_sha256

    found = find_folder(encoder)
    facts = {
        "version": VERSION,
        "people": hashlib.sha256("\n".join(people["style"] + "/" + people["name"]).encode()).hexdigest(),
        "pixels": hashlib.sha256(b"".join(people["png"])).hexdigest(),
        "encoder": encoder if found is None else weights_sha256(found),
        "vae": _vae_sha256(vae),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return _read(people, folder / f"pool-{key}", encoder, vae, progress)


def _read(people: pd.DataFrame, folder: Path, encoder: str, vae: Path, progress: Progress | None) -> Pool:
    from safetensors.numpy import load_file, save

    parts = [(quality, copy) for quality in QUALITIES for copy in range(COPIES.get(quality, 1))]
    paths = {part: folder / f"{part[0]}-{part[1]}.safetensors" for part in parts}
    texts = folder / "texts.safetensors"
    missing = [part for part in parts if not paths[part].is_file()]
    if missing or not texts.is_file():
        from auditkit.clip.encoders import load_encoder

        eyes = load_encoder(encoder)
        folder.mkdir(parents=True, exist_ok=True)
        for i, (quality, copy) in enumerate(missing):
            who = _shown(people, quality)
            found = _embed(eyes, who, quality, copy, vae, _share(progress, i, len(missing), len(who)))
            write_atomic(paths[quality, copy], save({"embeddings": found}))
        vectors = {name: class_embeddings(eyes, attribute(name)) for name in ATTRIBUTES}
        about = {"name": eyes.name, "sha256": eyes.sha256, "logit_scale": repr(eyes.logit_scale)}
        write_atomic(texts, save(vectors, metadata=about))
    columns = ["source", "seen", *ATTRIBUTES]
    tables = [_shown(people, q)[columns].assign(quality=q, copy=c) for q, c in parts]
    table = pd.concat(tables, ignore_index=True).rename(columns={"seen": "style"})
    embeddings = np.concatenate([load_file(paths[part])["embeddings"] for part in parts])
    return _pool(table, embeddings, texts)


def _pool(table: pd.DataFrame, embeddings: np.ndarray, texts: Path) -> Pool:
    from safetensors import safe_open

    with safe_open(texts, framework="numpy") as file:
        about = file.metadata()
        vectors = {name: file.get_tensor(name) for name in ATTRIBUTES}
    return Pool(table, embeddings, vectors, about["name"], about["sha256"], float(about["logit_scale"]))


def _people(corpus: Path) -> pd.DataFrame:
    """The drawings that no model was trained on and whose gender form and tone are both stated."""
    from generators import corpus as corpora

    if not (corpus / "corpus.parquet").is_file() and not corpus.is_file():
        raise TableError("There is no persona corpus here.", where=corpus, mend=f"auditkit corpus build --out {corpus}")
    table = corpora.read(corpus)
    classes = {name: list(attribute(name).classes) for name in ATTRIBUTES}
    held = table[(table["kind"] == "person") & table["split"].isin(["calibration", "test", "unseen"])]
    for name in ATTRIBUTES:
        held = held[held[name].isin(classes[name])]
    held = held.assign(seen=np.where(held["split"] == "unseen", "unseen", "seen")).reset_index(drop=True)
    present = held.groupby("seen")[list(ATTRIBUTES)].nunique()
    if len(present) < len(STYLES) or (present < [len(c) for c in classes.values()]).any(axis=None):
        raise TableError(
            "The corpus lacks held-out people of some class or style.",
            where=corpus,
            mend=f"auditkit corpus build --out {corpus}",
        )
    for name in ATTRIBUTES:
        held[name] = held[name].map(classes[name].index).astype(np.int64)
    return held.assign(source=np.arange(len(held)))


def _shown(people: pd.DataFrame, quality: str) -> pd.DataFrame:
    """The drawings that are shown at that quality."""
    return people if quality in UNSEEN_QUALITIES else people[people["seen"] == "seen"]


def _embed(
    encoder: Encoder, people: pd.DataFrame, quality: str, copy: int, vae: Path, progress: Progress | None
) -> np.ndarray:
    """float32 [n, dim] of the drawings on papers of their own at that quality."""
    import torch

    from generators.training import pixels

    random = torch.Generator().manual_seed(100 * QUALITIES.index(quality) + copy + 1)
    drawings = pixels.load(people, "cpu")
    found = []
    through = _autoencoder(vae) if quality == "soft" else (lambda batch: batch)
    for chunk in drawings.split(64):
        with torch.no_grad():
            batch = through(pixels.on_paper(chunk, CANVAS, random))
        pictures = ((batch + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        found.append(encoder.embed_images(list(_spoilt(pictures, quality))))
        if progress is not None:
            progress(sum(map(len, found)), len(people))
    return np.concatenate(found).astype(np.float32)


def _spoilt(pictures: np.ndarray, quality: str) -> Iterator[Image.Image]:
    from PIL import Image, ImageFilter

    for picture in pictures:
        image = Image.fromarray(picture)
        if quality == "jpeg":
            stream = io.BytesIO()
            image.save(stream, "JPEG", quality=8)
            image = Image.open(stream).convert("RGB")
        elif quality in BLUR:
            image = image.filter(ImageFilter.GaussianBlur(BLUR[quality]))
        yield image


def _autoencoder(vae: Path) -> Callable:
    import torch
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(vae, torch_dtype=torch.float32, low_cpu_mem_usage=False).eval()
    return lambda batch: model.decode(model.encode(batch).latent_dist.mode()).sample.clamp(-1, 1)


def _vae_sha256(vae: Path) -> str:
    weights = vae / "diffusion_pytorch_model.safetensors"
    if not weights.is_file():
        raise GeneratorError("There is no autoencoder here.", where=vae, mend="Pass --vae with the folder of one.")
    return sha256_file(weights)


def _share(progress: Progress | None, part: int, parts: int, each: int) -> Progress | None:
    """Progress over parts taken as equally long, in thousandths."""
    return None if progress is None else (lambda done, _: progress(1000 * part + 1000 * done // each, 1000 * parts))
