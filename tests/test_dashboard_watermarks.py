"""The dashboard's view Watermarks: verdicts of a run, benches beside the runs, and keys without their secrets."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
import synthetic_run
from streamlit.testing.v1 import AppTest
from test_dashboard_views import FRAME
from test_dashboard_views import words as escaped
from watermark_table_helpers import KEY, OTHER_KEY, detections, make_bench, mark

from auditkit.runs import Run
from auditkit.watermark import keys
from auditkit.watermark.payload import Payload


@pytest.fixture(autouse=True)
def own_keys(monkeypatch, tmp_path) -> Path:
    """No test reads the user's own key file."""
    path = tmp_path / "private" / "keys.json"
    monkeypatch.setenv(keys.ENVIRONMENT, str(path))
    return path


def marked_run(folder: Path, images_per_prompt: int) -> Run:
    """A marked run in the folder `runs`, of whose images one in ten fails to verify."""
    made = mark(synthetic_run.make_run(folder / "runs", images_per_prompt=images_per_prompt, measured=False))
    made.write_watermarks(detections(made, present=0.9, abstain=0.05))
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """60 images, with a bench beside the runs. Not changed by any test."""
    made = marked_run(tmp_path_factory.mktemp("watermarks"), 12)
    make_bench(made.path.parent.parent / "watermark-bench")
    return made


@pytest.fixture
def small(tmp_path) -> Run:
    """20 images, to be changed."""
    return marked_run(tmp_path, 4)


def words(test: AppTest) -> str:
    return escaped(test).replace("\\", "")


@pytest.fixture
def show(monkeypatch):
    """Opens the view on a folder of runs; query parameters as in an address."""

    def shown(folder: Path, **query: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["main.py", str(folder)])
        test = AppTest.from_string(FRAME.replace("PATH", "watermarks"), default_timeout=60)
        for name, value in query.items():
            test.query_params[name] = value
        return test.run()

    return shown


def commands(test: AppTest) -> str:
    return "\n".join(code.value for code in test.code)


def test_it_tells_the_share_verified_and_the_false_negatives(show, run):
    test = show(run.path.parent)
    assert not test.exception
    assert "verified in 54 of 60: 90.0%" in words(test)
    assert "6 are false negatives" in words(test)


def test_of_a_marked_run_the_images_that_failed_are_shown_first(show, run):
    test = show(run.path.parent)
    assert "**6 images**" in words(test)
    assert words(test).count("no mark found, p = ") == 3
    assert words(test).count("no verdict, p = ") == 3


def test_the_images_are_filtered_by_verdict(show, run):
    test = show(run.path.parent, verdict="verified")
    assert "**54 images**" in words(test)
    assert "payload 1:42" in words(test)
    assert "**3 images**" in words(show(run.path.parent, verdict="no verdict"))


def test_a_verdict_that_no_image_has_says_so(show, small):
    small.write_watermarks(detections(small))
    assert "No image of this kind" in words(show(small.path.parent))


def test_several_keys_are_chosen_between(show, small):
    small.write_watermarks(detections(small, present=0.0, key_id=OTHER_KEY))
    test = show(small.path.parent, mark=f"spread · {OTHER_KEY}")
    assert "**20 images**" in words(test)


def test_a_run_that_was_not_looked_at_gives_the_command(show, tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    test = show(tmp_path)
    assert "No watermark has been looked for" in words(test)
    assert f"auditkit watermark detect {made.path}" in commands(test)


def test_a_damaged_table_is_named_and_the_view_opens(show, small):
    (small.path / "watermarks.parquet").write_bytes(b"not a table")
    test = show(small.path.parent)
    assert not test.exception
    assert "watermarks" in test.warning[0].value


def test_it_gives_the_commands_that_reproduce_it(show, run):
    said = commands(show(run.path.parent))
    assert f"auditkit watermark detect {run.path} --scheme spread --fpr 1e-6" in said
    assert f"auditkit measure {run.path} --measure watermark --by occupation" in said


def test_verdicts_written_anew_are_shown_without_measuring(show, small):
    assert "18 of 20" in words(show(small.path.parent))
    small.write_watermarks(detections(small, present=0.5))
    assert "10 of 20" in words(show(small.path.parent))


def test_without_a_bench_it_gives_the_command(show, small):
    test = show(small.path.parent, part="What marks survive")
    assert "There is no bench of watermarks here" in words(test)
    assert "auditkit watermark bench --out" in commands(test)


def test_a_bench_beside_the_runs_is_shown_with_its_intervals(show, run):
    test = show(run.path.parent, part="What marks survive")
    assert not test.exception
    table = test.dataframe[0].value
    assert list(table.columns) == ["attack", "images", "spread", "codec", "dwtdctsvd"]
    assert "JPEG, quality 50" in set(table["attack"])
    assert "Not marked (control)" not in set(table["attack"])
    assert table["spread"].str.contains("[", regex=False).all()
    assert "auditkit watermark bench --scheme spread" in commands(test)
    (control,) = (frame.value for frame in test.dataframe if "asked for" in frame.value)
    assert set(control["verified"]) == {"0 of 27"}


def test_benches_inside_the_folder_of_runs_are_found_too(show, small):
    make_bench(small.path.parent / "a-bench")
    make_bench(small.path.parent.parent / "watermark-bench-2")
    test = show(small.path.parent, part="What marks survive")
    assert test.selectbox(key="bench").options == ["watermark-bench-2", "runs/a-bench"]


def test_a_curve_follows_the_attack_that_is_chosen(show, run):
    test = show(run.path.parent, part="What marks survive")
    test.selectbox(key="attack").set_value("rotate").run()
    assert not test.exception
    assert "Rotated, 45°" in set(test.dataframe[1].value["attack"])


@pytest.mark.parametrize("name", ["results.parquet", "quality.parquet"])
def test_a_damaged_bench_says_so(show, small, name):
    made = make_bench(small.path.parent.parent / "watermark-bench")
    (made / name).write_bytes(b"not a table")
    test = show(small.path.parent, part="What marks survive")
    assert not test.exception
    assert name in test.warning[0].value


@pytest.mark.parametrize(("column", "value"), [("tpr", 2.0), ("tpr", "high"), ("scheme", None)])
def test_a_bench_with_impossible_numbers_is_refused(show, small, column, value):
    made = make_bench(small.path.parent.parent / "watermark-bench")
    table = pd.read_parquet(made / "results.parquet").astype({column: object})
    table[column] = value
    table = table.drop(columns=column) if value is None else table
    table.to_parquet(made / "results.parquet")
    test = show(small.path.parent, part="What marks survive")
    assert not test.exception
    assert len(test.warning) == 1


def test_a_folder_that_only_looks_like_a_bench_is_not_listed(show, small):
    folder = small.path.parent / "tables"
    folder.mkdir()
    (folder / "results.parquet").write_bytes(b"something else")
    assert "There is no bench" in words(show(small.path.parent, part="What marks survive"))


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd"])
def test_a_path_in_the_address_is_no_bench(show, run, name):
    test = show(run.path.parent, part="What marks survive", bench=name)
    assert not test.exception
    assert test.selectbox(key="bench").value == "watermark-bench"


def test_keys_are_listed_by_id_and_no_secret_is_shown(show, run, own_keys):
    key = keys.create(note="press office")
    keys.register(key.id, Payload(1, 42), name="alice")
    stored = own_keys.read_text(encoding="utf-8")
    test = show(run.path.parent, part="Keys")
    assert not test.exception
    (row,) = test.dataframe[0].value.to_dict("records")
    assert (row["key"], row["state"], row["note"], row["registered payloads"]) == (key.id, "active", "press office", 1)
    secret = stored.split('"secret": "')[1].split('"')[0]
    assert secret not in str(test)
    assert "alice" not in str(test)


def test_a_run_marked_with_a_key_that_is_not_at_hand_is_told(show, run, own_keys):
    keys.create()
    assert f"keys that the key file does not hold, so that their marks cannot be verified here: {KEY}" in words(
        show(run.path.parent, part="Keys")
    )


def test_a_missing_key_file_is_told_and_the_rest_works(show, run):
    test = show(run.path.parent, part="Keys")
    assert not test.exception
    assert "there is no key file" in test.warning[0].value
    assert "auditkit watermark keys new" in test.warning[0].value


def test_a_key_file_that_others_can_read_is_told_and_not_shown(show, run, own_keys):
    keys.create()
    own_keys.chmod(0o644)
    test = show(run.path.parent, part="Keys")
    assert not test.exception
    assert "read or changed by others" in test.warning[0].value
    assert not test.dataframe
