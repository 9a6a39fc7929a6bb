"""Reconstruction error: was this image decoded from the latents of one of these autoencoders?

It stands only with the right autoencoder. So it says so: for each generator that it is shown in training, whether
one of its autoencoders explains that generator's images (`applies`), and where none does, it scores nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from detectors.autoencoders import Autoencoder, load_autoencoder
from detectors.base import Images, Progress, State
from detectors.families.linear import Linear, too_few
from detectors.families.reconstruction_features import WIDTH, encode, encoded_at, features

if TYPE_CHECKING:
    from detectors.examples import Examples

GRID = 16
"""Tiles begin at multiples of so many pixels, where latents and JPEG's blocks begin in an image as it was made."""
QUALITIES = (60, 70, 80, 90)
"""Training images are seen as they are and saved as JPEG at one of these."""
AUROC = 0.8
"""A generator is explained where its images are told from the real ones at least so well, and ..."""
TYPICAL = 0.01
"""... their median score lies over this quantile of the autoencoder's own reconstructions."""
FEWEST = 8
"""Real images to learn from, and images of a generator to judge it by."""


class Reconstruction:
    """The likest of several autoencoders' own images, by what a first and a second pass through each take away.

    Trained on the real images alone: each one's reconstructions are the generated images. The generated images among
    the examples decide whether the autoencoders explain their generators.

    Args:
        autoencoders: folders, as `load_autoencoder` takes them.
        side: pixels a side of a tile; tiles: how many of an image are looked at, from its middle on.
    """

    name: ClassVar[str] = "reconstruction"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "reconstruction error of autoencoders, logistic regression"
    paper: ClassVar[str] = "Ricker et al. 2024, arXiv 2401.17879 (AEROBLADE)"
    min_side: ClassVar[int] = 64

    def __init__(self, *, autoencoders: Sequence[str] = (), side: int = 256, tiles: int = 2):
        if side < self.min_side or side % GRID or tiles < 1:
            raise DetectorError(
                f"tiles of {side} pixels, {tiles} an image, cannot be looked at",
                where="the options of reconstruction",
                mend=f"give a side of at least {self.min_side} pixels, a multiple of {GRID}, and at least 1 tile",
            )
        self.autoencoders, self.side, self.tiles = tuple(autoencoders), side, tiles
        self.applies: dict[str, dict[str, Any]] = {}
        """By generator: whether it is explained, by which autoencoder, at what AUROC and of how many images."""
        self._loaded: list[Autoencoder] = []
        self._heads: list[Linear] = []
        self._own: list[NDArray[np.float64]] = []

    def fit(self, examples: Examples, *, seed: int, device: str, progress: Progress | None = None) -> None:
        """Learn from the real images of `examples`; judge by the generated ones, where there are any.

        Raises:
            DetectorError: no autoencoder was named, one cannot be loaded, or there are fewer than 8 real images.
        """
        self._load(device)
        real = np.flatnonzero(examples.labels == 0)
        if len(real) < FEWEST:
            raise too_few(len(real), int(examples.labels.sum()))
        rows: list[list[NDArray[np.float64]]] = [[] for _ in self._loaded]
        for at, row in enumerate(real):
            image = self.middle(examples.image(int(row)))
            if min(image.shape[:2]) >= self.min_side:
                for kept, autoencoder in zip(rows, self._loaded, strict=True):
                    kept.extend(self._pairs(image, autoencoder, QUALITIES[at % len(QUALITIES)]))
            if progress:
                progress((at + 1) / len(examples), f"reconstruction {at + 1} of {len(real)} real images")
        self._heads, self._own = [], []
        labels = np.tile(np.array([0, 1], np.int8), len(rows[0]) // 2)
        for kept in rows:
            x = np.asarray(kept).reshape(-1, WIDTH)
            head = Linear.fitted(x, labels, seed=seed)
            self._heads.append(head)
            self._own.append(np.sort(head.scores(x[labels == 1])))
        self._judge(examples, real, progress)

    def scores(self, images: Images) -> NDArray[np.float64]:
        """Logits [n]; NaN for images under `min_side`, and for all where no generator of the training is explained."""
        if not self._usable() or not len(images):
            return np.full(len(images), np.nan)
        return self._by_autoencoder(images).max(axis=1)

    def explained(self, images: Images) -> list[dict[str, float]]:
        """Of each image, by autoencoder: the share of its own reconstructions that score lower; in 0..1.

        Near 0 for all of them, no autoencoder explains the image: it may be real, or of a generator that has another
        one. A share says that it is typical, not that it is likely.
        """
        logits = self._by_autoencoder(images)
        return [
            {
                name: float(np.searchsorted(own, value) / len(own)) if np.isfinite(value) else np.nan
                for name, own, value in zip(self.autoencoders, self._own, row, strict=True)
            }
            for row in logits
        ]

    def features(self, images: Images) -> NDArray[np.float32]:
        found = [np.concatenate(list(self._seen(image))) for image in images]
        return np.asarray(found, np.float32).reshape(len(images), WIDTH * len(self._loaded))

    def state(self) -> State:
        tensors = {f"{at}.own": own for at, own in enumerate(self._own)}
        for at, head in enumerate(self._heads):
            tensors |= {f"{at}.{name}": tensor for name, tensor in head.tensors().items()}
        hashes = [each.sha256 for each in self._loaded]
        settings = {"autoencoders": list(self.autoencoders), "sha256": hashes, "side": self.side, "tiles": self.tiles}
        return State({**settings, "version": self.version, "applies": self.applies}, tensors)

    @classmethod
    def from_state(cls, state: State, *, device: str) -> Reconstruction:
        kept = state.settings
        if kept.get("version") != cls.version:
            raise DetectorError(
                f"the detector is of version {kept.get('version')} of reconstruction, not {cls.version}",
                where="its state",
                mend="train it again",
            )
        family = cls(autoencoders=kept["autoencoders"], side=kept["side"], tiles=kept["tiles"])
        family._load(device)
        for autoencoder, expected in zip(family._loaded, kept["sha256"], strict=True):
            if autoencoder.sha256 != expected:
                raise DetectorError(
                    "the autoencoder has other weights than the one that the detector was trained with",
                    where=autoencoder.name,
                    mend="put the old weights back, or train the detector again",
                )
        family.applies = kept["applies"]
        for at in range(len(family._loaded)):
            parts = {name: state.tensors[f"{at}.{name}"] for name in ("centre", "scale", "weight", "bias")}
            family._heads.append(Linear.from_tensors(parts))
            family._own.append(state.tensors[f"{at}.own"])
        return family

    def _load(self, device: str) -> None:
        if not self.autoencoders:
            raise DetectorError(
                "no autoencoder is named to reconstruct images with",
                where="the options of reconstruction",
                mend="give autoencoders: folders of AutoencoderKL or AutoencoderTiny, or generators' names",
            )
        self._loaded = [load_autoencoder(name, device=device) for name in self.autoencoders]

    def _usable(self) -> bool:
        told = bool(self._heads)
        return told and (not self.applies or any(each["applies"] for each in self.applies.values()))

    def _by_autoencoder(self, images: Images) -> NDArray[np.float64]:
        """Logits [n, autoencoders]."""
        rows = [
            [float(head.scores(x[None])[0]) for head, x in zip(self._heads, self._seen(image), strict=True)]
            for image in images
        ]
        return np.asarray(rows, np.float64).reshape(len(images), len(self._heads))

    def _seen(self, image: np.ndarray) -> Iterator[NDArray[np.float64]]:
        """Features of an image by each autoencoder, [17]; NaN for one under `min_side`."""
        if min(image.shape[:2]) < self.min_side:
            yield from (np.full(WIDTH, np.nan) for _ in self._loaded)
            return
        middle = self.middle(image)
        quality = encoded_at(middle)
        for autoencoder in self._loaded:
            yield np.mean([features(tile, autoencoder, quality) for tile in self._tiles(middle)], axis=0)

    def _pairs(self, image: np.ndarray, autoencoder: Autoencoder, quality: int) -> Iterator[NDArray[np.float64]]:
        """Features of the image and of its reconstruction, as they are, then both saved as JPEG at `quality`."""
        made = autoencoder.reconstruct(image)
        for saved in (np.nan, float(quality)):
            for each in (image, made):
                seen = encode(each, saved)
                found = encoded_at(seen)
                yield np.mean([features(tile, autoencoder, found) for tile in self._tiles(seen)], axis=0)

    def _judge(self, examples: Examples, real: NDArray[np.intp], progress: Progress | None) -> None:
        """Fill `applies`. Real images are scored as they are in their files, as the generated ones are."""
        from sklearn.metrics import roc_auc_score

        self.applies = {}
        generated = np.flatnonzero(examples.labels == 1)
        if len(generated) == 0:
            return
        scored = {}
        for at, row in enumerate([*real, *generated]):
            scored[int(row)] = self._by_autoencoder([examples.image(int(row))])[0]
            if progress:
                done = (len(real) + at * len(generated) / len(examples)) / len(examples)
                progress(done, f"does it apply? {at + 1} of {len(examples)}")
        makers = examples.table["generator"].to_numpy()
        reals = np.stack([scored[int(row)] for row in real])
        reals = reals[np.isfinite(reals).all(axis=1)]
        for generator in sorted(set(makers[generated])):
            of = np.stack([scored[int(row)] for row in generated if makers[row] == generator])
            of = of[np.isfinite(of).all(axis=1)]
            if min(len(of), len(reals)) < FEWEST:
                continue
            labels = [0] * len(reals) + [1] * len(of)
            areas = [float(roc_auc_score(labels, [*reals[:, at], *of[:, at]])) for at in range(len(self._loaded))]
            best = int(np.argmax(areas))
            typical = bool(np.median(of[:, best]) >= np.quantile(self._own[best], TYPICAL))
            self.applies[generator] = {
                "applies": typical and areas[best] >= AUROC,
                "autoencoder": self.autoencoders[best],
                "auroc": areas[best],
                "images": len(of),
            }
        refused = [name for name, each in self.applies.items() if not each["applies"]]
        if refused:
            logging.getLogger("auditkit").warning(
                "reconstruction does not apply to %s: none of its autoencoders explains their images",
                ", ".join(refused),
            )

    def middle(self, image: np.ndarray) -> np.ndarray:
        """The part of an image [h, w, 3] in which its tiles lie; it begins at a multiple of 16 pixels."""
        columns = int(np.ceil(np.sqrt(self.tiles)))
        most = -(-self.tiles // columns) * self.side, columns * self.side
        top, left = (max(length - each, 0) // 2 // GRID * GRID for length, each in zip(image.shape, most, strict=False))
        return np.ascontiguousarray(image[top : top + most[0], left : left + most[1]])

    def _places(self, shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
        """Where the tiles lie in a middle: whole ones, or the one smaller tile of a small image."""
        rows, columns = (max(length // self.side, 1) for length in shape[:2])
        places = [
            (slice(row * self.side, (row + 1) * self.side), slice(column * self.side, (column + 1) * self.side))
            for row in range(rows)
            for column in range(columns)
        ]
        return places[: self.tiles]

    def _tiles(self, middle: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(middle[place]) for place in self._places(middle.shape)]
