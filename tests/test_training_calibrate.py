"""Calibrating the encoder: what it is fitted on and what it is judged on never mix."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny_clip
import training_helpers as tiny

from auditkit.clip.attributes import attribute
from auditkit.errors import EncoderError, GeneratorError
from generators.training import calibrate as trainer


@pytest.fixture
def table():
    return tiny.table(occupations=("judge", "pilot"))


@pytest.fixture
def spied(table, tmp_path, monkeypatch):
    """Calibrate with a random encoder whose fits always pass; what was shown and fitted on, and the result."""
    spy = SimpleNamespace(shown=[], sources={}, domain=[], images=[])
    load = trainer.pixels.load

    def shown(rows, device):
        spy.shown.append(rows)
        return load(rows, device)

    def fit(cosines, truth, clusters, *, attribute, **_):
        assert len(cosines) == len(truth) == len(clusters)
        spy.sources[attribute] = list(clusters)
        return SimpleNamespace(save=lambda folder: None)

    def fit_domain(embeddings, clusters, **_):
        spy.domain = list(clusters)
        return SimpleNamespace(save=lambda folder: None)

    monkeypatch.setattr(trainer.pixels, "load", shown)
    monkeypatch.setattr(trainer, "fit_calibration", fit)
    monkeypatch.setattr(trainer, "Domain", SimpleNamespace(fit=fit_domain))
    everything_inside = SimpleNamespace(assess=lambda e: (np.zeros(len(e)), np.ones(len(e), bool)))
    monkeypatch.setattr("auditkit.clip.calibration.load_domain", lambda encoder: everything_inside)
    unsure = SimpleNamespace(temperature=1.0, threshold=0.0)
    monkeypatch.setattr("auditkit.clip.calibration.load_calibration", lambda encoder, name: unsure)
    folder, _ = tiny_clip.save_tiny(tmp_path / "encoder")
    spy.result = trainer.calibrate(folder, table, vae=tiny.tiny_vae(tmp_path / "vae"), canvas=tiny.CANVAS)
    spy.folder = folder
    return spy


def test_it_is_fitted_on_held_out_drawings_and_judged_on_others(spied, table):
    assert [set(rows["split"]) for rows in spied.shown] == [{"calibration"}, {"test"}, {"unseen"}]
    assert all((rows["kind"] == "person").all() for rows in spied.shown)
    held = table[table["split"] == "calibration"]
    names = set(held["style"] + "/" + held["name"])
    assert set(spied.domain) == names
    assert set(spied.sources["gender"]) == set(spied.sources["skin_tone"]) == names


def test_copies_of_one_drawing_share_a_source(spied):
    clusters = spied.sources["gender"]
    assert {clusters.count(name) for name in set(clusters)} == {trainer.COPIES}


def test_people_without_an_occupation_do_not_calibrate_occupations(spied):
    assert not [name for name in spied.sources["occupation"] if "running" in name]
    assert spied.sources["occupation"]


def test_the_evaluation_has_a_row_for_each_split_and_attribute(spied):
    result = spied.result
    assert list(zip(result["split"], result["attribute"], strict=True)) == [
        (split, name) for split in ("test", "unseen style") for name in trainer.ATTRIBUTES
    ]
    assert result["accuracy"].between(0, 1).all()
    assert result["balanced"].between(0, 1).all()
    assert result["within_one"].notna().tolist() == [name == "skin_tone" for name in trainer.ATTRIBUTES] * 2
    assert (result["unknown"] == 0).all()
    assert (spied.folder / "evaluation.json").is_file()


def test_an_attribute_of_which_the_corpus_lacks_a_class_is_not_calibrated(spied):
    assert {"age", "disability"} & set(spied.sources) == set()


def test_age_and_disability_are_what_the_drawings_names_certify():
    names = ["child", "older person", "judge", "santa claus", "with white cane", "deaf"]
    rows = pd.DataFrame({"concept": names})
    assert trainer.true_classes(rows, "age").tolist() == ["child", "older adult", "adult", "", "adult", "adult"]
    aids = ["none visible"] * 4 + ["white cane", ""]
    assert trainer.true_classes(rows, "disability").tolist() == aids


@pytest.mark.parametrize("name", ["age", "disability"])
def test_the_classes_that_concepts_certify_are_those_of_the_attribute(name):
    assert set(trainer.BY_CONCEPT[name].values()) - {""} == set(attribute(name).classes)


def test_a_missing_autoencoder_is_named_before_anything_is_embedded(table, tmp_path):
    folder, _ = tiny_clip.save_tiny(tmp_path / "encoder")
    with pytest.raises(GeneratorError) as caught:
        trainer.calibrate(folder, table, vae=tmp_path / "nowhere")
    assert caught.value.where == tmp_path / "nowhere"


def test_a_missing_encoder_is_an_encoder_error(table, tmp_path):
    with pytest.raises(EncoderError):
        trainer.calibrate(tmp_path / "nowhere", table, vae=tiny.tiny_vae(tmp_path / "vae"))
