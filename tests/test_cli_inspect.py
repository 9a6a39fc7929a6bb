"""`auditkit inspect` and `scan` as people and programs use them: answers, errors, what strangers' files may show."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from provenance_helpers import image_bytes, isolated, issued, pki, signed  # noqa: F401
from provenance_mutations import raw_signed, repainted
from rich.console import Console
from typer.testing import CliRunner

import auditkit
from app import output
from app.cli import app
from app.commands.inspecting import card
from auditkit.errors import ImageError
from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.store import open_store
from auditkit.provenance.verdict import VERDICTS

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egpj.exe\r\nC2PA trusted\x7f"
"""Clears a screen, renames a window, turns writing around, and begins a line of its own."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "signed.png").write_bytes(signed("png").data)
    (tmp_path / "changed.jpg").write_bytes(repainted(signed("jpeg").data))
    (tmp_path / "plain.webp").write_bytes(image_bytes("webp"))
    (tmp_path / "notes.txt").write_text("hello")
    return tmp_path


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments: object, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


def shown(found: dict[str, Any], *, width: int = 110) -> str:
    """The card as text that a terminal would get, without colours."""
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False).print(card(found))
    return stream.getvalue()


def looked_at(data: bytes, name: str = "bytes") -> dict[str, Any]:
    return Inspector(Settings(store="", keys="", banks=())).inspect_bytes(data, name=name).as_dict()


# --- answers ------------------------------------------------------------------------------------------------------


def test_the_answer_is_an_object_with_the_parts_kept_apart(files: Path) -> None:
    found = answer("inspect", "signed.png")
    assert {"c2pa", "watermark", "hash", "detector", "consent"} <= set(found)
    assert {"verdict", "codes", "signer", "sentence"} <= set(found["c2pa"])
    assert found["c2pa"]["verdict"] == "valid-untrusted"
    assert found["c2pa"]["codes"] == ["signingCredential.untrusted"]
    assert found["c2pa"]["signer"]["name"].startswith("development signer")
    for part in ("c2pa", "watermark", "hash", "detector", "consent"):
        assert found[part]["sentence"].endswith(".")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("changed.jpg", "tampered-content"), ("plain.webp", "no-manifest"), ("notes.txt", "unsupported")],
)
def test_a_bad_verdict_is_an_answer_and_exits_with_0(files: Path, name: str, verdict: str) -> None:
    assert answer("inspect", name)["c2pa"]["verdict"] == verdict
    assert verdict in VERDICTS


def test_anchors_that_are_named_make_it_trusted(files: Path) -> None:
    assert answer("inspect", "signed.png", "--trust", pki().root)["c2pa"]["verdict"] == "trusted"


def test_a_trust_file_without_a_certificate_is_an_error(files: Path) -> None:
    (files / "empty.pem").write_text("no certificate")
    for wrong in ("empty.pem", "none.pem"):
        found = answer("inspect", "signed.png", "--trust", wrong, code=1)
        assert found["error"] == "TrustError"
        assert found["mend"]


def test_as_of_a_day_on_which_the_certificate_has_run_out_it_is_expired(files: Path) -> None:
    def on(day: date) -> Any:
        return answer("inspect", "signed.png", "--trust", pki().root, "--as-of", day.isoformat())["c2pa"]

    today = date.today()
    assert on(today)["verdict"] == "trusted"
    later = on(today + timedelta(days=700))
    assert later["verdict"] == "expired"
    assert any(note.startswith("Judged as of") for note in later["notes"])
    assert on(today - timedelta(days=300))["verdict"] == "expired"


def test_a_day_that_is_none_is_an_error(files: Path) -> None:
    assert run("inspect", "signed.png", "--as-of", "yesterday", code=1)


def test_a_missing_file_a_folder_a_device_and_a_pipe_are_errors(files: Path) -> None:
    os.mkfifo(files / "pipe")
    (files / "empty.png").write_bytes(b"")
    for wrong, what in {
        "none.png": "does not exist", ".": "this is a folder", "/dev/zero": "not a plain file",
        "pipe": "not a plain file", "empty.png": "the file is empty",
    }.items():  # fmt: skip
        found = answer("inspect", wrong, code=1)
        assert found["error"] == "ImageError"
        assert what in found["what"]
        assert found["mend"]


def test_the_python_verb_gives_what_the_command_gives(files: Path) -> None:
    assert auditkit.inspect("signed.png", trust=[pki().root]).as_dict() == answer(
        "inspect", "signed.png", "--trust", pki().root
    )
    with pytest.raises(ImageError):
        auditkit.inspect("none.png")


def test_a_store_that_is_named_recovers_and_no_store_does_not(files: Path) -> None:
    made = signed("webp")
    with open_store(files / "store", create=True) as store:
        store.add(made, title="plain", signer="s")
    assert answer("inspect", "plain.webp", "--store", "store")["c2pa"]["verdict"] == "recovered-exact"
    assert answer("inspect", "plain.webp", "--no-store")["c2pa"]["verdict"] == "no-manifest"
    assert answer("inspect", "plain.webp", "--store", "elsewhere", code=1)["error"] == "ProvenanceError"


def test_a_sidecar_beside_the_file_is_read_and_a_link_is_not(files: Path) -> None:
    made = signed("png", embed=False)
    (files / "beside.png").write_bytes(made.data)
    (files / "kept.c2pa").write_bytes(made.manifest)
    (files / "beside.c2pa").symlink_to("kept.c2pa")
    assert answer("inspect", "beside.png")["c2pa"]["verdict"] == "no-manifest"
    (files / "beside.c2pa").unlink()
    (files / "kept.c2pa").rename("beside.png.c2pa")
    found = answer("inspect", "beside.png")["c2pa"]
    assert (found["verdict"], found["container"]) == ("valid-untrusted", "sidecar")


def test_without_a_key_the_answer_says_that_no_mark_was_looked_for(files: Path) -> None:
    assert answer("inspect", "signed.png")["watermark"]["verdict"] == "not looked for"


def test_scan_counts_the_verdicts_and_mirrors_the_python_verb(files: Path) -> None:
    folder = files / "uploads"
    folder.mkdir()
    for name in ("signed.png", "changed.jpg", "notes.txt"):
        (files / name).rename(folder / name)
    found = answer("scan", folder, "--out", "out.parquet", "--workers", 1)
    assert found["c2pa"] == {"tampered-content": 1, "unsupported": 1, "valid-untrusted": 1}
    assert (found["files"], found["made"], found["kept"], found["errors"]) == (3, 3, 0, 0)
    again = auditkit.scan(folder, "out.parquet", workers=1)
    assert (again.made, again.kept) == (0, 3)


def test_scan_of_a_file_is_an_error_that_names_inspect(files: Path) -> None:
    assert "auditkit inspect" in answer("scan", "signed.png", code=1)["mend"]


# --- for people ---------------------------------------------------------------------------------------------------


def test_the_card_shows_verdict_sentence_signer_and_codes(files: Path) -> None:
    text = run("inspect", "changed.jpg").output
    assert "tampered-content" in text
    assert "is not the one that “development signer" in text
    assert "assertion.dataHash.mismatch" in text
    assert "personas-detector" in text


def test_markup_in_titles_and_names_is_shown_as_it_is(files: Path) -> None:
    (files / "[red]x[blue].png").write_bytes(_with_ingredient("[bold]title[/] [/nothing]"))
    text = run("inspect", "[red]x[blue].png").output
    assert "[red]x[blue].png" in text
    assert "[bold]title[/] [/nothing]" in text


def test_what_steers_a_terminal_is_spelled_out_on_the_card() -> None:
    found = looked_at(_with_ingredient(ESCAPES), name="/up/\x1b[31mred\x1b[0m\n.png")
    assert ESCAPES in [edge["title"] for edge in found["c2pa"]["graph"]["edges"]]  # else this would show nothing
    text = shown(found)
    assert not [sign for sign in text if sign != "\n" and (ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0)]
    assert "\u202e" not in text
    assert "\\x1b[2J" in text
    assert "\\r\\nC2PA trusted" in text.replace("│\n│", "")
    assert "\\x1b[31mred" in text


def test_what_steers_a_terminal_is_escaped_in_json_and_reads_back_whole(files: Path) -> None:
    (files / "odd.png").write_bytes(_with_ingredient(ESCAPES))
    text = run("inspect", "odd.png", "--json").stdout
    assert not [sign for sign in text if sign != "\n" and (ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0)]
    assert "\u202e" not in text
    assert ESCAPES in [edge["title"] for edge in json.loads(text)["c2pa"]["graph"]["edges"]]


def test_the_name_in_an_error_steers_no_terminal(files: Path) -> None:
    done = run("inspect", "no\x1b[31mne.png", code=1)
    assert "\x1b[31m" not in done.output
    assert "\\x1b[31m" in done.output


def test_a_hostile_name_in_a_folder_steers_no_terminal_when_it_is_scanned(files: Path) -> None:
    folder = files / "few"
    folder.mkdir()
    (folder / "a\x1b[31m\nb.png").write_bytes(b"")
    text = run("scan", folder, "--out", "o.parquet", "--workers", 1).stdout
    assert "\x1b[31m" not in text
    assert "\\x1b[31m\\nb.png" in text


def test_a_name_that_is_no_text_is_shown_and_answered(files: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (files / name).write_bytes(signed("png").data)
    assert answer("inspect", name)["file"] == "caf\\udce9.png"
    assert "caf\\udce9.png" in run("inspect", name).output


def test_certificate_names_steer_no_terminal(files: Path) -> None:
    hostile = issued(files / "other", name="Bank\x1b[8m").load()
    text = shown(looked_at(signed("png", by=hostile).data))
    assert "\x1b" not in text
    assert "Bank\\x1b[8m" in text


def test_a_graph_that_goes_round_or_explodes_is_shown_in_the_end() -> None:
    found = looked_at(signed("png").data)
    labels = [f"m{number}" for number in range(60)]
    node = {"title": "", "source_types": [], "actions": [], "signer": ""}
    edge = {"title": "t", "relationship": "componentOf", "codes": []}
    graph = {
        "nodes": [{**node, "label": label, "active": label == "m0"} for label in labels],
        "edges": [
            {**edge, "from": one, "to": other}
            for place, one in enumerate(labels)
            for other in [*labels[place + 1 : place + 3], labels[0]]
        ],
    }
    found["c2pa"]["graph"] = graph
    assert len(shown(found).splitlines()) < 500


def test_a_very_long_title_is_folded_and_shown() -> None:
    assert "x" * 50 in shown(looked_at(_with_ingredient("x" * 5000)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ünïcode 漢字 👩‍👧", "ünïcode 漢字 👩‍👧"),
        ("a\x1bb", "a\\x1bb"), ("\u202e", "\\u202e"), ("\udcff", "\\udcff"),
        ({"k\n": ["\x00", 1, None]}, {"k\\n": ["\\x00", 1, None]}),
    ],
)  # fmt: skip
def test_visible_spells_out_what_is_not_seen_and_leaves_the_rest(value: Any, expected: Any) -> None:
    assert output.visible(value) == expected


def test_visible_keeps_line_breaks_where_it_is_asked_to() -> None:
    assert output.visible("a\nb\x1b", lines=True) == "a\nb\\x1b"


# --- the store and the service ------------------------------------------------------------------------------


def test_store_export_writes_the_sidecar_whatever_the_title_is(files: Path) -> None:
    made = signed("png", embed=False)
    with open_store(files / "store", create=True) as store:
        store.add(made, title="[red]\x1b[31m[/nothing]", signer="s")
    done = run("store", "export", made.label, "--out", "[x].c2pa", "--store", "store")
    assert "[x].c2pa: [red]\\x1b[31m[/nothing]" in done.stdout
    assert (files / "[x].c2pa").read_bytes() == made.manifest


def test_store_list_tells_what_was_signed(files: Path) -> None:
    made = signed("png")
    with open_store(files / "store", create=True) as store:
        store.add(made, title="first", signer="s")
    found = answer("store", "list", "--store", "store")
    assert (found["count"], found["manifests"][0]["label"]) == (1, made.label)
    assert "first" in run("store", "list", "--store", "store").stdout


@pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--host", "example.com")])
def test_serve_at_an_open_address_must_be_asked_for(files: Path, arguments: tuple[str, ...]) -> None:
    assert "no login" in answer("serve", *arguments, code=1)["what"]


def test_serve_says_that_a_port_is_taken(files: Path) -> None:
    import socket

    with open_store(files / "store", create=True):
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = answer("serve", "--store", "store", "--port", taken.getsockname()[1], code=1)
    assert found["error"] == "ProvenanceError"
    assert "--port" in found["mend"]


def test_serve_takes_a_free_port_tells_it_answers_there_and_stops_when_interrupted(files: Path) -> None:
    made = signed("png")
    with open_store(files / "store", create=True) as store:
        store.add(made, title="p", signer="s")
    path = os.pathsep.join([str(Path(auditkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "app", "serve", "--store", "store", "--port", "0", "--no-watermark"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    try:
        assert process.stderr is not None
        address = process.stderr.readline().split()[2]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/manifests/{made.label}", timeout=20) as found:
            assert found.read() == made.manifest
        process.send_signal(signal.SIGINT)
        assert "Stopped" in process.communicate(timeout=20)[1]
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait(10)


def test_serve_without_a_store_says_what_makes_one(files: Path) -> None:
    assert "auditkit sign" in answer("serve", "--store", "none", code=1)["mend"]


def _with_ingredient(title: str) -> bytes:
    return raw_signed(
        image_bytes("png"), ingredients=(({"title": title, "relationship": "componentOf"}, "image/jpeg",
                                          image_bytes("jpeg")),)
    )  # fmt: skip
