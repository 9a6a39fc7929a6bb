"""`auditkit perturbations` as people and programs use it, with the bundled encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from app.commands import perturbations

app = typer.Typer()
app.callback()(lambda: None)
perturbations.register(app)


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["perturbations", *(str(each) for each in arguments)])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments: object, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(2):
        noise = gaussian_filter(np.random.default_rng(seed).standard_normal((96, 96, 3)), (4, 4, 0))
        Image.fromarray(np.clip(128 + 400 * noise, 0, 255).astype(np.uint8)).save(folder / f"{seed}.png")
    return folder


def test_copies_are_written_checked_and_followed_through_an_edit(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = answer("simulate", pictures, "--out", out, "--kind", "concept-poison", "--budget", "8")
    assert [row["linf"] for row in made["files"]] == [8, 8]
    assert all(row["toward"] > 0.02 for row in made["files"])
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png"]

    found = answer("check", out, "--fpr", "0.05")
    assert found["set"]["n"] == 2
    assert 0 < found["set"]["p_value"] <= 1
    assert [row["file"] for row in found["images"]] == [str(out / "0.png"), str(out / "1.png")]

    left = answer("survive", pictures, "--perturbed", out, "--edit", "none", "--edit", "blur:4")["edits"]
    assert left[0]["share"] == pytest.approx(1)
    assert left[1]["share"] < 0.8

    again = answer("simulate", pictures, "--out", out, code=1)
    assert "there already" in again["what"]


def test_a_set_too_small_is_insufficient_and_what_it_would_take_is_said(pictures: Path) -> None:
    shown = run("check", pictures / "0.png", "--fpr", "0.001").stdout
    assert shown.startswith("insufficient")
    assert "needs" in shown


def test_a_file_that_is_no_image_is_left_out_and_said_so(pictures: Path) -> None:
    (pictures / "torn.png").write_bytes(b"no image")
    found = answer("check", pictures)
    assert len(found["images"]) == 2
    assert found["skipped"][0]["file"].endswith("torn.png")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check", "EMPTY"], "no images"),
        (["check", "PICTURES", "--fpr", "0"], "false positive rate"),
        (["simulate", "PICTURES", "--out", "o", "--kind", "glaze"], "no perturbation has this name"),
        (["simulate", "PICTURES", "--out", "o", "--budget", "99"], "budget"),
        (["survive", "PICTURES", "--perturbed", "ONE"], "2 images and 1 perturbed"),
        (["simulate", "PICTURES", "--out", "o", "--kind", "latent-shield", "--against", "nothing"], "no autoencoder"),
    ],
)
def test_bad_input_is_one_clear_error_and_nothing_is_written(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": tmp_path / "empty", "PICTURES": pictures, "ONE": pictures / "0.png"}
    assert told in answer(*(places.get(each, each) for each in arguments), code=1)["what"]
    assert not (tmp_path / "o").exists()
