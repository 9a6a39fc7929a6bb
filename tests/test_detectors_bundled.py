"""The detectors that come with auditkit: they are there, know their generators, and abstain from what is foreign."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app import api, detection
from auditkit.provenance import detecting
from auditkit.spec import RunSpec
from detectors.bundled import FOLDER
from detectors.trained import Detector, from_folder

NAMES = sorted(path.parent.name for path in FOLDER.glob("*/detector.toml"))


@pytest.fixture(scope="module")
def detectors() -> dict[str, Detector]:
    return {name: from_folder(FOLDER / name, device="cpu") for name in NAMES}


def grain(seed: int, side: int = 256) -> np.ndarray:
    """White noise: no detector has seen the like."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_each_is_registered_under_the_name_of_its_folder() -> None:
    assert NAMES
    assert set(NAMES) <= set(detecting.installed())


def test_the_one_for_photographs_is_asked_only_where_it_is_named() -> None:
    assert [each.name for each in detecting.Detectors().all] == ["personas-detector"]
    assert [each.name for each in detection.load_detectors(())] == ["personas-detector"]
    assert [each.name for each in detecting.Detectors(["photographs-detector"]).all] == ["photographs-detector"]


@pytest.mark.parametrize("name", NAMES)
def test_its_card_tells_what_it_reached_and_whom_it_accuses(name: str, detectors: dict[str, Detector]) -> None:
    card = detectors[name].card
    reached = {row["metric"]: row for row in card["test"]["overall"]}
    assert reached["auroc"]["ci_low"] <= reached["auroc"]["estimate"] <= reached["auroc"]["ci_high"]
    assert {row["laundered"] for row in card["test"]["laundered"]} >= {"none", "personas"}
    assert "## Limits" in (FOLDER / name / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_it_names_no_folder_of_whoever_trained_it(name: str) -> None:
    text = "".join(path.read_text() for path in (FOLDER / name).glob("*.*") if path.suffix != ".safetensors")
    assert "/tmp/" not in text
    assert "/home/" not in text
    assert json.loads((FOLDER / name / "card.json").read_text())["name"] == name


@pytest.mark.parametrize("name", NAMES)
def test_it_abstains_from_noise(name: str, detectors: dict[str, Detector]) -> None:
    assert [said.verdict for said in detectors[name].judge([grain(seed) for seed in range(3)])] == ["abstain"] * 3


def test_drawings_of_a_generator_that_it_knows_are_called_generated(
    detectors: dict[str, Detector], tmp_path: Path
) -> None:
    spec = RunSpec(
        name="drawn",
        templates=["a portrait of {a occupation}"],
        axes={"occupation": ["judge", "teacher", "singer", "pilot"]},
        images_per_prompt=2,
    )
    run = api.generate(spec, generator="personas-turbo", out=tmp_path, device="cpu")
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(run.path.glob("images/*/*.png"))]
    said = [each.verdict for each in detectors["personas-detector"].judge(images)]
    assert len(said) == 8
    assert said.count("generated") >= 6
