"""Where pictures to index or look at come from: folders, corpora, runs and files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from app.copies import _asked, _prompts, _training
from auditkit.errors import DetectorError, SpecError
from generators.corpus import COLUMNS


def corpus(folder: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("RGBA", (120, 120), (255, 0, 0, 255)).save(buffer, "PNG")
    row = dict.fromkeys(COLUMNS, "") | {"style": "noto", "name": "judge", "split": "train", "png": buffer.getvalue()}
    folder.mkdir()
    pd.DataFrame([row]).to_parquet(folder / "corpus.parquet")
    return folder


def test_a_corpus_drawing_stands_in_the_middle_of_a_white_page(tmp_path: Path) -> None:
    pictures, _, kind = _training(corpus(tmp_path / "corpus"), "train")
    pixels = np.asarray(pictures[0].open())
    assert (pictures[0].name, kind, pixels.shape) == ("noto/judge", "corpus", (128, 128, 3))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[64, 64].tolist() == [255, 0, 0]


def test_a_split_that_a_corpus_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no drawings of the split 'test'"):
        _training(corpus(tmp_path / "corpus"), "test")


def test_files_and_folders_are_looked_at_together(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    for name in ("a.png", "some/b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "some" / "notes.txt").write_text("no image")
    found = _asked([tmp_path / "a.png", tmp_path / "some"], "runs")
    assert [picture.name for picture in found] == [str(tmp_path / "a.png"), str(tmp_path / "some" / "b.png")]


def test_prompts_are_read_one_a_line_each_once(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a judge\n\na pilot\na judge\n")
    assert _prompts(tmp_path / "prompts.txt") == ["a judge", "a pilot"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SpecError, match="no prompts"):
        _prompts(tmp_path / "empty.txt")
