"""Calibration: temperature, threshold and confusion that say what they rest on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_clip import save_tiny

from auditkit.clip.attributes import attribute, attributes
from auditkit.clip.calibration import SURE, fit_calibration, load_calibration
from auditkit.clip.posteriors import calibration_error, decide, posteriors, reliability
from auditkit.errors import CalibrationError, PluginError
from reports.chapters.reliability import reliability_figure

SCALE = 100.0
ENCODER = SimpleNamespace(name="fake", sha256="0" * 64, logit_scale=SCALE, folder=None)
GENDER = list(attribute("gender").classes)


def sample(n: int, temperature: float, *, seed: int = 0) -> tuple[np.ndarray, list[str], list[str]]:
    """Cosines whose posteriors are exact at `temperature`: truth is drawn from them."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 9, n)
    female = 1 / (1 + np.exp(-logit))
    truth = [GENDER[0] if draw < p else GENDER[1] for draw, p in zip(rng.random(n), female, strict=True)]
    half = logit * temperature / SCALE / 2
    return np.stack([half, -half], axis=1), truth, [f"source-{i}" for i in range(n)]


def fit(cosines, truth, clusters, **options):
    options = {"encoder": ENCODER, "attribute": "gender", "source": "a test", **options}
    return fit_calibration(cosines, truth, clusters, **options)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_recovered(temperature: float) -> None:
    found = fit(*sample(8000, temperature), max_error=0.1)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.ece_after < 0.02
    assert found.ece_after <= found.ece_before + 1e-3


def test_the_threshold_keeps_the_error_and_no_smaller_one_does() -> None:
    cosines, truth, clusters = sample(2000, 1.0)
    found = fit(cosines, truth, clusters, max_error=0.02)
    assert 0 < found.unknown_rate < 0.5
    assert found.labelled_error <= 0.02
    index = np.array([GENDER.index(label) for label in truth])
    posterior = posteriors(cosines, SCALE, found.temperature)
    for lower in np.unique(posterior.max(axis=1))[:-1]:
        if lower < found.threshold:
            outcome = decide(posterior, lower)
            assert (outcome != index)[outcome < 2].mean() > 0.02


def test_counts_are_outcomes_by_true_class_and_weights_their_columns() -> None:
    cosines, truth, clusters = sample(500, 1.0)
    found = fit(cosines, truth, clusters, max_error=0.05)
    counts = np.array(found.counts)
    assert found.outcomes == ["female", "male", "unknown"]
    assert counts.shape == (3, 2)
    assert counts.sum(axis=0).tolist() == [truth.count("female"), truth.count("male")]
    assert np.allclose(found.weights, counts / counts.sum(axis=0))
    assert counts[2].sum() / 500 == pytest.approx(found.unknown_rate)


def test_copies_of_an_image_add_no_independent_images() -> None:
    cosines, truth, clusters = sample(300, 1.0)
    once = fit(cosines, truth, clusters, max_error=0.1)
    copied = fit(np.repeat(cosines, 4, axis=0), np.repeat(truth, 4), np.repeat(clusters, 4), max_error=0.1)
    assert copied.n_effective == once.n_effective
    assert copied.n_images == 4 * once.n_images
    assert np.allclose(copied.weights, once.weights)


def test_a_threshold_that_leaves_most_unknown_is_refused() -> None:
    rng = np.random.default_rng(0)
    truth = [GENDER[i] for i in rng.integers(0, 2, 400)]
    with pytest.raises(CalibrationError, match="more than half unknown"):
        fit(rng.normal(0, 0.02, (400, 2)), truth, [str(i) for i in range(400)])


def test_even_classes_that_part_perfectly_ask_for_three_to_one() -> None:
    truth = ["female", "male"] * 50
    cosines = np.array([[0.3, -0.3], [-0.3, 0.3]] * 50)
    found = fit(cosines, truth, [str(i) for i in range(100)])
    assert found.unknown_rate == found.labelled_error == 0
    assert found.threshold == SURE


@pytest.mark.parametrize("case", ["one class", "few sources", "unknown class", "wrong shape", "nan"])
def test_too_poor_a_sample_is_refused(case: str) -> None:
    cosines, truth, clusters = sample(400, 1.0)
    if case == "one class":
        truth = ["female"] * 400
    elif case == "few sources":
        clusters = [str(i % 15) for i in range(400)]
    elif case == "unknown class":
        truth[0] = "unknown"
    elif case == "wrong shape":
        cosines = cosines[:, :1]
    else:
        cosines[3, 0] = np.nan
    with pytest.raises(CalibrationError) as caught:
        fit(cosines, truth, clusters)
    assert caught.value.mend


@pytest.fixture
def saved(tmp_path: Path):
    folder, _ = save_tiny(tmp_path / "tiny")
    sha256 = json.loads((folder / "weights.json").read_text())["open_clip_model.safetensors"]
    encoder = SimpleNamespace(name="tiny", sha256=sha256, logit_scale=SCALE, folder=folder)
    calibration = fit(*sample(500, 1.0), max_error=0.05, encoder=encoder)
    calibration.save(folder)
    return encoder, calibration


def test_a_saved_calibration_loads_by_encoder_and_by_path(saved) -> None:
    encoder, calibration = saved
    assert load_calibration(encoder, "gender") == calibration
    assert load_calibration(str(encoder.folder), "gender") == calibration
    assert load_calibration(encoder, "occupation") is None
    assert load_calibration("ViT-B-32-openai", "gender") is None


def test_a_calibration_of_other_weights_is_refused(saved) -> None:
    encoder, _ = saved
    encoder.sha256 = "1" * 64
    with pytest.raises(CalibrationError, match="other weights"):
        load_calibration(encoder, "gender")


@pytest.mark.parametrize(
    ("change", "message"), [({"prompts_sha256": "x"}, "other prompts"), ({"k": 1}, "read")]
)
def test_a_calibration_that_does_not_fit_is_refused(saved, change: dict, message: str) -> None:
    encoder, calibration = saved
    path = calibration.save(encoder.folder)
    path.write_text(json.dumps({**calibration.model_dump(), **change}))
    with pytest.raises(CalibrationError, match=message):
        load_calibration(encoder, "gender")


def test_no_prompt_stands_for_two_classes_and_the_classes_are_those_of_the_suite() -> None:
    assert attributes()[:3] == ["gender", "skin_tone", "occupation"]
    assert GENDER == ["female", "male"]
    assert list(attribute("skin_tone").classes) == ["light", "medium-light", "medium", "medium-dark", "dark"]
    assert len(attribute("occupation").classes) == 20
    assert attribute("occupation").classes["artist"][0] == "an artist"
    for name in attributes():
        ensembles = [set(prompts) for prompts in attribute(name).classes.values()]
        assert len(set().union(*ensembles)) == sum(map(len, ensembles))
        assert not any("{" in prompt for prompt in set().union(*ensembles))


def test_an_unknown_attribute_is_a_clear_error() -> None:
    with pytest.raises(PluginError, match="no such attribute"):
        attribute("shoe size")


@settings(max_examples=50, deadline=None)
@given(
    cosines=st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), max_size=8),
    temperature=st.floats(0.02, 50),
)
def test_posteriors_sum_to_one_and_keep_the_order_of_cosines(cosines: list, temperature: float) -> None:
    array = np.array(cosines, np.float32).reshape(-1, 3)
    posterior = posteriors(array, SCALE, temperature)
    assert np.allclose(posterior.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(
        np.take_along_axis(posterior, array.argmax(axis=1)[:, None], 1)[:, 0],
        posterior.max(axis=1, initial=0),
    )


def test_a_posterior_at_the_threshold_gets_its_label() -> None:
    assert decide(np.array([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9]]), 0.7).tolist() == [0, 2, 1]


def test_calibration_error_of_sure_and_wrong_posteriors_is_their_confidence() -> None:
    assert calibration_error(np.array([[0.9, 0.1]] * 4), np.array([1, 1, 1, 1])) == pytest.approx(0.9)
    assert calibration_error(np.array([[1.0, 0.0]] * 4), np.array([0, 0, 0, 0])) == 0
    assert np.isnan(calibration_error(np.zeros((0, 2)), np.zeros(0, int)))


def test_the_sample_it_was_fitted_on_is_kept_beside_it_and_is_the_same_after_loading(saved) -> None:
    encoder, calibration = saved
    loaded = load_calibration(encoder, "gender")
    assert loaded.sample is not None
    assert (loaded.sample.posterior == calibration.sample.posterior).all()
    assert (loaded.sample.truth == calibration.sample.truth).all()
    assert (loaded.sample.source == calibration.sample.source).all()
    assert "sample" not in json.loads((encoder.folder / "calibration" / "gender.json").read_text())


def test_the_samples_posteriors_at_the_threshold_give_the_counts() -> None:
    found = fit(*sample(500, 1.0), max_error=0.05)
    outcome = decide(found.sample.posterior, found.threshold)
    counts = np.zeros((3, 2), int)
    np.add.at(counts, (outcome, found.sample.truth), 1)
    assert counts.tolist() == found.counts


def test_copies_share_a_source_in_the_sample() -> None:
    cosines, truth, clusters = sample(200, 1.0)
    found = fit(np.repeat(cosines, 2, axis=0), np.repeat(truth, 2), np.repeat(clusters, 2), max_error=0.1)
    assert len(found.sample.source) == 400
    assert (np.bincount(found.sample.source) == 2).all()


def test_a_calibration_without_its_sample_still_loads(saved) -> None:
    encoder, calibration = saved
    (encoder.folder / "calibration" / "gender.safetensors").unlink()
    loaded = load_calibration(encoder, "gender")
    assert loaded == calibration
    assert loaded.sample is None


def test_a_calibration_made_before_there_were_samples_still_loads(saved) -> None:
    encoder, calibration = saved
    path = encoder.folder / "calibration" / "gender.json"
    path.with_suffix(".safetensors").unlink()
    facts = {k: v for k, v in calibration.model_dump().items() if k not in ("reliability", "sample_sha256")}
    path.write_text(json.dumps(facts))
    loaded = load_calibration(encoder, "gender")
    assert loaded.counts == calibration.counts
    assert loaded.reliability is None


@pytest.mark.parametrize("damage", ["another calibration's", "cut short"])
def test_a_sample_that_is_not_the_calibrations_is_refused(saved, damage: str) -> None:
    encoder, _ = saved
    path = encoder.folder / "calibration" / "gender.safetensors"
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        json_before = path.with_suffix(".json").read_bytes()
        fit(*sample(500, 1.0, seed=1), max_error=0.05, encoder=encoder).save(encoder.folder)
        path.with_suffix(".json").write_bytes(json_before)
    with pytest.raises(CalibrationError, match="not the one"):
        load_calibration(encoder, "gender")


def test_reliability_bins_hold_every_image_and_their_own_accuracy() -> None:
    posterior = np.array([[0.55, 0.45], [0.93, 0.07], [0.94, 0.06], [0.05, 0.95], [1.0, 0.0]])
    bins = reliability(posterior, np.array([0, 0, 1, 1, 0]), np.array([0, 1, 1, 2, 3]))
    assert [(b.low, b.high) for b in bins] == [(0.5, 0.6), (0.9, 0.95), (0.95, 0.99), (0.99, 1.0)]
    assert [b.n_images for b in bins] == [1, 2, 1, 1]
    assert [b.n_sources for b in bins] == [1, 1, 1, 1]
    assert [b.accuracy for b in bins] == [1, 0.5, 1, 1]
    assert bins[1].confidence == pytest.approx(0.935)
    assert all(b.ci_low <= b.accuracy <= b.ci_high for b in bins)


def test_without_images_there_is_no_reliability() -> None:
    assert reliability(np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, int)) == []


def test_calibrated_posteriors_lie_on_the_diagonal() -> None:
    found = fit(*sample(20000, 2.0), max_error=0.1)
    inside = [b.ci_low <= b.confidence <= b.ci_high for b in found.reliability.after]
    assert np.mean(inside) >= 0.8
    off = [b.ci_low <= b.confidence <= b.ci_high for b in found.reliability.before]
    assert np.mean(off) < 0.5


def test_the_reliability_figure_says_what_it_shows() -> None:
    figure = reliability_figure(fit(*sample(3000, 2.0), max_error=0.1))
    assert figure.svg.startswith("<svg")
    assert "error" in figure.alt
    assert "3000 calibration images" in figure.caption
    assert reliability_figure(fit(*sample(300, 1.0), max_error=0.1).model_copy(update={"reliability": None})) is None
