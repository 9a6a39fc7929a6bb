"""The report as files: one page that needs nothing else, and the numbers beside it."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import report_helpers as made

from auditkit.clip.calibration import Calibration
from auditkit.errors import RunError
from auditkit.runs import Run, seal
from auditkit.schemas import SCHEMA_VERSION
from reports.build import build

EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """The words of a page, its headings, ids, links and images."""

    VOID = ("meta", "img", "source", "link", "br", "hr", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.ids += [value for key, value in attrs if key == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = made.make_run(tmp_path_factory.mktemp("runs"), description=f"{EVIL} & more", flavour=EVIL + " ")
    run.write_measurements(made.measured(run, insufficient=("guard",), uncalibrated=("singer",)))
    return run


@pytest.fixture(scope="module")
def built(run: Run) -> Path:
    return build(run)


@pytest.fixture(scope="module")
def html(built: Path) -> str:
    return built.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def small(tmp_path: Path, **how: object) -> Run:
    options: dict[str, Any] = {"values": ["judge", "cook"], "images_per_prompt": 5, **how}
    return made.make_run(tmp_path / "runs", **options)


def test_the_page_fetches_nothing_and_runs_no_script(page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    for tag, attrs in page.tags:
        for key in ("src", "srcset", "href", "data"):
            assert (attrs.get(key) or "#").startswith(("#", "data:")), (tag, attrs)
        assert not [key for key in attrs if key.startswith("on")]


def test_no_style_reaches_outside_the_page(html: str) -> None:
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_text_from_the_spec_is_escaped_everywhere(html: str, page: Page) -> None:
    assert "<script" not in html
    assert EVIL in page.text
    assert any(EVIL in (attrs.get("alt") or "") for tag, attrs in page.tags if tag == "img")


def test_no_missing_number_shows_through(page: Page) -> None:
    said = page.text + " ".join(str(attrs.get("alt", "")) for tag, attrs in page.tags if tag == "img")
    assert not re.search(r"\b(nan|NaN|None|inf|null|NaT|NA)\b", said)


def test_headings_descend_one_level_at_a_time(page: Page) -> None:
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))


def test_every_image_has_a_text_and_every_table_head_a_scope(page: Page) -> None:
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")
    assert dict(page.tags[0][1] if page.tags[0][0] == "html" else page.tags[1][1]).get("lang") == "en"


def test_every_link_leads_to_a_place_on_the_page(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    targets = {(attrs["href"] or "")[1:] for tag, attrs in page.tags if tag == "a"}
    assert targets <= set(page.ids)


def test_states_without_a_number_are_named_and_explained(page: Page) -> None:
    assert "1 occupation is insufficient" in page.text
    assert "1 occupation is uncalibrated" in page.text
    assert "nothing is claimed about this group" in page.text


def test_planted_truth_stands_beside_what_was_recovered(page: Page) -> None:
    assert "planted beside recovered" in page.text
    assert re.search(r"\d+ of \d+ intervals \(\d+%\) cover the share that was planted", page.text)


def test_a_report_of_a_thousand_images_is_small(run: Run, html: str) -> None:
    assert len(run.images()) == 1000
    assert len(html.encode()) < 6_000_000


def test_the_csv_holds_the_measurements_as_they_are(run: Run, built: Path) -> None:
    table = pd.read_csv(built.with_name("measurements.csv"))
    assert len(table) == len(run.measurements())  # type: ignore[arg-type]
    assert list(table["measure"]) == list(run.measurements()["measure"])  # type: ignore[index]


def test_the_json_says_its_version_where_it_comes_from_and_no_nan(run: Run, built: Path) -> None:
    text = built.with_name("measurements.json").read_text(encoding="utf-8")
    data = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert data["schema_version"] == SCHEMA_VERSION
    assert data["provenance"]["run_id"] == run.id
    assert len(data["measurements"]) == len(run.measurements())  # type: ignore[arg-type]
    jsonschema.validate(data, json.loads(built.with_name("measurements.schema.json").read_text(encoding="utf-8")))
    silent = [row for row in data["measurements"] if row["status"] == "insufficient"]
    assert silent
    assert all(row["estimate"] is None for row in silent)


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = small(tmp_path)
    run.write_measurements(made.measured(run))
    first = build(run).read_bytes()
    assert build(run).read_bytes() == first
    assert sorted(path.name for path in (run.path / "report").iterdir()) == [
        "index.html", "measurements.csv", "measurements.json", "measurements.schema.json",
    ]  # fmt: skip


def test_a_page_with_a_name_of_its_own_names_its_data_files_too(tmp_path: Path) -> None:
    run = small(tmp_path)
    run.write_measurements(made.measured(run))
    assert build(run, out=tmp_path / "out" / "audit.html").name == "audit.html"
    assert (tmp_path / "out" / "audit.measurements.csv").is_file()
    assert build(run, out=tmp_path / "folder") == tmp_path / "folder" / "index.html"


def test_a_run_without_measurements_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    run = small(tmp_path)
    with pytest.raises(RunError, match="auditkit measure"):
        build(run)
    assert not (run.path / "report").exists()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    run = small(tmp_path)
    run.write_measurements(made.measured(run))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError):
        build(run, out=tmp_path / "file" / "report")


def test_a_page_says_whether_the_run_is_still_as_it_was_sealed(tmp_path: Path) -> None:
    run = small(tmp_path)
    run.write_measurements(made.measured(run))
    assert "was not sealed" in build(run, tmp_path / "page.html").read_text()
    seal(run)
    assert "The run is sealed" in build(run, tmp_path / "page.html").read_text()
    (run.path / "later.csv").write_text("added")
    told = build(run, tmp_path / "page.html").read_text()
    assert "no longer as it was then: later.csv" in told
    assert "The run is sealed" not in told
    (run.path / "SEAL").write_text("{")
    assert "no longer as it was then: SEAL" in build(run, tmp_path / "page.html").read_text()


def test_a_run_without_planted_truth_says_so(tmp_path: Path) -> None:
    run = small(tmp_path, planted=False)
    run.write_measurements(made.measured(run))
    text = Page(build(run).read_text(encoding="utf-8")).text
    assert "No truth is known for the shares of this generator" in text
    assert "beside recovered" not in text
    assert "Diamonds mark" not in text


def test_a_run_by_condition_speaks_of_conditions(tmp_path: Path) -> None:
    run = small(tmp_path, axis="condition", values=["a deaf person", "a person in a motorized wheelchair"])
    table = made.measured(run, by="condition")
    run.write_measurements(table[table["measure"] != "representation.fidelity"])
    text = Page(build(run).read_text(encoding="utf-8")).text
    assert "2 conditions" in text
    assert "occupations" not in text.replace("auditkit audit occupations", "").replace(
        "Twenty occupations", ""
    )
    assert "Prompt fidelity" not in text


def test_a_run_measured_as_a_whole_reads_as_one_group(tmp_path: Path) -> None:
    run = small(tmp_path)
    run.write_measurements(made.measured(run, by="all"))
    text = Page(build(run).read_text(encoding="utf-8")).text
    assert "The images " in text
    assert "All prompts are pooled here" in text
    assert "--by" not in text


def test_a_run_in_which_nothing_differs_does_not_claim_equality(tmp_path: Path) -> None:
    run = small(tmp_path)
    run.write_measurements(made.measured(run, even=True, seed=4))
    text = Page(build(run).read_text(encoding="utf-8")).text
    assert "No occupation of the 2 tested differs detectably" in text
    assert "not proof of equality" in text


def test_a_run_without_any_calibration_still_shows_its_plain_shares(tmp_path: Path) -> None:
    run = small(tmp_path)
    run.write_measurements(made.measured(run, uncalibrated=("judge", "cook", "all")))
    text = Page(build(run).read_text(encoding="utf-8")).text
    assert "All 2 occupations are uncalibrated" in text
    assert "As classified, without correction" in text


def test_the_classifiers_confusion_is_shown_where_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = Calibration(
        encoder="no-such-encoder", encoder_sha256="0" * 64, attribute="gender", prompts_sha256="0" * 64,
        classes=["female", "male"], outcomes=["female", "male", "unknown"], counts=[[93, 4], [5, 90], [2, 6]],
        weights=[[0.93, 0.04], [0.05, 0.90], [0.02, 0.06]], n_sources=[50, 49], n_images=200, temperature=1.2,
        threshold=0.7, max_error=0.02, labelled_error=0.01, unknown_rate=0.04, ece_before=0.1, ece_after=0.0,
        source="held-out drawings", made_by="",
    )  # fmt: skip
    monkeypatch.setattr("reports.origin.load_calibration", lambda encoder, attribute: calibration)
    run = small(tmp_path)
    run.write_measurements(made.measured(run))
    text = Page(build(run).read_text(encoding="utf-8")).text
    assert "How the classifier reads perceived gender" in text
    assert "Measured on 200 images of known class (held-out drawings)" in text
    assert "93.0% 4.0%" in text
    assert "50 49" in text
    assert "No calibration was found" not in text


def test_the_specification_on_the_page_makes_the_same_run(run: Run, html: str) -> None:
    import html as entities
    import tomllib

    from auditkit.spec import RunSpec

    block = re.search(r'aria-label="Resolved specification">(.*?)</pre>', html, re.DOTALL)
    assert block
    spec = RunSpec.model_validate(tomllib.loads(entities.unescape(block[1])))
    assert spec == run.spec


def test_the_measurements_csv_is_plain_text_without_nan(built: Path) -> None:
    raw = built.with_name("measurements.csv").read_text(encoding="utf-8")
    assert "nan" not in raw.lower().replace("insufficient", "")
    assert io.StringIO(raw).readline().startswith("measure")


def test_imported_images_are_reported_without_spec_or_seed(tmp_path: Path) -> None:
    from generators.folder import import_folder

    folder = tmp_path / "images"
    folder.mkdir()
    rows = []
    for index in range(6):
        made.face(made.SKIN[index % 5], "#241a14", "#ccddee", long_hair=index > 2).save(
            folder / f"{index}.png"
        )
        rows.append({"file": f"{index}.png", "prompt": "a judge", "occupation": "judge"})
    pd.DataFrame(rows).to_csv(tmp_path / "prompts.csv", index=False)
    run = import_folder(folder, tmp_path / "prompts.csv", out=tmp_path / "runs")
    run.write_measurements(made.measured(run, insufficient=("judge", "all")))
    text = Page(build(run).read_text(encoding="utf-8")).text
    assert "auditkit import FOLDER --prompts prompts.csv" in text
    assert "The occupation is insufficient" in text
    assert not re.search(r"\b(nan|None|NA)\b", text)
