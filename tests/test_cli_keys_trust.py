"""`auditkit keys pki` and `auditkit trust ...` as people and programs use them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sign_cli_helpers
from provenance_helpers import (
    isolated,  # noqa: F401
    issued,
    mode,
    pki,
    write_image,
)
from sign_cli_helpers import MADE, answer, files, run

home = sign_cli_helpers.home  # a fixture


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
