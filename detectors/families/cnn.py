"""A small convolutional network on the pixels themselves: trained on random windows, never on resized images.

Resizing wipes out what a generator's decoder leaves between neighbouring pixels, and the kind of resizing becomes a
shortcut; so windows are cut from the image as it is, at test time over a fixed grid, and their logits are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from detectors.base import Images, Progress, State
from detectors.families.linear import check_examples
from detectors.pixels.windows import GRID, places

if TYPE_CHECKING:
    from torch import Tensor

    from detectors.examples import Examples
    from detectors.pixels.loop import Perturb
    from detectors.pixels.network import Network
    from detectors.pixels.pool import Pool

AT_ONCE = 2**20
"""Pixels that go through the network together at most; images of one size go together."""


class Cnn:
    """Six convolutions on colours, high-pass residuals and neighbouring-pixel relations.

    A generated image and the real one that it was made from (same `source`, same size, alike) are seen at the same
    place and under the same augmentation, so that nothing but the generator's trace tells them apart.

    Args:
        crop: pixels of a window's side, a multiple of 8; less where the smallest training image has less.
        width: channels of the first layers.
        inputs: of rgb, residual, npr.
        crops: windows of a test image at most.
        steps, batch, lr: of training; `batch` counts windows. minutes: at most, 0 for no limit.
        augment: strength of the augmentation; 1 is the recipe, 0 none but turns.
        mix: chance of mixing real pixels, and real frequencies, into a generated window of a pair.
        ramp: share of the steps over which the augmentation rises from none.
        precision: float32, or bfloat16 to train in: half the time on processors that have it, many times as long on
            others. Weights are kept, and images scored, in float32 all the same.
    """

    name: ClassVar[str] = "cnn"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "small CNN on windows of the pixels, never resized"
    paper: ClassVar[str] = (
        "Rajan et al. 2025, arXiv 2410.11835, and Chen et al. 2025 (DDA), arXiv 2505.14359: aligned pairs"
    )
    min_side: ClassVar[int] = 32

    def __init__(
        self,
        *,
        crop: int = 64,
        width: int = 32,
        inputs: Sequence[str] = ("rgb", "residual", "npr"),
        crops: int = 16,
        steps: int = 1200,
        minutes: float = 0,
        batch: int = 64,
        lr: float = 2e-3,
        augment: float = 1.0,
        mix: float = 0.2,
        ramp: float = 0.4,
        precision: str = "float32",
    ):
        self.options: dict[str, Any] = {
            "crop": crop, "width": width, "inputs": list(inputs), "crops": crops, "steps": steps, "minutes": minutes,
            "batch": batch, "lr": lr, "augment": augment, "mix": mix, "ramp": ramp, "precision": precision,
        }  # fmt: skip
        self.perturb: Perturb | None = None
        """Adversarial training: set before `fit`, it makes the windows of every batch harder."""
        self._inputs, self._mixing, self._crops = tuple(inputs), mix, crops
        self._ramp, self._half = ramp, precision == "bfloat16"
        self._side = self._most = crop
        self._device = "cpu"
        self._network: Network | None = None
        self._fused: Network | None = None
        _check(self.options, self.name)

    def fit(self, examples: Examples, *, seed: int, device: str, progress: Progress | None = None) -> None:
        import torch

        from detectors.pixels.loop import Plan, train
        from detectors.pixels.network import Network
        from detectors.pixels.pool import Mixing

        check_examples(examples)
        pool = self._pool(examples, progress)
        self._side = min(self._most, pool.shortest // GRID * GRID)
        plan = Plan(
            steps=self.options["steps"], minutes=self.options["minutes"], batch=self.options["batch"],
            side=self._side, lr=self.options["lr"], strength=self.options["augment"],
            mixing=Mixing(share=self._mixing), ramp=self._ramp, half=self._half,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = Network(self._inputs, self.options["width"])
        told = None if progress is None else lambda done, line: progress(0.05 + 0.95 * done, line)
        self._take(train(network, pool, plan, seed=seed, device=device, progress=told, perturb=self.perturb), device)

    def scores(self, images: Images) -> NDArray[np.float64]:
        if self._fused is None:
            return np.full(len(images), np.nan)
        return self._each(images, self.logits, ()).astype(np.float64)

    def features(self, images: Images) -> NDArray[np.float32]:
        """What the last convolution has found, averaged over the image, [n, 3 width]; NaN if unfitted or too small."""
        size = 3 * self.options["width"]
        if self._fused is None:
            return np.full((len(images), size), np.nan, np.float32)
        return self._each(images, self._averaged, (size,)).astype(np.float32)

    def logits(self, images: Tensor) -> Tensor:
        """Scores, float32 [n], of images float32 [n, 3, h, w] in [0, 1]; gradients go through.

        Raises:
            DetectorError: it is not fitted.
        """
        if self._fused is None:
            raise DetectorError(
                f"the {self.name} detector has not been trained", where=self.name, mend="train it, or load one"
            )
        return self._fused.head(self._averaged(images)).squeeze(1)

    def state(self) -> State:
        tensors: dict[str, np.ndarray] = {}
        if self._network is not None:
            tensors = {key: value.numpy() for key, value in self._network.cpu().state_dict().items()}
        return State({**self.options, "trained_side": self._side, "version": self.version}, tensors)

    @classmethod
    def from_state(cls, state: State, *, device: str) -> Cnn:
        import torch

        from detectors.pixels.network import Network

        settings = dict(state.settings)
        try:
            if settings.pop("version") != cls.version:
                raise ValueError("it is of another version")
            side = int(settings.pop("trained_side"))
            family = cls(**settings)
            family._side = side
            if state.tensors:
                network = Network(family._inputs, family.options["width"])
                network.load_state_dict({key: torch.from_numpy(np.array(v)) for key, v in state.tensors.items()})
                family._take(network.eval(), device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DetectorError(
                f"the state of the {cls.name} detector does not fit: {str(error).splitlines()[0]}",
                where=cls.name,
                mend="train it again, or take a whole copy",
            ) from error
        return family

    def _pool(self, examples: Examples, progress: Progress | None) -> Pool:
        from detectors.pixels.pool import Pool

        def loaded(done: int, of: int) -> None:
            if progress:
                progress(0.05 * done / of, f"read {done} of {of} images")

        return Pool(examples, smallest=self.min_side, loaded=loaded)

    def _take(self, network: Network, device: str) -> None:
        """Keep the network as trained, and a folded copy to ask."""
        self._device = device
        self._fused = network.cpu().fused().to(device)
        self._network = network

    def _averaged(self, images: Tensor) -> Tensor:
        """Features float32 [n, 3 width] of images of one size, the mean over their windows."""
        import torch

        assert self._fused is not None
        high, wide, corners = places(images.shape[2], images.shape[3], self._side, self._crops)
        windows = torch.stack([images[..., t : t + high, left : left + wide] for t, left in corners], dim=1)
        return self._fused.features(windows.flatten(0, 1)).unflatten(0, (len(images), len(corners))).mean(dim=1)

    def _each(self, images: Images, ask: Any, shape: tuple[int, ...]) -> NDArray[np.floating]:
        """`ask`ed of images of one size together, back in their order; NaN for those that are too small."""
        import torch

        out = np.full((len(images), *shape), np.nan)
        sizes: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            if min(image.shape[:2]) >= self.min_side:
                sizes.setdefault(image.shape[:2], []).append(row)
        for (height, width), rows in sizes.items():
            step = max(AT_ONCE // (height * width), 1)
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                pixels = torch.from_numpy(np.stack([images[row] for row in some])).to(self._device)
                with torch.inference_mode():
                    out[some] = ask(pixels.permute(0, 3, 1, 2).float() / 255).cpu().numpy()
        return out


def _check(options: dict[str, Any], name: str) -> None:
    """Refuse options that cannot be trained with."""
    if options["crop"] < 32 or options["crop"] % GRID:
        refuse(options, "crop", "a multiple of 8 of at least 32", name)
    for option in ("width", "crops", "steps"):
        if options[option] < 1:
            refuse(options, option, "a whole number of at least 1", name)
    if options["batch"] < 2 or options["batch"] % 2:
        refuse(options, "batch", "an even number of at least 2", name)
    for option in ("minutes", "augment", "lr"):
        if not (isfinite(options[option]) and options[option] >= 0):
            refuse(options, option, "a number of at least 0", name)
    for option in ("mix", "ramp"):
        if not 0 <= options[option] <= 1:
            refuse(options, option, "a share from 0 to 1", name)
    if options["precision"] not in ("float32", "bfloat16"):
        refuse(options, "precision", "float32 or bfloat16", name)
    if not options["inputs"] or not set(options["inputs"]) <= {"rgb", "residual", "npr"}:
        refuse(options, "inputs", "some of rgb, residual, npr", name)


def refuse(options: Mapping[str, Any], option: str, wanted: str, name: str) -> NoReturn:
    """Raise DetectorError for an option of a family."""
    raise DetectorError(
        f"{option} = {options[option]!r} cannot be", where=f"the options of {name}", mend=f"give {wanted}"
    )
