"""What a family of detectors is, and what a detector says of an image.

A *family* turns images into scores, and may need training (`clip-linear`, `cnn`, `npr`, `spectrum`) or none
(`reconstruction`). A *detector* is a trained family with what makes its score mean something: a threshold frozen on
development data, a calibration, and a notion of which images it knows (`trained.Detector`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from detectors.examples import Examples

Images = Sequence[np.ndarray]
"""Images as they are in their files, never resized: each uint8 [h, w, 3], RGB; sizes may differ."""

Progress = Callable[[float, str], None]
"""Called with the fraction done, in 0..1, and one line for people."""

Verdict = Literal["generated", "no sign", "abstain", "not applicable"]


@dataclass(frozen=True)
class State:
    """What is left of a fitted family: all that `from_state` needs.

    Attributes:
        settings: JSON values: sizes, the encoder's name and sha256, which autoencoders.
        tensors: name -> array, kept as safetensors.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


@runtime_checkable
class Family(Protocol):
    """One way to tell generated images from real ones. See tests/test_detector_contract.py.

    Constructors take keyword arguments with defaults: the family's options, as JSON values.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    title: ClassVar[str]
    """One line for people."""
    paper: ClassVar[str]
    """Whom it follows: name, year, arXiv number or section."""
    min_side: ClassVar[int]
    """Fewest pixels of the shorter side that it takes; smaller images score NaN."""

    def fit(self, examples: Examples, *, seed: int, device: str, progress: Progress | None = None) -> None:
        """Learn from `examples` (both classes). A family without training learns nothing, and checks its options.

        Raises:
            DetectorError: one class only, or too few images that are large enough.
        """
        ...

    def scores(self, images: Images) -> NDArray[np.float64]:
        """One score an image, [n]; larger is more like the generated ones. NaN where it cannot be told.

        An image's score does not depend on the images beside it, and is the same at every call.
        """
        ...

    def features(self, images: Images) -> NDArray[np.float32]:
        """[n, d]: what the family sees of each image, to tell whether it has seen the like (`appearance.sight`)."""
        ...

    def state(self) -> State: ...

    @classmethod
    def from_state(cls, state: State, *, device: str) -> Family:
        """The family as it was when `state` was taken: the same scores to 1e-4.

        Raises:
            DetectorError: the state is damaged, or of another version; an encoder that it was trained with is missing
            or has other weights.
        """
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A family that gradients go through, so that it can be attacked and hardened."""

    def logits(self, images: Tensor) -> Tensor:
        """Scores, float32 [n], of images of one size, float32 [n, 3, h, w] in [0, 1]; what `scores` gives for them."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What a detector says of one image.

    Attributes:
        verdict: 'generated' at a score over the threshold; 'no sign' below it, which does not say that it is real;
            'abstain' where the image is unlike what the detector was trained and calibrated on; 'not applicable' where
            it cannot be scored at all.
        score: the family's, NaN where there is none.
        probability: calibrated, that the image is generated if half of all such images are; NaN where the detector is
            uncalibrated for this source.
        threshold, fpr: the score from which on images are called generated, and the share of development reals
            that reach it.
        unfamiliar: how unlike the training data the image is, as the share of development images less unlike; in
            0..1.
        why: a sentence, for people.
    """

    detector: str
    verdict: Verdict
    score: float
    probability: float
    threshold: float
    fpr: float
    unfamiliar: float
    why: str
    details: Mapping[str, Any] = field(default_factory=dict)
