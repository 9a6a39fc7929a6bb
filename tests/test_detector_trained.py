"""A detector as it is kept and asked: folder, verdicts, abstention, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import detector_helpers as made
import numpy as np
import pytest

from auditkit.errors import DetectorError
from detectors import training
from detectors.trained import Detector, _halved, load
from detectors.training import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a detector of the family `spectrum`, on 160 real and 160 generated pictures."""
    folder = tmp_path_factory.mktemp("trained")
    examples = made.examples(made.write(folder / "data", 160))
    with pytest.MonkeyPatch.context() as patch:  # the shortcut audit takes seconds
        patch.setattr(training, "_shortcuts", lambda *_: {"warnings": []})
        train(examples, family="spectrum", out=folder / "grid-detector", device="cpu")
    return folder / "grid-detector"


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture(scope="module")
def detector(trained: Path) -> Detector:
    return load(trained, device="cpu")


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_it_calls_a_generated_picture_generated_and_says_at_which_rate(detector: Detector) -> None:
    said = detector.judge([made.generated(9000)])[0]
    assert (said.verdict, said.detector, said.fpr) == ("generated", "grid-detector", 0.01)
    assert said.score >= said.threshold
    assert said.probability > 0.9
    assert "1% of 32 real development images" in said.why
    assert said.details["knows"] == ["grid"]


def test_of_a_real_picture_it_sees_no_sign_and_does_not_call_it_real(detector: Detector) -> None:
    said = detector.judge([made.real(9000)])[0]
    assert said.verdict == "no sign"
    assert said.probability < 0.1
    assert "may be generated all the same" in said.why
    assert not said.why.startswith("The image is real")


def test_from_a_world_that_it_does_not_know_it_abstains_and_gives_no_probability(detector: Detector) -> None:
    said = detector.judge([made.foreign(1)])[0]
    assert said.verdict == "abstain"
    assert np.isnan(said.probability)
    assert said.unfamiliar > detector.limit
    assert "uncalibrated for this source" in said.why


def test_most_pictures_of_the_worlds_that_it_knows_are_judged(detector: Detector) -> None:
    said = detector.judge([draw(seed) for seed in range(5000, 5050) for draw in (made.real, made.generated)])
    assert sum(each.verdict == "abstain" for each in said) <= 10
    assert sum(each.verdict == "generated" for each in said[0::2]) <= 5
    assert sum(each.verdict == "generated" for each in said[1::2]) >= 40


def test_a_picture_that_is_too_small_is_not_applicable(detector: Detector) -> None:
    said = detector.judge([made.real(1, 20)])[0]
    assert said.verdict == "not applicable"
    assert np.isnan([said.score, said.probability, said.unfamiliar]).all()
    assert "20 px" in said.why
    assert "32" in said.why


def test_a_verdict_does_not_depend_on_the_pictures_beside_it(detector: Detector) -> None:
    pictures = [made.real(9001), made.real(1, 20), made.generated(9001, 64), made.foreign(2)]
    together = detector.judge(pictures)
    for picture, said in zip(pictures, together, strict=True):
        alone = detector.judge([picture])[0]
        assert alone.verdict == said.verdict
        np.testing.assert_allclose(alone.score, said.score, rtol=1e-6)
    assert detector.judge([]) == []


def test_only_a_rate_that_a_threshold_was_frozen_at_can_be_asked_for(detector: Detector) -> None:
    with pytest.raises(DetectorError, match=r"0\.2") as caught:
        detector.judge([made.real(1)], fpr=0.2)
    assert "0.01" in str(caught.value.mend)


# --- the folder ---------------------------------------------------------------------------------------------------


def test_a_loaded_detector_judges_as_the_one_that_was_saved(detector: Detector, tmp_path: Path) -> None:
    again = load(f"path:{detector.save(tmp_path / 'again') and tmp_path / 'again'}", device="cpu")
    pictures = [draw(seed) for seed in range(7000, 7010) for draw in (made.real, made.generated, made.foreign)]
    for one, other in zip(detector.judge(pictures), again.judge(pictures), strict=True):
        assert (one.verdict, one.why) == (other.verdict, other.why)
        np.testing.assert_allclose(
            [one.score, one.probability, one.unfamiliar], [other.score, other.probability, other.unfamiliar], atol=1e-4
        )


def test_the_folder_holds_plain_data_and_no_pickle(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == [
        "README.md", "card.json", "detector.toml", "weights.safetensors",
    ]  # fmt: skip
    card = json.loads((trained / "card.json").read_text())
    assert card["generators"] == {"grid": 96}
    assert "may be as high as" in (trained / "README.md").read_text()


def test_tensors_are_halved_only_where_that_is_the_same_numbers_and_keep_their_shape() -> None:
    halved = _halved(np.array([0.5, -3.0, np.nan], np.float32))
    assert halved.dtype == np.float16
    for kept in (
        np.array([1 / 3], np.float32),
        np.array([1e6], np.float64),
        np.array(7, np.int64),
        np.zeros((0, 3), "i4"),
    ):
        assert _halved(kept).dtype == kept.dtype
        assert _halved(kept).shape == kept.shape


def test_weights_that_were_changed_are_refused(copied: Path) -> None:
    held = bytearray((copied / "weights.safetensors").read_bytes())
    held[-3] ^= 1
    (copied / "weights.safetensors").write_bytes(held)
    with pytest.raises(DetectorError, match="not those"):
        load(copied, device="cpu")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('family = "spectrum"', 'family = "no-such"', "not installed"),
        ("family_version = 1", "family_version = 7", "version 7"),
        ("format = 1", "format = 9", "format 9"),
        ('name = "grid-detector"', "", "no 'name'"),
        ("format = 1", "format = ", "cannot be read"),
    ],
)
def test_a_description_that_does_not_fit_is_one_clear_error(copied: Path, before: str, after: str, says: str) -> None:
    text = (copied / "detector.toml").read_text()
    assert before in text
    (copied / "detector.toml").write_text(text.replace(before, after))
    with pytest.raises(DetectorError, match=says) as caught:
        load(copied, device="cpu")
    assert caught.value.mend


def test_a_folder_without_a_detector_and_an_unknown_name_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no detector in this folder"):
        load(tmp_path)
    with pytest.raises(DetectorError, match="'nobody'") as caught:
        load("nobody")
    assert "path:FOLDER" in str(caught.value.mend)


def test_it_is_not_saved_over_something_else(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DetectorError, match="holds something"):
        detector.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
