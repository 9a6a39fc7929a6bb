"""`auditkit watermark ...` as people and programs use it: marks, verdicts, keys, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from tiny_checkpoints import tiny_sd_checkpoint
from typer.testing import CliRunner
from watermark_toy import photograph

import auditkit
from app.cli import app
from auditkit.watermark.keys import ENVIRONMENT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture, a key file of one key, and a second picture without a mark."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "keys.json"))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph("coffee.png", 384)).save("coffee.png")
    Image.fromarray(photograph("astronaut.png", 384)).save("plain.png")
    answer("keys", "new")
    return tmp_path


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["watermark", *(str(each) for each in arguments)])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments: object, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


def verdicts(*arguments: object) -> dict[str, str]:
    return {row["scheme"]: row["verdict"] for row in answer("detect", *arguments)["detections"]}


@pytest.mark.parametrize("scheme", ["spread", "codec"])
def test_what_embed_marks_detect_finds_and_names(home: Path, scheme: str) -> None:
    answer("embed", "coffee.png", "--out", "marked.png", "--scheme", scheme, "--payload", "1:42", "--name", "alice")
    (row,) = answer("detect", "marked.png", "--scheme", scheme)["detections"]
    assert (row["verdict"], row["payload"], row["payload_name"]) == ("present", "1:42", "alice")
    assert row["p_value"] <= row["fpr"] == 1e-6
    assert verdicts("plain.png", "--scheme", scheme) == {scheme: "absent"}


def test_people_are_told_that_absent_is_no_proof(home: Path) -> None:
    assert "does not show that there never was one" in run("detect", "plain.png", "--scheme", "spread").output


def test_a_folder_is_marked_and_detected_in_one_call_each(home: Path) -> None:
    folder = home / "pictures"
    folder.mkdir()
    (home / "coffee.png").rename(folder / "a.png")
    (folder / "b.jpg").write_bytes(b"no image")
    done = answer("embed", folder, "--out", home / "marked", code=1)
    assert [row["status"] for row in done["files"]] == ["marked", "failed"]
    found = answer("detect", home / "marked", "--scheme", "spread", "--out", home / "rows.csv")
    assert [row["verdict"] for row in found["detections"]] == ["present"]
    assert len(pd.read_csv(home / "rows.csv")) == 1


def test_embedding_again_without_a_payload_uses_the_same_one(home: Path) -> None:
    for name in ("one.png", "two.png"):
        answer("embed", "coffee.png", "--out", name)
    (key,) = answer("keys", "list")["keys"]
    assert [one["payload"] for one in key["payloads"]] == ["1:0"]


def test_identify_says_whose_or_nobody(home: Path) -> None:
    answer("embed", "coffee.png", "--out", "marked.png", "--payload", "3:7")
    Path("users.csv").write_text("model,user,name\n3,7,bo\n3,8,cy\n")
    found = answer("identify", "marked.png", "--users", "users.csv")
    assert (found["payload"], found["name"], found["users"]) == ("3:7", "bo", 2)
    nobody = answer("identify", "plain.png", "--users", "users.csv")
    assert (nobody["payload"], nobody["name"]) == (None, "")
    assert nobody["p_value"] > 1e-3


def test_a_list_of_users_without_its_column_names_it(home: Path) -> None:
    Path("users.csv").write_text("model,person\n3,7\n")
    assert "'user'" in str(run("identify", "plain.png", "--users", "users.csv", code=1).output)


def test_a_retired_key_still_verifies_and_a_new_one_marks(home: Path) -> None:
    answer("embed", "coffee.png", "--out", "marked.png")
    new = answer("keys", "rotate")["key_id"]
    rows = answer("detect", "marked.png", "--scheme", "spread")["detections"]
    assert {row["key_id"] == new: row["verdict"] for row in rows} == {True: "absent", False: "present"}


def test_no_answer_holds_a_secret(home: Path) -> None:
    secret = json.loads((home / "keys.json").read_text())["keys"][0]["secret"]
    answer("embed", "coffee.png", "--out", "marked.png")
    outputs = [run("keys", "list").output, run("keys", "list", "--json").output]
    outputs += [run("detect", "marked.png", "--json").output]
    assert not any(secret in output for output in outputs)


def test_a_key_file_that_others_can_read_is_refused_with_the_mend(home: Path) -> None:
    (home / "keys.json").chmod(0o644)
    assert "chmod 600" in run("detect", "plain.png", code=1).output


def test_without_a_key_file_the_command_that_makes_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "none.json"))
    Image.fromarray(photograph("coffee.png", 128)).save(tmp_path / "a.png")
    assert "auditkit watermark keys new" in run("detect", tmp_path / "a.png", code=1).output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["embed", "none.png", "--out", "x.png"], "does not exist"),
        (["embed", "coffee.png", "--out", "x.tga"], "'.tga'"),
        (["embed", "coffee.png", "--out", "x.png", "--payload", "seven"], "MODEL:USER"),
        (["embed", "coffee.png", "--out", "x.png", "--payload", "99999999"], "24 bits"),
        (["embed", "coffee.png", "--out", "x.png", "--scheme", "sprad"], "did you mean spread"),
        (["embed", "coffee.png", "--out", "x.png", "--scheme", "tree-ring"], "generate --watermark tree-ring"),
        (["detect", "none.png"], "no such file"),
        (["detect", "plain.png", "--fpr", "0.5"], "false positive rate"),
        (["detect", "plain.png", "--key", "k-none"], "no key 'k-none'"),
        (["root", "--generator", "nobody", "--out", "x"], "nobody"),
        (["bench", "--attack", "jpg", "--out", "x"], "did you mean jpeg"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(home: Path, arguments: list[str], said: str) -> None:
    before = sorted(home.iterdir())
    assert said in run(*arguments, code=1).output
    assert sorted(home.iterdir()) == before


def test_a_label_is_written_and_measured(home: Path) -> None:
    found = answer("label", "coffee.png", "--out", "labelled.png")
    assert found["share"] >= 0.05
    assert found["contrast"] >= 4.5
    assert Image.open("labelled.png").size == Image.open("coffee.png").size


def test_a_bench_writes_tables_and_a_page(home: Path) -> None:
    (home / "photographs").mkdir()
    (home / "coffee.png").rename(home / "photographs" / "coffee.png")
    what = ["--photographs", "photographs", "--scheme", "spread", "--attack", "jpeg:50"]
    found = answer("bench", *what, "--out", "bench")
    shares = {row["attack"]: row["tpr"] for row in found["results"] if row["group"] != "forgery"}
    assert shares == {"none": 1.0, "jpeg": 1.0, "unmarked": 0.0}
    assert "What watermarks survive" in (home / "bench" / "index.html").read_text()


def test_root_makes_a_checkpoint_and_names_its_payload(home: Path) -> None:
    folder = tiny_sd_checkpoint(home / "tiny")
    (folder / "auditkit.toml").write_text('name = "tiny"\nsampler = "ddim"\nsteps = 1\nguidance = 1.0\n')
    found = answer("root", "--generator", folder, "--out", "rooted", "--steps", "2")
    assert found["name"] == "tiny-rooted"
    assert (home / "rooted" / "model_index.json").is_file()
    (key,) = answer("keys", "list")["keys"]
    assert [one["payload"] for one in key["payloads"]] == [found["payload"]]


def test_the_python_verbs_are_those_of_the_command_line(home: Path) -> None:
    auditkit.embed_watermark("coffee.png", "marked.png", payload="1:42")
    found = auditkit.detect_watermark("marked.png", schemes=["spread"])
    assert found["verdict"].tolist() == ["present"]
    assert auditkit.identify_watermark("marked.png")[0].matched == 248
