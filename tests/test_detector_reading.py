from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from auditkit.errors import DetectorError
from auditkit.runs import Run
from detectors.examples import COLUMNS
from detectors.reading import read_examples, read_folder
from tests.detector_data_helpers import layout, noise, write


def table_of(folder: Path, rows: list[dict[str, str]], name: str = "table.csv") -> Path:
    path = folder / name
    frame = pd.DataFrame(rows)
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


def test_folders_name_label_origin_and_generator(tmp_path: Path) -> None:
    read = read_examples(layout(tmp_path, real=2, generated=2, origins=2, generators=2)).table
    assert list(read.columns) == list(COLUMNS)
    assert read.groupby(["label", "origin", "generator"]).size().to_dict() == {
        ("real", "camera0", ""): 2,
        ("real", "camera1", ""): 2,
        ("generated", "", "maker0"): 2,
        ("generated", "", "maker1"): 2,
    }
    assert read["source"].is_unique


def test_sources_do_not_name_the_machine(tmp_path: Path) -> None:
    read = read_examples(layout(tmp_path)).table
    assert not read["source"].str.contains(str(tmp_path), regex=False).any()


def test_files_directly_in_real_have_an_unnamed_origin(tmp_path: Path) -> None:
    write(tmp_path / "real/a.png", noise(1))
    write(tmp_path / "generated/b.png", noise(2))
    read = read_examples(tmp_path).table
    assert read["origin"].tolist() == ["unnamed", ""]
    assert read["generator"].tolist() == ["", "unnamed"]


@pytest.mark.parametrize("name", ["table.csv", "other.parquet"])
def test_a_table_needs_only_file_and_label(tmp_path: Path, name: str) -> None:
    layout(tmp_path, real=1, generated=1)
    files = [("real/camera0/0.png", "real"), ("generated/maker0/0.png", "generated")]
    path = table_of(tmp_path, [{"file": file, "label": label} for file, label in files], name)
    read = read_examples(path)
    assert read.labels.tolist() == [0, 1]
    assert read.image(1).shape == (32, 32, 3)


def test_a_table_in_a_folder_stands_for_the_folder(tmp_path: Path) -> None:
    layout(tmp_path, real=3, generated=3)
    rows = [
        {"file": "real/camera0/0.png", "label": "real", "source": "s", "origin": "camera0"},
        {"file": "generated/maker0/0.png", "label": "generated", "source": "s", "generator": "ae", "made": "jpeg:70"},
    ]
    table_of(tmp_path, rows)
    read = read_examples(tmp_path).table
    assert len(read) == 2
    assert read["source"].tolist() == ["s", "s"]
    assert read["made"].tolist() == ["", "jpeg:70"]


def test_images_of_a_run_are_generated_and_those_of_one_prompt_and_seed_share_a_source(
    tmp_path: Path, tiny_run: Run
) -> None:
    read = read_examples(tiny_run.path, both=False).table
    images = tiny_run.images()
    assert set(read["label"]) == {"generated"}
    assert set(read["generator"]) == {"plain"}
    assert read["source"].nunique() == len(images.drop_duplicates(["prompt", "seed"]))


def test_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    layout(tmp_path)
    assert len(read_examples(tmp_path, tmp_path)) == len(read_examples(tmp_path))


def test_one_class_alone_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "real/camera/a.png", noise(1))
    with pytest.raises(DetectorError, match="there are no generated images"):
        read_examples(tmp_path)
    assert len(read_examples(tmp_path, both=False)) == 1


def test_files_that_are_no_images_are_counted_and_listed(tmp_path: Path) -> None:
    layout(tmp_path, real=2, generated=2)
    (tmp_path / "real/camera0/notes.txt").write_text("hello")
    with pytest.raises(DetectorError, match=r"1 of 5 files are no images: notes\.txt") as caught:
        read_examples(tmp_path)
    assert "--skip-bad" in (caught.value.mend or "")


def test_skip_bad_leaves_out_what_is_no_image_or_damaged_and_says_so(tmp_path: Path) -> None:
    layout(tmp_path, real=2, generated=2)
    (tmp_path / "real/camera0/notes.txt").write_text("hello")
    cut = tmp_path / "generated/maker0/0.png"
    cut.write_bytes(cut.read_bytes()[:200])
    with pytest.warns(UserWarning, match="2 of 5 files are left out"):
        assert len(read_examples(tmp_path, skip_bad=True)) == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"label": "real"}], "no column 'file'"),
        ([{"file": "real/camera0/0.png"}], "no column 'label'"),
        ([{"file": "real/camera0/0.png", "label": "fake"}], "the label 'fake' is unknown"),
        ([{"file": "real/camera0/none.png", "label": "real"}], "does not exist"),
        ([{"file": "../outside.png", "label": "real"}], "leads out of the folder"),
        ([{"file": "", "label": "real"}], "names no file"),
    ],
)
def test_a_table_that_does_not_hold_is_one_clear_error(
    tmp_path: Path, rows: list[dict[str, str]], message: str
) -> None:
    write(tmp_path / "outside.png", noise(9))
    path = table_of(layout(tmp_path / "data"), rows)
    with pytest.raises(DetectorError, match=message):
        read_examples(path)


def test_an_unknown_label_is_named_with_its_line(tmp_path: Path) -> None:
    layout(tmp_path)
    names = [("real/camera0/0.png", "real"), ("generated/maker0/0.png", "synthetic")]
    path = table_of(tmp_path, [{"file": file, "label": label} for file, label in names])
    with pytest.raises(DetectorError) as caught:
        read_examples(path)
    assert str(caught.value.where).endswith("line 3")


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path, linked: str) -> None:
    layout(tmp_path / "data")
    outside = write(tmp_path / "elsewhere/a.png", noise(9))
    link = tmp_path / ("data/real/camera0/link.png" if linked == "file" else "data/real/linked")
    link.symlink_to(outside if linked == "file" else outside.parent)
    with pytest.raises(DetectorError, match="leads out of the folder"):
        read_examples(tmp_path / "data")


def test_a_file_with_both_labels_is_refused(tmp_path: Path) -> None:
    layout(tmp_path)
    path = table_of(tmp_path, [{"file": "real/camera0/0.png", "label": label} for label in ("real", "generated")])
    with pytest.raises(DetectorError, match="both real and generated"):
        read_examples(path)


def test_a_folder_that_is_no_data_says_what_would_be(tmp_path: Path) -> None:
    write(tmp_path / "a.png", noise(1))
    with pytest.raises(DetectorError, match="no data to learn from") as caught:
        read_examples(tmp_path)
    assert "real/<origin>/" in (caught.value.mend or "")


def test_a_plain_folder_is_read_with_the_label_it_is_given(tmp_path: Path) -> None:
    write(tmp_path / "holiday/sub/a.png", noise(1))
    write(tmp_path / "holiday/b.jpg", noise(2))
    read = read_folder(tmp_path / "holiday", label="real").table
    assert read["origin"].tolist() == ["holiday", "holiday"]
    assert read["source"].tolist() == [
        "holiday/b.jpg",
        "holiday/sub/a.png",
    ]
