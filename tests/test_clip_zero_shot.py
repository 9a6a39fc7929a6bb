"""Zero-shot scorers write SCORES, with an unknown, and use the calibration beside the encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_clip import MemoryRun, random_images, save_tiny

from auditkit.clip.attributes import Attribute, attribute
from auditkit.clip.calibration import Calibration, Domain
from auditkit.clip.encoders import Encoder, embed_run, load_encoder
from auditkit.clip.posteriors import class_embeddings
from auditkit.clip.zero_shot import ZeroShot
from auditkit.errors import RunError
from auditkit.schemas import SCORES, check


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return load_encoder(str(save_tiny(tmp_path / "tiny")[0]), device="cpu")


@pytest.fixture
def run(tmp_path: Path) -> MemoryRun:
    (tmp_path / "images").mkdir()
    return MemoryRun(tmp_path / "images", random_images(6))


def calibrated(encoder: Encoder, **numbers: float) -> Calibration:
    gender = attribute("gender")
    facts = {
        "encoder": encoder.name, "encoder_sha256": encoder.sha256, "attribute": "gender",
        "prompts_sha256": gender.digest, "classes": list(gender.classes),
        "outcomes": [*gender.classes, "unknown"], "counts": [[20, 0], [0, 20], [0, 0]],
        "weights": [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], "n_sources": [20, 20], "n_images": 40,
        "temperature": 1.0, "threshold": 0.5, "max_error": 0.02, "labelled_error": 0.0,
        "unknown_rate": 0.0, "ece_before": 0.0, "ece_after": 0.0, "source": "a test", "made_by": "a test",
    }  # fmt: skip
    return Calibration.model_validate({**facts, **numbers})


@pytest.mark.parametrize("name", ["gender", "skin_tone", "occupation"])
def test_scores_have_a_row_for_each_distinct_image(run: MemoryRun, encoder: Encoder, name: str) -> None:
    table = check(ZeroShot(name).score(run, encoder), SCORES, "a test")
    assert table["id"].tolist() == run.ids
    assert [c for c in table.columns if c.startswith("p_")] == [
        f"p_{label}" for label in attribute(name).classes
    ]
    assert set(table["encoder"]) == {"tiny"}
    sure = table["confidence"] >= 0.5
    assert (table.loc[~sure, "label"] == "unknown").all()
    assert (table.loc[sure, "label"] != "unknown").all()


def test_posteriors_are_the_softmax_of_scaled_cosines(run: MemoryRun, encoder: Encoder) -> None:
    _, images = embed_run(run, encoder)
    ensemble = [encoder.embed_texts(prompts).mean(axis=0) for prompts in attribute("gender").classes.values()]
    logits = (
        np.stack([images @ (mean / np.linalg.norm(mean)) for mean in ensemble], axis=1) * encoder.logit_scale
    )
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = ZeroShot("gender").score(run, encoder)
    assert np.allclose(table[["p_female", "p_male"]], expected, atol=1e-5)


def test_the_calibration_sets_temperature_and_threshold(run: MemoryRun, encoder: Encoder) -> None:
    plain = ZeroShot("gender").score(run, encoder)
    assert encoder.folder is not None
    calibrated(encoder, temperature=2.0, threshold=0.999).save(encoder.folder)
    table = ZeroShot("gender").score(run, encoder)
    odds, plain_odds = table["p_female"] / table["p_male"], plain["p_female"] / plain["p_male"]
    assert np.allclose(np.log(plain_odds), 2 * np.log(odds), atol=1e-4)
    assert (table["label"] == "unknown").all()


def test_domain_columns_are_null_without_reference_embeddings(run: MemoryRun, encoder: Encoder) -> None:
    table = ZeroShot("gender").score(run, encoder)
    assert table["in_domain"].isna().all()
    assert table["domain_distance"].isna().all()


def test_domain_columns_come_from_the_reference_beside_the_encoder(run: MemoryRun, encoder: Encoder) -> None:
    ids, images = embed_run(run, encoder)
    domain = Domain.fit(images, ids, encoder=encoder, source="the run itself")
    assert encoder.folder is not None
    domain.save(encoder.folder)
    table = ZeroShot("gender").score(run, encoder)
    assert table["in_domain"].tolist() == domain.assess(images)[1].tolist()
    assert np.allclose(table["domain_distance"], domain.assess(images)[0])


def test_a_run_without_images_is_a_clear_error(run: MemoryRun, encoder: Encoder) -> None:
    run.ids.clear()
    with pytest.raises(RunError, match="no images"):
        ZeroShot("gender").score(run, encoder)


def test_scores_do_not_depend_on_which_images_are_scored_together(run: MemoryRun, encoder: Encoder) -> None:
    ids, images = embed_run(run, encoder)
    scorer = ZeroShot("skin_tone")
    whole = scorer.score_embeddings(ids, images, encoder)
    parts = [scorer.score_embeddings(ids[i : i + 2], images[i : i + 2], encoder) for i in (0, 2, 4)]
    pd.testing.assert_frame_equal(whole, pd.concat(parts, ignore_index=True), atol=1e-5)


def test_a_class_is_the_unit_mean_of_its_prompts(encoder: Encoder) -> None:
    classes = class_embeddings(encoder, Attribute("x", "", {"a": ["a woman", "a man"], "b": ["a person"]}))
    a = encoder.embed_texts(["a woman", "a man"]).mean(axis=0)
    assert np.allclose(classes[0], a / np.linalg.norm(a), atol=1e-6)
    assert np.allclose(classes[1], encoder.embed_texts(["a person"])[0], atol=1e-6)
