"""`auditkit forensics ...`: what it answers, and what it says that an answer does not mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_forensics_jpeg import saved, scene, through
from test_forensics_prnu import shot
from typer.testing import CliRunner

from app.cli import app


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["forensics", *(str(each) for each in arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cam.safetensors`, an image of the camera and one of another."""
    folder = tmp_path_factory.mktemp("camera")
    (folder / "own").mkdir()
    for seed in range(8):
        Image.fromarray(shot(0, seed)).save(folder / "own" / f"{seed}.png")
    Image.fromarray(shot(0, 90)).save(folder / "mine.png")
    Image.fromarray(shot(1, 90)).save(folder / "other.png")
    run("fingerprint", folder / "own", "--out", folder / "cam.safetensors")
    return folder


def test_a_fingerprint_comes_with_a_note_on_privacy(camera: Path):
    done = run("fingerprint", camera / "own", "--out", camera / "again.safetensors", "--json")
    answer = json.loads(done.stdout)
    assert (answer["images"], answer["width"], answer["height"]) == (8, 256, 256)
    assert "personal data" in answer["privacy"]
    assert (camera / "again.safetensors").read_bytes() == (camera / "cam.safetensors").read_bytes()


def test_match_tells_the_cameras_image_and_says_what_no_match_means(camera: Path):
    assert run("match", camera / "mine.png", "--camera", camera / "cam.safetensors").stdout.startswith("match (PCE")
    other = run("match", camera / "other.png", "--camera", camera / "cam.safetensors").stdout
    assert other.startswith("no match")
    assert "no evidence that the image was generated" in other
    answer = json.loads(run("match", camera / "mine.png", "--camera", camera / "cam.safetensors", "--json").stdout)
    assert answer["pce"] > 60 > 1e-3 > answer["p_value"]


def test_jpeg_tells_the_history_of_a_png_and_that_it_is_no_verdict(tmp_path: Path):
    Image.fromarray(through(scene(6), 60, 85)).save(tmp_path / "upload.png")
    answer = json.loads(run("jpeg", tmp_path / "upload.png", "--map", tmp_path / "map.png", "--json").stdout)
    assert answer["last"]["source"] == "pixels"
    assert abs(answer["last"]["quality"] - 85) <= 2
    assert answer["earlier"]["verdict"] == "twice"
    assert "does not say whether a generator made it" in answer["sentences"][-1]
    assert np.asarray(Image.open(tmp_path / "map.png")).ndim == 3


def test_jpeg_reads_a_files_tables_first(tmp_path: Path):
    (tmp_path / "upload.jpg").write_bytes(saved(scene(6), 77))
    assert "saved as JPEG at quality 77" in run("jpeg", tmp_path / "upload.jpg").stdout


def test_what_is_no_image_or_no_fingerprint_ends_with_1_and_writes_nothing(camera: Path, tmp_path: Path):
    (tmp_path / "text.jpg").write_text("hello")
    error = json.loads(run("jpeg", tmp_path / "text.jpg", "--json", code=1).stdout)
    assert error["error"] == "ImageError"
    assert "no fingerprint" in run("match", camera / "mine.png", "--camera", tmp_path / "text.jpg", code=1).output
    run("fingerprint", camera / "mine.png", "--out", tmp_path / "out.safetensors", code=1)
    assert not (tmp_path / "out.safetensors").exists()
    small = tmp_path / "small.png"
    Image.new("RGB", (40, 40)).save(small)
    run("jpeg", small)
    run("jpeg", small, "--map", tmp_path / "map.png", code=1)
    assert not (tmp_path / "map.png").exists()
