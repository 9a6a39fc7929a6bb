from __future__ import annotations

import numpy as np
import pytest
from detector_eval_helpers import examples_of, make_data

from auditkit.errors import DetectorError
from detectors import accusations, robustness
from detectors.examples import Examples


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return examples_of(make_data(tmp_path_factory.mktemp("data"), each=4, reals=15))


def brightness(images) -> tuple[np.ndarray, np.ndarray]:
    return np.array([image.mean() for image in images]), np.array([float(image.std() > 200) for image in images])


def test_every_step_meets_every_image_of_both_classes(examples) -> None:
    table = robustness.scores_under(brightness, examples, robustness.steps(["jpeg:75,50", "social"]))
    assert set(table["degradation"]) == {"none", "jpeg:75", "jpeg:50", "social:70"}
    counts = table.groupby(["degradation", "label"]).size().unstack()
    assert (counts[0] == 30).all()
    assert (counts[1] == 12).all()


def test_the_undegraded_scores_are_those_of_the_files(examples) -> None:
    table = robustness.scores_under(brightness, examples, robustness.steps(["noise:5"]))
    clean = table[table["degradation"] == "none"].set_index("row")["score"]
    assert clean.to_numpy() == pytest.approx([examples.image(row).mean() for row in range(len(examples))])


def test_images_of_one_source_meet_the_same_window() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (step,) = robustness.steps(["crop:0.5"])[1:]
    first, second, other = (robustness.degrade(image, step, source, seed=0) for source in ("a", "a", "b"))
    assert (first == second).all()
    assert (first != other).any()


def test_a_post_is_scaled_to_what_sites_allow() -> None:
    image = np.zeros((1200, 2160, 3), np.uint8)
    (step,) = robustness.steps(["social:70"])[1:]
    assert robustness.degrade(image, step, "a", seed=0).shape == (600, 1080, 3)


def test_an_unknown_degradation_is_told_with_its_near_match() -> None:
    with pytest.raises(DetectorError, match="no degradation 'jpg'; did you mean jpeg"):
        robustness.steps(["jpg:75"])
    with pytest.raises(DetectorError, match="a strength is a number"):
        robustness.steps(["social:low"])


def test_laundering_that_brightens_accuses_all_and_none_is_shown_beside(examples) -> None:
    launder = {"brighten": lambda image: np.minimum(image.astype(int) + 100, 255).astype(np.uint8)}
    table = accusations.false_accusations(brightness, examples, launder, threshold=180).set_index("laundered")
    assert table.loc["none", "estimate"] == 0
    assert table.loc["brighten", "estimate"] == 1
    assert table.loc["none", "n_images"] == 30
    assert table.loc["brighten", "ci_low"] < 1


def test_without_real_images_nobody_can_be_accused(examples) -> None:
    with pytest.raises(DetectorError, match="no real image"):
        accusations.false_accusations(brightness, examples.where(examples.labels == 1), {}, threshold=1)


@pytest.mark.parametrize(("reached", "status"), [(4, "ok"), (6, "ok"), (7, "uncalibrated")])
def test_up_to_one_and_a_half_times_the_rate_is_borne(reached: int, status: str) -> None:
    scores = np.append(np.ones(reached), np.zeros(400 - reached))
    found = accusations.realised(scores, np.zeros(400), np.arange(400), threshold=1, fpr=0.01, limit=0.99)
    assert found.status == status
    assert found.times == pytest.approx(reached / 4)
    assert ("must abstain" in found.sentence) == (status == "uncalibrated")


def test_an_image_abstained_from_is_not_accused() -> None:
    scores = np.append(np.ones(40), np.zeros(360))
    found = accusations.realised(scores, scores, np.arange(400), threshold=1, fpr=0.01, limit=0.99)
    assert found.reached.estimate == 0.1
    assert found.accused.estimate == 0
    assert found.abstained.estimate == 0.1
    assert found.status == "ok"


def test_under_300_real_images_no_rate_is_judged() -> None:
    found = accusations.realised(np.ones(299), np.zeros(299), np.arange(299), threshold=1, fpr=0.01, limit=0.99)
    assert found.status == "insufficient"
    assert "300 are needed" in found.sentence
