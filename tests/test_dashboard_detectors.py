"""The dashboard's view Detectors: evaluations beside the runs, expected alarms at one's own volume, cards of ours."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import synthetic_run
from detection_table_helpers import judged
from detector_eval_helpers import make_evaluation
from streamlit.testing.v1 import AppTest
from test_dashboard_views import FRAME
from test_dashboard_views import words as escaped

from app.dashboard import state


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder of runs, empty, with an evaluation beside it. Not changed by any test."""
    folder = tmp_path_factory.mktemp("detectors")
    make_evaluation(folder / "detector-evaluation")
    (folder / "runs").mkdir()
    return folder / "runs"


@pytest.fixture
def show(monkeypatch):
    """Opens the view on a folder of runs; query parameters as in an address."""

    def shown(folder: Path, **query: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["main.py", str(folder)])
        test = AppTest.from_string(FRAME.replace("PATH", "detectors"), default_timeout=60)
        for name, value in query.items():
            test.query_params[name] = value
        return test.run()

    return shown


def words(test: AppTest) -> str:
    return escaped(test).replace("\\", "")


def test_in_an_empty_folder_it_shows_the_example_and_says_so(show, tmp_path) -> None:
    (tmp_path / "runs").mkdir()
    test = show(tmp_path / "runs")
    assert not test.exception
    assert "This is the small example that comes with auditkit" in words(test)
    assert "On what it has not seen" in words(test)


def test_without_an_evaluation_it_gives_the_command(show, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(state, "shows_example", lambda: False)
    (tmp_path / "runs").mkdir()
    test = show(tmp_path / "runs")
    assert not test.exception
    assert "There is no evaluation of a detector here" in words(test)
    assert "auditkit detector evaluate data/ --family spectrum --leave-one-out" in test.code[0].value


def test_an_evaluation_is_shown_with_its_tables(show, runs) -> None:
    test = show(runs)
    assert not test.exception
    assert "On what it has not seen" in words(test)
    assert "After everyday changes" in words(test)
    left_out = test.dataframe[0].value
    assert {"alpha", "beta", "gamma", "camera", "scanner"} <= set(left_out["Tested on"])
    assert left_out["AUROC"].str.contains("[", regex=False).all()


def test_expected_alarms_follow_the_sliders(show, runs) -> None:
    test = show(runs, part="At your own volume")
    assert not test.exception
    before = test.dataframe[0].value["Real images called generated"].tolist()
    test.select_slider(key="volume").set_value(1_000_000).run()
    assert not test.exception
    after = test.dataframe[0].value["Real images called generated"].tolist()
    tenfold = [float(text.split(" ")[0].replace(",", "")) for text in before]
    assert [float(text.split(" ")[0].replace(",", "")) for text in after] == pytest.approx([10 * v for v in tenfold])


def test_a_damaged_evaluation_says_so(show, runs, tmp_path) -> None:
    shutil.copytree(runs.parent / "detector-evaluation", tmp_path / "my-evaluation")
    (tmp_path / "my-evaluation" / "results.parquet").write_bytes(b"no table")
    (tmp_path / "runs").mkdir()
    test = show(tmp_path / "runs")
    assert not test.exception
    assert "cannot be read" in test.warning[0].value


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd"])
def test_a_path_in_the_address_is_no_evaluation(show, runs, name) -> None:
    test = show(runs, evaluation=name)
    assert not test.exception
    assert test.selectbox(key="evaluation").value == "detector-evaluation"


def test_what_a_detector_says_of_a_run_is_counted_by_group(show, tmp_path) -> None:
    made = synthetic_run.make_run(tmp_path, images_per_prompt=12)
    test = show(tmp_path)
    test.segmented_control(key="part").set_value("run").run()
    assert "No detector has been asked" in words(test)
    made.write_detections(judged(made, 0.5, 0.2))
    test = show(tmp_path)
    test.segmented_control(key="part").set_value("run").run()
    assert not test.exception
    assert "mine calls 50.0%" in words(test)


def test_a_damaged_table_of_verdicts_is_named_and_the_view_goes_on(show, tmp_path) -> None:
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    (made.path / "detections.parquet").write_bytes(b"not a table")
    test = show(tmp_path)
    test.segmented_control(key="part").set_value("run").run()
    assert not test.exception
    assert "detections" in test.warning[0].value
    assert "No detector has been asked" in words(test)


def test_cards_are_shown_or_the_command_to_train_one(show, runs) -> None:
    test = show(runs, part="Cards")
    assert not test.exception
    said = words(test) + "".join(code.value for code in test.code)
    assert "auditkit train detector" in said or "## " in said
