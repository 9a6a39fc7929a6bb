"""A disclosure answers from the run's record, names where it read, and leaves unknown what nobody recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser_helpers import assert_accessible, assert_fits_and_fetches_nothing
from synthetic_run import make_run
from watermark_table_helpers import KEY, detections

from auditkit.energy import Site, Window, summarise
from auditkit.energy.windows import Reading
from auditkit.errors import ProvenanceError
from auditkit.provenance.disclosure import STATED, UNKNOWN, Field, disclose, field_ids
from auditkit.runs import Run, open_run
from reports.disclosure_page import write_page

SIGNING = {
    "signer": "Example Signer", "issuer": "Example CA", "algorithm": "es256", "certificate_sha256": "ab" * 32,
    "timestamped": False, "tsa": None, "images": 60, "trust": "development",
    "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
}  # fmt: skip
STATEMENTS = 'xi_licence = "Apache-2.0"\nca_provider = "Example <b>Ltd</b>"\n'


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with nothing but images."""
    return make_run(tmp_path_factory.mktemp("plain"), images_per_prompt=2, measured=False)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a watermark that was looked for, a signature and a generator that says much of itself."""
    run = make_run(tmp_path_factory.mktemp("full"), images_per_prompt=2, measured=False)
    n = run.images()["id"].nunique()
    run.write_watermarks(detections(run, present=(n - 1) / n))
    record = run.record | {"watermark": {"scheme": "spread", "scheme_version": 1, "key_id": KEY, "payload": "1:42"}}
    record["signing"] = SIGNING
    record["generator"] = record["generator"] | {
        "kind": "latent-unet", "weights": {"unet/model.safetensors": "cd" * 32},
        "details": {"pipeline": "StableDiffusionPipeline", "parameters": {"vae": 1000, "unet": 2000}},
    }  # fmt: skip
    (run.path / "run.json").write_text(json.dumps(record))
    return open_run(run.path)


def answers(run: Run, **statements: str) -> dict[str, Field]:
    return {one.id: one for one in disclose(run, statements=statements).fields}


def with_energy(run: Run, **changes: Any) -> Run:
    energy = {
        "method": "mixed", "images": 60, "images_metered": 30,
        "joules": {"value": 120, "low": 60, "high": 240}, "joules_per_image": {"value": 4, "low": 2, "high": 8},
        "parts": [
            {"part": "gpu", "method": "measured", "how": "NVML", "joules": 80, "low": 40, "high": 160},
            {"part": "cpu", "method": "estimate", "how": "busy core seconds", "joules": 40, "low": 20, "high": 80},
        ],
        "site": {"pue": None, "grid_intensity": None}, "facility_kwh": None, "kg_co2e": None,
    }  # fmt: skip
    return Run(run.path, run.record | {"energy": energy | changes})


def with_training(run: Run, kilojoules: Any) -> Run:
    generator = run.record["generator"]
    details = generator["details"] | {"training_kilojoules": kilojoules}
    return Run(run.path, run.record | {"generator": generator | {"details": details}})


def test_what_the_run_does_not_record_is_unknown_with_how_to_supply_it(plain: Run) -> None:
    made = disclose(plain)
    unknown = [one for one in made.fields if not one.known]
    assert {"eu_50_marked", "code_signed_metadata", "xi_energy", "xi_data", "ca_provider"} <= {
        one.id for one in unknown
    }
    assert all(one.value == UNKNOWN and one.source == "" and one.id in one.supply for one in unknown)


def test_every_answer_names_where_it_was_read(full: Run) -> None:
    known = [one for one in disclose(full).fields if one.known]
    assert len(known) > 15
    assert all(re.match(r"(run\.json: |images\.parquet|watermarks\.parquet)", one.source) for one in known)


def test_the_share_verified_comes_with_its_number(full: Run) -> None:
    n = full.images()["id"].nunique()
    one = answers(full)["eu_50_detected"]
    assert f"verified in {n - 1} of {n} images looked at" in one.value
    assert "100%" not in one.value
    assert one.source == "watermarks.parquet: verdict"


def test_marking_names_watermark_and_signature(full: Run) -> None:
    one = answers(full)["eu_50_marked"]
    assert "spread" in one.value
    assert "C2PA" in one.value
    assert one.source == "run.json: watermark.scheme; run.json: signing"


def test_a_development_certificate_is_said_to_prove_nothing(full: Run) -> None:
    one = answers(full)["code_signed_metadata"]
    assert "Example Signer" in one.value
    assert "proves nothing to others" in one.note


def test_a_signature_without_time_stamp_says_no_and_not_unknown(full: Run) -> None:
    assert answers(full)["code_time_stamp"].value == "no"


def test_the_weights_stand_in_for_a_version_and_say_so(full: Run) -> None:
    one = answers(full)["ca_version"]
    assert "cd" * 32 in one.value
    assert "No version number" in one.note


def test_inference_is_never_given_as_training(full: Run) -> None:
    found = answers(full)
    assert full.record["seconds"] is not None
    assert {found[id].value for id in ("xi_energy", "xi_training_time", "xi_compute")} == {UNKNOWN}
    assert "inference" in found["xi_energy"].note


def test_the_energy_of_the_making_is_inference_with_bounds_method_and_share_metered(full: Run) -> None:
    found = answers(with_energy(full))
    one = found["xi_energy_inference"]
    assert "120 J [60, 240] at the device, partly measured, partly estimated" in one.value
    assert "30 of 60 images (50% metered); 4 J [2, 8] an image" in one.value
    assert one.source == "run.json: energy"
    assert "gpu: measured (NVML); cpu: estimated (busy core seconds)" in one.note
    assert "other 30 images is not known" in one.note
    assert "PUE was not given" in one.note
    assert "says nothing of training" in one.note
    assert {found[id].value for id in ("xi_energy", "xi_training_time", "xi_compute")} == {UNKNOWN}


def test_pue_and_grid_factor_are_told_where_they_were_given(full: Run) -> None:
    run = with_energy(
        full,
        joules={"value": 7.2e6, "low": 3.6e6, "high": 1.08e7},
        site={"pue": {"low": 1.2, "high": 1.2}, "grid_intensity": {"low": 300, "high": 420}},
        facility_kwh={"value": 2.4, "low": 1.2, "high": 3.6},
        kg_co2e={"value": 0.85, "low": 0.36, "high": 1.51},
    )
    one = answers(run)["xi_energy_inference"]
    assert "2 kWh [1, 3] at the device" in one.value
    assert "2.4 kWh [1.2, 3.6] for the facility, at a PUE of 1.2" in one.value
    assert "0.85 kg CO2e [0.36, 1.51], at 300 to 420 g/kWh" in one.value
    assert "not given" not in one.note


def test_the_record_of_energy_that_summarise_makes_is_read(full: Run) -> None:
    reading = Reading("nvml", "gpu", "measured", "machine", "NVML", 100, 90, 110)
    window = Window("a", 1, "cuda", 0.0, 10.0, 60, "done", [reading])
    energy = summarise([window], images=60, site=Site.given(pue=1.5, intensity=100))
    one = answers(Run(full.path, full.record | {"energy": energy}))["xi_energy_inference"]
    assert "100 J [90, 110] at the device, measured" in one.value
    assert "60 of 60 images (100% metered)" in one.value
    assert "150 J [135, 165] for the facility, at a PUE of 1.5" in one.value


@pytest.mark.parametrize(
    "damage",
    [{"joules": None}, {"joules": {"value": 1, "low": 2, "high": 3}}, {"images": None}, {"method": "guessed"},
     {"parts": [3]}, {"images_metered": 61}],
)  # fmt: skip
def test_energy_that_was_not_metered_or_is_damaged_is_unknown(full: Run, damage: dict[str, Any]) -> None:
    assert answers(full)["xi_energy_inference"].value == UNKNOWN
    assert answers(with_energy(full, **damage))["xi_energy_inference"].value == UNKNOWN


def test_the_model_cards_training_energy_is_told_as_the_accelerators_alone(full: Run) -> None:
    one = answers(with_training(full, 1440.0))["xi_energy"]
    assert one.value == "1,440 kJ (0.4 kWh), accelerator only, by the model card"
    assert one.source == "run.json: generator.details.training_kilojoules"
    assert "nothing of it was measured here" in one.note


@pytest.mark.parametrize("told", [None, "144", True, -1.0, float("nan")])
def test_training_energy_that_is_no_number_is_unknown(full: Run, told: Any) -> None:
    assert answers(with_training(full, told))["xi_energy"].value == UNKNOWN


def test_a_statement_of_training_energy_stands_beside_the_cards(full: Run) -> None:
    one = answers(with_training(full, 144.0), xi_energy="1 MWh in all")["xi_energy"]
    assert "144 kJ" in one.value
    assert f"{STATED.capitalize()}: 1 MWh in all" in one.note


def test_imported_images_are_not_called_ai_generated(plain: Run) -> None:
    run = Run(plain.path, plain.record | {"generator": {"name": "import", "kind": "import", "weights": None}})
    found = answers(run)
    assert {found[id].value for id in ("cn_attribute", "ca_system", "ca_time", "xi_modality")} == {UNKNOWN}


def test_a_statement_is_marked_as_stated_and_not_verified(plain: Run) -> None:
    one = answers(plain, xi_licence="Apache-2.0")["xi_licence"]
    assert (one.value, one.source) == ("Apache-2.0", STATED)


def test_a_statement_does_not_overrule_what_the_run_records(full: Run) -> None:
    one = answers(full, ca_system="Another")["ca_system"]
    assert one.value == "synthetic"
    assert f"{STATED.capitalize()}: Another" in one.note


def test_an_empty_statement_leaves_the_field_unknown(plain: Run) -> None:
    assert not answers(plain, xi_licence=" ")["xi_licence"].known


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("xi_license = 'x'", "no field 'xi_license'"),
        ("[xi_licence]\na = 1", "not one value"),
        ("xi_licence =", "no TOML"),
    ],
)
def test_statements_that_do_not_hold_are_refused(tmp_path: Path, plain: Run, text: str, said: str) -> None:
    (tmp_path / "statements.toml").write_text(text)
    with pytest.raises(ProvenanceError, match=said):
        disclose(plain, statements=tmp_path / "statements.toml")


def test_a_near_name_is_offered(tmp_path: Path, plain: Run) -> None:
    with pytest.raises(ProvenanceError) as told:
        disclose(plain, statements={"xi_license": "x"})
    assert told.value.mend == "did you mean xi_licence?"


def test_fields_have_ids_of_their_own_and_a_regime_each(full: Run) -> None:
    made, ids = disclose(full), field_ids()
    assert len(set(ids)) == len(ids)
    assert {one.regime for one in made.fields} == {one.id for one in made.regimes}


def test_a_mark_that_the_generator_puts_in_by_itself_is_told_from_the_verdicts(full: Run) -> None:
    found = answers(
        Run(full.path, {key: full.record[key] for key in full.record if key not in ("watermark", "signing")})
    )
    assert "found by looking for it" in found["eu_50_marked"].value
    assert found["code_watermark"].value == UNKNOWN


def test_a_run_whose_mark_was_never_found_is_not_called_marked(plain: Run, tmp_path: Path) -> None:
    run = make_run(tmp_path, images_per_prompt=1, measured=False)
    run.write_watermarks(detections(run, present=0.0))
    assert answers(run)["eu_50_marked"].value == UNKNOWN


def test_the_counts_add_up(full: Run) -> None:
    made = disclose(full, statements={"xi_licence": "Apache-2.0"})
    assert sum(made.counts().values()) == len(made.fields)
    assert made.counts()["stated"] == 1
    each = [made.counts(one.id) for one in made.regimes]
    assert {key: sum(one[key] for one in each) for key in made.counts()} == made.counts()


@pytest.fixture(scope="module")
def page(full: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "statements.toml").write_text(STATEMENTS)
    html, _ = write_page(disclose(full, statements=folder / "statements.toml"), folder)
    return html


def test_the_page_shows_each_unknown_and_counts_them(page: Path) -> None:
    data = json.loads((page.parent / "disclosure.json").read_text())
    text = page.read_text()
    assert text.count('class="state state-unknown"') == data["counts"]["unknown"]
    assert f"and {data['counts']['unknown']} are unknown" in text


def test_the_page_says_when_each_regime_applies_and_that_it_is_no_legal_advice(page: Path) -> None:
    text = page.read_text()
    for words in ("From 2 August 2026", "2 December 2026", "1 September 2025", "no legal advice"):
        assert words in text


def test_statements_are_escaped_and_marked_on_the_page(page: Path) -> None:
    text = page.read_text()
    assert "Example &lt;b&gt;Ltd&lt;/b&gt;" in text
    assert text.count('class="state state-stated"') == 2


def test_what_is_unknown_can_be_copied_into_a_file_of_statements(page: Path, full: Run, tmp_path: Path) -> None:
    (block,) = re.findall(r'aria-label="Statements to fill in">(.*?)</pre>', page.read_text(), re.DOTALL)
    text = block.replace("&#34;", '"').replace('""', '"filled in"')
    (tmp_path / "statements.toml").write_text(text)
    stated = [one for one in disclose(full, statements=tmp_path / "statements.toml").fields if one.stated]
    assert len(stated) == json.loads((page.parent / "disclosure.json").read_text())["counts"]["unknown"]


def test_the_page_asks_for_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!#)(?!data:)', text)
    assert "default-src 'none'" in text


@pytest.mark.browser
def test_axe_finds_no_violation(browser: Any, page: Path) -> None:
    assert_accessible(browser, page)


@pytest.mark.browser
def test_the_page_fits_its_window_and_asks_for_nothing(browser: Any, page: Path) -> None:
    assert_fits_and_fetches_nothing(browser, page)
