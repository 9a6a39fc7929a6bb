"""The chapter on signed copies: its sentences follow from the rows, and a signature is not told as truth."""

from __future__ import annotations

import pandas as pd
import pytest
import synthetic_run
from provenance_helpers import credentials, isolated, tsa  # noqa: F401
from signed_run_helpers import change_pixels, lose, signed_run, trusted

from auditkit.bias.base import Options
from auditkit.provenance.measure import provenance
from auditkit.runs import Run
from reports.build import build
from reports.chapters.base import Chapter, Figure, Pictures, Table
from reports.chapters.provenance import chapter

OPTIONS = Options(by="occupation", min_n=4)


@pytest.fixture
def run(tmp_path) -> Run:
    return signed_run(tmp_path / "runs")


def made(run: Run, **changes: object) -> Chapter:
    found = chapter(provenance.measure(run, OPTIONS.but(**changes)), run)
    assert found is not None
    return found


def lead(run: Run, **changes: object) -> str:
    return " ".join(made(run, **changes).lead)


def facts(run: Run) -> dict[str, str]:
    table = made(run).blocks[0]
    assert isinstance(table, Table)
    return {row[0]: row[1] for row in table.rows}


def test_it_tells_how_many_are_signed_by_whom_and_that_they_verify(run):
    said = lead(run)
    assert "20 of 20 images have a signed copy, signed by “development signer (NOT FOR PRODUCTION)”" in said
    assert "certified by “intermediate (NOT FOR PRODUCTION)”" in said
    assert "All 20 copies verify: 100.0% [83.2, 100.0]." in said


def test_a_development_certificate_is_marked_as_not_for_production(run):
    assert "marked as not for production: anybody can make one like it" in lead(run)
    assert facts(run)["Kind of certificate"] == "development, not for production"


def test_the_table_holds_signer_dates_source_and_bindings(run):
    found = facts(run)
    assert found["Certificate valid until"] == str(credentials().expires.date())
    assert found["Source type"] == "trainedAlgorithmicMedia"
    assert found["Timestamp"] == "none"
    assert found["Soft binding: watermark"] == "none"
    assert found["Soft binding: fingerprint"].startswith("auditkit.pdq")
    assert found["AI training and data mining"] == "not stated"
    assert found["Signed"].endswith("UTC")


def test_without_a_timestamp_it_says_when_the_signatures_end(run):
    until = credentials().expires.date()
    assert f"stop being valid when the certificate runs out on {until}" in lead(run)


def test_timestamps_are_counted(tmp_path, tsa):  # noqa: F811
    stamped = signed_run(tmp_path / "runs", images_per_prompt=1, timestamp=tsa)
    assert "Every copy carries a timestamp" in lead(stamped, min_n=2)


@pytest.mark.parametrize(
    ("training", "said"), [("notAllowed", "is not allowed"), ("allowed", "is allowed"), (None, "that is no consent")]
)
def test_the_training_permission_is_told_as_stated(tmp_path, training, said):
    assert said in lead(signed_run(tmp_path / "runs", images_per_prompt=2, training=training))


def test_without_a_trust_list_it_is_not_told_whether_the_signer_is_trusted(run):
    assert "Whether the signer is trusted is not told: no trust list is kept here" in lead(run)
    assert facts(run)["Copies of a trusted signer"] == "not told"


def test_a_trusted_signer_is_told(run):
    trusted()
    assert "The signer of all that verify is in a trust list kept here." in lead(run)


def test_copies_that_fail_are_counted_with_the_reason_and_shown(run):
    change_pixels(run, 0, 2)
    lose(run, 8)
    found = made(run)
    assert "17 of these 20 copies verify: 85.0% [" in " ".join(found.lead)
    assert "changed after it was signed (2) and the signed copy is missing (1)" in " ".join(found.lead)
    (pictures,) = (block for block in found.blocks if isinstance(block, Pictures))
    assert len(pictures.ids) == 3
    assert any(caption.startswith("The signed copy is missing: a portrait") for caption in pictures.captions)
    reasons = [block for block in found.blocks if isinstance(block, Table)][-1]
    assert list(reasons.rows[0]) == ["Changed after it was signed", "tampered-content", "2"]


def test_groups_that_differ_are_drawn_and_told_with_their_intervals(run):
    change_pixels(run, 0, 1)  # of one occupation
    found = made(run)
    assert "no difference is claimed" in " ".join(found.lead)
    assert next(block.alt for block in found.blocks if isinstance(block, Figure)).startswith("Dot-and-interval chart")


def test_groups_that_are_the_same_are_not_drawn(run):
    assert not [block for block in made(run).blocks if isinstance(block, Figure)]


def test_groups_that_are_too_small_are_told_and_not_listed(run):
    found = made(run, min_n=10)
    assert "No occupation has enough images for a share of its own." in found.lead
    assert len(found.blocks) == 1


def test_too_few_images_claim_nothing(run):
    said = lead(run, min_n=100)
    assert "insufficient: 20 images; 100 are needed" in said
    assert "%" not in said


def test_copies_that_changed_since_the_measurement_are_told(run):
    rows = provenance.measure(run, OPTIONS)
    lose(run, 0)
    found = chapter(rows, run)
    assert found is not None
    assert "Looked at again for this page, 19 verify" in " ".join(found.lead)


def test_measurements_that_outlive_their_copies_are_still_told(run):
    rows = provenance.measure(run, OPTIONS)
    (run.path / "provenance.parquet").unlink()
    found = chapter(rows, run)
    assert found is not None
    assert found.lead[0].startswith("20 of 20 images have a signed copy, signed by “development signer")


def test_what_a_signature_does_not_prove_is_told(run):
    notes = " ".join(made(run).notes)
    assert "does not say that the statements are true" in notes
    assert "a file without one may well come from here" in notes


def test_every_table_has_a_cell_for_every_column(run):
    change_pixels(run, 0)
    for table in (block for block in made(run).blocks if isinstance(block, Table)):
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_other_measures_make_no_chapter(tmp_path):
    other = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    assert chapter(other.measurements(), other) is None


def test_the_chapter_is_on_the_page_of_the_report(tmp_path):
    run = signed_run(tmp_path / "runs", measured=True)
    change_pixels(run, 0)
    rows = provenance.measure(run, OPTIONS)
    run.write_measurements(pd.concat([run.measurements(), rows], ignore_index=True))
    page = build(run).read_text(encoding="utf-8")
    assert 'href="#chapter-provenance"' in page
    assert "NOT FOR PRODUCTION" in page
