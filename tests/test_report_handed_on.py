"""What is handed on: the model card, tagged PDF, the exported folder, and the schema of the data."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import jsonschema
import pytest
import synthetic_run
from PIL import Image
from typer.testing import CliRunner

from app import cli
from auditkit.errors import RunError
from auditkit.files import sha256_file
from auditkit.runs import Run
from auditkit.schemas import SCHEMA_VERSION
from reports import model_card, pdf, report_schema, site

EVIL = '<script>alert("x")</script> [a](http://evil.test) | x'


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return synthetic_run.make_run(tmp_path_factory.mktemp("runs"), images_per_prompt=12)


@pytest.fixture(scope="module")
def card(run) -> model_card.Card:
    return model_card.card(run)


def section(card: model_card.Card, id: str) -> model_card.Section:
    return next(one for one in card.sections if one.id == id)


def test_a_card_has_findings_caveats_shares_energy_disclosure_methods_and_a_way_to_check(card):
    ids = [one.id for one in card.sections]
    wanted = ["summary", "caveats", "shares", "marks", "energy", "disclosure", "methods", "check"]
    assert [id for id in ids if id in wanted] == wanted
    assert all(one.sentences for one in card.sections)


def test_a_card_names_the_group_of_which_nothing_is_claimed(card):
    said = " ".join(section(card, "summary").sentences)
    assert f"{synthetic_run.INSUFFICIENT}. Nothing is claimed about it." in said


def test_each_share_of_a_card_has_its_interval_and_number_of_images(card, run):
    rows = section(card, "shares").tables[0].rows
    assert len(rows) == 2 + len(synthetic_run.TONES)
    measured = run.measurements()
    female = measured[(measured["measure"] == "representation.corrected") & (measured["group"] == "all")
                      & (measured["category"] == "female")].iloc[0]  # fmt: skip
    assert list(rows[0])[2:5] == [
        f"{100 * female['estimate']:.0f}%", f"[{100 * female['ci_low']:.0f}, {100 * female['ci_high']:.0f}]", "60",
    ]  # fmt: skip


def test_what_was_not_metered_or_marked_is_said_so(card):
    assert section(card, "energy").sentences == [model_card.NO_ENERGY]
    assert section(card, "marks").sentences == [model_card.NO_MARKS]


def test_a_bundled_models_card_is_in_it_and_no_model_library_is_loaded(run):
    made = dict(run.record["generator"]) | {"name": "personas"}
    assert model_card._about(made)[0].sentences[1].startswith("Use: ")
    assert model_card._about(made | {"name": "../../tests"}) == []
    code = "import sys, reports.model_card as m; m._about({'name': 'personas'}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_that_was_not_measured_has_a_card_without_numbers(tmp_path):
    run = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    made = model_card.card(run)
    assert section(made, "summary").sentences[0] == model_card.NOT_MEASURED
    assert "%" not in model_card.to_markdown(made).partition("## Disclosure")[0]


def test_text_of_strangers_is_no_markup_in_either_card():
    table = model_card.Table("t", ["a"], [[EVIL]])
    evil = model_card.Card(EVIL, "x", {EVIL: EVIL}, [model_card.Section("s", EVIL, [EVIL, "1. " + EVIL], [table])])
    html, text = model_card.to_html(evil), model_card.to_markdown(evil)
    assert "<script>alert" not in html
    assert "<script" not in text.replace("\\<", "")
    assert not re.search(r"(?<!\\)\]\(", text)
    assert r"1\. " in text
    row = [line for line in text.splitlines() if line.startswith("| ")][-1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 2


def streams(data: bytes) -> bytes:
    """The PDF with its compressed streams unpacked."""
    out = data
    for held in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, flags=re.DOTALL):
        try:
            out += zlib.decompress(held)
        except zlib.error:
            continue
    return out


@pytest.fixture(scope="module")
def weasyprint():
    """The library, as the product imports it; without it or Pango its tests are skipped."""
    try:
        return pdf.library()
    except pdf.PdfError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("weasyprint")
def test_a_pdf_is_tagged_with_language_title_headings_and_heads_of_tables(card):
    made = pdf.to_pdf(model_card.to_html(card))
    assert made.startswith(b"%PDF-")
    told = streams(made)
    for mark in (
        b"/StructTreeRoot",
        b"/Marked true",
        b"/Lang",
        b"/DisplayDocTitle true",
        b"/H1",
        b"/H2",
        b"/TH",
        b"/L",
    ):
        assert mark in told, mark
    assert b"pdfuaid" in told


@pytest.mark.usefixtures("weasyprint")
def test_pictures_in_a_pdf_keep_their_alternative_text():
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, format="PNG")
    dot = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    made = pdf.to_pdf(f'<html lang="en"><title>t</title><body><img src="{dot}" alt="A dot"></body></html>')
    assert b"/Alt" in streams(made)


def test_a_pdf_fetches_nothing(tmp_path, monkeypatch, weasyprint):
    (tmp_path / "secret.png").write_bytes(b"secret")
    asked = []
    base = weasyprint.urls.URLFetcher
    monkeypatch.setattr(base, "fetch", lambda self, url, headers=None: asked.append(url))
    sources = ("http://127.0.0.1:9/a.png", (tmp_path / "secret.png").as_uri())
    images = "".join(f'<img src="{url}" alt="x">' for url in sources)
    pdf.to_pdf(f'<html lang="en"><title>t</title><body>{images}</body></html>')
    assert asked == []


def test_without_weasyprint_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(pdf.PdfError) as raised:
        pdf.to_pdf("<html></html>")
    assert "auditkit[pdf]" in raised.value.mend


def test_an_exported_folder_has_every_page_image_and_table_and_says_its_hashes(run, tmp_path):
    index = site.write_site(run, tmp_path / "out")
    folder = index.parent
    listed = json.loads((folder / "files.json").read_text())["files"]
    assert all(sha256_file(folder / name) == sha for name, sha in listed.items())
    assert {"index.html", "report.html", "report.measurements.json", "model-card.md", "disclosure.html",
            "images-1.html"} <= set(listed)  # fmt: skip
    assert sum(name.startswith("images/") for name in listed) == run.images()["id"].nunique()
    for file in folder.glob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#][^":]*)"', file.read_text()):
            assert (folder / link).is_file(), (file.name, link)


def test_a_folder_that_is_there_or_an_image_that_is_not_leaves_nothing_behind(tmp_path):
    run = synthetic_run.make_run(tmp_path / "runs", images_per_prompt=1)
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match="exists already"):
        site.write_site(run, tmp_path / "out")
    run.image_path(run.images()["id"].iloc[-1]).unlink()
    with pytest.raises(Exception, match="does not exist"):
        site.write_site(run, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


@pytest.mark.browser
def test_an_exported_folder_opens_without_a_server_and_is_accessible(run, tmp_path, browser):
    from browser_helpers import assert_accessible

    folder = site.write_site(run, tmp_path / "out").parent
    for name in ("index.html", "images-1.html", "model-card.html"):
        assert_accessible(browser, folder / name)
    page = browser.new_page()
    page.goto((folder / "images-1.html").as_uri())
    wide = "Array.from(document.images).slice(0, 3).map(image => image.naturalWidth)"
    page.wait_for_function(f"{wide}.every(width => width > 0)", timeout=5000)


@pytest.mark.usefixtures("weasyprint")
def test_making_a_pdf_leaves_truncated_images_refused():
    """WeasyPrint's import has Pillow read them as if they were whole, for everyone in the process."""
    said = (
        "from PIL import ImageFile\nfrom reports import pdf\n"
        "pdf.to_pdf('<html lang=en><title>t</title><body>x</body></html>')\nprint(ImageFile.LOAD_TRUNCATED_IMAGES)"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_schema_refuses_a_number_without_data_and_an_unknown_status():
    schema = report_schema.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    row = {"run_id": "r", "measure": "m", "measure_version": 1, "attribute": "a", "category": None, "group_by": "g",
           "group": "g", "reference": None, "n_images": 1, "n_prompts": 1, "estimate": None, "ci_low": None,
           "ci_high": None, "ci_method": None, "null_value": None, "p_value": None, "p_holm": None, "p_bh": None,
           "unit": "share", "direction": "none", "status": "insufficient", "note": None}  # fmt: skip
    document = {
        "kind": report_schema.KIND, "schema_version": SCHEMA_VERSION, "run_id": "r", "summary": [], "provenance": {},
    }  # fmt: skip
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid(document | {"measurements": [row]})
    assert not check.is_valid(document | {"measurements": [row | {"estimate": 0.0}]})
    assert not check.is_valid(document | {"measurements": [row | {"status": "fine"}]})
    assert not check.is_valid(document | {"measurements": [row | {"p_value": 1.5, "status": "ok"}]})
    assert not check.is_valid(document)


@pytest.mark.usefixtures("weasyprint")
def test_the_verbs_write_card_pdf_and_folder(run, tmp_path):
    done = CliRunner().invoke(cli.app, ["card", str(run.path), "--out", str(tmp_path), "--pdf", "--json"])
    assert done.exit_code == 0, done.output
    assert Path(json.loads(done.stdout)["pdf"]).read_bytes().startswith(b"%PDF-")
    assert (tmp_path / "model-card.md").is_file()
    done = CliRunner().invoke(cli.app, ["export", str(run.path), "--out", str(tmp_path / "x"), "--no-images", "--json"])
    assert json.loads(done.stdout)["export"].endswith("index.html")
    assert not (tmp_path / "x" / "images").exists()
