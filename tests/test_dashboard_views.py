"""Each view of the dashboard, run by Streamlit's AppTest on small runs on disk."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
import synthetic_run
from streamlit.testing.v1 import AppTest

from app import dashboard
from app.dashboard.views import VIEWS
from auditkit.runs import Run

MAIN = Path(dashboard.__file__).parent / "main.py"
FRAME = """
import streamlit as st
from app.dashboard import state
from app.dashboard.views import VIEWS
pages = {view.path: st.Page(view.render, title=view.title, url_path=view.path) for view in VIEWS}
state.set_pages(pages)
st.navigation(list(pages.values()))
next(view for view in VIEWS if view.path == "PATH").render()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return synthetic_run.make_run(tmp_path_factory.mktemp("runs"), images_per_prompt=12)


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A user's data folder of the tests' own."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def show(monkeypatch, home):
    """Runs one view on a folder of runs; query parameters as in an address."""

    def shown(path: str, folder: Path, **query: str) -> AppTest:
        monkeypatch.setenv("AUDITKIT_HOME", str(home))
        monkeypatch.setattr(sys, "argv", ["main.py", str(folder)])
        test = AppTest.from_string(FRAME.replace("PATH", path), default_timeout=30)
        for name, value in query.items():
            test.query_params[name] = value
        return test.run()

    return shown


def words(test: AppTest) -> str:
    parts = [*test.markdown, *test.caption, *test.info, *test.warning, *test.subheader]
    return "\n".join(part.value for part in parts)


@pytest.mark.parametrize("path", [view.path for view in VIEWS])
def test_every_view_opens_on_a_measured_run(show, run, path):
    test = show(path, run.path.parent)
    assert not test.exception
    assert test.title[0].value == next(view.title for view in VIEWS if view.path == path)


# Provenance, detectors, mitigation and generators are about no run.
@pytest.mark.parametrize(
    "path", [view.path for view in VIEWS if view.path not in ("provenance", "detectors", "mitigation", "generators")]
)
def test_every_view_shows_the_example_in_an_empty_folder_and_says_so(show, tmp_path, path):
    test = show(path, tmp_path)
    assert not test.exception
    assert "There is no finished run in this folder yet" in words(test)
    assert "auditkit audit" in "\n".join([words(test), *(code.value for code in test.code)])


def test_without_the_example_an_empty_folder_says_what_to_do(show, tmp_path, monkeypatch):
    from auditkit.errors import AuditkitError

    def refuse() -> Path:
        raise AuditkitError("the cache cannot be written")

    monkeypatch.setattr("app.example.shared", refuse)
    for path in ("home", "gallery"):
        test = show(path, tmp_path)
        assert not test.exception
        assert "auditkit audit" in test.code[0].value


@pytest.mark.parametrize("path", [view.path for view in VIEWS])
def test_every_view_opens_on_a_run_without_scores(show, tmp_path, path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    for file in (made.path / "scores").iterdir():
        file.unlink()
    assert not show(path, tmp_path).exception


def test_home_tells_which_runs_are_new_and_which_wait_for_something(show, tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    waiting = synthetic_run.make_run(tmp_path, name="waiting", images_per_prompt=1, measured=False)
    old = synthetic_run.make_run(tmp_path, name="old", images_per_prompt=1)
    record = json.loads((old.path / "run.json").read_text())
    (old.path / "run.json").write_text(json.dumps(record | {"created": "2024-01-01T00:00:00+00:00"}))
    test = show("home", tmp_path)
    assert not test.exception
    assert [(one.label, one.value) for one in test.metric] == [
        ("Finished runs", "3"), ("New in 7 days", "2"), ("Need attention", "1"),
    ]  # fmt: skip
    assert "not measured yet" in words(test)
    assert f"auditkit measure {waiting.path}" in test.code[0].value
    assert made.path.name in [heading.value for heading in test.subheader]


def test_home_says_that_numbers_are_older_than_the_scores(show, tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    os.utime(made.path / "measurements.parquet", (0, 1_700_000_000))
    assert "its numbers are old" in words(show("home", tmp_path))


def test_the_frame_opens_on_the_list_of_runs(monkeypatch, run):
    monkeypatch.setattr(sys, "argv", ["main.py", str(run.path.parent)])
    test = AppTest.from_file(str(MAIN), default_timeout=30).run()
    assert not test.exception
    assert run.path.name in [heading.value for heading in test.subheader]
    assert "perceived presentation" in words(test)


def test_a_broken_run_says_so_and_the_rest_works(show, tmp_path):
    sound = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    synthetic_run.break_run(synthetic_run.make_run(tmp_path, name="bad", images_per_prompt=1))
    home = show("home", tmp_path)
    assert "run.json" in home.warning[0].value
    assert sound.path.name in [heading.value for heading in home.subheader]
    assert show("bias", tmp_path).selectbox(key="run").options == [sound.path.name]


def test_a_damaged_table_is_named_and_the_images_are_still_shown(show, tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    (made.path / "measurements.parquet").write_bytes(b"not a table")
    gallery = show("gallery", tmp_path)
    assert not gallery.exception
    assert "measurements" in gallery.warning[0].value
    assert "5 images" in words(gallery)


def spoil(run: Run, how: str) -> str:
    """Do to a run what happens to runs; the words that name it."""
    file = run.path / "images.parquet"
    table = parquet.read_table(file)
    if how == "missing":
        file.unlink()
        return "not complete"
    if how == "newer":
        parquet.write_table(table.replace_schema_metadata({b"auditkit_schema_version": b"99"}), file)
        return "version 99"
    if how == "older":  # as if a column was not written yet
        parquet.write_table(table.drop(["template"]), file)
        return "no column 'template'"
    file.write_bytes(b"PAR1")
    return "damaged"


@pytest.mark.parametrize("how", ["missing", "newer", "older", "damaged"])
def test_a_run_whose_images_table_cannot_be_used_is_said_and_the_rest_works(show, tmp_path, how):
    sound = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    bad = synthetic_run.make_run(tmp_path, name="bad", images_per_prompt=1)
    says = spoil(bad, how)
    home = show("home", tmp_path)
    assert not home.exception
    assert says in words(home)
    assert {sound.path.name, bad.path.name} <= {heading.value for heading in home.subheader}
    for path in ("gallery", "compare"):
        test = show(path, tmp_path)
        names = test.selectbox(key="run").options
        if how != "missing":  # it is offered, and says what is wrong with it
            test.selectbox(key="run").set_value(bad.path.name).run()
            assert says in test.warning[0].value
        else:
            assert names == [sound.path.name]
        assert not test.selectbox(key="run").set_value(sound.path.name).run().exception
        assert not test.exception


def test_tables_of_the_first_version_are_read(show, tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    for file in made.path.rglob("*.parquet"):
        table = parquet.read_table(file)
        table = table.drop(["negative"]) if "negative" in table.column_names else table
        parquet.write_table(table.replace_schema_metadata({b"auditkit_schema_version": b"1"}), file)
    for path in ("home", "gallery", "image", "bias"):
        test = show(path, tmp_path)
        assert not test.exception
        assert not test.warning


def test_bias_says_which_groups_are_insufficient_and_shows_no_number_for_them(show, run):
    test = show("bias", run.path.parent)
    assert f"insufficient**: {synthetic_run.INSUFFICIENT}" in words(test)
    shares = test.dataframe[0].value
    withheld = shares[shares["occupation"] == synthetic_run.INSUFFICIENT]
    assert withheld["corrected"].isna().all()
    assert set(withheld["interval"]) == {"–"}
    assert set(withheld["status"]) == {"insufficient"}


def test_bias_shows_target_and_planted_truth_beside_the_shares(show, run):
    shares = show("bias", run.path.parent).dataframe[0].value
    nurse = shares[(shares["occupation"] == "nurse") & (shares["perceived as"] == "female")].iloc[0]
    assert nurse["target"] == pytest.approx(50)
    assert nurse["planted"] == pytest.approx(90)
    assert nurse["images"] == 12


def test_bias_changes_with_the_attribute(show, run):
    test = show("bias", run.path.parent)
    test.session_state["attribute"] = "skin_tone"
    test.run()
    assert not test.exception
    assert "dark" in set(test.dataframe[0].value["perceived as"])


def test_bias_gives_the_command_that_reproduces_it(show, run):
    commands = "\n".join(code.value for code in show("bias", run.path.parent).code)
    assert f"auditkit measure {run.path}" in commands
    assert "--by occupation" in commands


def test_the_gallery_filters_by_prompt_and_by_label(show, run):
    test = show("gallery", run.path.parent)
    assert "60 images" in words(test)
    test.multiselect(key="axis_occupation").set_value(["nurse"]).run()
    assert "12 images" in words(test)
    test.multiselect(key="seen_gender").set_value(["female"]).run()
    labels = run.scores("gender")["gender@personas-clip"].set_index("id")["label"]
    images = run.images()
    expected = (images.loc[images["axis_occupation"] == "nurse", "id"].map(labels) == "female").sum()
    assert f"**{expected} image" in words(test)


def test_the_gallery_filters_by_certainty_and_orders_by_it(show, run):
    test = show("gallery", run.path.parent)
    test.slider(key="certainty").set_value((0.9, 1.0)).run()
    confidence = run.scores("gender")["gender@personas-clip"]["confidence"]
    assert f"**{(confidence >= 0.9).sum()} image" in words(test)
    test.selectbox(key="order").set_value("unsure").run()
    assert not test.exception


def test_a_gallery_without_a_match_says_so(show, run):
    test = show("gallery", run.path.parent)
    test.slider(key="certainty").set_value((0.0, 0.05)).run()
    assert "No image passes" in words(test)


def test_a_missing_image_file_does_not_stop_the_gallery(show, tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    made.image_path(made.images()["id"].iloc[0]).unlink()
    test = show("gallery", tmp_path)
    assert not test.exception
    assert "missing or damaged" in words(test)


def test_the_image_view_shows_scores_prompt_seed_and_id(show, run):
    row = run.images().iloc[3]
    test = show("image", run.path.parent)
    test.text_input(key="id").set_value(row["id"]).run()
    assert f"**Prompt:** {row['prompt']}" in words(test)
    assert "Gender:" in words(test)
    assert row["id"] in [code.value for code in test.code]
    assert str(row["seed"]) in test.table[0].value.to_string()


@pytest.mark.parametrize("id", ["../../../etc/passwd", "0" * 64, "%2e%2e"])
def test_an_id_that_is_not_in_the_run_reaches_no_file(show, run, id):
    test = show("image", run.path.parent)
    test.text_input(key="id").set_value(id).run()
    assert not test.exception
    assert "no image of that id" in words(test)


def test_a_prompt_is_shown_as_text_and_not_as_markup(show, tmp_path):
    from app.dashboard.widgets import plain

    assert plain("[a](http://x) <b> $x$") == r"\[a\](http\://x) \<b> \$x\$"


def test_policy_tells_a_run_in_sentences_and_gives_card_and_disclosure_away(show, run):
    test = show("policy", run.path.parent)
    assert f"{synthetic_run.INSUFFICIENT}. Nothing is claimed about it" in words(test)
    assert "perceived presentation in pictures of people who do not exist" in words(test)
    labels = [one.proto.label for one in test.get("download_button")]
    assert labels == ["This page (HTML)", "This page (Markdown)", "Disclosure pack (HTML)", "Disclosure pack (JSON)"]
    assert "auditkit card" in test.code[0].value


def test_generators_shows_the_card_that_the_address_names(show, run):
    test = show("generators", run.path.parent, generator="personas-dit")
    assert not test.exception
    assert "rectified flow" in words(test)
    assert "auditkit generators personas-dit --html" in test.code[0].value
    captions = [each.value for each in test.caption]
    assert any("planted table" in each for each in captions)
    assert any("what its prompt states" in each for each in captions)
