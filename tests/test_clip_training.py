"""Training pictures beside an encoder: stored small, refused where they do not belong, thresholds that hold."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from auditkit.clip.training import (
    Threshold,
    TrainingReference,
    as_stored,
    load_training,
    threshold,
    threshold_of_copies,
)
from auditkit.errors import CalibrationError
from tests.features_helpers import unit


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "eyes"
    path.mkdir()
    (path / "open_clip_config.json").write_text("{}")
    hashes = {"open_clip_config.json": "0", "open_clip_model.safetensors": "sha"}
    (path / "weights.json").write_text(json.dumps(hashes))
    return path


def reference(**changes):
    rows = as_stored(unit(np.random.default_rng(0).normal(size=(40, 16))))
    fit = Threshold(0.9, 3, 300, 0.97)
    facts = {"memorised": fit, "copies": fit, "generators": ("personas",), "encoder_sha256": "sha"}
    return TrainingReference(rows, **facts | {"source": "drawings"} | changes)


def test_a_reference_comes_back_as_it_was_saved(folder):
    made = reference()
    made.save(folder)
    found = load_training(str(folder))
    np.testing.assert_allclose(found.embeddings, made.embeddings, atol=1e-6)
    assert (found.memorised, found.copies, found.generators) == (made.memorised, made.copies, made.generators)


def test_eight_bits_move_a_cosine_by_less_than_a_hundredth():
    rows = unit(np.random.default_rng(1).normal(size=(500, 256)))
    assert (1 - (as_stored(rows) * rows).sum(axis=1)).max() < 0.001


def test_a_folder_without_one_has_none(folder):
    assert load_training(str(folder)) is None


def test_other_weights_are_refused(folder):
    reference(encoder_sha256="other").save(folder)
    with pytest.raises(CalibrationError, match="other weights"):
        load_training(str(folder))


def test_a_damaged_file_is_refused_with_the_command_that_mends_it(folder):
    path = reference().save(folder)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CalibrationError) as caught:
        load_training(str(folder))
    assert "auditkit train memorise" in caught.value.mend


def test_the_threshold_is_passed_by_the_asked_share_of_new_strangers():
    rng = np.random.default_rng(2)
    found = threshold(rng.normal(size=20_000), rng.normal(size=20_000), rng.normal(3, 1, 1000), rate=0.01)
    assert found.false_matches == pytest.approx(0.01, abs=0.003)
    assert found.found == pytest.approx(0.75, abs=0.05)


def test_the_threshold_of_copies_finds_the_asked_share_of_new_copies():
    rng = np.random.default_rng(3)
    found = threshold_of_copies(rng.normal(3, 1, 20_000), rng.normal(3, 1, 20_000), rng.normal(size=5000))
    assert found.found == pytest.approx(0.95, abs=0.01)
    assert found.false_matches == pytest.approx(0.09, abs=0.015)


@pytest.mark.parametrize("choose", [threshold, threshold_of_copies])
def test_a_threshold_without_pictures_is_refused(choose):
    with pytest.raises(CalibrationError, match="no pictures"):
        choose(np.zeros(0), np.zeros(3), np.zeros(3))


@pytest.mark.parametrize(
    ("generator", "covered"),
    [
        ({"name": "personas", "source": "bundled"}, True),
        ({"name": "personas", "source": "/my/checkpoint"}, False),
        ({"name": "other", "source": "bundled"}, False),
    ],
)
def test_only_the_bundled_generators_it_names_are_covered(generator, covered):
    assert reference().covers(SimpleNamespace(record={"generator": generator})) is covered
