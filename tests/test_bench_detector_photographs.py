"""The data and the placebo of the detector of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.detector_data import packages, scaled
from benchmarks.detector_photographs import folds_of
from detectors.reading import read_examples


def test_a_photograph_at_several_scales_is_one_source_and_of_its_package(tmp_path: Path) -> None:
    for name in ("fog", "Kite"):
        (tmp_path / "from").mkdir(exist_ok=True)
        Image.new("RGB", (60, 40), "teal").save(tmp_path / "from" / f"{name}.png")
    scaled(tmp_path / "from", tmp_path / "to", (1.0, 0.5))
    found = read_examples(tmp_path / "to", both=False)
    assert [found.image(row).shape[:2] for row in range(4)] == [(40, 60), (20, 30)] * 2
    assert found.table[["source", "origin"]].drop_duplicates().to_numpy().tolist() == [
        ["Kite", "plasma-workspace-wallpapers"],
        ["fog", "lxqt-themes"],
    ]


def test_every_listed_photograph_has_a_package() -> None:
    found = packages()
    assert len(found) == 50
    assert found["Aqua"] == "mate-backgrounds"
    assert found["Bridge_by_Sander_Klootwijk"] == "lomiri-wallpapers"


def test_no_photograph_is_in_both_folds_of_the_placebo(tmp_path: Path) -> None:
    for label, origin in (("real", "one"), ("generated", "two")):
        (tmp_path / label / origin).mkdir(parents=True)
        for at in range(5):
            Image.new("RGB", (16, 16), (at, 0, 0)).save(tmp_path / label / origin / f"{at}.png")
    examples = read_examples(tmp_path)
    folds = folds_of(examples, 0)
    for label in (0, 1):
        assert sorted(np.bincount(folds[examples.labels == label])) == [2, 3]
    for source in set(examples.sources):
        assert len(set(folds[examples.sources == source])) == 1
