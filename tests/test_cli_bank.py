"""`auditkit bank ...` as people and programs use it: make a bank, fill it, exchange it, match against it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import skimage.data
import typer
from PIL import Image
from typer.testing import CliRunner

from app.commands.banking import register
from auditkit import places

VERBS = ("new", "list", "add", "import", "export", "remove", "match")
PDQ = "f0" * 32

app = typer.Typer()
app.callback()(lambda: None)
register(app)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bank and a folder of two pictures, of which one is broken."""
    monkeypatch.setenv(places.ENVIRONMENT, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    Image.fromarray(skimage.data.astronaut()).save("pictures/a.png")
    Path("pictures/b.jpg").write_bytes(b"no image")
    answer("new", "known-harm", "--kind", "harm")
    return tmp_path


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["bank", *(str(each) for each in arguments)])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments: object, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


def test_what_is_added_is_matched_after_compression(home: Path) -> None:
    added = answer("add", "known-harm", "pictures", "--label", "weapon", code=1)
    assert (added["added"], [row["file"] for row in added["failed"]]) == (2, ["pictures/b.jpg"])
    Image.open("pictures/a.png").convert("RGB").save("upload.jpg", quality=50)
    (found,) = answer("match", "upload.jpg", "--bank", "known-harm")["matches"]
    assert (found["label"], found["kind"], found["exact"], found["form"]) == ("weapon", "harm", False, "as it is")
    assert "weapon" in run("match", "upload.jpg").output


def test_a_folder_is_matched_and_written_as_csv(home: Path) -> None:
    answer("add", "known-harm", "pictures/a.png")
    found = answer("match", "pictures", "--out", "rows.csv", code=1)
    assert (found["images"], len(found["matches"]), len(found["failed"])) == (2, 2, 1)
    assert pd.read_csv("rows.csv")["exact"].tolist() == [True, False]


def test_a_hash_is_added_matched_and_removed(home: Path) -> None:
    answer("add", "known-harm", "--hash", f"pdq:{PDQ}", "--label", "x")
    assert [row["distance"] for row in answer("match", f"pdq:{PDQ[:-1]}1")["matches"]] == [1]
    assert answer("remove", "known-harm", "--label", "x")["removed"] == 1
    assert answer("match", f"pdq:{PDQ}")["matches"] == []


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.txt"])
def test_a_bank_exported_and_imported_is_the_same(home: Path, name: str) -> None:
    answer("add", "known-harm", "--hash", f"pdq:{PDQ}")
    assert answer("export", "known-harm", name)["hashes"] == 1
    answer("new", "copy", "--kind", "own")
    assert answer("import", "copy", name)["added"] == 1
    counts = {row["bank"]: (row["kind"], row["pdq"]) for row in answer("list")["banks"]}
    assert counts == {"copy": ("own", 1), "known-harm": ("harm", 1)}


def test_an_import_with_a_wrong_row_imports_nothing_and_names_it(home: Path) -> None:
    Path("list.csv").write_text(f"hash,type\n{PDQ},pdq\nabc,pdq\n")
    assert "list.csv, line 3" in run("import", "known-harm", "list.csv", code=1).output
    assert answer("list")["banks"][0]["pdq"] == 0


def test_an_import_says_what_it_left_out(home: Path) -> None:
    Path("list.csv").write_text(f"hash,type\n{PDQ},pdq\n{'a' * 32},md5\n")
    assert "1 md5" in run("import", "known-harm", "list.csv").output


def test_a_flat_image_is_said_to_be_unusable(home: Path) -> None:
    Image.new("RGB", (80, 80)).save("flat.png")
    assert answer("match", "flat.png")["unusable"] == ["flat.png"]
    assert "unusable" in run("match", "flat.png").output


def test_a_loose_threshold_is_warned_of(home: Path) -> None:
    assert "have a person look" in run("match", "pictures/a.png", "--threshold", 40).output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "known-harm", "--kind", "harm"], "already"),
        (["new", "x", "--kind", "bad"], "harm, own"),
        (["add", "none", "pictures/a.png"], "auditkit bank new none"),
        (["add", "known-harm"], "nothing to add"),
        (["add", "known-harm", "--hash", "md5:ab"], "pdq, sha256"),
        (["add", "known-harm", "--hash", "pdq:ab"], "64 hexadecimal digits"),
        (["import", "known-harm", "none.csv"], "does not exist"),
        (["import", "known-harm", "pictures/b.jpg"], "no pdq hash"),
        (["export", "known-harm", "x", "--format", "xml"], "threatexchange"),
        (["remove", "known-harm"], "--label"),
        (["match", "none.png"], "cannot be read"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(home: Path, arguments: list[str], said: str) -> None:
    before = sorted(home.rglob("*"))
    assert said in run(*arguments, code=1).output
    assert sorted(home.rglob("*")) == before


def test_without_banks_the_command_that_makes_one_is_named(home: Path) -> None:
    assert "auditkit bank new" in run("match", "pictures/a.png", "--banks", "none", code=1).output


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_each_example_parses(verb: str) -> None:
    text = CliRunner().invoke(app, ["bank", *verb.split(), "--help"], env={"COLUMNS": "300"}).output
    words = shlex.split(next(line for line in text.splitlines() if "Example:" in line).partition("Example: ")[2])
    group = typer.main.get_command(app).commands["bank"]  # type: ignore[attr-defined]
    assert words[:2] == ["auditkit", "bank"]
    assert verb in ("", words[2])
    group.commands[words[2]].make_context(words[2], words[3:])
