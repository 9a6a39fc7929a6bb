"""Training a detector: what it is refused, what is frozen on which part, what the card says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import detector_helpers as made
import numpy as np
import pytest
from PIL import Image

from auditkit.errors import DetectorError, ImageError, PluginError
from detectors import training
from detectors.examples import Examples
from detectors.trained import Detector
from detectors.training import train
from detectors.training_card import warnings

SHORTCUTS = training._shortcuts


def no_shortcuts(*_: object) -> dict[str, Any]:
    return {"warnings": [], "aligned": False, "kinds": []}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return made.examples(made.write(tmp_path_factory.mktemp("data"), 120))


@pytest.fixture(scope="module")
def trained(examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_shortcuts", no_shortcuts)
        return fit(examples, tmp_path_factory.mktemp("out") / "mine")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the shortcut audit, which takes seconds; one test has it back."""
    monkeypatch.setattr(training, "_shortcuts", no_shortcuts)


def fit(examples: Examples, out: Path, **settings: Any) -> Detector:
    return train(examples, **{"family": "spectrum", "out": out, "device": "cpu", **settings})


# --- what is frozen -----------------------------------------------------------------------------------------------


def test_the_threshold_lets_at_most_the_rate_of_development_reals_through(examples: Examples, tmp_path: Path) -> None:
    for fpr in (0.05, 0.25):
        threshold = fit(examples, tmp_path / str(fpr), fpr=fpr).threshold()
        assert threshold.reached <= fpr < threshold.highest
        assert (threshold.fpr, threshold.reals, threshold.sources) == (fpr, 24, 24)


def test_a_second_threshold_needs_reals_enough_for_it(trained: Detector) -> None:
    assert [each.fpr for each in trained.thresholds] == [0.01]


def test_the_limit_of_familiarity_is_the_one_asked_for_as_far_as_the_images_tell(
    examples: Examples, trained: Detector, tmp_path: Path
) -> None:
    assert fit(examples, tmp_path / "strict", limit=0.8).limit == 0.8
    assert trained.limit == pytest.approx(47.5 / 49)  # 48 development images cannot tell more than that
    assert "limit of familiarity" in refused(examples, tmp_path / "none", limit=0.2).what


def test_the_card_warns_of_a_threshold_that_rests_on_few_reals(trained: Detector) -> None:
    assert any("rests on 24 real images" in sentence for sentence in warnings(trained.card))


def test_the_card_reports_on_sources_that_were_not_trained_on(trained: Detector) -> None:
    assert trained.card["parts"]["test"] == {"real": 24, "generated": 24, "sources": 48}
    rows = {row["metric"]: row for row in trained.card["test"]["overall"]}
    assert rows["auroc"]["estimate"] > 0.95
    assert rows["auroc"]["ci_low"] < rows["auroc"]["estimate"]
    assert trained.card["test"]["generators"]["grid"]["estimate"] > 0.8
    assert trained.card["test"]["origins"]["field"]["estimate"] < 0.2


def test_the_card_says_how_many_laundered_real_images_it_accuses(examples: Examples, tmp_path: Path) -> None:
    def striped(image: np.ndarray) -> np.ndarray:
        return made.generated(int(image.sum()), image.shape[0])

    card = fit(examples, tmp_path / "mine", launder={"mine": striped}).card
    clean, framed = card["test"]["laundered"]
    assert (clean["laundered"], framed["laundered"]) == ("none", "mine")
    assert clean["estimate"] < 0.2
    assert framed["estimate"] > 0.8
    assert framed["n_images"] == 24
    assert "real, laundered through mine" in (tmp_path / "mine" / "README.md").read_text()


def test_with_too_few_reals_the_rate_at_one_percent_is_insufficient_and_no_number(trained: Detector) -> None:
    row = next(row for row in trained.card["test"]["overall"] if row["metric"] == "tpr@0.01")
    assert (row["estimate"], row["status"]) == (None, "insufficient")


def test_the_same_seed_gives_the_same_detector(examples: Examples, trained: Detector, tmp_path: Path) -> None:
    assert fit(examples, tmp_path / "again").sha256 == trained.sha256
    assert fit(examples, tmp_path / "other", seed=1).sha256 != trained.sha256


def test_held_out_data_of_ones_own_leaves_more_to_train_on(examples: Examples, tmp_path: Path) -> None:
    held = made.examples(made.write(tmp_path / "held", 15, first=5000))
    card = fit(examples, tmp_path / "mine", test=held).card
    assert card["parts"]["test"]["real"] == 15
    assert card["parts"]["train"]["real"] == 90


def test_the_card_warns_of_what_else_tells_the_classes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made.write(tmp_path / "data", 60)
    for path in (folder / "real").rglob("*.png"):
        Image.open(path).resize((52, 52)).save(path)
    monkeypatch.setattr(training, "_shortcuts", SHORTCUTS)
    card = fit(made.examples(folder), tmp_path / "mine").card
    assert any("by size alone" in sentence for sentence in warnings(card))
    assert {row["kind"] for row in card["shortcuts"]["kinds"]} >= {"size", "format", "metadata"}


# --- what is refused ----------------------------------------------------------------------------------------------


def refused(examples: Examples, out: Path, **settings: Any) -> DetectorError:
    with pytest.raises(DetectorError) as caught:
        fit(examples, out, **settings)
    assert caught.value.mend
    assert not out.exists()
    return caught.value


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_is_refused(examples: Examples, tmp_path: Path, label: int) -> None:
    missing = ("generated", "real")[label]
    assert f"no {missing} image" in refused(examples.where(examples.labels == label), tmp_path / "no").what


def test_copies_under_different_sources_are_refused_unless_they_are_kept_together(
    examples: Examples, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(Path(examples.table["file"][0]).parents[2], tmp_path / "data"))
    shutil.copy(folder / "real/field/0000.png", folder / "real/field/9999.png")
    copies = made.examples(folder)
    error = refused(copies, tmp_path / "no")
    assert "duplicates" in error.what
    assert "--duplicates join" in str(error.mend)
    assert fit(copies, tmp_path / "yes", duplicates="join").thresholds


def test_a_copy_in_held_out_data_is_refused(examples: Examples, tmp_path: Path) -> None:
    held = made.examples(made.write(tmp_path / "held", 15))  # the same pictures again, under the same names
    assert "several parts" in refused(examples, tmp_path / "no", test=held).what
    renamed = Examples(held.table.assign(source="held-" + held.table["source"]))
    assert "duplicates stand across" in refused(examples, tmp_path / "no", test=renamed).what


def test_too_few_sources_for_an_interval_are_refused(examples: Examples, tmp_path: Path) -> None:
    keep = np.zeros(len(examples), bool)
    keep[:30] = keep[120:150] = True
    assert "an interval needs 10" in refused(examples.where(keep), tmp_path / "no").what
    crops = examples.table.assign(source=[source[:-1] for source in examples.table["source"]])
    assert "an interval needs 10" in refused(Examples(crops), tmp_path / "no").what


def test_an_option_that_the_family_does_not_have_is_refused_before_any_training(
    examples: Examples, tmp_path: Path
) -> None:
    error = refused(examples, tmp_path / "no", options={"depth": 3})
    assert "no option 'depth'" in error.what
    assert "bins" in str(error.mend)
    assert "no option 'minutes'" in refused(examples, tmp_path / "no", minutes=1).what
    assert "attacks" in refused(examples, tmp_path / "no", adversarial=True).what
    for wrong in ({"fpr": 0.0}, {"calibration": "platt"}, {"duplicates": "delete"}):
        refused(examples, tmp_path / "no", **wrong)
    with pytest.raises(PluginError, match="spectrun"):
        fit(examples, tmp_path / "no", family="spectrun")


def test_a_damaged_image_is_named_and_nothing_is_written(examples: Examples, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no image")
    bad = examples.table.copy()
    bad.loc[3, "file"] = str(tmp_path / "bad.png")
    with pytest.raises(ImageError) as caught:
        fit(Examples(bad), tmp_path / "no")
    assert "bad.png" in str(caught.value.where)
    assert not (tmp_path / "no").exists()


# --- half precision -----------------------------------------------------------------------------------------------


class _Large:
    """A family whose tensors are large, to see when they are halved."""

    name, version, title, paper, min_side = "large", 1, "large", "", 1

    def __init__(self, scale: float = 1.0):
        self.weight = np.full(1 << 15, 1 / 3, np.float32)
        self.scale = scale

    def scores(self, images: Any) -> np.ndarray:
        return np.array([self.scale * (self.weight[0] - 0.3333) + image.mean() / 255 for image in images], np.float64)

    def features(self, images: Any) -> np.ndarray:
        return np.array([[image.mean(), image.std()] for image in images], np.float32)

    def state(self) -> Any:
        return training.State({"scale": self.scale}, {"weight": self.weight})

    @classmethod
    def from_state(cls, state: Any, *, device: str) -> _Large:
        family = cls(state.settings["scale"])
        family.weight = state.tensors["weight"]
        return family


@pytest.mark.parametrize(("scale", "halved"), [(0.01, True), (100.0, False)])
def test_weights_are_halved_only_where_that_moves_no_score(examples: Examples, scale: float, halved: bool) -> None:
    some = examples.where(np.arange(len(examples)) < 20)
    family, seen = training._in_half(_Large(scale), training.look(_Large(scale), some), some, "cpu")
    assert (family.weight[0] == np.float32(np.float16(1 / 3))) == halved
    np.testing.assert_array_equal(seen.scores, training.look(family, some).scores)


def test_the_card_is_json_and_markdown(trained: Detector) -> None:
    from detectors.training_card import as_markdown

    json.dumps(trained.card, allow_nan=False)
    text = as_markdown(trained.card)
    assert "| AUROC |" in text
    assert "nan" not in text
