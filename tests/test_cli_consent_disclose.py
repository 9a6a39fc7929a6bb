"""`auditkit consent` and `auditkit disclose` as people and programs use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from synthetic_run import make_run
from typer.testing import CliRunner

from app.commands import consenting, disclosing
from auditkit.provenance.credentials import load_credentials
from auditkit.provenance.gb45438 import read_label
from auditkit.provenance.manifest import Claim
from auditkit.provenance.pki import make_pki
from auditkit.provenance.signing import sign_bytes
from auditkit.runs import Run

app = typer.Typer()
consenting.register(app)
disclosing.register(app)


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments: object, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code).stdout)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), "teal").save("a.jpg")
    Path("robots.txt").write_text("User-agent: GPTBot\nDisallow: /img/\n")
    Path("tdmrep.json").write_text('[{"location": "/img/", "tdm-reservation": 0}]')
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs"), images_per_prompt=1, measured=False)


def test_an_image_without_a_signal_is_not_taken_for_consent(home: Path) -> None:
    assert "not consent" in run("consent", "a.jpg").output
    assert answer("consent", "a.jpg")["signals"] == []


def test_sources_that_disagree_are_shown_side_by_side(home: Path) -> None:
    found = answer("consent", "a.jpg", "--robots", "robots.txt", "--tdmrep", "tdmrep.json", "--path", "/img/a.jpg")
    states = {row["use"]: row["state"] for row in found["uses"]}
    assert states["generative-training"] == "the sources disagree"
    assert {one["source"]: one["says"] for one in found["signals"]} == {
        "robots.txt": "prohibited", "tdmrep.json": "allowed",
    }  # fmt: skip


def test_the_training_mining_assertion_of_a_signed_image_is_read(home: Path) -> None:
    make_pki(home / "pki")
    signer = load_credentials(home / "pki" / "signer.pem", home / "pki" / "signer.key")
    claim = Claim(title="a", source_type="trainedAlgorithmicMedia", training="notAllowed")
    Path("signed.jpg").write_bytes(sign_bytes(Path("a.jpg").read_bytes(), claim, signer).data)
    found = answer("consent", "signed.jpg")
    assert {row["use"]: row["state"] for row in found["uses"]}["generative-training"] == "prohibited"


def test_the_very_words_are_printed(home: Path) -> None:
    text = run("consent", "--robots", "robots.txt", "--path", "/img/a.jpg").output
    assert "Disallow: /img/" in text
    assert "no legal advice" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["consent"], "nothing to look at"),
        (["consent", "none.jpg"], "no such file"),
        (["consent", "robots.txt"], "PNG, JPEG and WebP"),
        (["consent", "--robots", "robots.txt", "--path", "img"], "begins with '/'"),
        (["consent", "--tdmrep", "robots.txt"], "no JSON"),
        (["disclose", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_error_with_its_mend(home: Path, arguments: list[str], said: str) -> None:
    assert said in run(*arguments, code=1).output


def test_disclose_writes_a_page_and_its_data(made: Run, home: Path) -> None:
    found = answer("disclose", made.path)
    assert Path(found["page"]) == made.path / "report" / "disclosure.html"
    assert json.loads(Path(found["data"]).read_text())["counts"] == found["counts"]
    assert Path(found["page"]).is_file()


def test_disclose_prints_how_much_is_known_and_where_the_page_is(made: Run, home: Path) -> None:
    text = run("disclose", made.path, "--out", home / "out").output
    assert "unknown" in text
    assert "disclosure.html" in text
    assert "no legal advice" in text


def test_statements_fill_fields_and_stay_marked(made: Run, home: Path) -> None:
    Path("provider.toml").write_text('ca_provider = "Example Ltd"\n')
    found = answer("disclose", made.path, "--out", "out", "--statements", "provider.toml")
    assert found["counts"]["stated"] == 1
    (field,) = [one for one in found["fields"] if one["id"] == "ca_provider"]
    assert field["source"] == "stated by the provider, not verified"


def test_embed_labels_copies_and_resumes(made: Run, home: Path) -> None:
    Path("provider.toml").write_text('cn_content_producer = "Example Ltd"\n')
    command = ["disclose", made.path, "--out", "out", "--statements", "provider.toml", "--embed", "labelled"]
    first, again = answer(*command)["labelled"], answer(*command)["labelled"]
    n = made.images()["id"].nunique()
    assert ((first["written"], first["kept"]), (again["written"], again["kept"])) == ((n, 0), (0, n))
    labels = [read_label(path.read_bytes()) or {} for path in Path("labelled").iterdir()]
    assert {(one["Label"], one["ContentProducer"]) for one in labels} == {("1", "Example Ltd")}


def test_embed_without_a_provider_says_how_to_state_it_and_writes_nothing(made: Run, home: Path) -> None:
    text = run("disclose", made.path, "--out", "out", "--embed", "labelled", code=1).output
    assert "cn_content_producer" in text
    assert not Path("labelled").exists()
    assert not Path("out").exists()
