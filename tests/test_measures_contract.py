"""The contract of every measure: metadata, rows of the schema, the same answer twice, no number without data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic_run

from auditkit import registry
from auditkit.bias.base import COLUMNS, Options
from auditkit.clip.attributes import attribute
from auditkit.clip.folder import BUNDLED, weights_sha256
from auditkit.errors import AuditkitError
from auditkit.runs import Run
from auditkit.schemas import MEASUREMENTS, check

ENCODER = "personas-clip"
OPTIONS = Options(by="occupation", n_boot=100, attributes=("gender", "skin_tone"))
EXTRA = {"age": "adult", "disability": "none visible", "surroundings": "", "wealth": ""}
MEASURES = registry.names("measures")


def scored_run(folder: Path, *, unknown: bool = False) -> Run:
    """Five occupations with scores of every attribute and embeddings; `unknown`: no image has any label."""
    run = synthetic_run.make_run(folder, images_per_prompt=24, measured=False)
    ids = list(run.images()["id"].drop_duplicates())
    rng = np.random.default_rng(0)
    base = run.scores("gender")[f"gender@{ENCODER}"]
    for name in EXTRA:
        classes = list(attribute(name).classes)
        sure = rng.dirichlet(np.ones(len(classes)), size=len(base))
        table = base.drop(columns=[c for c in base if c.startswith("p_")]).assign(scorer=name)
        table["label"] = EXTRA[name] or np.array(classes, object)[sure.argmax(axis=1)]
        for i, one in enumerate(classes):
            table[f"p_{one}"] = sure[:, i]
        run.write_scores(table)
    pixels = registry.load("scorers", "skin_pixels").score(run)
    run.write_scores(pixels)
    for table in run.scores().values():
        if unknown:
            run.write_scores(table.assign(label="unknown"))
    embeddings = rng.normal(size=(len(ids), 256))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    run.write_embeddings(ENCODER, ids, embeddings, fingerprint=weights_sha256(BUNDLED / ENCODER))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored_run(tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored_run(tmp_path_factory.mktemp("silent"), unknown=True)


def applied(name: str, run: Run):
    measure = registry.load("measures", name)
    if reason := measure.applies(run, OPTIONS):
        pytest.skip(f"{name} does not apply to this run: {reason}")
    return measure.measure(run, OPTIONS)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_says_what_it_is(name):
    measure = registry.load("measures", name)
    assert measure.name == name
    assert isinstance(measure.version, int)
    assert measure.version >= 1
    assert measure.title


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_says_why_it_does_not_apply(name, tiny_run):
    # A run without scores or embeddings: the answer is a reason, never an error.
    assert isinstance(registry.load("measures", name).applies(tiny_run, OPTIONS), str)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_that_does_not_apply_gives_no_number(name, tiny_run):
    measure = registry.load("measures", name)
    if measure.applies(tiny_run, OPTIONS):
        try:
            table = measure.measure(tiny_run, OPTIONS)
        except AuditkitError:
            return
        assert table["estimate"].isna().all()


@pytest.mark.parametrize("name", MEASURES)
def test_the_rows_hold_the_schema_and_carry_the_measures_name(name, run):
    table = applied(name, run)
    assert list(table.columns) == COLUMNS
    check(table, MEASUREMENTS, name)
    assert table["measure"].str.startswith(f"{name}.").all()
    assert (table["run_id"] == run.id).all()


@pytest.mark.parametrize("name", MEASURES)
def test_a_number_stands_inside_its_interval_or_says_how_it_was_made(name, run):
    rows = applied(name, run).dropna(subset=["ci_low", "ci_high"])
    assert (rows["ci_low"] <= rows["ci_high"]).all()
    assert (rows["ci_method"] != "").all()


@pytest.mark.parametrize("name", MEASURES)
def test_the_same_seed_gives_the_same_rows(name, run):
    first, second = applied(name, run), applied(name, run)
    assert first.equals(second)


@pytest.mark.parametrize("name", MEASURES)
def test_adjusted_p_values_are_never_below_the_plain_ones(name, run):
    rows = applied(name, run).dropna(subset=["p_value", "p_holm"])
    assert (rows["p_holm"] >= rows["p_value"] - 1e-9).all()


@pytest.mark.parametrize("name", ["representation", "divergence", "intersections", "presence"])
def test_where_no_image_has_a_label_nothing_is_corrected(name, silent):
    table = applied(name, silent)
    corrected = table[~table["measure"].isin(["representation.share", "representation.bounds", "presence.share"])]
    assert corrected["estimate"].isna().all()
    assert (corrected["status"] != "ok").all()


@pytest.mark.parametrize("name", MEASURES)
def test_a_group_below_the_minimum_has_no_verdict(name, run):
    measure = registry.load("measures", name)
    options = OPTIONS.but(min_n=10_000)
    if measure.applies(run, options):
        pytest.skip(f"{name} does not apply to this run")
    table = measure.measure(run, options)
    # What is counted of the run as a whole may stay, and what is said of words alone; a test of a group may not.
    of_images = ~table["measure"].isin(["association.weat", "association.seat"])
    assert table.loc[of_images & (table["group_by"] == "occupation"), "p_value"].isna().all()
