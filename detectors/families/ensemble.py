"""Stacking: several families side by side, and a logistic regression on the scores that each gives to images it did
not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auditkit import registry
from auditkit.errors import DetectorError
from detectors.base import Family, Images, Progress, State
from detectors.families.clip_linear import version_checked
from detectors.families.linear import Linear, check_examples

if TYPE_CHECKING:
    from detectors.examples import Examples


class Ensemble:
    """Out-of-fold scores of the members, stacked; folds by source. Members are then fitted to all examples.

    Training takes `folds` + 1 times as long as that of its members. An image that a member cannot score has no score.

    Args:
        members: names of families.
        options: member -> its options.
        folds: parts of the sources; less where there are fewer sources of a class.
    """

    name: ClassVar[str] = "ensemble"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "families stacked by their out-of-fold scores"
    paper: ClassVar[str] = "Wolpert 1992, Stacked generalization, Neural Networks 5(2)"
    min_side: ClassVar[int] = 32

    def __init__(
        self,
        *,
        members: Sequence[str] = ("cnn", "clip-linear", "spectrum"),
        options: Mapping[str, Mapping[str, Any]] | None = None,
        folds: int = 3,
    ):
        self.members, self.folds = tuple(members), folds
        self.options = {name: dict(given) for name, given in (options or {}).items()}
        wrong = set(self.options) - set(self.members)
        if not self.members or len(set(self.members)) < len(self.members) or self.name in self.members:
            raise _unfit(f"members = {list(members)} cannot be", "name each family once, and not the ensemble itself")
        if wrong:
            raise _unfit(f"there are options for {', '.join(sorted(wrong))}", "give options of its members only")
        if folds < 2:
            raise _unfit(f"folds = {folds} cannot be", "give 2 or more")
        self._families: list[Family] = []
        self._head = Linear()

    def fit(self, examples: Examples, *, seed: int, device: str, progress: Progress | None = None) -> None:
        from sklearn.model_selection import StratifiedGroupKFold

        check_examples(examples)
        self._new()  # wrong options are refused before anything is trained
        sources = examples.sources
        folds = min(self.folds, *(len(set(sources[examples.labels == label])) for label in (0, 1)))
        if folds < 2:
            raise _unfit("all images of a class come from one source", "give images of several sources")
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        out = np.full((len(examples), len(self.members)), np.nan)
        for at, (learned, held) in enumerate(split.split(out, examples.labels, sources)):
            told = _part(progress, at, folds + 1, f"fold {at + 1} of {folds}: ")
            fitted = self._fitted(examples.where(_mask(learned, len(out))), seed, device, told)
            # where() keeps the order, so rows of `held` are in the order of its images.
            for row in np.sort(held):
                out[row] = [one.scores([examples.image(row)])[0] for one in fitted]
        self._families = self._fitted(examples, seed, device, _part(progress, folds, folds + 1, "all: "))
        self._head = Linear.fitted(out, examples.labels, seed=seed, sources=sources)

    def scores(self, images: Images) -> NDArray[np.float64]:
        """Logits [n]."""
        if not self._families:
            return np.full(len(images), np.nan)
        return self._head.scores(self._stacked(images))

    def features(self, images: Images) -> NDArray[np.float32]:
        """What every member sees, side by side, each scaled by the square root of its length: none weighs more for
        being longer."""
        parts = [one.features(images) for one in self._families or self._new()]
        return np.concatenate([part / np.sqrt(max(part.shape[1], 1)) for part in parts], axis=1).astype(np.float32)

    def state(self) -> State:
        states = [one.state() for one in self._families]
        tensors = {f"head/{key}": value for key, value in self._head.tensors().items()}
        for name, one in zip(self.members, states, strict=False):
            tensors |= {f"{name}/{key}": value for key, value in one.tensors.items()}
        settings = {name: one.settings for name, one in zip(self.members, states, strict=False)}
        return State(
            {
                "version": self.version, "members": list(self.members), "options": self.options, "folds": self.folds,
                "settings": settings,
            },
            tensors,
        )  # fmt: skip

    @classmethod
    def from_state(cls, state: State, *, device: str) -> Ensemble:
        version_checked(state, cls.name, cls.version)
        held = state.settings
        family = cls(members=held["members"], options=held["options"], folds=held["folds"])
        family._head = Linear.from_tensors(_below("head", state.tensors))
        for name in family.members if held["settings"] else ():
            part = State(held["settings"][name], _below(name, state.tensors))
            family._families.append(registry.load("detector_families", name).from_state(part, device=device))
        return family

    def _new(self) -> list[Family]:
        made = []
        for name in self.members:
            try:
                made.append(registry.load("detector_families", name)(**self.options.get(name, {})))
            except TypeError as error:
                raise _unfit(f"{name} does not take these options: {error}", "see 'auditkit plugins'") from error
        return made

    def _fitted(self, examples: Examples, seed: int, device: str, progress: Progress | None) -> list[Family]:
        families = self._new()
        for at, (name, one) in enumerate(zip(self.members, families, strict=True)):
            one.fit(examples, seed=seed, device=device, progress=_part(progress, at, len(families), f"{name}, "))
        return families

    def _stacked(self, images: Images) -> NDArray[np.float64]:
        return np.stack([one.scores(images) for one in self._families], axis=1)


def _below(name: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def _mask(rows: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask


def _part(progress: Progress | None, at: int, of: int, before: str) -> Progress | None:
    """The progress of the `at`-th of `of` equal parts."""
    if progress is None:
        return None
    tell = progress
    return lambda done, line: tell((at + done) / of, before + line)


def _unfit(what: str, mend: str) -> DetectorError:
    return DetectorError(what, where="the options of ensemble", mend=mend)
