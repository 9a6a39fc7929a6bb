"""What single families of detectors promise beyond their contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_images import generated, planted, real
from tiny_clip import save_tiny

from auditkit import registry
from auditkit.errors import DetectorError
from detectors.base import State
from detectors.examples import Examples
from detectors.families.clip_knn import ClipKnn
from detectors.families.clip_linear import ClipLinear
from detectors.families.cnn import Cnn
from detectors.families.cnn_resized import CnnResized
from detectors.families.ensemble import Ensemble
from detectors.families.linear import Linear
from detectors.families.npr import Npr

QUICK: dict[str, Any] = {"width": 4, "steps": 3, "batch": 8}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return planted(tmp_path_factory.mktemp("planted"), n=12, warmer=30)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("encoder") / "tiny")[0]


@pytest.mark.parametrize("family", [ClipLinear, ClipKnn])
def test_an_encoder_with_other_weights_is_refused(
    family: Any, examples: Examples, encoder: Path, tmp_path: Path
) -> None:
    fitted = family(encoder=str(encoder))
    fitted.fit(examples, seed=0, device="cpu")
    state = fitted.state()
    assert len(state.settings["encoder_sha256"]) == 64
    other = save_tiny(tmp_path / "tiny", seed=1)[0]
    with pytest.raises(DetectorError, match="other weights"):
        family.from_state(State({**state.settings, "encoder": str(other)}, state.tensors), device="cpu")
    with pytest.raises(DetectorError, match="cannot be loaded"):
        family.from_state(State({**state.settings, "encoder": str(tmp_path / "none")}, state.tensors), device="cpu")


def test_crops_reach_an_encoder_without_resizing(encoder: Path) -> None:
    """A checkerboard of single pixels is grey when resized, and itself in a crop."""
    board = np.indices((128, 128)).sum(axis=0) % 2
    image = np.repeat((board * 255).astype(np.uint8)[..., None], 3, axis=2)
    views = ClipLinear(encoder=str(encoder), view="crops")._views(image, 32)
    assert [view.size for view in views] == [(32, 32)] * 5
    assert all(np.asarray(view).std() > 120 for view in views)
    assert [view.size for view in ClipLinear(encoder=str(encoder))._views(image, 32)] == [(128, 128)]


def test_neighbours_score_higher_where_generated_ones_are_nearer(examples: Examples, encoder: Path) -> None:
    family = ClipKnn(encoder=str(encoder), k=1)
    family.fit(examples, seed=0, device="cpu")
    known = family.scores(list(examples.images()))
    assert (known[examples.labels == 1] > 0).all()
    assert (known[examples.labels == 0] < 0).all()
    assert np.abs(known).max() <= 2


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (Cnn, {"crop": 60}), (Cnn, {"crop": 16}), (Cnn, {"inputs": ["depth"]}), (Cnn, {"inputs": []}),
        (Cnn, {"batch": 5}), (Cnn, {"mix": 1.5}), (Cnn, {"steps": 0}), (Cnn, {"minutes": float("nan")}),
        (Cnn, {"ramp": -0.1}), (Cnn, {"precision": "int8"}), (CnnResized, {"side": 50}), (Npr, {"crops": 0}),
        (ClipLinear, {"view": "half"}), (ClipKnn, {"k": 0}),
        (Ensemble, {"members": []}), (Ensemble, {"members": ["npr", "npr"]}), (Ensemble, {"folds": 1}),
        (Ensemble, {"members": ["npr"], "options": {"cnn": {}}}),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(family: Any, options: dict[str, Any]) -> None:
    with pytest.raises(DetectorError) as refused:
        family(**options)
    assert refused.value.mend


def test_training_twice_gives_the_same_detector(examples: Examples) -> None:
    first, second = Cnn(**QUICK), Cnn(**QUICK)
    for family in (first, second):
        family.fit(examples, seed=3, device="cpu")
    images = [real(1), generated(1)]
    np.testing.assert_allclose(first.scores(images), second.scores(images), atol=1e-5)


def test_training_in_half_precision_learns_the_same_and_keeps_whole_weights(examples: Examples) -> None:
    family = Cnn(width=8, steps=60, batch=16, augment=0.2, precision="bfloat16")
    family.fit(examples, seed=3, device="cpu")
    assert {tensor.dtype for tensor in family.state().tensors.values() if tensor.ndim} == {np.dtype(np.float32)}
    reals = family.scores([real(seed) for seed in range(100, 106)])
    fakes = family.scores([generated(seed) for seed in range(200, 206)])
    assert (fakes[:, None] > reals[None, :]).mean() > 0.9


def test_a_time_limit_ends_the_training(examples: Examples) -> None:
    import time

    family, lines = Cnn(width=4, steps=10**6, batch=8, minutes=0.02), []
    started = time.monotonic()
    family.fit(examples, seed=0, device="cpu", progress=lambda done, line: lines.append(done))
    assert time.monotonic() - started < 30
    assert lines == sorted(lines)
    assert lines[-1] == 1.0


@pytest.mark.parametrize("white_is", ["generated", "real"])
def test_a_perturbation_sees_every_batch_and_what_it_returns_is_learned(white_is: str, examples: Examples) -> None:
    seen: list[tuple[int, ...]] = []

    def black_or_white(logits: Any, x: Any, y: Any) -> Any:
        assert logits(x).shape == y.shape
        assert 0 <= float(x.min()) <= float(x.max()) <= 1
        seen.append(tuple(x.shape))
        return 0 * x + (y if white_is == "generated" else 1 - y)[:, None, None, None]

    family = Cnn(width=4, steps=40, batch=8)
    family.perturb = black_or_white
    family.fit(examples, seed=0, device="cpu")
    assert len(seen) == 40
    black, white = family.scores([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    assert (white > black) == (white_is == "generated")
    assert abs(white - black) > 0.1


def test_a_state_that_is_damaged_or_of_another_version_is_refused(examples: Examples) -> None:
    family = Cnn(**QUICK)
    family.fit(examples, seed=0, device="cpu")
    state = family.state()
    lost = {key: value for key, value in state.tensors.items() if not key.startswith("head")}
    for settings, tensors in (
        (state.settings, lost),
        ({**state.settings, "version": 99}, state.tensors),
        ({**state.settings, "width": 6}, state.tensors),
        ({**state.settings, "colour": 1}, state.tensors),
    ):
        with pytest.raises(DetectorError, match="does not fit"):
            Cnn.from_state(State(settings, tensors), device="cpu")


def test_regularisation_is_chosen_by_source() -> None:
    """Each source has a mark of its own and copies: by row the marks would seem to help, by source they do not."""
    rng = np.random.default_rng(0)
    marks = rng.normal(0, 1, (40, 60))
    sources = np.repeat(np.arange(40), 6).astype(object)
    labels = np.repeat(rng.permutation(np.arange(40) % 2), 6).astype(np.int8)
    x = marks.repeat(6, axis=0) + rng.normal(0, 0.01, (240, 60))
    by_row = Linear.fitted(x, labels, seed=0)
    by_source = Linear.fitted(x, labels, seed=0, sources=sources)
    assert np.abs(by_source.scores(x)).mean() < 0.25 * np.abs(by_row.scores(x)).mean()


def test_members_of_an_ensemble_never_score_a_source_that_they_learned_from(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that remembers its images: its scores say everything of those, and nothing of others."""

    class Remembering:
        def __init__(self) -> None:
            self.known: dict[bytes, int] = {}

        def fit(self, learned: Examples, **_: Any) -> None:
            self.known = {
                image.tobytes(): int(label) for image, label in zip(learned.images(), learned.labels, strict=True)
            }
            if len(learned) < len(examples):
                held = set(examples.sources) - set(learned.sources)
                assert held, "every source was learned from"
                assert len(learned) == sum(source not in held for source in examples.sources)

        def scores(self, images: Any) -> Any:
            return np.array([float(self.known.get(image.tobytes(), 0.5)) for image in images])

    monkeypatch.setattr(registry, "load", lambda group, name: Remembering)
    family = Ensemble(members=["remembering"], folds=3)
    family.fit(examples, seed=0, device="cpu")
    # Out of fold it knew nothing, so the head gives it no weight.
    assert np.abs(family._head.weight).max() < 1e-6


def test_images_of_one_source_cannot_be_stacked(examples: Examples) -> None:
    table = examples.table.assign(source="one")
    with pytest.raises(DetectorError, match="one source"):
        Ensemble(members=["spectrum"]).fit(Examples(table), seed=0, device="cpu")
