"""Frozen features of any CLIP encoder and a logistic regression.

The features know what pictures show, and something of how they were made; of the latter only what survives the
encoder's own resizing. Real and generated images of different subjects are told apart by their subjects, so train it
on images of the same prompts or on aligned pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from detectors.base import Images, Progress, State
from detectors.families.linear import Linear, check_examples

if TYPE_CHECKING:
    from PIL.Image import Image

    from auditkit.clip.encoders import Encoder
    from detectors.examples import Examples

VIEWS = ("whole", "crops")


class ClipFeatures:
    """What the families on CLIP features share: the encoder, its views of an image, its name and hash in the state.

    Args:
        encoder: what `auditkit.clip.encoders.load_encoder` takes: a bundled one, a folder, MODEL:FILE.safetensors.
        view: `whole` image, resized as the encoder's preprocessing demands, or the mean over five `crops` (corners
            and middle) of the size that the encoder sees, which are not resized; images smaller than that are whole.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    min_side: ClassVar[int] = 16

    def __init__(self, *, encoder: str = "personas-clip", view: str = "whole"):
        if view not in VIEWS:
            raise DetectorError(
                f"view = {view!r} cannot be", where=f"the options of {self.name}", mend=f"give {' or '.join(VIEWS)}"
            )
        self.encoder, self.view = encoder, view
        self._device = "cpu"
        self._loaded: Encoder | None = None

    def features(self, images: Images) -> NDArray[np.float32]:
        """[n, dim], the mean embedding of an image's views; NaN for an image under `min_side`."""
        return self._embedded(images, None)

    def _embedded(self, images: Images, progress: Progress | None, of: int = 0, at: int = 0) -> NDArray[np.float32]:
        encoder = self._encoder()
        out = np.full((len(images), encoder.dim), np.nan, np.float32)
        for row, image in enumerate(images):
            if min(image.shape[:2]) >= self.min_side:
                out[row] = encoder.embed_images(self._views(image, encoder.image_size)).mean(axis=0)
            if progress:
                progress((at + row + 1) / of, f"embedded {at + row + 1} of {of}")
        return out

    def _learned(self, examples: Examples, device: str, progress: Progress | None) -> NDArray[np.float32]:
        """[n, dim] of the examples, whose images are opened one at a time."""
        check_examples(examples)
        self._use(device)
        rows = [
            self._embedded([image], progress, of=len(examples), at=row) for row, image in enumerate(examples.images())
        ]
        return np.concatenate(rows)

    def _views(self, image: np.ndarray, side: int) -> list[Image]:
        from PIL import Image

        height, width = image.shape[:2]
        if self.view == "whole" or min(height, width) <= side:
            return [Image.fromarray(image)]
        low, right = height - side, width - side
        corners = [(0, 0), (0, right), (low // 2, right // 2), (low, 0), (low, right)]
        return [Image.fromarray(image[top : top + side, left : left + side]) for top, left in corners]

    def _use(self, device: str) -> None:
        self._device, self._loaded = device, None

    def _encoder(self) -> Encoder:
        if self._loaded is None:
            from auditkit.clip.encoders import load_encoder

            self._loaded = load_encoder(self.encoder, device=self._device)
        return self._loaded

    def _settings(self) -> dict[str, str | int]:
        encoder = self._encoder()
        return {
            "version": self.version, "encoder": self.encoder, "view": self.view, "encoder_name": encoder.name,
            "encoder_sha256": encoder.sha256,
        }  # fmt: skip

    def _check(self, state: State) -> None:
        """Refuse a state that was taken with other weights.

        Raises:
            DetectorError: the encoder has other weights, or cannot be loaded.
        """
        from auditkit.errors import EncoderError

        try:
            sha256 = self._encoder().sha256
        except EncoderError as error:
            raise DetectorError(
                f"the encoder that this detector was trained with cannot be loaded: {error.what}",
                where=self.encoder,
                mend=error.mend,
            ) from error
        if sha256 != state.settings["encoder_sha256"]:
            raise DetectorError(
                f"the encoder has other weights than the one this detector was trained with "
                f"({state.settings['encoder_name']}, sha256 {str(state.settings['encoder_sha256'])[:12]}...)",
                where=self.encoder,
                mend="give the same encoder, or train the detector again",
            )


def version_checked(state: State, name: str, version: int) -> None:
    """Refuse a state of another version of the family, or one that lacks its settings."""
    if state.settings.get("version") != version:
        raise DetectorError(
            f"the state is of version {state.settings.get('version')} of {name}, and this is version {version}",
            where=name,
            mend="train the detector again",
        )


class ClipLinear(ClipFeatures):
    """Logistic regression on the features of `ClipFeatures`, whose options it takes."""

    name: ClassVar[str] = "clip-linear"
    title: ClassVar[str] = "frozen CLIP features, logistic regression"
    paper: ClassVar[str] = "Ojha et al. 2023 (UniversalFakeDetect), arXiv 2302.10174"

    def __init__(self, *, encoder: str = "personas-clip", view: str = "whole"):
        super().__init__(encoder=encoder, view=view)
        self._head = Linear()

    def fit(self, examples: Examples, *, seed: int, device: str, progress: Progress | None = None) -> None:
        features = self._learned(examples, device, progress)
        self._head = Linear.fitted(features, examples.labels, seed=seed, sources=examples.sources)

    def scores(self, images: Images) -> NDArray[np.float64]:
        """Logits [n]."""
        return self._head.scores(self.features(images))

    def state(self) -> State:
        return State(dict(self._settings()), self._head.tensors())

    @classmethod
    def from_state(cls, state: State, *, device: str) -> ClipLinear:
        version_checked(state, cls.name, cls.version)
        family = cls(encoder=state.settings["encoder"], view=state.settings["view"])
        family._use(device)
        family._check(state)
        family._head = Linear.from_tensors(state.tensors)
        return family
