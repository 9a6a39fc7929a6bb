"""`auditkit log ...` as people and programs use it: entries, checkpoints, proofs, and honest exit codes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.commands import transparency
from auditkit.places import ENVIRONMENT
from auditkit.provenance.log import Log
from auditkit.provenance.log_entry import Entry
from auditkit.runs import Run

app = typer.Typer()
transparency.register(app)
app.command("other")(lambda: None)

VERBS = ["new", "add", "checkpoint", "prove", "consistency", "verify", "verify-proof", "show"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three pictures, two of them in a new log."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        Path(f"{name}.png").write_bytes(name.encode())
    answer("new", "--origin", "example.com/images")
    answer("add", "a.png", "b.png")
    return tmp_path


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["log", *(str(each) for each in arguments)])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments: object, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


def failed(found: dict[str, Any]) -> list[str]:
    return [check["name"] for check in found["checks"] if check["holds"] is False]


def rewrite(home: Path, *, without: int) -> None:
    """Write the log anew without one entry, as its keeper could."""
    folder = home / "home" / "log"
    log = Log.open(folder)
    entries = [entry for i, entry in enumerate(log.entries()) if i != without]
    shutil.rmtree(folder)
    Log.create(folder, origin=log.origin, key=log.key).append(entries)


def edit(home: Path) -> None:
    """Change a letter of the first entry."""
    file = home / "home" / "log" / "entries.jsonl"
    file.write_bytes(file.read_bytes().replace(b"generated", b"retired", 1))


# --- entries ------------------------------------------------------------------------------------------------------


def test_a_new_log_has_a_key_for_its_owner_alone_and_shows_only_the_public_one(home: Path) -> None:
    key = home / "home" / "log.key"
    assert key.stat().st_mode & 0o777 == 0o600
    shown = answer("show")
    assert shown["public_key"].startswith("example.com/images+")
    assert key.read_text().split("\n")[1] not in run("show").output + json.dumps(shown)


def test_a_second_log_in_the_same_place_is_refused_and_changes_nothing(home: Path) -> None:
    before = (home / "home" / "log.key").read_bytes()
    assert "never replaces" in run("new", code=1).output
    assert (home / "home" / "log.key").read_bytes() == before
    assert answer("show")["size"] == 2


def test_files_are_logged_once_by_their_hash(home: Path) -> None:
    found = answer("add", "a.png", "c.png")
    assert (found["added"], found["known"], found["size"]) == (1, 1, 3)
    (row,) = answer("show", "c.png")["entries"]
    assert (row["index"], row["kind"], row["sha256"][:8]) == (2, "generated", "2e7d2c03")


def test_an_asset_may_be_retired_after_it_was_logged(home: Path) -> None:
    answer("add", "a.png", "--kind", "retired", "--key-id", "k-0123456789ab")
    rows = answer("show", "a.png")["entries"]
    assert [(row["kind"], row.get("keys")) for row in rows] == [("generated", None), ("retired", ["k-0123456789ab"])]


def test_a_run_is_logged_with_all_its_images_under_its_id(home: Path, tiny_run: Run) -> None:
    found = answer("add", tiny_run.path)
    ids = set(tiny_run.images()["id"])
    assert found["added"] == len(ids)
    rows = answer("show", "--last", len(ids))["entries"]
    assert {(row["sha256"], row["run"]) for row in rows} == {(id, tiny_run.id) for id in ids}
    again = answer("add", tiny_run.path.name, "--runs", tiny_run.path.parent)
    assert (again["added"], again["known"]) == (0, len(ids))


def test_no_prompt_of_a_run_is_in_the_log(home: Path, tiny_run: Run) -> None:
    answer("add", tiny_run.path)
    written = b"".join(file.read_bytes() for file in (home / "home" / "log").iterdir())
    assert b"portrait" not in written


def test_a_run_with_a_changed_image_is_not_logged(home: Path, tiny_run: Run) -> None:
    tiny_run.image_path(tiny_run.images()["id"].iloc[-1]).write_bytes(b"changed")
    assert "verify-run" in run("add", tiny_run.path, code=1).output
    assert answer("show")["size"] == 2


# --- checkpoints --------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_a_signed_note_of_three_lines(home: Path) -> None:
    text = run("checkpoint", "--out", "checkpoint.txt").stdout
    assert text == Path("checkpoint.txt").read_text()
    assert re.fullmatch(r"example.com/images\n2\n[A-Za-z0-9+/=]{44}\n\n— example.com/images [A-Za-z0-9+/=]+\n", text)


def test_a_checkpoint_without_a_signature_says_so(home: Path) -> None:
    answer("new", "--log", "other", "--unsigned")
    done = run("checkpoint", "--log", "other")
    assert "anybody could have written it" in done.stderr
    assert answer("checkpoint", "--log", "other")["signed"] is False


def test_a_log_with_a_key_is_not_left_unsigned_by_accident(home: Path) -> None:
    (home / "home" / "log.key").unlink()
    assert "--unsigned" in run("checkpoint", code=1).output
    assert answer("checkpoint", "--unsigned")["signed"] is False


def test_a_key_that_others_can_read_is_refused_with_the_mend(home: Path) -> None:
    (home / "home" / "log.key").chmod(0o644)
    assert "chmod 600" in run("checkpoint", code=1).output


# --- proofs -------------------------------------------------------------------------------------------------------


def test_a_proof_is_verified_when_the_log_is_not_there(home: Path) -> None:
    key = answer("show")["public_key"]
    run("checkpoint", "--out", "checkpoint.txt")
    run("prove", "b.png", "--out", "proof.json")
    shutil.rmtree(home / "home")
    found = answer("verify-proof", "proof.json", "--checkpoint", "checkpoint.txt", "--key", key, "--file", "b.png")
    assert [(check["name"], check["holds"]) for check in found["checks"]] == [
        ("inclusion", True), ("asset", True), ("checkpoint", True), ("signature", True),
    ]  # fmt: skip


def test_a_public_key_may_lie_in_a_file(home: Path) -> None:
    Path("log.pub").write_text(answer("show")["public_key"] + "\n")
    run("prove", "a.png")
    assert answer("verify-proof", "proof.json", "--key", "log.pub")["ok"]


def test_a_proof_held_against_nothing_says_that_only_it_vouches_for_itself(home: Path) -> None:
    run("prove", "a.png")
    assert "nobody but the proof itself" in run("verify-proof", "proof.json").output.replace("\n", " ")


@pytest.mark.parametrize(
    ("field", "value", "fails"),
    [
        ("index", 1, "inclusion"),
        ("size", 7, "inclusion"),
        ("root", "00" * 32, "inclusion"),
        ("hashes", [], "inclusion"),
    ],
)
def test_a_changed_proof_fails_with_exit_code_1(home: Path, field: str, value: object, fails: str) -> None:
    run("prove", "a.png")
    Path("proof.json").write_text(json.dumps(json.loads(Path("proof.json").read_text()) | {field: value}))
    assert fails in failed(answer("verify-proof", "proof.json", code=1))
    assert "FAILS" in run("verify-proof", "proof.json", code=1).output


def test_a_proof_of_another_file_key_or_checkpoint_fails(home: Path) -> None:
    run("checkpoint", "--out", "earlier.txt")
    answer("add", "c.png")
    run("prove", "a.png")
    other = answer("new", "--log", "other", "--origin", "example.com/images")["public_key"]
    assert failed(answer("verify-proof", "proof.json", "--file", "b.png", code=1)) == ["asset"]
    assert failed(answer("verify-proof", "proof.json", "--key", other, code=1)) == ["signature"]
    assert failed(answer("verify-proof", "proof.json", "--checkpoint", "earlier.txt", code=1)) == ["checkpoint"]
    run("prove", "a.png", "--checkpoint", "earlier.txt", "--out", "old.json")
    assert answer("verify-proof", "old.json", "--checkpoint", "earlier.txt")["ok"]


def test_a_log_that_grew_is_consistent_with_an_earlier_checkpoint_and_the_proof_is_verified_offline(home: Path) -> None:
    key = answer("show")["public_key"]
    run("checkpoint", "--out", "earlier.txt")
    answer("add", "c.png")
    assert answer("consistency", "earlier.txt", "--unsigned")["ok"]
    assert answer("consistency", "earlier.txt", "--out", "grown.json")["ok"]
    shutil.rmtree(home / "home")
    assert answer("verify-proof", "grown.json", "--checkpoint", "earlier.txt", "--key", key)["ok"]


def test_a_log_that_was_rewritten_is_not_consistent(home: Path) -> None:
    run("checkpoint", "--out", "earlier.txt")
    rewrite(home, without=0)
    answer("add", "a.png", "c.png")
    assert failed(answer("consistency", "earlier.txt", code=1)) == ["consistency"]
    assert [each["kind"] for each in answer("verify", "--checkpoint", "earlier.txt", code=1)["problems"]] == [
        "checkpoint"
    ]


# --- verify -------------------------------------------------------------------------------------------------------


def test_a_whole_log_verifies(home: Path) -> None:
    run("checkpoint", "--out", "earlier.txt")
    answer("add", "c.png")
    found = answer("verify", "--checkpoint", "earlier.txt", "--key", answer("show")["public_key"])
    assert (found["ok"], found["size"], found["held_to_checkpoint"]) == (True, 3, True)
    assert "--checkpoint" in run("verify").output


def test_a_changed_entry_is_named_with_exit_code_1(home: Path) -> None:
    edit(home)
    (problem,) = answer("verify", code=1)["problems"]
    assert (problem["kind"], problem["index"]) == ("changed", 0)
    assert "entry 0 is not the one that was appended" in run("verify", code=1).output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "none.png"], "no run 'none.png'"),
        (["add", "a.png", "--kind", "deleted"], "generated, signed, retired"),
        (["add", "c.png", "--key-id", "a secret"], "without spaces"),
        (["new", "--log", "x", "--origin", "two words"], "no spaces"),
        (["prove", "c.png"], "auditkit log add c.png"),
        (["prove", "7"], "no entry about it"),
        (["prove", "none.png"], "no file"),
        (["show", "f" * 64], "no entry about it"),
        (["consistency", "a.png"], "not a log's checkpoint"),
        (["consistency", "none.txt"], "cannot be read"),
        (["verify-proof", "a.png"], "not a proof"),
        (["verify-proof", "none.json"], "cannot be read"),
        (["verify", "--key", "nonsense"], "not the public key"),
        (["show", "--log", "nowhere"], "auditkit log new"),
    ],
)
def test_bad_input_is_one_error_and_changes_nothing(home: Path, arguments: list[str], said: str) -> None:
    assert said in run(*arguments, code=1).output
    assert answer("show")["size"] == 2
    assert answer("verify")["ok"]


# --- help ---------------------------------------------------------------------------------------------------------


def test_every_verb_is_there_with_a_json_answer_and_an_example_that_parses() -> None:
    group: Any = typer.main.get_command(app).commands["log"]  # type: ignore[attr-defined]
    assert [*group.commands] == VERBS
    assert group.epilog.startswith("Example: auditkit log ")
    for name, command in group.commands.items():
        words = shlex.split(command.epilog.removeprefix("Example: "))
        assert words[:3] == ["auditkit", "log", name]
        command.make_context(name, words[3:])
        assert "--json" in run(name, "--help").stdout
        assert command.help


def test_entries_of_the_signing_code_are_found_by_the_file(home: Path) -> None:
    sha256 = answer("show", "a.png")["entries"][0]["sha256"]
    Log.ensure().append(Entry("signed", sha256, manifest="0" * 64, keys=("k-0123456789ab",)))
    assert [row["kind"] for row in answer("show", "a.png")["entries"]] == ["generated", "signed"]
