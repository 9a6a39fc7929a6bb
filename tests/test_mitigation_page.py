"""The page of an evaluation of mitigations, and the dashboard's view of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from mitigation_runs import write_evaluation
from streamlit.testing.v1 import AppTest
from test_dashboard_views import FRAME, words

from app.dashboard import state
from auditkit.guidance.evaluated import read
from reports.chapters.base import Figure, Table
from reports.mitigation_charts import front
from reports.mitigation_page import chapters, summary_table, verdict_sentences, write_page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_evaluation(tmp_path_factory.mktemp("page") / "mitigation")


def test_the_page_says_which_method_did_better_than_nothing_and_which_did_not(folder: Path) -> None:
    works, idle = verdict_sentences(read(folder))
    assert works.startswith("works: better than doing nothing; distance 0.")
    assert "over 3 unbalanced groups" in works
    assert idle.startswith("idle: not better than doing nothing; ")
    assert "less" not in idle


def test_a_row_a_method_with_its_verdict(folder: Path) -> None:
    table = summary_table(read(folder))
    assert [row[0] for row in table.rows] == ["works", "idle"]
    assert [row[1] for row in table.rows] == ["better than doing nothing", "not better than doing nothing"]
    assert table.columns[4] == "Joint reduction"


def test_every_chart_has_a_text_and_a_table_behind_it(folder: Path) -> None:
    for chapter in chapters(read(folder)):
        figures = [block for block in chapter.blocks if isinstance(block, Figure)]
        assert all(figure.alt and "works" in figure.alt for figure in figures)
        assert sum(isinstance(block, Table) for block in chapter.blocks) >= max(len(figures), 1)


def test_the_page_needs_nothing_else(folder: Path) -> None:
    page = write_page(folder).read_text()
    assert "Pareto" in page
    assert "https://" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_front_holds_those_that_no_other_beats() -> None:
    rows = pd.DataFrame(
        {"method": list("abcde"), "estimate": [0.4, 0.1, 0.2, 0.1, float("nan")], "price": [0, 1, 2, 1, 0]}
    )
    assert front(rows) == ["a", "b", "d"]


def show(monkeypatch: pytest.MonkeyPatch, runs: Path) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["main.py", str(runs)])
    return AppTest.from_string(FRAME.replace("PATH", "mitigation"), default_timeout=60).run()


@pytest.mark.parametrize("runs", ["runs", "mitigation/runs"])
def test_the_view_shows_an_evaluation_beside_the_runs_and_the_one_whose_runs_these_are(
    monkeypatch: pytest.MonkeyPatch, folder: Path, runs: str
) -> None:
    (folder.parent / "runs").mkdir(exist_ok=True)
    test = show(monkeypatch, folder.parent / runs)
    assert not test.exception
    assert "What it did, and what it cost" in words(test)
    assert any("Verdict" in each.value.columns for each in test.dataframe)
    assert "auditkit mitigate known --generator known --methods" in test.code[-1].value


def test_in_an_empty_folder_the_view_shows_the_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    test = show(monkeypatch, tmp_path / "runs")
    assert not test.exception
    assert "This is the small example that comes with auditkit" in test.info[0].value


def test_without_an_evaluation_the_view_gives_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "shows_example", lambda: False)
    (tmp_path / "runs").mkdir()
    test = show(monkeypatch, tmp_path / "runs")
    assert not test.exception
    assert "auditkit mitigate occupations" in test.code[0].value
