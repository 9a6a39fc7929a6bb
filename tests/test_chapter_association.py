from __future__ import annotations

import pandas as pd
import pytest
from association_helpers import ENCODER, VectorRun

from auditkit.bias.association import association
from auditkit.bias.base import Options
from reports.chapters.association import chapter
from reports.chapters.base import Chapter, Figure, Table

LEANS = {
    "gender": {"nurse": 0.9, "cook": 0.1, "pilot": -0.9, "judge": 0.0, "singer": 0.2},
    "skin_tone": dict.fromkeys(("nurse", "cook", "pilot", "judge", "singer"), 0.0),
}
OPTIONS = Options(by="occupation", encoder=ENCODER, n_boot=400)


def told(rows: pd.DataFrame, run: VectorRun) -> Chapter:
    found = chapter(rows, run)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> VectorRun:
    return VectorRun(tmp_path_factory.mktemp("run"), LEANS, prompts=8, stated=True)


@pytest.fixture(scope="module")
def rows(run: VectorRun) -> pd.DataFrame:
    return association.measure(run, OPTIONS)


def test_the_lead_names_the_furthest_groups_with_their_intervals(rows, run):
    lead = " ".join(told(rows, run).lead)
    assert "of 5 occupations lie detectably nearer to ‘female’ or to ‘male’ than the others’ do" in lead
    assert "furthest out: nurse (d = +" in lead
    assert "and pilot (d = −" in lead


def test_the_lead_says_that_no_finding_is_no_proof(rows, run):
    lead = " ".join(told(rows, run).lead)
    assert "no occupation of 5 lie detectably nearer to ‘dark’ or to ‘light’" in lead
    assert "no proof that they are alike" in lead


def test_the_lead_refuses_poles_that_the_encoder_does_not_know(rows, run):
    lead = " ".join(told(rows, run).lead)
    assert "Nothing is said of career or family, science or art, pleasant or unpleasant and warmth or" in lead
    assert f"{ENCODER} does not tell the words for them apart" in lead


def test_the_lead_says_where_neutral_prompts_lie_and_why_they_are_left_out(rows, run):
    lead = " ".join(told(rows, run).lead)
    assert "Between the images of prompts that state ‘male’ (0) and of those that state ‘female’ (1)" in lead
    assert "The place of neutral prompts with respect to skin tone is left out" in lead


def test_a_group_without_enough_images_keeps_its_row_and_its_status(rows, run):
    silent = rows.copy()
    mine = (silent["group"] == "judge") & silent["measure"].isin(["association.ieat"])
    silent.loc[mine, ["estimate", "ci_low", "ci_high", "p_value", "p_holm", "p_bh"]] = float("nan")
    silent.loc[mine, ["status", "note"]] = ["insufficient", "4 images; 20 are needed"]
    made = told(silent, run)
    assert "Insufficient, and nothing is claimed: judge." in " ".join(made.lead)
    tables = [block for block in made.blocks if isinstance(block, Table)]
    assert any(row[0] == "judge" and row[1] == "insufficient" for row in tables[0].rows)


def test_a_sign_that_hangs_on_the_wording_is_said_aloud(rows, run):
    flipped = rows.copy()
    mine = (flipped["measure"] == "association.ieat_range") & (flipped["group"] == "nurse")
    flipped.loc[mine & (flipped["attribute"] == "gender"), ["ci_low", "ci_high"]] = [-0.2, 0.3]
    assert "For nurse the sign changes with the wording or the encoder" in " ".join(told(flipped, run).lead)


def test_figures_have_words_in_their_place_and_tables_a_cell_for_each_column(rows, run):
    made = told(rows, run)
    figures = [block for block in made.blocks if isinstance(block, Figure)]
    assert [len(f.alt) > 80 for f in figures] == [True] * 3
    assert "to nurse at +" in figures[0].alt
    assert all(f.svg.startswith("<svg") and f.narrow.startswith("<svg") for f in figures)
    for table in (block for block in made.blocks if isinstance(block, Table)):
        assert {len(row) for row in table.rows} == {len(table.columns)} == {len(table.numeric)}


def test_every_drawn_group_has_its_dot(rows, run):
    for figure in (block for block in told(rows, run).blocks if isinstance(block, Figure)):
        assert "NaN" not in figure.svg


def test_without_measurements_there_is_no_chapter(rows, run):
    assert chapter(rows.iloc[:0], run) is None
