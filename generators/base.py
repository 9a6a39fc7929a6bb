"""What a generator is: prompts and seeds in, images out, and a record of what made them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from auditkit.errors import GeneratorError

if TYPE_CHECKING:
    from auditkit.guidance import Aim, Mitigation, Model
    from auditkit.runs import Refused, Run


REMOTE = "remote"
"""The device of a generator that computes on somebody else's machines."""


@dataclass(frozen=True, slots=True)
class Job:
    """One image to make."""

    prompt: str
    seed: int
    """In [0, 2^63). Fixes the noise of this image alone, whatever batch it is made in."""
    negative: str | None = None
    """Negative prompt; None is the empty prompt."""
    noise: np.ndarray | None = field(default=None, compare=False, repr=False)
    """Initial noise of unit variance, float32 [c, h, w], in place of the seed's; how a latent watermark is put in.
    The shape is `GeneratorInfo.details["latent_shape"]`; generators without that entry take none."""
    aim: Aim | None = field(default=None, compare=False, repr=False)
    """What the generator's mitigation is to do with this image; None is nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How images are sampled."""

    sampler: str
    """A name of `samplers.names()`."""
    steps: int
    """Denoising steps, >= 1."""
    guidance: float
    """Classifier-free guidance scale; 1 or less is no guidance, at half the work."""


@dataclass(frozen=True, slots=True)
class GeneratorInfo:
    """What a run records about the generator that made it."""

    name: str
    kind: str
    """The family, such as `latent-unet`."""
    source: str
    """Where it came from: `bundled`, `path:FOLDER` or `hf:NAME`."""
    resolution: int
    """Side of the square images, pixels."""
    defaults: Settings
    weights: dict[str, str]
    """sha256 of each weight file, by its path in the checkpoint."""
    planted: list[dict[str, Any]] | None = None
    """Rows occupation, gender, skin_tone, probability, where a known bias was planted in training."""
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 1
    """Images made at a time unless told otherwise."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else is worth keeping: pipeline and scheduler class, safety checker, parameters."""

    def as_dict(self) -> dict[str, Any]:
        """For run.json."""
        return asdict(self)


@runtime_checkable
class Generator(Protocol):
    """Anything that makes images; see tests/test_generators_contract.py for what it must keep to."""

    @property
    def info(self) -> GeneratorInfo: ...

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image | Refused]:
        """RGB images of `info.resolution` squared, one for each job, in order; `Refused` for one that it will not make.

        A job gives the same image in any batch, to the rounding of floats.

        Args:
            batch_size: images made at a time; None is `info.batch_size`.

        Raises:
            GeneratorError: an unknown sampler, settings out of range, or not enough memory for one image.
        """
        ...


@runtime_checkable
class Steerable(Protocol):
    """A generator whose insides a mitigation can reach; others take methods that change the prompt alone."""

    def model(self, guidance: float) -> Model:
        """What a mitigation sees of it, at that guidance scale."""
        ...

    def mitigated(self, method: Mitigation, model: Model) -> AbstractContextManager[None]:
        """Inside, images are made with the hooks of a method that is prepared for `model`, by each job's `aim`."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A generator whose images cost money: it keeps each in the run as soon as it has it, and finds it there again."""

    def keep_in(self, run: Run) -> None:
        """Called once, before any image is made, with the run that they are for."""
        ...


def pictures(made: Iterable[Image.Image | Refused]) -> list[Image.Image]:
    """What a generator made, where every one of the images is needed.

    Raises:
        GeneratorError: one was refused.
    """
    from auditkit.runs import Refused

    images = list[Image.Image]()
    for each in made:
        if isinstance(each, Refused):
            raise GeneratorError(
                f"the generator refused image {len(images) + 1}: {each.message}",
                where=each.code,
                mend="ask with other prompts, or use another generator",
            )
        images.append(each)
    return images


def even_batches(jobs: Sequence[Job], size: int) -> Iterator[list[Job]]:
    """`jobs` in order, in as few batches of at most `size` as there can be, as even as they can be.

    A batch much smaller than the others would waste the device, and 50 jobs by 32 are better 25 + 25.
    """
    count = -(-len(jobs) // size)
    for i in range(count):
        yield list(jobs[i * len(jobs) // count : (i + 1) * len(jobs) // count])
