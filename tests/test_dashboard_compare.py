"""The view Compare and the words, table and chart behind it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic_run
from test_dashboard_views import home, show, words  # noqa: F401  (fixtures)

from app import api
from auditkit.runs import Run
from reports import charts, comparison


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Run, Run]:
    """Two runs of the same prompts, of which the second has half as many replicates."""
    folder = tmp_path_factory.mktemp("compare")
    first = synthetic_run.make_run(folder, images_per_prompt=12)
    return first, synthetic_run.make_run(folder, images_per_prompt=6)


def opened(show, runs):  # noqa: F811
    test = show("compare", runs[0].path.parent)
    test.selectbox(key="run").set_value(runs[0].path.name).run()
    return test


def test_it_pairs_two_runs_by_prompt_and_shows_both_images(show, runs):  # noqa: F811
    test = opened(show, runs)
    assert not test.exception
    assert test.selectbox(key="other").value == runs[1].path.name
    assert "**30 pairs**" in words(test)
    assert len(test.get("image")) + len(test.get("imgs")) >= 24
    labels = [link.proto.label for link in test.get("page_link")]
    assert "0.0 before" in labels
    assert "0.0 after" in labels


def test_it_filters_the_pairs_by_group_and_by_a_changed_label(show, runs):  # noqa: F811
    test = opened(show, runs)
    test.multiselect(key="axis_occupation").set_value(["judge"]).run()
    assert "**6 pairs**" in words(test)
    test.segmented_control(key="pairs").set_value("perceived otherwise").run()
    assert not test.exception
    assert "**6 pairs**" not in words(test)


def test_its_table_has_both_runs_shares_and_the_change_that_the_command_tells(show, runs):  # noqa: F811
    frame = opened(show, runs).dataframe[0].value
    told = api.compare(*runs, by="occupation", attributes=["gender"])
    told = told[told["measure"] == "comparison.difference"].reset_index(drop=True)
    assert frame["pairs"].tolist() == told["n_images"].tolist()
    assert frame["change (points)"].to_numpy() == pytest.approx(100 * told["estimate"].to_numpy(), nan_ok=True)
    nurse = frame[(frame["occupation"] == "nurse") & (frame["perceived as"] == "female")].iloc[0]
    assert "%" in nurse["before"]
    assert "[" in nurse["after"]


def test_one_run_alone_says_what_to_do(show, tmp_path):  # noqa: F811
    synthetic_run.make_run(tmp_path, images_per_prompt=1)
    test = show("compare", tmp_path)
    assert "Comparing takes two finished runs" in words(test)
    assert "auditkit audit" in test.code[0].value


def test_runs_without_scores_in_common_say_so(show, tmp_path):  # noqa: F811
    synthetic_run.make_run(tmp_path, images_per_prompt=1)
    bare = synthetic_run.make_run(tmp_path, images_per_prompt=2, measured=False)
    for file in (bare.path / "scores").iterdir():
        file.unlink()
    test = show("compare", tmp_path)
    assert not test.exception
    assert "no scores of one attribute" in words(test)


def test_a_run_that_is_not_here_is_none(show, runs):  # noqa: F811
    test = show("compare", runs[0].path.parent, other="../../etc")
    assert not test.exception
    assert test.selectbox(key="other").value in {run.path.name for run in runs}


def changes(p: float, status: str = "ok") -> pd.DataFrame:
    row = {
        "measure": "comparison.difference", "attribute": "gender", "category": "female", "group_by": "occupation",
        "group": "judge", "n_images": 30, "estimate": 0.3, "ci_low": 0.1, "ci_high": 0.5, "p_holm": p, "status": status,
        "note": "",
    }  # fmt: skip
    if status != "ok":
        row |= dict.fromkeys(["estimate", "ci_low", "ci_high", "p_holm"], np.nan)
    return pd.DataFrame([row, row | {"measure": "comparison.flips", "estimate": 0.2}])


@pytest.mark.parametrize(
    ("p", "status", "says"),
    [
        (0.01, "ok", "1 changed by more than chance"),
        (0.4, "ok", "no proof that nothing changed"),
        (0.4, "insufficient", "Insufficient: judge"),
    ],
)
def test_the_words_claim_what_the_test_shows_and_no_more(p, status, says):
    table = comparison.beside(changes(p, status), None, None, "gender")
    said = " ".join(comparison.findings(table, noun="occupation"))
    assert says in said
    assert table["moved"].tolist() == [0.2]


def test_the_chart_draws_both_runs_and_nothing_where_nothing_is_known(runs):
    told = api.compare(*runs, by="occupation", attributes=["gender"])
    table = comparison.beside(told, runs[0].measurements(), runs[1].measurements(), "gender")
    drawn = charts.to_svg(comparison.shares_chart(table, ("one", "two"), category="female"))
    for text in ("nurse", "one", "two", "Share perceived as female"):
        assert text in drawn
    assert comparison.shares_chart(comparison.beside(told, None, None, "gender"), ("a", "b"), category="female") is None
