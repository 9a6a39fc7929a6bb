"""`auditkit sign` for files and folders, as people and programs use it."""

from __future__ import annotations

import shlex
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import sign_cli_helpers
from provenance_helpers import (
    isolated,  # noqa: F401
    issued,
    mode,
    picture,
    pki,
    verdict_of,
    write_image,
)
from sign_cli_helpers import MADE, answer, files, inspected, run, said

import auditkit
from auditkit.errors import ProvenanceError
from auditkit.provenance import publishing, signing
from auditkit.provenance.manifest import prompt_hash
from auditkit.provenance.store import open_store
from auditkit.watermark import keys

home = sign_cli_helpers.home  # a fixture

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
