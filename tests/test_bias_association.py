from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from association_helpers import ENCODER, VectorRun

from auditkit.bias.association import association
from auditkit.bias.base import Options
from auditkit.bias.poles import all_poles
from auditkit.clip.embedded import _write
from auditkit.errors import EncoderError, TableError
from auditkit.schemas import MEASUREMENTS, check

LEANS = {
    "gender": {"nurse": 0.8, "cook": 0.0, "pilot": -0.8, "judge": 0.0},
    "skin_tone": {"nurse": 0.0, "cook": 0.0, "pilot": 0.0, "judge": 0.0},
}
OPTIONS = Options(by="occupation", encoder=ENCODER, n_boot=500)


def measured(run: VectorRun, options: Options = OPTIONS) -> pd.DataFrame:
    return check(association.measure(run, options), MEASUREMENTS, "association")


def of(rows: pd.DataFrame, statistic: str, poles: str = "gender") -> pd.DataFrame:
    found = rows[(rows["measure"] == f"association.{statistic}") & (rows["attribute"] == poles)]
    return found.set_index("group")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> VectorRun:
    return VectorRun(tmp_path_factory.mktemp("run"), LEANS, prompts=8)


@pytest.fixture(scope="module")
def rows(run: VectorRun) -> pd.DataFrame:
    return measured(run)


@pytest.fixture(scope="module")
def stated(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return measured(VectorRun(tmp_path_factory.mktemp("stated"), LEANS, stated=True))


def test_groups_are_ordered_as_they_lean_and_those_that_lean_are_found(rows):
    ieat = of(rows, "ieat")
    assert ieat["estimate"].idxmax() == "nurse"
    assert ieat["estimate"].idxmin() == "pilot"
    assert set(ieat.index[ieat["p_holm"] < 0.05]) == {"nurse", "pilot"}
    assert (ieat["ci_low"] <= ieat["estimate"]).all()
    assert (ieat["estimate"] <= ieat["ci_high"]).all()


def test_the_sign_points_to_the_first_pole(rows):
    ieat = of(rows, "ieat")
    assert ieat.loc["nurse", ["category", "reference"]].tolist() == ["female", "male"]
    assert ieat.loc["nurse", "estimate"] > 0


def test_where_no_group_leans_none_is_found(rows):
    assert (of(rows, "ieat", "skin_tone")["p_holm"] > 0.05).all()


def test_every_group_has_its_words_its_sentences_and_a_range(rows):
    for statistic in ("weat", "seat", "ieat", "ieat_range"):
        assert set(of(rows, statistic).index) == set(LEANS["gender"])
    assert of(rows, "weat")["ci_low"].isna().all()  # a word list is no sample
    assert of(rows, "seat")["n_images"].eq(0).all()


def test_poles_that_the_encoder_does_not_know_are_refused_in_one_row(rows):
    career = rows[rows["attribute"] == "career_family"]
    assert len(career) == 1
    assert career["status"].item() == "uncalibrated"
    assert np.isnan(career["estimate"].item())
    assert "does not tell words for career from words for family" in career["note"].item()


def test_without_labelled_images_the_estimate_says_so(rows):
    assert of(rows, "ieat")["note"].str.contains("no labelled images").all()


def test_the_range_holds_the_estimate_and_names_no_flip_where_there_is_none(rows):
    nurse, edges = of(rows, "ieat").loc["nurse"], of(rows, "ieat_range").loc["nurse"]
    assert 0 < edges["ci_low"] <= nurse["estimate"] <= edges["ci_high"]
    assert "sign changes" not in edges["note"]


def test_wordings_that_disagree_are_named(tmp_path):
    run = VectorRun(tmp_path, LEANS)
    poles = next(p for p in all_poles() if p.name == "gender")
    _swap(run, poles.wordings["noun"])
    note = of(measured(run), "ieat_range").loc["nurse", "note"]
    assert "the finding depends on the wording or the encoder: the sign changes" in note


def test_another_encoder_widens_the_range_only_where_the_run_has_its_embeddings(run):
    found = of(measured(run, OPTIONS.but(encoders=("second", "absent"))), "ieat_range").loc["nurse"]
    assert "4 wordings, 2 encoders" in found["ci_method"]
    assert "1 of 3 encoders left out" in found["note"]


def test_neutral_prompts_lie_where_they_lean_between_the_prompts_that_state_a_pole(stated):
    t2iat = of(stated, "t2iat")
    assert t2iat.loc["nurse", "ci_low"] <= 0.9 <= t2iat.loc["nurse", "ci_high"]
    assert t2iat.loc["pilot", "ci_low"] <= 0.1 <= t2iat.loc["pilot", "ci_high"]
    assert t2iat.loc["cook", "ci_low"] <= 0.5 <= t2iat.loc["cook", "ci_high"]
    assert t2iat.loc["nurse", "null_value"] == 0.5
    assert "all" in t2iat.index


def test_images_that_were_asked_for_are_no_evidence_of_what_is_shown_unasked(stated):
    assert of(stated, "ieat").loc["nurse", "n_images"] == 30  # of 90: the neutral prompts'
    assert of(stated, "ieat", "skin_tone").loc["nurse", "n_images"] == 90


def test_without_prompts_that_state_a_pole_the_position_is_left_out_with_the_reason(rows):
    t2iat = of(rows, "t2iat")
    assert t2iat["status"].tolist() == ["insufficient"]
    assert "no prompts that state gender" in t2iat.loc["all", "note"]


def test_where_every_prompt_states_a_pole_nothing_is_said_of_the_images(tmp_path):
    run = VectorRun(tmp_path, LEANS, stated=True)
    run.table = run.table[run.table["axis_gender"].notna()].reset_index(drop=True)
    run.vectors = run.vectors[: len(run.table)]
    found = measured(run)
    assert of(found, "ieat")["status"].tolist() == ["insufficient"]
    assert "every prompt states gender" in of(found, "ieat").loc["all", "note"]
    assert "no prompts that leave open gender" in of(found, "t2iat").loc["all", "note"]


@pytest.mark.parametrize(("prompts", "images", "why"), [(2, 20, "2 prompts; 4 are needed"), (5, 2, "10 images; 20")])
def test_few_prompts_or_images_are_insufficient(tmp_path, prompts, images, why):
    found = of(measured(VectorRun(tmp_path, LEANS, prompts=prompts, images=images)), "ieat")
    assert found["status"].eq("insufficient").all()
    assert found["estimate"].isna().all()
    assert found["note"].str.contains(why).all()


def test_one_group_of_a_single_prompt_does_not_silence_the_others(tmp_path):
    run = VectorRun(tmp_path, LEANS, prompts=6, images=10)
    keep = (run.table["axis_occupation"] != "judge") | (run.table["prompt_id"] == run.table["prompt_id"].max())
    run.vectors, run.table = run.vectors[keep], run.table[keep].reset_index(drop=True)
    found = of(measured(run, OPTIONS.but(min_n=5)), "ieat")
    assert found.loc["judge", "status"] == "insufficient"
    assert found.drop("judge")[["estimate", "ci_low", "p_value"]].notna().all(axis=None)


def test_numbers_follow_from_the_seed_and_not_from_the_other_poles(run, rows):
    again = measured(run, OPTIONS.but(attributes=("gender",)))
    numbers = ["estimate", "ci_low", "ci_high", "p_value"]
    for statistic in ("weat", "ieat"):
        pd.testing.assert_frame_equal(of(again, statistic)[numbers], of(rows, statistic)[numbers])


def test_it_needs_groups_embeddings_and_a_known_axis(run):
    assert "--by AXIS" in association.applies(run, OPTIONS.but(by="all"))
    assert "auditkit score" in association.applies(run, OPTIONS.but(encoder="absent"))
    assert association.applies(run, OPTIONS) == ""
    with pytest.raises(TableError, match="no axis 'country'"):
        association.measure(run, OPTIONS.but(by="country"))


def test_sentences_that_cannot_be_embedded_are_a_clear_error(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise EncoderError("There is no such encoder.", where=ENCODER, mend="Choose another.")

    run = VectorRun(tmp_path, LEANS)
    monkeypatch.setattr("auditkit.bias.association.text_embeddings", refuse)
    with pytest.raises(EncoderError, match=f"association needs {ENCODER}"):
        association.measure(run, OPTIONS)


def test_every_pair_of_poles_in_the_file_is_whole():
    for poles in all_poles():
        assert len(poles.poles) == 2
        assert set(poles.words) == set(poles.poles)
        assert all(set(wording) == set(poles.poles) for wording in poles.wordings.values())
        assert len(poles.wordings) >= 3
        assert not poles.paired or len({len(words) for words in poles.words.values()}) == 1
        assert not set(poles.words[poles.poles[0]]) & set(poles.words[poles.poles[1]])


def _swap(run: VectorRun, wording: dict[str, list[str]]) -> None:
    """Let the sentences of the two poles change places in the encoder's space."""
    from auditkit.clip.embedded import _read

    path = Path(run.path) / "embeddings" / f"{ENCODER}.texts.parquet"
    texts = _read(path, "print")
    a, b = wording.values()
    for x, y in zip(a, b, strict=True):
        texts[x], texts[y] = texts[y], texts[x]
    _write(path, texts, "print")
