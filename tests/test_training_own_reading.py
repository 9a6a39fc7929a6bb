"""A folder of captioned images: what is read, and what is refused, by name and with its reason."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections import Counter
from pathlib import Path

import own_data_helpers as own
import pytest
import training_helpers as tiny
from PIL import Image

from auditkit.errors import ImageError, TableError
from benchmarks import rebalancing
from generators.training.own.reading import SHOWN, read


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(path: Path) -> None:
    """A PNG of a few bytes whose header says 30,000 x 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)))


def test_captions_and_attributes_come_from_metadata_csv(tmp_path):
    data = read(own.folder(tmp_path / "data"))
    assert len(data.items) == sum(own.COUNTS.values())
    told = {item.name: (item.caption, item.attributes) for item in data.items}
    for row in own.rows():
        attributes = {"gender": row["gender"], "occupation": row["occupation"]}
        assert told[row["file_name"]] == (row["text"], attributes)
    assert data.attributes["gender"] == {"male": 19, "female": 13}
    assert {item.size for item in data.items} == set(own.SHAPES)


def test_metadata_jsonl_is_read_and_lists_are_no_attributes(tmp_path):
    own.draw(tmp_path / "a.png", "male", 0)
    line = {"file_name": "a.png", "text": "a man", "Skin Tone": "dark", "age": 4, "boxes": [[1, 2]], "none": None}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    assert read(tmp_path).items[0].attributes == {"skin_tone": "dark", "age": "4"}


def test_captions_csv_may_call_its_columns_file_and_caption(tmp_path):
    own.draw(tmp_path / "a.png", "male", 0)
    own.write_table(tmp_path / "captions.csv", [{"file": "a.png", "caption": "a man"}])
    assert read(tmp_path).items[0].caption == "a man"


def test_a_text_file_beside_an_image_is_its_caption(tmp_path):
    own.draw(tmp_path / "deep" / "a.jpg", "male", 0)
    (tmp_path / "deep" / "a.txt").write_text("a man\n in a hat\n")
    assert [(item.name, item.caption) for item in read(tmp_path).items] == [("deep/a.jpg", "a man in a hat")]


def test_a_subfolders_own_table_speaks_before_one_above_it(tmp_path):
    own.draw(tmp_path / "sub" / "a.png", "male", 0)
    own.write_table(tmp_path / "sub" / "metadata.csv", [{"file_name": "a.png", "text": "near"}])
    own.write_table(tmp_path / "metadata.csv", [{"file_name": "sub/a.png", "text": "far"}])
    assert [item.caption for item in read(tmp_path).items] == ["near"]


def test_pictures_that_come_again_are_counted_whatever_their_format(tmp_path):
    first = own.draw(tmp_path / "a.png", "male", 0)
    Image.open(first).save(tmp_path / "b.bmp")
    own.draw(tmp_path / "c.png", "male", 1)
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"caption {name}")
    assert read(tmp_path).duplicates == 1


def test_hidden_files_are_not_looked_at(tmp_path):
    own.draw(tmp_path / "a.png", "male", 0).with_suffix(".txt").write_text("a man")
    (tmp_path / ".thumbs").mkdir()
    (tmp_path / ".thumbs" / "x.png").write_bytes(b"no image")
    (tmp_path / "._a.png").write_bytes(b"no image")
    assert len(read(tmp_path).items) == 1


def spoil(folder: Path, fault: str) -> str:
    """Make one image unusable; return its name."""
    name = "judge/male-2.png"
    path = folder / name
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif fault == "bomb":
        bomb(path)
    elif fault == "no image":
        path.write_text("hello")
    elif fault == "tiny":
        Image.new("RGB", (8, 8)).save(path)
    elif fault == "missing":
        path.unlink()
    elif fault == "captionless":
        own.draw(folder / "judge" / "new.png", "male", 99)
        return "judge/new.png"
    elif fault == "empty caption":
        table = [row | ({"text": ""} if row["file_name"] == name else {}) for row in own.rows()]
        own.write_table(folder / "metadata.csv", table)
    elif fault == "link outside":
        outside = own.draw(folder.parent / "outside.png", "male", 50)
        path.unlink()
        os.symlink(outside, path)
    return name


FAULTS = {
    "truncated": "truncated",
    "bomb": "too many to open safely",
    "no image": "not an image",
    "tiny": "too few",
    "missing": "does not exist",
    "captionless": "no caption",
    "empty caption": "no caption",
    "link outside": "outside the folder",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_image_that_cannot_be_used_is_named_with_its_reason(tmp_path, fault):
    folder = own.folder(tmp_path / "data")
    name = spoil(folder, fault)
    with pytest.raises(ImageError) as caught:
        read(folder)
    assert "1 of" in caught.value.what
    assert name in caught.value.what
    assert FAULTS[fault] in caught.value.what
    assert "--skip-bad" in caught.value.mend


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_images_are_left_out_and_counted_when_asked(tmp_path, fault):
    folder = own.folder(tmp_path / "data")
    name = spoil(folder, fault)
    data = read(folder, skip_bad=True)
    assert [FAULTS[fault] in each.reason for each in data.bad] == [True]
    assert name not in [item.name for item in data.items]
    assert len(data.items) == sum(own.COUNTS.values()) - (fault != "captionless")


def test_many_bad_images_are_all_counted_and_the_first_listed(tmp_path):
    folder = own.folder(tmp_path / "data")
    for path in (folder / "judge").glob("male-*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ImageError) as caught:
        read(folder)
    assert "16 of 32" in caught.value.what
    assert caught.value.what.count("not an image") == SHOWN
    assert "and 11 more" in caught.value.what


def test_leaving_out_every_image_is_an_error_too(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "a.txt").write_text("a caption")
    with pytest.raises(ImageError, match="1 of 1"):
        read(tmp_path, skip_bad=True)


def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path):
    own.draw(tmp_path / "secret.png", "male", 0)
    folder = own.folder(tmp_path / "data")
    own.write_table(folder / "metadata.csv", [{"file_name": "../secret.png", "text": "a man"}])
    with pytest.raises(ImageError, match=r"\.\./secret.png .*lies outside the folder"):
        read(folder)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("image,text\na.png,a man\n", "no column 'file_name'; its columns are: image, text"),
        ("file_name,label\na.png,a man\n", "no column 'text'"),
        ("file_name,text,caption\na.png,a man,a man\n", "both text and caption"),
        ("file_name,text\na.png,a man, in a hat\n", "3 cells"),
        ("file_name,text\na.png,a man\na.png,a man\n", "twice"),
        ("file_name,text\n,a man\n", "'file_name' is empty"),
        ("file_name,text,Gender,gender\na.png,a man,male,male\n", "attribute's name of its own"),
        ("file_name,text\n", "no lines"),
    ],
)
def test_a_table_that_is_not_as_it_must_be_is_named(tmp_path, table, told):
    own.draw(tmp_path / "a.png", "male", 0)
    (tmp_path / "metadata.csv").write_text(table)
    with pytest.raises(TableError) as caught:
        read(tmp_path, skip_bad=True)
    assert told in caught.value.what
    assert "metadata.csv" in str(caught.value.where)
    assert caught.value.mend


def test_a_line_that_is_not_json_is_named(tmp_path):
    own.draw(tmp_path / "a.png", "male", 0)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a man"}\n[1]\n')
    with pytest.raises(TableError) as caught:
        read(tmp_path)
    assert str(caught.value.where).endswith("metadata.jsonl, line 2")


def test_two_tables_in_one_folder_are_one_too_many(tmp_path):
    folder = own.folder(tmp_path)
    own.write_table(folder / "captions.csv", [{"file_name": "judge/male-0.png", "text": "a man"}])
    with pytest.raises(TableError, match=r"metadata\.csv and captions\.csv"):
        read(folder)


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_without_images_and_one_that_is_not_there_are_named(tmp_path, empty):
    with pytest.raises(ImageError) as caught:
        read(tmp_path if empty else tmp_path / "nowhere")
    assert str(tmp_path) in str(caught.value.where)


def test_the_benchmarks_folder_is_skewed_within_each_occupation(tmp_path):
    table = tiny.table(occupations=tuple(rebalancing.MAJORITY))
    rebalancing.write(table, tmp_path, minority=2)
    counts = Counter((item.attributes["occupation"], item.attributes["gender"]) for item in read(tmp_path).items)
    for occupation, majority in rebalancing.MAJORITY.items():
        other = "male" if majority == "female" else "female"
        assert counts[occupation, other] == 2
        assert counts[occupation, majority] > 2


def test_a_caption_may_hold_any_line_separator_but_a_line_break(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    line = json.dumps({"file_name": "a.png", "text": "a judge\u2028at work"}, ensure_ascii=False)
    (folder / "metadata.jsonl").write_text(line + "\n", encoding="utf-8")
    assert read(folder).items[0].caption.split() == ["a", "judge", "at", "work"]


def test_json_too_deep_to_read_is_an_error_that_names_the_line(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "metadata.jsonl").write_text('{"text": ' + "[" * 100_000 + "\n", encoding="utf-8")
    with pytest.raises(TableError, match="not JSON"):
        read(folder)
