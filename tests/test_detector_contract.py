"""The contract of every family of detectors that pyproject.toml registers: what `fit`, `scores` and `state` keep to.

Options are tiny, so that each family learns the planted difference in seconds.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_images import generated, planted, real
from tiny_clip import save_tiny

from auditkit import registry
from auditkit.errors import DetectorError
from detectors.base import Differentiable, Family
from detectors.examples import Examples

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS: dict[str, str] = PROJECT["project"]["entry-points"]["auditkit.detector_families"]

TINY: dict[str, dict[str, Any]] = {
    "cnn": {"width": 8, "steps": 60, "batch": 16, "augment": 0.2},
    "cnn-resized": {"width": 8, "steps": 60, "batch": 16, "augment": 0.2, "side": 64},
    "npr": {"width": 8, "steps": 40, "batch": 16, "augment": 0.2},
    "ensemble": {
        "members": ["spectrum", "npr"],
        "options": {"npr": {"width": 8, "steps": 20, "batch": 16}},
        "folds": 2,
    },
}
"""Options under which a family is quick; those not named here have no others."""

UNTRAINED = {"reconstruction"}
"""Families that learn nothing: they need an autoencoder, and are held to their own tests."""

ENCODED = {"clip-linear", "clip-knn"}
WARMER = 30

NAMES = sorted(set(TARGETS) - UNTRAINED)


def family_class(name: str) -> Any:
    module, _, attribute = TARGETS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.fixture(autouse=True, scope="module")
def as_this_project_registers_them() -> Iterator[None]:
    """The ensemble asks the registry, which knows what is installed; here it is what pyproject.toml says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load", lambda group, name: family_class(name))
        yield


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def warmer_examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """For encoders, which resize images and so cannot see the other trace."""
    return planted(tmp_path_factory.mktemp("warmer"), warmer=WARMER)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("encoder") / "tiny")[0]


def made(name: str, encoder: Path) -> Any:
    options = {"encoder": str(encoder)} if name in ENCODED else {}
    return family_class(name)(**options, **TINY.get(name, {}))


@pytest.fixture(scope="module")
def fitted(examples: Examples, warmer_examples: Examples, encoder: Path) -> dict[str, Any]:
    """Each family, fitted when it is first asked for."""

    class Fitted(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            family = made(name, encoder)
            family.fit(warmer_examples if name in ENCODED else examples, seed=0, device="cpu")
            self[name] = family
            return family

    return Fitted()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_family_says_what_it_is(name: str) -> None:
    found = family_class(name)
    assert found.name == name
    assert found.version >= 1
    assert found.title
    assert found.paper
    assert found.min_side >= 8


@pytest.mark.parametrize("name", NAMES)
def test_larger_scores_mean_generated(name: str, fitted: dict[str, Any]) -> None:
    assert isinstance(fitted[name], Family)
    reals = fitted[name].scores([real(seed) for seed in range(100, 112)])
    warmer = WARMER if name in ENCODED else 0
    fakes = fitted[name].scores([generated(seed, warmer=warmer) for seed in range(200, 212)])
    assert reals.dtype == np.float64
    assert (fakes[:, None] > reals[None, :]).mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_score_does_not_depend_on_its_neighbours_nor_on_the_call(name: str, fitted: dict[str, Any]) -> None:
    images = [real(1), generated(2), real(3, 96), generated(4, 72)]
    together = fitted[name].scores(images)
    alone = np.concatenate([fitted[name].scores([image]) for image in images])
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(together[::-1], fitted[name].scores(images[::-1]), atol=1e-4)
    np.testing.assert_array_equal(together, fitted[name].scores(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_family_comes_back_from_its_state(name: str, fitted: dict[str, Any]) -> None:
    import json

    state = fitted[name].state()
    assert json.loads(json.dumps(state.settings)) == state.settings
    assert all(isinstance(value, np.ndarray) for value in state.tensors.values())
    again = family_class(name).from_state(state, device="cpu")
    assert again.state().settings == state.settings
    images = [real(1), generated(2), real(3, 96)]
    np.testing.assert_allclose(again.scores(images), fitted[name].scores(images), atol=1e-4)
    np.testing.assert_allclose(again.features(images), fitted[name].features(images), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_features_have_a_row_for_each_image(name: str, fitted: dict[str, Any]) -> None:
    found = fitted[name].features([real(1), generated(2), real(3, 96)])
    assert found.dtype == np.float32
    assert found.ndim == 2
    assert len(found) == 3
    assert np.isfinite(found).all()
    assert fitted[name].features([]).shape == (0, found.shape[1])
    assert fitted[name].scores([]).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_is_too_small_has_no_score(name: str, fitted: dict[str, Any]) -> None:
    family = fitted[name]
    small = real(5, 64)[: family.min_side - 1]
    found = family.scores([small, real(6)])
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
    assert np.isnan(family.features([small])).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", ["real", "generated"])
def test_one_class_or_too_few_images_cannot_be_learned_from(
    name: str, missing: str, examples: Examples, encoder: Path
) -> None:
    labels = examples.table["label"].to_numpy(object)
    with pytest.raises(DetectorError, match="to learn from"):
        made(name, encoder).fit(examples.where(labels != missing), seed=0, device="cpu")
    few = (labels != missing) | (np.arange(len(labels)) < 6)
    with pytest.raises(DetectorError, match="to learn from"):
        made(name, encoder).fit(examples.where(few), seed=0, device="cpu")


@pytest.mark.parametrize("name", NAMES)
def test_an_unfitted_family_gives_no_number(name: str, encoder: Path) -> None:
    assert np.isnan(made(name, encoder).scores([real(1)])).all()


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_scores_and_gradients_go_through(name: str, fitted: dict[str, Any]) -> None:
    import torch

    family = fitted[name]
    if not isinstance(family, Differentiable):
        pytest.skip(f"no gradients go through {name}")
    images = np.stack([real(1, 96), generated(2, 96)])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).requires_grad_()
    logits = family.logits(pixels)
    np.testing.assert_allclose(logits.detach().numpy(), family.scores(list(images)), atol=1e-3)
    logits.sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
