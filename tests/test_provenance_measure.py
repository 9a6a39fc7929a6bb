"""The measure `provenance`: which images have a signed copy, and which of these hold today."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic_run
from provenance_helpers import credentials, isolated, issued, root_pem, signed  # noqa: F401
from signed_run_helpers import change_pixels, copy_of, ids, lose, signed_run, swap, trusted

from auditkit import registry
from auditkit.bias.base import COLUMNS, Options
from auditkit.errors import TableError
from auditkit.provenance import reading, trust, verdict
from auditkit.provenance.measure import NO_LISTS, check_run, provenance
from auditkit.provenance.pki import make_pki
from auditkit.runs import Run
from auditkit.schemas import MEASUREMENTS, check

OPTIONS = Options(by="occupation", min_n=4)


@pytest.fixture
def run(tmp_path) -> Run:
    return signed_run(tmp_path / "runs")


def rows(run: Run, statistic: str, **changes: object) -> pd.DataFrame:
    found = provenance.measure(run, OPTIONS.but(**changes))
    return found[found["measure"] == f"provenance.{statistic}"].set_index("group")


def why(run: Run, place: int) -> str:
    found = check_run(run, anchors=root_pem()).set_index("id").loc[ids(run)[place]]
    assert not found["holds"]
    return str(found["why"])


def test_it_is_registered_and_holds_the_schema(run):
    assert registry.load("measures", "provenance") is provenance
    found = provenance.measure(run, OPTIONS)
    assert list(found.columns) == COLUMNS
    check(found, MEASUREMENTS, "provenance")


def test_a_run_that_was_not_signed_gives_the_reason_and_no_number(tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    assert f"auditkit sign {made.id}" in provenance.applies(made, OPTIONS)
    with pytest.raises(TableError, match="none of the images is signed"):
        provenance.measure(made, OPTIONS)


def test_of_sound_copies_all_verify_with_an_exact_interval(run):
    whole = rows(run, "verified").loc["all"]
    assert (whole["estimate"], whole["n_images"], whole["ci_high"]) == (1.0, 20, 1.0)
    assert whole["ci_low"] == pytest.approx(0.025 ** (1 / 20))
    assert whole["ci_method"].startswith("clopper-pearson")


def test_images_without_a_copy_are_in_no_share_of_copies(run):
    table = run.provenance()
    run.write_provenance(table.iloc[:15])
    assert rows(run, "signed").loc["all", "estimate"] == 0.75
    verified = rows(run, "verified").loc["all"]
    assert (verified["estimate"], verified["n_images"]) == (1.0, 15)


def test_a_changed_copy_does_not_verify(run):
    change_pixels(run, 0)
    assert rows(run, "verified").loc["all", "estimate"] == 0.95
    assert why(run, 0) == "Changed after it was signed"


def test_a_sound_copy_of_another_image_does_not_verify(run):
    swap(run, 0, 5)
    assert why(run, 0) == "The signed copy is not of this image"


def test_a_lost_copy_does_not_verify_and_was_signed_all_the_same(run):
    lose(run, 3)
    assert why(run, 3) == "The signed copy is missing"
    assert rows(run, "signed").loc["all", "estimate"] == 1.0
    assert rows(run, "verified").loc["all", "estimate"] == 0.95


def test_a_copy_signed_anew_by_somebody_else_does_not_verify(run, tmp_path):
    stranger = issued(tmp_path / "stranger").load()
    path = copy_of(run, 0)
    path.write_bytes(signed(run.image_path(ids(run)[0]).read_bytes(), by=stranger).data)
    assert why(run, 0) == "Signed by somebody else than the run says"


def test_a_copy_signed_anew_by_the_same_signer_verifies(run):
    copy_of(run, 0).write_bytes(signed(run.image_path(ids(run)[0]).read_bytes()).data)
    assert check_run(run, anchors=root_pem())["holds"].all()


@pytest.mark.parametrize("held", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
def test_a_copy_that_cannot_be_read_does_not_verify(run, held):
    copy_of(run, 0).write_bytes(held)
    assert why(run, 0)


@pytest.mark.parametrize("told", ["../elsewhere.png", "/etc/hostname", "images/x.png", "signed/../../x.png", ""])
def test_a_table_that_names_another_place_opens_no_file_there(run, told):
    table = run.provenance()
    table.loc[0, "path"] = told
    run.write_provenance(table)
    assert "outside its folder" in why(run, 0)


def test_a_link_out_of_the_folder_is_not_followed(run, tmp_path):
    path, outside = copy_of(run, 0), tmp_path / "outside.png"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)
    assert "outside its folder" in why(run, 0)


def test_a_certificate_that_expired_since_does_not_verify_today(run, monkeypatch):
    expired = verdict.judge(reading.read(copy_of(run, 0).read_bytes()))
    monkeypatch.setattr(verdict, "judge", lambda report: replace(expired, verdict="expired"))
    assert why(run, 0) == "Signed, but the certificate has expired"


def test_without_a_trust_list_nobody_is_called_untrusted(run):
    whole = rows(run, "trusted").loc["all"]
    assert np.isnan(whole["estimate"])
    assert (whole["status"], whole["note"]) == ("insufficient", NO_LISTS)


def test_a_signer_in_a_trust_list_is_trusted(run):
    trusted()
    change_pixels(run, 0)
    whole = rows(run, "trusted").loc["all"]
    assert (whole["estimate"], whole["n_images"]) == (0.95, 20)


def test_a_signer_in_no_list_is_not(run, tmp_path):
    trust.import_list("others", make_pki(tmp_path / "others").root)
    assert rows(run, "trusted").loc["all", "estimate"] == 0.0
    assert rows(run, "verified").loc["all", "estimate"] == 1.0


def test_the_day_on_which_the_certificate_runs_out_stands_in_the_note(run):
    assert rows(run, "verified").loc["all", "note"].endswith(str(credentials().expires.date()))


def test_small_groups_are_insufficient(run):
    found = rows(run, "verified", min_n=10)
    assert found["estimate"].drop("all").isna().all()
    assert set(found["status"].drop("all")) == {"insufficient"}
    assert found.loc["all", "status"] == "ok"


def test_a_group_of_which_nothing_was_signed_has_no_share_of_copies(run):
    table, judges = run.provenance(), set(run.images().loc[lambda df: df["axis_occupation"] == "judge", "id"])
    run.write_provenance(table[~table["id"].isin(judges)])
    found = rows(run, "verified").loc["judge"]
    assert np.isnan(found["estimate"])
    assert (found["n_images"], found["status"]) == (0, "insufficient")
    assert rows(run, "signed").loc["judge", "estimate"] == 0.0


def test_an_unknown_axis_is_told(run):
    with pytest.raises(TableError, match="axis"):
        provenance.measure(run, OPTIONS.but(by="colour"))


def test_a_thousand_copies_take_a_few_seconds(run):
    began = time.process_time()
    check_run(run)
    assert (time.process_time() - began) / len(ids(run)) < 0.01
