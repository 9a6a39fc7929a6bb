"""`auditkit sign`, `keys pki`, `trust ...` and `generate --sign` as people and programs use them."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from provenance_helpers import (
    at_home,
    isolated,  # noqa: F401
    issued,
    mode,
    picture,
    pki,
    verdict_of,
    write_image,
)
from tiny_checkpoints import tiny_sd_checkpoint
from typer.testing import CliRunner

import auditkit
from app.cli import app
from auditkit.errors import ProvenanceError
from auditkit.provenance import publishing, run_signing, signing
from auditkit.provenance.log import Log
from auditkit.provenance.manifest import prompt_hash
from auditkit.provenance.reading import read
from auditkit.provenance.store import open_store
from auditkit.provenance.verdict import assertions
from auditkit.runs import Run, open_run
from auditkit.watermark import keys

MADE = ("--source-type", "trainedAlgorithmicMedia")
CREATED = [["c2pa.created"]]


@pytest.fixture
def home(isolated):  # noqa: F811
    """A folder with a picture in it, and the development PKI where `sign` looks for it."""
    at_home(isolated)
    write_image(isolated / "a.png")
    return isolated


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments, code=0):
    return json.loads(run(*arguments, "--json", code=code).stdout)


def inspected(path):
    return answer("inspect", path, "--trust", pki().root)["c2pa"]


def files(folder):
    """What lies in a folder, but for the store and the log that signing begins with."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {"store", "log"} & set(path.relative_to(folder).parts)
    }


def said(path, label):
    return next(each["data"] for each in assertions(read(Path(path).read_bytes())) if each["label"] == label)


# One file


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_what_sign_signs_inspect_trusts(home, suffix):
    write_image(home / f"b{suffix}")
    made = answer("sign", f"b{suffix}", *MADE)
    assert made["out"] == f"b-signed{suffix}"
    found = inspected(made["out"])
    assert (found["verdict"], found["signer"]["name"]) == ("trusted", made["signer"]["signer"])


def test_people_are_told_who_signed_and_that_a_development_certificate_says_nothing(home):
    told = run("sign", "a.png", *MADE).output
    assert "a-signed.png" in told
    assert "tells nobody who you are" in told


def test_prompt_generator_and_seed_are_bound_and_the_prompt_stays_secret(home):
    about = ["--generator", "sd", "--generator-version", "2", "--weights-sha256", "a" * 64, "--seed", 7]
    made = answer("sign", "a.png", *MADE, *about, "--prompt", "a zymurgist")
    held = said(made["out"], "auditkit.generation")
    assert (held["generator"], held["version"], held["seed"]) == ("sd", "2", "7")
    assert held["prompt_hash"]["value"] == prompt_hash("a zymurgist", made["salt"])
    assert b"zymurgist" not in b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_an_edit_names_its_parent_and_what_was_placed(home):
    write_image(home / "inner.webp")
    answer("sign", "a.png", *MADE, "--out", "first.png")
    made = answer("sign", "a.png", "--parent", "first.png", "--action", "cropped", "--ingredient", "inner.webp")
    graph = verdict_of(Path(made["out"]).read_bytes()).graph
    assert graph["nodes"][-1]["actions"] == ["c2pa.opened", "c2pa.placed", "c2pa.cropped"]
    assert [(e["title"], e["relationship"]) for e in graph["edges"]] == [
        ("first.png", "parentOf"), ("inner.webp", "componentOf"),
    ]  # fmt: skip


def test_a_sidecar_leaves_the_image_as_it_was(home):
    made = answer("sign", "a.png", *MADE, "--sidecar", "--in-place")
    assert made["sidecar"] == "a.c2pa"
    assert inspected("a.png")["verdict"] == "trusted"


def test_in_place_replaces_the_image_by_the_signed_one(home):
    before = (home / "a.png").read_bytes()
    answer("sign", "a.png", *MADE, "--in-place")
    assert (home / "a.png").read_bytes() != before
    assert inspected("a.png")["verdict"] == "trusted"
    assert sorted(path.name for path in home.iterdir()) == ["a.png", "home"]


def test_in_place_keeps_a_private_image_private(home):
    (home / "a.png").chmod(0o600)
    answer("sign", "a.png", *MADE, "--in-place")
    assert mode(home / "a.png") == 0o600


def test_a_watermark_leads_back_to_the_manifest(home):
    keys.create(home / "keys.json")
    write_image(home / "b.png", size=(384, 384))
    made = answer("sign", "b.png", *MADE, "--watermark", "spread")
    with open_store() as store:
        (found,) = [
            each
            for value in store.watermark_values("auditkit.watermark.spread.1")
            for each in store.by_binding("auditkit.watermark.spread.1", value)
        ]
    assert found.label == made["label"]


def test_a_command_signs_with_a_key_that_lives_elsewhere(home):
    script = home / "sign.py"
    script.write_text(
        f"import sys\nsys.path[:0] = {sys.path!r}\n"
        "from auditkit.provenance.credentials import load_credentials\n"
        f"own = load_credentials({str(pki().chain)!r}, {str(pki().key)!r})\n"
        "sys.stdout.buffer.write(own.sign(sys.stdin.buffer.read()))\n"
    )
    command = shlex.join([sys.executable, str(script)])
    made = answer("sign", "a.png", *MADE, "--cert", pki().chain, "--sign-with", command)
    assert inspected(made["out"])["verdict"] == "trusted"


def test_nothing_is_remembered_where_nothing_shall_be(home):
    made = answer("sign", "a.png", *MADE, "--no-store", "--no-log")
    assert (made["remembered"], made["log_index"]) == ("", None)
    assert [path.name for path in (home / "home").iterdir()] == ["pki"]


def test_no_answer_holds_a_key(home):
    secret = pki().key.read_text().splitlines()[1]
    for done in (run("sign", "a.png", *MADE, "--json"), run("sign", "a.png", *MADE, "--out", "b.png")):
        assert secret not in done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.png"], "no such image, folder or run"),
        (["a.png", "--source-type", "trainedAlgorithmicMedium"], "did you mean trainedAlgorithmicMedia"),
        (["a.png", "--action", "croped"], "did you mean c2pa.cropped"),
        (["a.png", "--action", "placed"], "--ingredient"),
        (["a.png", *MADE, "--training", "maybe"], "no permission"),
        (["a.png", *MADE, "--training", "constrained"], "--training-terms"),
        (["a.png", *MADE, "--weights-sha256", "abc"], "no sha256"),
        (["a.png", *MADE, "--parent", "a.png"], "not both"),
        (["a.png", "--parent", "none.png"], "does not exist"),
        (["a.png", *MADE, "--ingredient", "text.png"], "not a media file"),
        (["a.png", *MADE, "--out", "b.jpg"], "does not convert"),
        (["a.png", *MADE, "--out", "there.png"], "a file already"),
        (["a.png", *MADE, "--out", "folder"], "this is a folder"),
        (["a.png", *MADE, "--out", "b.png", "--in-place"], "contradict"),
        (["text.png", *MADE], "not an image"),
        (["half.png", *MADE, "--in-place"], "damaged or truncated"),
        (["jpeg.png", *MADE, "--in-place"], "does not convert"),
        (["a.gif", *MADE], "only PNG, JPEG and WebP"),
        (["a.png", *MADE, "--tsa", "http://127.0.0.1:1/"], "gave no timestamp"),
        (["a.png", *MADE, "--tsa", "file:///etc/passwd"], "no address"),
        (["a.png", *MADE, "--in-place", "--tsa", "http://127.0.0.1:1/"], "gave no timestamp"),
        (["a.png", *MADE, "--cert", "none.pem"], "does not exist"),
        (["a.png", *MADE, "--cert", "expired.pem", "--key", "expired.key"], "expired on"),
        (["a.png", *MADE, "--cert", "other.pem", "--key", "expired.key"], "does not belong"),
        (["a.png", *MADE, "--cert", "other.pem"], "--key"),
        (["a.png", *MADE, "--cert", "open.pem", "--key", "open.key"], "chmod 600"),
        (["a.png", *MADE, "--cert", "web.pem", "--key", "web.key"], "not issued for signing claims"),
        (["a.png", *MADE, "--sign-with", "/no/such/program"], "cannot be started"),
        (["a.png", *MADE, "--sign-with", "'"], "cannot be read"),
        (["a.png", *MADE, "--sign-with", "echo"], "does not belong"),
        (["a.png", *MADE, "--watermark", "spread"], "auditkit watermark keys new"),
        (["a.png", *MADE, "--watermark", "sprad"], "did you mean spread"),
        (["folder", *MADE], "name a folder: --out"),
        (["folder", *MADE, "--out", "folder"], "would replace their sources"),
        (["folder", *MADE, "--out", "x", "--prompt", "secret"], "--prompt cannot be used with a folder"),
        (["folder", *MADE, "--in-place"], "--in-place cannot be used with a folder"),
        (["folder", "--out", "x", "--training", "constrained"], "--training-terms"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(home, arguments, told):
    (home / "folder").mkdir()
    write_image(home / "there.png")
    write_image(home / "jpeg.png", "jpeg")
    picture().save(home / "a.gif")
    (home / "text.png").write_text("hello")
    (home / "half.png").write_bytes((home / "a.png").read_bytes()[:2000])
    issued(home, "expired", ends=timedelta(days=-1))
    issued(home, "other")
    issued(home, "open", mode=0o644)
    issued(home, "web", purposes=("1.3.6.1.5.5.7.3.1",))
    before = files(home)
    error = answer("sign", *arguments, code=1)
    assert told in f"{error['what']} {error['mend']}"
    assert files(home) == before
    if (home / "home" / "store").exists():
        with open_store() as store:
            assert len(store) == 0


def test_without_a_signer_the_command_that_makes_one_is_named(isolated):  # noqa: F811
    write_image(isolated / "a.png")
    assert "auditkit keys pki" in run("sign", "a.png", *MADE, code=1).output
    assert sorted(path.name for path in isolated.iterdir()) == ["a.png"]


# Folders


@pytest.fixture
def pictures(home):
    folder = home / "pictures"
    write_image(folder / "a.png", seed=1)
    write_image(folder / "sub" / "b.jpg", seed=2)
    write_image(folder / "sub" / "c.webp", seed=3)
    return folder


def signed_folder(code=0, *options):
    return {row["file"]: row for row in answer("sign", "pictures", "--out", "out", *MADE, *options, code=code)["files"]}


def test_a_folder_is_signed_into_the_same_places(home, pictures):
    assert {row["status"] for row in signed_folder().values()} == {"signed"}
    for name in ("a.png", "sub/b.jpg", "sub/c.webp"):
        assert inspected(home / "out" / name)["verdict"] == "trusted"


def test_a_second_call_signs_what_is_missing_and_nothing_again(home, pictures):
    before = signed_folder()
    (home / "out" / "sub" / "b.jpg").unlink()
    after = signed_folder()
    assert {name: row["status"] for name, row in after.items()} == {
        "a.png": "kept", "sub/b.jpg": "signed", "sub/c.webp": "kept",
    }  # fmt: skip
    assert after["a.png"]["manifest"] == before["a.png"]["manifest"]


def test_a_folder_of_sidecars_resumes_too(home, pictures):
    signed_folder(0, "--sidecar")
    assert {row["status"] for row in signed_folder(0, "--sidecar").values()} == {"kept"}


def test_what_stopped_a_folder_does_not_stop_the_second_call(home, pictures, monkeypatch):
    write = signing.write

    def killed(made, out):
        if out.name == "b.jpg":
            raise KeyboardInterrupt
        return write(made, out)

    with monkeypatch.context() as patch:
        patch.setattr(signing, "write", killed)
        run("sign", "pictures", "--out", "out", *MADE, code=130)
    assert [row["status"] for row in signed_folder().values()] == ["kept", "signed", "signed"]


def test_a_folder_that_stopped_between_an_image_and_its_sidecar_goes_on(home, pictures):
    signed_folder(0, "--sidecar")
    (home / "out" / "a.c2pa").unlink()
    assert signed_folder(0, "--sidecar")["a.png"]["status"] == "signed"
    assert inspected(home / "out" / "a.png")["verdict"] == "trusted"


def test_two_images_never_share_a_sidecar(home, pictures):
    write_image(pictures / "a.jpg")
    rows = signed_folder(1, "--sidecar")
    assert {rows[name]["status"] for name in ("a.png", "a.jpg")} == {"signed", "failed"}
    answer("sign", "a.png", *MADE, "--sidecar", "--in-place")
    before = (home / "a.c2pa").read_bytes()
    write_image(home / "a.jpg")
    assert "another image has a sidecar" in answer("sign", "a.jpg", *MADE, "--sidecar", "--in-place", code=1)["what"]
    assert (home / "a.c2pa").read_bytes() == before


def test_one_bad_file_costs_one_row_and_the_exit_code(home, pictures):
    (pictures / "bad.png").write_text("no image")
    (pictures / "wrong.png").write_bytes((pictures / "sub" / "b.jpg").read_bytes())
    (pictures / "link.png").symlink_to(home / "a.png")
    (pictures / "note.txt").write_text("no picture at all")
    rows = signed_folder(1)
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {"bad.png", "wrong.png", "link.png"}
    assert all(rows[name]["note"] for name in failed)
    assert sorted(files(home / "out")) == ["a.png", "sub/b.jpg", "sub/c.webp"]


@pytest.mark.parametrize("what", ["not signed", "changed"])
def test_a_file_in_the_way_is_neither_kept_nor_replaced(home, pictures, what):
    path = home / "out" / "a.png"
    if what == "changed":
        signed_folder()
        data = bytearray(path.read_bytes())
        data[data.rindex(b"IDAT") + 20] ^= 1
        path.write_bytes(bytes(data))
    else:
        write_image(path)
    before = path.read_bytes()
    assert signed_folder(1)["a.png"]["status"] == "failed"
    assert path.read_bytes() == before


def test_a_link_in_the_folder_to_write_to_leads_nowhere(home, pictures):
    (home / "elsewhere").mkdir()
    (home / "out").mkdir()
    (home / "out" / "sub").symlink_to(home / "elsewhere")
    assert signed_folder(1)["sub/b.jpg"]["status"] == "failed"
    assert list((home / "elsewhere").iterdir()) == []


def test_terms_of_training_are_said_of_every_file_of_a_folder(home, pictures):
    signed_folder(0, "--training", "constrained", "--training-terms", "https://example.org/terms")
    entries = said(home / "out" / "a.png", "cawg.training-mining")["entries"]
    assert {each["constraint_info"] for each in entries.values()} == {"https://example.org/terms"}


# Runs


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


# Keys and trust


def test_keys_pki_makes_a_signer_that_sign_finds(isolated):  # noqa: F811
    made = answer("keys", "pki", "--name", "me", "--days", 30)
    assert made["production"] is False
    assert mode(Path(made["key"])) == 0o600
    write_image(isolated / "a.png")
    signed = answer("sign", "a.png", *MADE)
    assert signed["signer"]["signer"] == "me (NOT FOR PRODUCTION)"
    assert answer("inspect", signed["out"], "--trust", made["root"])["c2pa"]["verdict"] == "trusted"
    assert answer("inspect", signed["out"])["c2pa"]["verdict"] == "valid-untrusted"


def test_keys_pki_tells_people_the_next_commands(isolated):  # noqa: F811
    told = run("keys", "pki", "--out", "mine").output
    assert "not for production" in told
    assert "--cert 'mine/signer.pem' --key 'mine/signer.key'" in told


def test_keys_pki_never_replaces_keys(home):
    before = files(home)
    assert "holds keys already" in answer("keys", "pki", code=1)["what"]
    assert files(home) == before


def test_a_trust_list_makes_a_signer_trusted_from_its_day_on(home):
    answer("sign", "a.png", *MADE, "--out", "b.png")
    made = answer("trust", "import", "mine", pki().root, "--in-force", "2026-01-31", "--kind", "official")
    assert made == {"name": "mine", "version": "2026-01-31", "in_force": "2026-01-31", "kind": "official",
                    "anchors": 1, "source": "root.pem"}  # fmt: skip
    assert answer("inspect", "b.png")["c2pa"]["verdict"] == "trusted"
    assert answer("trust", "list")["lists"] == [made]
    assert answer("trust", "list", "--as-of", "2026-01-30")["lists"] == []
    assert answer("trust", "remove", "mine") == {"removed": "mine", "versions": 1}
    assert answer("inspect", "b.png")["c2pa"]["verdict"] == "valid-untrusted"


def test_show_forecast_and_diff_name_certificates(home):
    other = issued(home, "soon", ends=timedelta(days=9))
    answer("trust", "import", "mine", pki().root, "--version", "v1", "--in-force", "2026-01-31")
    answer("trust", "import", "mine", other.chain, "--version", "v2", "--in-force", "2026-02-28")
    assert [row["name"] for row in answer("trust", "show", "mine@v1")["certificates"]] == ["root (NOT FOR PRODUCTION)"]
    assert [row["name"] for row in answer("trust", "forecast", "--days", 10)["expiring"]] == ["soon"]
    assert answer("trust", "forecast", "--days", 1)["expiring"] == []
    assert len(answer("trust", "forecast", "--days", 10**12)["expiring"]) == 2
    found = answer("trust", "diff", "mine@v1", "mine")
    assert ([row["name"] for row in found["removed"]], len(found["added"]), found["kept"]) == (
        ["root (NOT FOR PRODUCTION)"], 2, 0,
    )  # fmt: skip


def test_the_trust_verbs_tell_people_the_same(home):
    assert "every signer is unknown" in run("trust", "list").output
    assert "1 anchors" in run("trust", "import", "mine", pki().root).output
    for verb in (("list",), ("show", "mine"), ("forecast", "--days", "5000")):
        assert "mine" in run("trust", *verb).output
    assert "0 added, 0 removed, 1 kept" in run("trust", "diff", "mine", pki().root).output
    assert "Removed mine" in run("trust", "remove", "mine").output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["import", "mine", "none.pem"], "does not exist"),
        (["import", "mine", "a.png"], "holds no certificate"),
        (["import", "mine", "home/pki/root.key"], "private key, not a certificate"),
        (["import", "../up", "home/pki/root.pem"], "list's name"),
        (["import", "mine", "home/pki/root.pem", "--version", "../up"], "a version has"),
        (["import", "mine", "home/pki/root.pem", "--in-force", "soon"], "no day"),
        (["import", "mine", "home/pki/root.pem", "--kind", "public"], "no kind"),
        (["show", "nobody"], "no such trust list"),
        (["diff", "nobody", "home/pki/root.pem"], "no such trust list"),
        (["remove", "../home"], "no such trust list"),
        (["list", "--as-of", "yesterday"], "no day"),
    ],
)
def test_bad_input_to_trust_is_one_error_and_leaves_nothing(home, arguments, told):
    before = files(home)
    assert told in answer("trust", *arguments, code=1)["what"]
    assert files(home) == before


# The Python verbs


def test_the_python_verbs_are_those_of_the_command_line(home, tiny_run):
    made = auditkit.sign("a.png", "b.png", source_type="digitalCapture")
    assert auditkit.inspect("b.png", trust=[pki().root]).c2pa["verdict"] == "trusted"
    assert isinstance(made, publishing.Published)
    (home / "pictures").mkdir()
    (home / "a.png").rename(home / "pictures" / "a.png")
    assert auditkit.sign_folder("pictures", "out", training="notAllowed")["status"].tolist() == ["signed"]
    assert len(auditkit.sign_run(tiny_run)) == 24
    with pytest.raises(ProvenanceError, match="vocabulary"):
        auditkit.sign("b.png", source_type="photograph")
