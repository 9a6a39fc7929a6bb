"""`auditkit sign RUN` and `generate --sign`: copies that carry manifests; stopped at any moment, it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import sign_cli_helpers
from PIL import Image
from provenance_helpers import (
    isolated,  # noqa: F401
    issued,
    pki,
    write_image,
)
from sign_cli_helpers import MADE, answer, files, inspected, run, said
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit.provenance import run_signing
from auditkit.provenance.log import Log
from auditkit.provenance.manifest import prompt_hash
from auditkit.runs import Run, open_run

home = sign_cli_helpers.home  # a fixture


def sign_run(tiny, *options, code=0):
    return answer("sign", tiny.path, *options, code=code)


def test_every_image_of_a_run_gets_a_signed_copy_that_names_what_made_it(home, tiny_run):
    before = {path: path.read_bytes() for path in (tiny_run.path / "images").rglob("*.png")}
    made = sign_run(tiny_run)
    table = open_run(tiny_run.path).provenance()
    assert made["images"] == len(table) == len(before) == 24
    assert {path: path.read_bytes() for path in before} == before
    row, image = table.iloc[0], tiny_run.images().set_index("id").loc[table["id"].iloc[0]]
    held = said(tiny_run.path / row["path"], "auditkit.generation")
    assert (held["generator"], held["run"], held["image"]) == ("plain", tiny_run.id, row["id"])
    assert held["seed"] == str(image["seed"])
    assert held["prompt_hash"]["value"] == prompt_hash(image["prompt"], row["prompt_salt"])
    assert inspected(tiny_run.path / row["path"])["verdict"] == "trusted"


def test_the_record_of_a_run_says_who_signed_and_never_with_what(home, tiny_run):
    sign_run(tiny_run, "--training", "constrained", "--training-terms", "https://example.org/terms")
    text = (tiny_run.path / "run.json").read_text()
    record = json.loads(text)["signing"]
    assert (record["images"], record["trust"], record["timestamped"]) == (24, "development", False)
    assert record["training_terms"] == "https://example.org/terms"
    assert pki().key.read_text().splitlines()[1] not in text


def test_a_second_call_signs_no_image_of_a_run_again(home, tiny_run, monkeypatch):
    sign_run(tiny_run)
    before = files(tiny_run.path)
    monkeypatch.setattr(run_signing, "_sign", None)
    assert sign_run(tiny_run)["images"] == 24
    assert files(tiny_run.path) == before


def test_another_signer_signs_all_of_it_anew(home, tiny_run):
    sign_run(tiny_run)
    other = issued(home, "other")
    sign_run(tiny_run, "--cert", other.chain, "--key", other.key)
    assert open_run(tiny_run.path).provenance()["signer"].unique().tolist() == ["other"]


@pytest.mark.parametrize("where", ["in the midst", "before the table", "before the log", "before the record"])
def test_a_run_that_was_killed_goes_on_and_the_log_knows_every_signed_image(home, tiny_run, monkeypatch, where):
    count = []
    sign, write, append = run_signing._sign, Run.write_provenance, Log.append

    def killed(*_):
        raise KeyboardInterrupt

    def thirteenth(*arguments):
        count.append(1)
        return killed() if len(count) == 13 else sign(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run_signing, "BATCH", 5)
        if where == "in the midst":
            patch.setattr(run_signing, "_sign", thirteenth)
        elif where == "before the log":
            patch.setattr(Log, "append", lambda log, entries: killed() if len(log) else append(log, entries))
        elif where == "before the table":
            patch.setattr(Run, "write_provenance", lambda run, df: killed() if len(df) > 5 else write(run, df))
        else:
            patch.setattr(run_signing, "_record", killed)
        run("sign", tiny_run.path, code=130)
    assert sign_run(tiny_run)["images"] == 24
    table, log = open_run(tiny_run.path).provenance(), Log.open()
    assert table["id"].is_unique
    assert all(log.find(sha256) for sha256 in table["sha256"])
    assert open_run(tiny_run.path).record["signing"]["images"] == 24


def test_a_copy_that_was_lost_or_changed_is_signed_again(home, tiny_run):
    sign_run(tiny_run)
    table = open_run(tiny_run.path).provenance()
    lost, changed = (tiny_run.path / path for path in table["path"][:2])
    lost.unlink()
    changed.write_bytes(b"changed")
    sign_run(tiny_run)
    assert {inspected(path)["verdict"] for path in (lost, changed)} == {"trusted"}


def test_an_image_that_is_not_the_one_that_was_made_is_not_signed(home, tiny_run):
    path = tiny_run.image_path(tiny_run.images()["id"].iloc[3])
    Image.new("RGB", (8, 8), "red").save(path)
    error = sign_run(tiny_run, code=1)
    assert "not the one that was made" in error["what"]
    assert error["where"] == str(path)


def test_a_sealed_run_is_not_signed_and_stays_as_it_was(home, tiny_run):
    run("seal", tiny_run.path)
    before = files(tiny_run.path)
    assert "the run is sealed" in sign_run(tiny_run, code=1)["what"]
    assert files(tiny_run.path) == before
    run("verify-run", tiny_run.path)


def test_a_run_that_was_signed_and_then_sealed_answers_as_before(home, tiny_run):
    sign_run(tiny_run)
    run("seal", tiny_run.path)
    assert sign_run(tiny_run)["images"] == 24
    run("verify-run", tiny_run.path)


def test_a_run_that_was_killed_before_its_record_and_sealed_still_answers(home, tiny_run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run_signing, "_record", lambda *_: None)
        sign_run(tiny_run)
    run("seal", tiny_run.path)
    assert sign_run(tiny_run)["signing"]["signer"].startswith("development signer")
    run("verify-run", tiny_run.path)


def test_an_imported_run_is_not_signed_as_if_its_maker_were_known(home):
    write_image(home / "renders" / "a.png")
    pd.DataFrame({"file": ["a.png"], "prompt": ["a judge"], "occupation": ["judge"]}).to_csv("prompts.csv", index=False)
    made = answer("import", "renders", "--prompts", "prompts.csv", "--out", "runs")
    assert "imported" in answer("sign", made["path"], code=1)["what"]


@pytest.mark.parametrize(
    "options", [("--watermark", "spread"), ("--out", "x"), MADE, ("--prompt", "x"), ("--seed", "0"), ("--in-place",)]
)
def test_what_does_nothing_for_a_run_is_refused(home, tiny_run, options):
    error = sign_run(tiny_run, *options, code=1)
    assert f"{options[0]} cannot be used with a run" in error["what"]
    assert not (tiny_run.path / "signed").exists()


def test_a_permission_that_says_nothing_is_told_before_a_run_is_signed(home, tiny_run):
    sign_run(tiny_run, "--training", "maybe", code=1)
    assert not (tiny_run.path / "signed").exists()


SPEC = """
name = "two"
templates = ["a portrait of {a occupation}"]
images_per_prompt = 2
by = "occupation"
axes.occupation = ["judge", "nurse"]
"""


@pytest.fixture(scope="module")
def made_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    (folder / "two.toml").write_text(SPEC)
    tiny_sd_checkpoint(folder / "checkpoint")
    return [folder / "two.toml", "-g", folder / "checkpoint", "--steps", 1, "--device", "cpu"]


def test_generate_signs_what_it_makes(home, made_of):
    made = answer("generate", *made_of, "--out", "runs", "--sign", "--training", "notAllowed")
    assert (made["images"], made["signer"]) == (4, "development signer (NOT FOR PRODUCTION)")
    copies = sorted(Path(made["signed"]).rglob("*.png"))
    assert [inspected(path)["verdict"] for path in copies] == ["trusted"] * 4
    held = said(copies[0], "auditkit.generation")
    assert len(held["weights_sha256"]) == 64
    assert answer("generate", *made_of, "--out", "runs", "--sign", "--training", "notAllowed")["run"] == made["run"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--cert", "none.pem"), "does not exist"),
        (("--training", "maybe"), "no permission"),
        (("--training", "constrained"), "--training-terms"),
        (("--sign-with", "'"), "cannot be read"),
    ],
)
def test_a_wrong_signer_is_told_before_an_image_is_made(home, made_of, options, told):
    error = answer("generate", *made_of, "--out", "runs", "--sign", *options, code=1)
    assert told in f"{error['what']} {error['mend']}"
    assert not (home / "runs").exists()


def test_options_of_signing_without_sign_are_not_passed_over(home, made_of):
    assert "--training" in answer("generate", *made_of, "--out", "runs", "--training", "notAllowed", code=1)["what"]
    assert not (home / "runs").exists()
