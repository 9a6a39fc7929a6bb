"""Two runs paired by prompt and seed: what changed is found, what cannot be told is said."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import report_helpers
import synthetic_run
from typer.testing import CliRunner

from app import api, pages
from app.cli import app
from auditkit.errors import TableError
from auditkit.runs import Run


def calibrated(**more) -> dict:
    return {"attributes": ["gender"], "replicates": 200, **more}


@pytest.fixture
def before(tmp_path: Path) -> Run:
    return synthetic_run.make_run(tmp_path, name="before", images_per_prompt=30)


@pytest.fixture
def after(tmp_path: Path) -> Run:
    """As `before`, with every judge perceived as female."""
    run = synthetic_run.make_run(tmp_path, name="after", images_per_prompt=30)
    scores = run.scores("gender")["gender@personas-clip"]
    judges = set(run.images().query("axis_occupation == 'judge'")["id"])
    chosen = scores["id"].isin(judges)
    scores.loc[chosen, ["label", "confidence", "p_female", "p_male"]] = ["female", 0.9, 0.9, 0.1]
    run.write_scores(scores)
    return run


def part(table: pd.DataFrame, measure: str, group: str) -> pd.Series:
    rows = table[(table["measure"] == measure) & (table["group"] == group) & (table["category"] == "female")]
    return rows.iloc[0]


def test_the_page_tells_what_changed_with_both_shares_and_says_what_it_cannot(before, after, tmp_path):
    changes = api.compare(before, after, **calibrated())
    html = pages.comparison_page(changes, before, after, tmp_path / "comparison.html").read_text()
    assert "Perceived gender: what changed" in html
    assert f"<dd>{before.id}</dd>" in html
    assert "perceived presentation in pictures of people who do not exist" in html
    for group in changes.loc[changes["status"] == "uncalibrated", "group"].unique():
        assert group in html
    assert html.count('scope="row"') == changes["group"].nunique()


def test_a_pdf_without_a_page_is_refused(before, after):
    done = CliRunner().invoke(app, ["compare", str(before.path), str(after.path), "--pdf", "--json"])
    assert "--html" in json.loads(done.stdout)["mend"]


def test_a_run_does_not_differ_from_itself(before):
    table = api.compare(before, before, **calibrated())
    changes = table[table["measure"] == "comparison.difference"]
    assert (changes["estimate"].dropna() == 0).all()
    assert not (table["p_holm"] < 0.05).any()


def test_the_group_that_changed_is_found_and_the_others_are_not(before, after):
    table = api.compare(before, after, **calibrated())
    assert part(table, "comparison.flips", "judge")["estimate"] > 0.5
    assert part(table, "comparison.difference", "judge")["ci_low"] > 0.3
    assert part(table, "comparison.difference", "artist")["estimate"] == pytest.approx(0, abs=1e-9)


def test_the_note_counts_gained_and_lost_pairs(before, after):
    note = part(api.compare(before, after, **calibrated()), "comparison.flips", "judge")["note"]
    assert "0 lost of 30 pairs" in note


def test_images_without_a_partner_are_left_out_and_counted(before, tmp_path):
    fewer = synthetic_run.make_run(tmp_path, name="fewer", images_per_prompt=25)
    table = api.compare(fewer, before, **calibrated())
    assert part(table, "comparison.flips", "judge")["n_images"] == 25
    assert "25 images have no partner" in part(table, "comparison.difference", "judge")["note"]


def test_runs_of_other_prompts_cannot_be_compared(before, tmp_path):
    other = report_helpers.make_run(tmp_path, values=["clown"], templates=1)
    with pytest.raises(TableError, match="share no prompt"):
        api.compare(before, other, **calibrated())


def test_too_few_pairs_are_insufficient_and_have_no_number(before, after):
    table = api.compare(before, after, **calibrated(min_n=40))
    rows = table[table["group_by"] == "occupation"]
    assert (rows["status"] == "insufficient").all()
    assert rows["estimate"].isna().all()


def test_the_command_prints_a_table_and_answers_in_json(before, after):
    asked = ["compare", str(before.path), str(after.path), "-a", "gender", "--replicates", "50"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0
    assert "judge" in said.stdout
    answer = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert answer["first"] == before.id
