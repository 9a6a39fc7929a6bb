"""The Python verbs."""

from __future__ import annotations

import pytest
import synthetic_run

import auditkit
from app import api, finding
from auditkit.errors import PluginError, RunError, SpecError


def test_the_facade_gives_the_verbs_of_the_api():
    for name in ("generate", "import_folder", "score", "measure", "audit", "report"):
        assert getattr(auditkit, name) is getattr(api, name)
    for name in ("open_run", "list_runs"):
        assert getattr(auditkit, name) is getattr(finding, name)


def test_options_are_laid_over_the_spec():
    spec = api.resolve_spec("occupations", images_per_prompt=2, seed=7, steps=5)
    assert (spec.images_per_prompt, spec.seed, spec.steps) == (2, 7, 5)
    assert spec.templates == api.resolve_spec("occupations").templates


def test_an_option_that_the_spec_does_not_allow_is_a_spec_error():
    with pytest.raises(SpecError, match="steps"):
        api.resolve_spec("occupations", steps=-1)


def test_a_run_is_found_by_path_by_id_and_as_the_latest(tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    assert api.find_run(made) is made
    for name in (made.path, str(made.path), made.id, "latest"):
        assert api.find_run(name, folder=tmp_path).id == made.id


def test_a_near_name_is_offered_for_a_run_that_is_not_there(tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    with pytest.raises(RunError) as caught:
        api.find_run(made.id[:-1], folder=tmp_path)
    assert made.id in str(caught.value.mend)


def test_the_spec_says_what_a_run_is_grouped_by(tmp_path):
    assert api.grouping(synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)) == "occupation"


def test_measure_writes_what_it_returns(tmp_path):
    made = synthetic_run.make_run(tmp_path, measured=False)
    table = api.measure(made, attributes=["gender"], measures=["representation"], replicates=20)
    assert len(table)
    assert table["measure"].str.startswith("representation.").all()
    assert len(made.measurements()) == len(table)


def test_measuring_again_keeps_the_rows_of_other_measures(tmp_path):
    made = synthetic_run.make_run(tmp_path)
    strange = made.measurements().assign(measure="another.share")
    made.write_measurements(strange)
    fresh = api.measure(made, attributes=["gender"], measures=["representation"], replicates=20)
    assert len(made.measurements()) == len(fresh) + len(strange)


def test_an_unknown_measure_is_a_plugin_error(tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    with pytest.raises(PluginError, match="representation"):
        api.measure(made, measures=["representaton"])
