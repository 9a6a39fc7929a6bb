"""Embedding the training drawings: which are the reference, and which choose and check the thresholds."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_clip
import training_helpers as tiny

from auditkit.clip.training import load_training
from auditkit.errors import GeneratorError
from generators.training import memorise as trainer


@pytest.fixture(scope="module")
def table():
    return tiny.table(occupations=("judge", "pilot"))


@pytest.fixture(scope="module")
def made(table, tmp_path_factory):
    shown = []
    embed = trainer._embed

    def spy(encoder, rows, *rest):
        shown.append(rows)
        return embed(encoder, rows, *rest)

    folder, _ = tiny_clip.save_tiny(tmp_path_factory.mktemp("encoder") / "eyes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_embed", spy)
        vae = tiny.tiny_vae(tmp_path_factory.mktemp("vae") / "vae")
        reference = trainer.memorise(folder, table, vae=vae, canvas=tiny.CANVAS)
    return folder, reference, shown


def test_the_reference_is_what_the_generators_were_trained_on(made, table):
    _, reference, shown = made
    trained = table[(table["split"] == "train") & (table["gender"] != "neutral")]
    assert len(reference.embeddings) == len(trained)
    assert set(shown[0]["split"]) == {"train"}
    assert f"{len(trained):,} training drawings" in reference.source


def test_one_split_chooses_the_threshold_and_another_counts_its_errors(made, table):
    _, reference, shown = made
    assert [set(rows["split"]) for rows in shown[1:3]] == [{"calibration"}, {"test"}]
    assert all((rows["kind"] == "person").all() for rows in shown[1:3])
    assert reference.memorised.n == len(shown[2])


def test_it_lies_beside_the_encoder_and_loads(made):
    folder, reference, _ = made
    found = load_training(str(folder))
    np.testing.assert_allclose(found.embeddings, reference.embeddings, atol=1e-6)
    assert found.generators == ("personas", "personas-balanced")


def test_a_missing_autoencoder_is_named(table, tmp_path):
    folder, _ = tiny_clip.save_tiny(tmp_path / "eyes")
    with pytest.raises(GeneratorError):
        trainer.memorise(folder, table, vae=tmp_path / "nowhere")
