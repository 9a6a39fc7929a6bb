"""The persona corpus: names read into labels, splits, licences, and clear errors."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from auditkit.errors import RunError, TableError
from generators import corpus
from generators.corpus import STYLES, _person, build, read

JUDGES = ("woman-judge", "man-judge", "judge")
OBJECT = "red-apple"


def fake_packages(folder: Path) -> Path:
    """A `node_modules` with an icon or two for each set, in iconify's and emojibase's own formats."""
    disc = '<circle cx="16" cy="16" r="12" fill="#c68642"/>'
    for style in STYLES:
        ending = "-dark" if style.package.startswith("fluent") else "-dark-skin-tone"
        names = [who + ending for who in JUDGES] + [OBJECT, "grinning-face"]
        icons = {"width": 32, "height": 32, "icons": {name: {"body": disc} for name in names}}
        write_json(folder / "node_modules" / "@iconify-json" / style.package / "icons.json", icons)
    labels = ["woman judge", "man judge", "judge", "red apple"]
    write_json(
        folder / "node_modules" / "emojibase-data" / "en" / "data.json", [{"label": label} for label in labels]
    )
    return folder


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    return fake_packages(tmp_path / "sources")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("corpus")
    build(folder, sources=fake_packages(folder / "sources"), size=24)
    return read(folder)


def test_the_table_has_its_columns_and_a_row_for_each_person_and_object(made):
    assert tuple(made.columns) == corpus.COLUMNS
    assert len(made) == len(STYLES) * 4
    assert set(made["kind"]) == {"person", "object"}
    assert "grinning-face" not in set(made["name"])


def test_each_drawing_is_a_square_png_with_transparency(made):
    for png in made["png"]:
        image = Image.open(io.BytesIO(png))
        assert image.size == (24, 24)
        assert image.mode == "RGBA"
        assert image.getpixel((0, 0))[3] == 0
        assert image.getpixel((12, 12)) == (0xC6, 0x86, 0x42, 255)


def test_each_row_carries_the_licence_of_its_set(made):
    licences = made.groupby("style")["licence"].unique().map(list).to_dict()
    assert licences == {style.name: [style.licence] for style in STYLES}
    assert licences["openmoji"] == ["CC-BY-SA-4.0"]


def test_labels_are_the_cldr_names(made):
    assert set(made.loc[made["gender"] == "female", "label"]) == {"woman judge"}
    assert set(made.loc[made["kind"] == "object", "label"]) == {"red apple"}


def test_objects_have_no_group_and_no_occupation(made):
    objects = made[made["kind"] == "object"]
    assert (objects[["gender", "skin_tone", "occupation"]] == "").all(axis=None)


@pytest.mark.parametrize(
    ("name", "gender", "tone", "concept", "occupation"),
    [
        ("woman-judge-medium-dark-skin-tone", "female", "medium-dark", "judge", "judge"),
        ("man-judge-medium-light", "male", "medium-light", "judge", "judge"),
        ("judge-dark-skin-tone", "neutral", "dark", "judge", "judge"),
        ("police-officer-medium", "neutral", "medium", "police officer", "police officer"),
        ("woman-medium-dark", "female", "medium-dark", "person", ""),
        ("person-light", "neutral", "light", "person", ""),
        ("man-light-skin-tone-beard", "male", "light", "beard", ""),
        ("man-medium-light-beard", "male", "medium-light", "beard", ""),
        ("old-woman-dark-skin-tone", "female", "dark", "older person", ""),
        ("girl-dark", "female", "dark", "child", ""),
        ("mrs-claus-light-skin-tone", "female", "light", "santa claus", ""),
        ("woman-blonde-hair-dark", "female", "dark", "blond hair", ""),
    ],
)
def test_a_name_states_gender_form_tone_and_concept(name, gender, tone, concept, occupation):
    person = _person(name)
    assert person is not None
    assert person["gender"] == gender
    assert person["skin_tone"] == tone
    assert person["concept"] == concept
    assert person["occupation"] == occupation


@pytest.mark.parametrize(
    "name",
    [
        "people-holding-hands-dark-skin-tone",
        "people-holding-hands",
        "women-holding-hands-light-skin-tone-dark-skin-tone",
        "person-kiss-dark-skin-tone",
        "woman-running-facing-right-light-skin-tone",
        "woman-running-light-skin-tone-facing-right",
        "man-in-suit-levitating-dark",
        "woman-judge",
        "thumbs-up-dark-skin-tone",
        "red-apple",
    ],
)
def test_a_name_that_is_not_one_toned_person_is_left_out(name):
    assert _person(name) is None


def test_openmoji_is_unseen_and_in_no_other_split(made):
    assert set(made.loc[made["style"] == "openmoji", "split"]) == {"unseen"}
    assert set(made.loc[made["split"] == "unseen", "style"]) == {"openmoji"}


def test_each_cell_of_three_styles_or_more_holds_out_exactly_one():
    people = pd.DataFrame(
        [
            {"kind": "person", "concept": concept, "gender": gender, "skin_tone": tone, "style": style}
            for concept, styles in {"judge": 5, "cook": 3, "bald": 2}.items()
            for gender in corpus.GENDERS
            for tone in corpus.TONES
            for style in [s.name for s in STYLES if s.trains][:styles]
        ]
    )
    held = corpus._split(people).isin(["calibration", "test"])
    counts = held.groupby([people["concept"], people["gender"], people["skin_tone"]]).sum()
    assert (counts.loc[["judge", "cook"]] == 1).all()
    assert (counts.loc["bald"] == 0).all()


def test_objects_are_never_held_out(made):
    assert set(made.loc[(made["kind"] == "object") & (made["style"] != "openmoji"), "split"]) == {"train"}


def test_two_builds_give_the_same_table(made, packages, tmp_path):
    build(tmp_path / "again", sources=packages, size=24)
    pd.testing.assert_frame_equal(read(tmp_path / "again"), made)


def test_a_build_reports_its_progress_and_leaves_no_temporary_file(packages, tmp_path):
    seen: list[tuple[int, int]] = []
    path = build(tmp_path / "out", sources=packages, size=16, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(i + 1, 24) for i in range(24)]
    assert [p.name for p in path.parent.iterdir()] == ["corpus.parquet"]


@pytest.mark.parametrize("missing", ["@iconify-json/noto-v1/icons.json", "emojibase-data/en/data.json"])
def test_a_missing_package_is_named_by_its_file(packages, tmp_path, missing):
    file = packages / "node_modules" / missing
    shutil.rmtree(file.parent)
    with pytest.raises(TableError) as caught:
        build(tmp_path / "out", sources=packages)
    assert str(caught.value.where) == str(file)
    assert caught.value.mend


def test_a_package_that_is_not_json_is_named_by_its_file(packages, tmp_path):
    file = packages / "node_modules/@iconify-json/noto/icons.json"
    file.write_text("<html>")
    with pytest.raises(TableError, match="not JSON") as caught:
        build(tmp_path / "out", sources=packages)
    assert caught.value.where == file


def test_a_drawing_that_cannot_be_rendered_is_named(packages, tmp_path):
    file = packages / "node_modules/@iconify-json/noto/icons.json"
    file.write_text(json.dumps({"icons": {"woman-judge-dark": {"body": "<g>"}}}))
    with pytest.raises(TableError, match="rendered") as caught:
        build(tmp_path / "out", sources=packages)
    assert caught.value.where == "noto/woman-judge-dark"


def test_without_npm_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RunError, match="npm is not installed"):
        build(tmp_path)


def test_without_resvg_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError) as caught:
        build(tmp_path)
    assert ".[corpus]" in caught.value.mend


def test_reading_where_there_is_no_corpus_names_the_place(tmp_path):
    with pytest.raises(TableError) as caught:
        read(tmp_path / "nowhere")
    assert caught.value.where == tmp_path / "nowhere"
    assert caught.value.mend == "auditkit corpus build"


def test_reading_a_table_that_is_no_corpus_names_the_lacking_columns(tmp_path):
    pd.DataFrame({"name": ["x"], "style": ["noto"]}).to_parquet(tmp_path / "corpus.parquet")
    with pytest.raises(TableError, match="skin_tone"):
        read(tmp_path)


def test_reading_a_file_that_is_not_parquet_is_a_table_error(tmp_path):
    (tmp_path / "corpus.parquet").write_bytes(b"not parquet")
    with pytest.raises(TableError) as caught:
        read(tmp_path)
    assert caught.value.where == tmp_path / "corpus.parquet"
