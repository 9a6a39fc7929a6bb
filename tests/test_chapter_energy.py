"""The chapter on energy: what the making took in plain words, and nothing that was not given."""

from __future__ import annotations

import copy
import json

import pytest
import report_helpers as made

from auditkit.energy import Site, summarise
from auditkit.energy.windows import Reading, Window
from auditkit.runs import Run
from reports import build
from reports.chapters import energy as chapter_module
from reports.chapters.energy import chapter, sentences


def record(*, images=100, metered=100, joules=3600.0, method="measured", site=None, failed=()):
    reading = Reading("rapl:0:package-0", "cpu", method, "machine", "RAPL counter", joules, 0.9 * joules, 1.1 * joules)
    window = Window("m", 1, "cpu", 0.0, 90.0, metered, "done", [reading], list(failed))
    return summarise([window], images=images, site=site)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = made.make_run(
        tmp_path_factory.mktemp("energy"), values=made.OCCUPATIONS[:2], templates=2, images_per_prompt=2
    )
    run.write_measurements(made.measured(run))
    return run


def with_energy(run: Run, energy) -> Run:
    return Run(run.path, run.record | {"energy": energy})


def test_a_run_that_was_not_metered_has_no_chapter(run):
    assert chapter(run.measurements(), run) is None


def test_the_finding_is_told_with_its_bounds_and_a_picture_of_its_size():
    told = sentences(record())
    assert told[0] == (
        "Making 100 images took 3.6 kJ [3.2, 4.0] at the device, measured: what a lamp of 10 W takes in 6 minutes."
    )
    assert told[1] == "That is 36 J [32, 40] an image."


def test_an_estimate_is_called_one():
    assert "estimated" in sentences(record(method="estimate"))[0]


def test_images_that_were_not_metered_are_counted_out_loud():
    assert "The other 40 of 100 images" in " ".join(sentences(record(metered=60)))


def test_without_a_site_no_carbon_is_claimed_but_the_published_range_is_labelled():
    told = sentences(record())[-1]
    assert told.startswith("No carbon is claimed, for the PUE and the grid’s intensity were not given")
    assert "wind power at 11 g/kWh" in told
    assert "for the grid’s intensity was not given" in sentences(record(site=Site.given(pue=1.2)))[-1]


def test_with_a_site_carbon_is_told_with_its_source():
    told = sentences(record(site=Site.given("1.0-1.2", 500, "the operator")))[-1]
    assert told == ("With a PUE of 1 to 1.2 and 500 g CO2e per kWh, the operator, that is 550 mg [450, 660] of CO2e.")


def test_meters_that_failed_claim_nothing():
    energy = record(failed=["nvml (gone)"])
    assert {tuple(row[1:3]) for row in chapter_module._table(energy).rows[:2]} == {("–", "not known")}
    assert sentences(energy) == ["The meters failed while the images were made: what that took is not known."]


def test_the_table_has_a_row_for_each_part_and_says_what_was_not_given(run):
    (table,) = chapter(run.measurements(), with_energy(run, record())).blocks
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["CPU", "All parts", "An image", "Facility", "Carbon (CO2e)"]
    assert rows["Facility"][1:3] == rows["Carbon (CO2e)"][1:3] == ["–", "not given"]
    (table,) = chapter(run.measurements(), with_energy(run, record(site=Site.given(1.5, 400)))).blocks
    assert {row[0]: row[1] for row in table.rows}["Facility"] == "1.5 Wh [1.4, 1.6]"


def test_page_and_json_of_the_report_carry_it(run):
    page = build.build(with_energy(run, record()))
    assert "what a lamp of 10 W takes in 6 minutes" in page.read_text(encoding="utf-8")
    document = json.loads((page.parent / "measurements.json").read_text())
    assert document["provenance"]["energy"]["joules"] == {"value": 3600, "low": 3240, "high": 3960}


@pytest.mark.parametrize("key", ["joules", "images", "parts", "site"])
def test_a_damaged_record_claims_nothing(run, key):
    energy = copy.deepcopy(record())
    energy[key] = "x"
    assert "damaged" in chapter(run.measurements(), with_energy(run, energy)).lead[0]


def test_quantities_keep_a_unit_that_suits_them():
    from auditkit.energy import Amount

    for joules, told in (
        (0, "0 mJ [0, 0]"),
        (0.36, "360 mJ [360, 360]"),
        (2.5e6, "2.5 MJ [2.5, 2.5]"),
        (123456, "123 kJ [123, 123]"),
    ):
        assert chapter_module.quantity(Amount.exactly(joules), chapter_module.UNITS) == told
